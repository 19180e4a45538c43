//! A diff that goes onto the file that it is of: that file is copied, and stays what it is until the copy takes its name.

use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, copy_file_range, seek};
use rustix::io::Errno;

use super::MemoryFileError;
use crate::snapshot::format::v1::MemoryLabel;

/// Whether a file has this memory, or diffs up to it.
pub(crate) fn has(file: &File, label: &MemoryLabel) -> bool {
    MemoryLabel::read(file).is_ok_and(|found| found == *label)
}

/// Copies the data of a file, and none of its holes, into an empty one. Where the file system can, both then share it.
///
/// # Errors
/// The host's answer.
pub(crate) fn copy(from: &File, to: &File) -> Result<(), MemoryFileError> {
    copy_data(from, to).map_err(MemoryFileError::refused)
}

fn copy_data(from: &File, to: &File) -> io::Result<()> {
    let mut at = 0;
    loop {
        at = match seek(from, SeekFrom::Data(at)) {
            Ok(at) => at,
            // There is nothing more.
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(at))?;
        while at < end {
            let (mut here, mut there) = (at, at);
            let length = usize::try_from(end - at).unwrap_or(usize::MAX);
            match copy_file_range(from, Some(&mut here), to, Some(&mut there), length) {
                // It was made shorter.
                Ok(0) => return Ok(()),
                Ok(count) => at += count as u64,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
