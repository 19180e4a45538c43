//! FUSE on the wire: numbers, requests that are read, replies that are written. Its source is the Linux kernel's
//! `include/uapi/linux/fuse.h`, protocol 7.31 to 7.39; all fields are in the order of bytes of the guest, which is the
//! host's.

use std::ffi::CStr;

use rustix::io::Errno;

/// What a request asks for.
pub(super) mod op {
    pub(in crate::fs) const LOOKUP: u32 = 1;
    pub(in crate::fs) const FORGET: u32 = 2;
    pub(in crate::fs) const GETATTR: u32 = 3;
    pub(in crate::fs) const SETATTR: u32 = 4;
    pub(in crate::fs) const READLINK: u32 = 5;
    pub(in crate::fs) const SYMLINK: u32 = 6;
    pub(in crate::fs) const MKNOD: u32 = 8;
    pub(in crate::fs) const MKDIR: u32 = 9;
    pub(in crate::fs) const UNLINK: u32 = 10;
    pub(in crate::fs) const RMDIR: u32 = 11;
    pub(in crate::fs) const RENAME: u32 = 12;
    pub(in crate::fs) const LINK: u32 = 13;
    pub(in crate::fs) const OPEN: u32 = 14;
    pub(in crate::fs) const READ: u32 = 15;
    pub(in crate::fs) const WRITE: u32 = 16;
    pub(in crate::fs) const STATFS: u32 = 17;
    pub(in crate::fs) const RELEASE: u32 = 18;
    pub(in crate::fs) const FSYNC: u32 = 20;
    pub(in crate::fs) const SETXATTR: u32 = 21;
    pub(in crate::fs) const GETXATTR: u32 = 22;
    pub(in crate::fs) const LISTXATTR: u32 = 23;
    pub(in crate::fs) const REMOVEXATTR: u32 = 24;
    pub(in crate::fs) const FLUSH: u32 = 25;
    pub(in crate::fs) const INIT: u32 = 26;
    pub(in crate::fs) const OPENDIR: u32 = 27;
    pub(in crate::fs) const READDIR: u32 = 28;
    pub(in crate::fs) const RELEASEDIR: u32 = 29;
    pub(in crate::fs) const FSYNCDIR: u32 = 30;
    pub(in crate::fs) const GETLK: u32 = 31;
    pub(in crate::fs) const SETLK: u32 = 32;
    pub(in crate::fs) const SETLKW: u32 = 33;
    pub(in crate::fs) const ACCESS: u32 = 34;
    pub(in crate::fs) const CREATE: u32 = 35;
    pub(in crate::fs) const INTERRUPT: u32 = 36;
    pub(in crate::fs) const DESTROY: u32 = 38;
    pub(in crate::fs) const BATCH_FORGET: u32 = 42;
    pub(in crate::fs) const FALLOCATE: u32 = 43;
    pub(in crate::fs) const READDIRPLUS: u32 = 44;
    pub(in crate::fs) const RENAME2: u32 = 45;
    pub(in crate::fs) const LSEEK: u32 = 46;
    pub(in crate::fs) const COPY_FILE_RANGE: u32 = 47;
    pub(in crate::fs) const SYNCFS: u32 = 50;
    pub(in crate::fs) const TMPFILE: u32 = 51;
    pub(in crate::fs) const STATX: u32 = 52;
}

/// Bytes of a request's header.
pub(super) const IN_HEADER: usize = 40;
/// Bytes of a reply's header.
pub(super) const OUT_HEADER: usize = 16;
/// Bytes of what follows the header of a WRITE, before its data.
pub(super) const WRITE_IN: usize = 40;
/// The longest name, without its NUL.
pub(super) const NAME_MAX: usize = 255;
/// The longest symbolic link, without its NUL.
pub(super) const LINK_MAX: usize = 4095;

/// The header of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Bytes of the whole request.
    pub(super) len: u32,
    pub(super) opcode: u32,
    /// Names the request in its reply.
    pub(super) unique: u64,
    pub(super) node: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes.get(..IN_HEADER)?);
        let mut read = || -> Result<Self, Errno> {
            Ok(Self {
                len: reader.u32()?,
                opcode: reader.u32()?,
                unique: reader.u64()?,
                node: reader.u64()?,
                uid: reader.u32()?,
                gid: reader.u32()?,
            })
        };
        read().ok()
    }
}

/// The arguments of a request, from the front. What is not there is EINVAL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Errno> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Errno::INVAL)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn skip(&mut self, len: usize) -> Result<(), Errno> {
        self.bytes(len).map(|_| ())
    }

    pub(super) fn u32(&mut self) -> Result<u32, Errno> {
        let bytes = self.bytes(4)?.try_into().map_err(|_| Errno::INVAL)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Errno> {
        let bytes = self.bytes(8)?.try_into().map_err(|_| Errno::INVAL)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// A string with its NUL.
    pub(super) fn string(&mut self, longest: usize) -> Result<&'a CStr, Errno> {
        let string = CStr::from_bytes_until_nul(self.bytes).map_err(|_| Errno::INVAL)?;
        self.skip(string.count_bytes() + 1)?;
        if string.count_bytes() > longest {
            return Err(Errno::NAMETOOLONG);
        }
        Ok(string)
    }

    /// The name of something in a directory: one component, and neither the directory itself nor the one above.
    pub(super) fn name(&mut self) -> Result<&'a CStr, Errno> {
        let name = self.string(NAME_MAX)?;
        check_name(name)?;
        Ok(name)
    }
}

/// Whether a name names something within a directory. All names that reach the host's kernel have passed this.
pub(super) fn check_name(name: &CStr) -> Result<(), Errno> {
    let bytes = name.to_bytes();
    if bytes.len() > NAME_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(Errno::INVAL);
    }
    Ok(())
}

/// The payload of a reply, kept for its capacity.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes.extend(value.to_ne_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_ne_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend(value.to_ne_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.extend(value.to_ne_bytes());
    }

    pub(super) fn slice(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    pub(super) fn zeros(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len() + count, 0);
    }

    /// Zeros up to a multiple of 8.
    pub(super) fn align(&mut self) {
        let len = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(len, 0);
    }

    /// `len` bytes that a system call fills from the front, and how many it filled.
    pub(super) fn fill(
        &mut self,
        len: usize,
        call: impl FnOnce(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let start = self.bytes.len();
        self.zeros(len);
        let filled = call(&mut self.bytes[start..]);
        self.bytes.truncate(start + filled.unwrap_or(0).min(len));
        filled
    }
}
