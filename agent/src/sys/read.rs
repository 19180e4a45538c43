//! Reading to the end of a vector without clearing its memory first: a page that nothing is read
//! into is never touched, so it never faults.

#![allow(unsafe_code)]

use std::os::fd::AsFd;

use rustix::io::Errno;

/// Appends at most `limit` bytes from `fd` to `buffer` and returns how many.
pub(crate) fn append(fd: &impl AsFd, buffer: &mut Vec<u8>, limit: usize) -> Result<usize, Errno> {
    buffer.reserve(limit);
    let spare = buffer.spare_capacity_mut();
    let limit = limit.min(spare.len());
    let count = match spare.get_mut(..limit) {
        Some(room) => rustix::io::read(fd, room)?.0.len(),
        None => 0,
    };
    let length = buffer.len() + count;
    // SAFETY: the kernel has written `count` bytes behind the old length, within the capacity.
    unsafe { buffer.set_len(length) };
    Ok(count)
}
