//! One request: a header that is read once, data, and a status byte (virtio 1.2, section 5.2.6).

use std::io;

use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES,
};

use super::config::{MAX_BYTES, SECTOR};
use super::disk::Disk;
use super::ranges;
use crate::iov::{BadBuffer, Scatter, Span};
use crate::queue::total_len;
use crate::worker::{self, Outcome};
use crate::{Chain, GuestMemory};

/// Bytes of the header: type, reserved, sector.
const HEADER: u64 = 16;
/// Bytes of a serial number.
pub(super) const ID_BYTES: usize = 20;

/// Why a request failed. The guest gets only the status.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("the request is {0}")]
    Malformed(&'static str),
    #[error("the request's type {0} is not known, or not for this disk")]
    Unsupported(u32),
    #[error("{len} bytes at sector {sector} are not on the disk")]
    BeyondEnd { sector: u64, len: u64 },
    #[error(transparent)]
    Buffer(#[from] BadBuffer),
    #[error("the disk failed")]
    Io(#[from] io::Error),
}

impl RequestError {
    fn status(&self) -> u32 {
        match self {
            Self::Unsupported(_) => VIRTIO_BLK_S_UNSUPP,
            _ => VIRTIO_BLK_S_IOERR,
        }
    }
}

/// What serves requests: the disk and what the driver chose.
pub(super) struct Server<'a> {
    pub(super) disk: &'a Disk,
    pub(super) scatter: &'a mut Scatter,
    pub(super) id: &'a [u8; ID_BYTES],
    /// Each write must be safe before it is reported as done.
    pub(super) write_through: bool,
    pub(super) features: u64,
    /// Bytes moved in this turn.
    pub(super) moved: u64,
}

/// Bytes after which other devices have their turn.
const TURN: u64 = 8 << 20;

impl Server<'_> {
    /// Does a request and writes its status.
    pub(super) fn serve(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        // The status is the last byte that the device may write.
        let Some(room) = total_len(chain.writable()).checked_sub(1) else {
            tracing::debug!("a request has no room for its status");
            return Outcome::Used(0);
        };
        let (status, filled) = match self.execute(memory, chain, room) {
            Ok(filled) => (VIRTIO_BLK_S_OK, filled),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a request failed");
                (error.status(), 0)
            }
        };
        let status = u8::try_from(status).unwrap_or(u8::MAX);
        match Span::all(memory, chain.writable())
            .part(room, 1)
            .copy_in(&[status])
        {
            Ok(_) => {
                let written = usize::try_from(filled).map_or(usize::MAX, |filled| filled + 1);
                if self.moved > TURN {
                    Outcome::Enough(worker::written(written))
                } else {
                    Outcome::Used(worker::written(written))
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a request's status has no place");
                Outcome::Used(0)
            }
        }
    }

    /// How many bytes of the writable part were filled, without the status.
    fn execute(
        &mut self,
        memory: &GuestMemory,
        chain: &Chain,
        room: u64,
    ) -> Result<u64, RequestError> {
        let mut header = [0; 16];
        let source = Span::all(memory, chain.readable());
        if source.copy_out(&mut header)? < header.len() {
            return Err(RequestError::Malformed("shorter than its header"));
        }
        let [a, b, c, d, _, _, _, _, sector @ ..] = header;
        let (kind, sector) = (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(sector));
        let given = total_len(chain.readable()) - HEADER;
        let source = source.part(HEADER, given);
        let target = Span::all(memory, chain.writable()).part(0, room);
        match kind {
            VIRTIO_BLK_T_IN => {
                let offset = self.position(sector, room)?;
                self.disk.read(self.scatter, target, offset)?;
                Ok(room)
            }
            VIRTIO_BLK_T_OUT if !self.disk.is_read_only() => {
                let offset = self.position(sector, given)?;
                self.disk.write(self.scatter, source, offset)?;
                self.settle()
            }
            VIRTIO_BLK_T_FLUSH if !self.disk.is_read_only() => {
                self.disk.flush()?;
                Ok(0)
            }
            VIRTIO_BLK_T_GET_ID => {
                if room < HEADER {
                    return Err(RequestError::Malformed(
                        "without room for the serial number",
                    ));
                }
                let count = target.copy_in(self.id)?;
                Ok(u64::try_from(count).unwrap_or(0))
            }
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES
                if !self.disk.is_read_only() && ranges::allowed(kind, self.features) =>
            {
                ranges::execute(self.disk, kind, source)?;
                // Zeros may have had to be written.
                self.moved += TURN;
                self.settle()
            }
            other => Err(RequestError::Unsupported(other)),
        }
    }

    fn settle(&self) -> Result<u64, RequestError> {
        if self.write_through {
            self.disk.flush()?;
        }
        Ok(0)
    }

    /// The byte at which a request begins, if all of it is on the disk.
    fn position(&mut self, sector: u64, len: u64) -> Result<u64, RequestError> {
        if !len.is_multiple_of(SECTOR) {
            return Err(RequestError::Malformed("not a number of whole sectors"));
        }
        if len > MAX_BYTES {
            return Err(RequestError::Malformed("larger than the device allows"));
        }
        self.moved += len;
        sector
            .checked_mul(SECTOR)
            .filter(|offset| self.disk.contains(*offset, len))
            .ok_or(RequestError::BeyondEnd { sector, len })
    }
}
