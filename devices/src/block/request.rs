//! One request: a header that is read once, data, and a status byte (virtio 1.2, section 5.2.6).

use std::io;

use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES,
};

use super::config::{MAX_BYTES, SECTOR};
use super::disk::{Buffers, Disk};
use super::ranges;
use super::serial::SERIAL_BYTES;
use crate::iov::{BadBuffer, Span};
use crate::queue::total_len;
use crate::{Chain, GuestMemory};

/// Bytes of the header: type, reserved, sector.
const HEADER: u64 = 16;
/// Bytes that a driver must have room for to get a serial number; Linux has 20.
const LEAST_ID_ROOM: u64 = 16;

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

/// What a request asks for. Positions and lengths are bytes, and were on the disk when the request was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Request {
    Read {
        offset: u64,
        len: u64,
    },
    Write {
        offset: u64,
        len: u64,
    },
    #[default]
    Flush,
    Identify,
    /// Discard or write-zeroes, by its type.
    Ranges(u32),
}

impl Request {
    /// Reads a request's header; `features` are those that the driver took.
    pub(super) fn parse(
        disk: &Disk,
        features: u64,
        memory: &GuestMemory,
        chain: &Chain,
    ) -> Result<Self, RequestError> {
        let mut header = [0; 16];
        let count = Span::all(memory, chain.readable()).copy_out(&mut header)?;
        if count < header.len() {
            return Err(RequestError::Malformed("shorter than its header"));
        }
        let [a, b, c, d, _, _, _, _, sector @ ..] = header;
        let (kind, sector) = (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(sector));
        let can_write = !disk.is_read_only();
        match kind {
            VIRTIO_BLK_T_IN => {
                let len = target(memory, chain).len;
                let offset = position(disk, sector, len)?;
                Ok(Self::Read { offset, len })
            }
            VIRTIO_BLK_T_OUT if can_write => {
                let len = source(memory, chain).len;
                let offset = position(disk, sector, len)?;
                Ok(Self::Write { offset, len })
            }
            VIRTIO_BLK_T_FLUSH if can_write => Ok(Self::Flush),
            VIRTIO_BLK_T_GET_ID => Ok(Self::Identify),
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES
                if can_write && ranges::allowed(kind, features) =>
            {
                Ok(Self::Ranges(kind))
            }
            other => Err(RequestError::Unsupported(other)),
        }
    }

    /// Bytes that it moves.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Read { len, .. } | Self::Write { len, .. } => *len,
            Self::Flush | Self::Identify | Self::Ranges(_) => 0,
        }
    }

    /// Does it now; how many bytes of the writable part were filled, without the status.
    pub(super) fn execute(
        &self,
        context: &mut Context<'_>,
        memory: &GuestMemory,
        chain: &Chain,
    ) -> Result<u64, RequestError> {
        let disk = context.disk;
        let mut filled = 0;
        match *self {
            Self::Read { offset, len } => {
                disk.read(context.buffers, target(memory, chain), offset)?;
                filled = len;
            }
            Self::Write { offset, .. } => {
                disk.write(context.buffers, source(memory, chain), offset)?;
            }
            Self::Flush => disk.flush()?,
            Self::Identify => filled = identify(context.serial, memory, chain)?,
            Self::Ranges(kind) => {
                context.zeroed = ranges::execute(disk, kind, source(memory, chain))?;
            }
        }
        if context.write_through && matches!(self, Self::Write { .. } | Self::Ranges(_)) {
            disk.flush()?;
        }
        Ok(filled)
    }
}

/// What requests are done with.
pub(super) struct Context<'a> {
    pub(super) disk: &'a Disk,
    pub(super) buffers: &'a mut Buffers,
    pub(super) serial: &'a [u8; SERIAL_BYTES],
    /// Each write must be safe before it is reported as done.
    pub(super) write_through: bool,
    /// Bytes that the last discard or write-zeroes had to write.
    pub(super) zeroed: u64,
}

/// Answers with the serial number; how many bytes of it there was room for.
pub(super) fn identify(
    serial: &[u8; SERIAL_BYTES],
    memory: &GuestMemory,
    chain: &Chain,
) -> Result<u64, RequestError> {
    let target = target(memory, chain);
    if target.len < LEAST_ID_ROOM {
        return Err(RequestError::Malformed(
            "without room for the serial number",
        ));
    }
    Ok(u64::try_from(target.copy_in(serial)?).unwrap_or(0))
}

/// Whether there is room for the status, without which a request can't be answered.
pub(super) fn has_status(chain: &Chain) -> bool {
    total_len(chain.writable()) > 0
}

/// Where the device writes data: all that it may write but the last byte, which is for the status.
pub(super) fn target<'a>(memory: &'a GuestMemory, chain: &'a Chain) -> Span<'a> {
    let room = total_len(chain.writable()).saturating_sub(1);
    Span::all(memory, chain.writable()).part(0, room)
}

/// What the driver wrote behind the header.
pub(super) fn source<'a>(memory: &'a GuestMemory, chain: &'a Chain) -> Span<'a> {
    let given = total_len(chain.readable()).saturating_sub(HEADER);
    Span::all(memory, chain.readable()).part(HEADER, given)
}

/// Writes a request's status; how many bytes of it were written in all.
pub(super) fn answer(
    memory: &GuestMemory,
    chain: &Chain,
    result: &Result<u64, RequestError>,
) -> u32 {
    let (status, filled) = match result {
        Ok(filled) => (VIRTIO_BLK_S_OK, *filled),
        Err(error) => {
            tracing::debug!(error = error as &dyn std::error::Error, "a request failed");
            (error.status(), 0)
        }
    };
    let status = u8::try_from(status).unwrap_or(u8::MAX);
    let room = target(memory, chain).len;
    let place = Span::all(memory, chain.writable()).part(room, 1);
    match place.copy_in(&[status]) {
        Ok(_) => u32::try_from(filled.saturating_add(1)).unwrap_or(u32::MAX),
        Err(error) => {
            tracing::debug!(%error, "a request's status has no place");
            0
        }
    }
}

/// The byte at which a request begins, if all of it is on the disk.
fn position(disk: &Disk, sector: u64, len: u64) -> Result<u64, RequestError> {
    if !len.is_multiple_of(SECTOR) {
        return Err(RequestError::Malformed("not a number of whole sectors"));
    }
    if len > MAX_BYTES {
        return Err(RequestError::Malformed("larger than the device allows"));
    }
    sector
        .checked_mul(SECTOR)
        .filter(|offset| disk.contains(*offset, len))
        .ok_or(RequestError::BeyondEnd { sector, len })
}
