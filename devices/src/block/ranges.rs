//! Discard and write-zeroes: requests whose data is a list of ranges (virtio 1.2, section 5.2.6).

use std::io;

use virtio_bindings::bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_T_DISCARD,
};

use super::config::{
    MAX_DISCARD_RANGES, MAX_DISCARD_SECTORS, MAX_ZEROES_RANGES, MAX_ZEROES_SECTORS, SECTOR,
};
use super::disk::Disk;
use super::request::RequestError;
use crate::iov::Span;

/// Bytes of a range: sector, number of sectors, flags.
const RANGE: u64 = 16;
/// The zeroed range need not keep its space.
const UNMAP: u32 = 1;

/// Whether the driver took the feature that the request needs.
pub(super) fn allowed(kind: u32, features: u64) -> bool {
    let bit = if kind == VIRTIO_BLK_T_DISCARD {
        VIRTIO_BLK_F_DISCARD
    } else {
        VIRTIO_BLK_F_WRITE_ZEROES
    };
    features & 1 << bit != 0
}

/// Does a discard or write-zeroes request; how many bytes had to be written for it.
pub(super) fn execute(disk: &Disk, kind: u32, ranges: Span<'_>) -> Result<u64, RequestError> {
    let count = ranges.len / RANGE;
    let most = if kind == VIRTIO_BLK_T_DISCARD {
        MAX_DISCARD_RANGES
    } else {
        MAX_ZEROES_RANGES
    };
    if !ranges.len.is_multiple_of(RANGE) || count == 0 || count > most.into() {
        return Err(RequestError::Malformed(
            "not a list of as many ranges as are allowed",
        ));
    }
    let mut written = 0;
    for index in 0..count {
        let mut range = [0; 16];
        ranges.part(index * RANGE, RANGE).copy_out(&mut range)?;
        written += one(disk, kind, range)?;
    }
    Ok(written)
}

fn one(disk: &Disk, kind: u32, range: [u8; 16]) -> Result<u64, RequestError> {
    let [
        s0,
        s1,
        s2,
        s3,
        s4,
        s5,
        s6,
        s7,
        n0,
        n1,
        n2,
        n3,
        f0,
        f1,
        f2,
        f3,
    ] = range;
    let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
    let flags = u32::from_le_bytes([f0, f1, f2, f3]);
    let is_discard = kind == VIRTIO_BLK_T_DISCARD;
    let (known, most) = if is_discard {
        (0, MAX_DISCARD_SECTORS)
    } else {
        (UNMAP, MAX_ZEROES_SECTORS)
    };
    if flags & !known != 0 {
        return Err(RequestError::Unsupported(kind));
    }
    if sectors > most {
        return Err(RequestError::Malformed(
            "for a range larger than the device allows",
        ));
    }
    let len = u64::from(sectors) * SECTOR;
    let offset = sector
        .checked_mul(SECTOR)
        .filter(|offset| disk.contains(*offset, len))
        .ok_or(RequestError::BeyondEnd { sector, len })?;
    if len == 0 {
        return Ok(0);
    }
    let result = if is_discard || flags & UNMAP != 0 {
        disk.punch(offset, len).map(|()| 0)
    } else {
        disk.zero(offset, len)
    };
    match result {
        Err(error) if is_unsupported(&error) && is_discard => Err(RequestError::Unsupported(kind)),
        // Unmapping is a permission, zeroing a duty.
        Err(error) if is_unsupported(&error) => Ok(disk.zero(offset, len)?),
        result => Ok(result?),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}
