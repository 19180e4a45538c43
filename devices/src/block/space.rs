//! The space that a disk takes on the host: holes and zeros.

use std::io;
use std::os::fd::AsRawFd;

use super::disk::Disk;

/// Aligned for direct I/O.
#[repr(C, align(4096))]
struct Zeros([u8; 4096]);

static ZEROS: Zeros = Zeros([0; 4096]);

impl Disk {
    /// Gives the space of a range back; it reads as zeros afterwards. `Unsupported` if the file system can't.
    pub(super) fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.allocate(
            libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            offset,
            len,
        )
    }

    /// Makes a range read as zeros and keeps its space; how many zeros had to be written, because the file system can't do it
    /// by itself.
    pub(super) fn zero(&self, offset: u64, len: u64) -> io::Result<u64> {
        let flags = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        match self.allocate(flags, offset, len) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            result => return result.map(|()| 0),
        }
        let file = self.writable()?;
        let mut done = 0;
        while done < len {
            let count = (len - done).min(to_u64(ZEROS.0.len()));
            let zeros = usize::try_from(count).map_or(&ZEROS.0[..], |count| &ZEROS.0[..count]);
            std::os::unix::fs::FileExt::write_all_at(file, zeros, offset + done)?;
            done += count;
        }
        Ok(done)
    }

    fn allocate(&self, flags: i32, offset: u64, len: u64) -> io::Result<()> {
        let file = self.writable()?;
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let offset = libc::off_t::try_from(offset).map_err(invalid)?;
        let len = libc::off_t::try_from(len).map_err(invalid)?;
        // SAFETY: fallocate touches no memory of this process.
        #[allow(unsafe_code)]
        let result = unsafe { libc::fallocate(file.as_raw_fd(), flags, offset, len) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
