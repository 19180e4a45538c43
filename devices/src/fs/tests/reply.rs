//! What FUSE sends and gets, as bytes.

/// Arguments of a request.
#[derive(Clone, Default)]
pub(super) struct Args(pub(super) Vec<u8>);

impl Args {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_ne_bytes());
        self
    }

    pub(super) fn name(mut self, name: &str) -> Self {
        self.0.extend(name.as_bytes());
        self.0.push(0);
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// `fuse_attr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attr {
    pub(super) ino: u64,
    pub(super) size: u64,
    pub(super) atime: (u64, u32),
    pub(super) mtime: (u64, u32),
    pub(super) mode: u32,
    pub(super) nlink: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) rdev: u32,
}

impl Attr {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 88);
        Self {
            ino: u64_at(bytes, 0),
            size: u64_at(bytes, 8),
            atime: (u64_at(bytes, 24), u32_at(bytes, 48)),
            mtime: (u64_at(bytes, 32), u32_at(bytes, 52)),
            mode: u32_at(bytes, 60),
            nlink: u32_at(bytes, 64),
            uid: u32_at(bytes, 68),
            gid: u32_at(bytes, 72),
            rdev: u32_at(bytes, 76),
        }
    }

    pub(super) fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }
}

/// `fuse_entry_out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) node: u64,
    pub(super) entry_valid: u64,
    pub(super) attr_valid: u64,
    pub(super) attr: Attr,
}

impl Entry {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self {
            node: u64_at(bytes, 0),
            entry_valid: u64_at(bytes, 16),
            attr_valid: u64_at(bytes, 24),
            attr: Attr::parse(&bytes[40..]),
        }
    }
}

/// An entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dirent {
    pub(super) ino: u64,
    pub(super) offset: u64,
    pub(super) kind: u32,
    pub(super) entry: Option<Entry>,
}

/// What SETATTR sets.
#[derive(Clone, Copy, Default)]
pub(super) struct Set {
    pub(super) valid: u32,
    pub(super) fh: u64,
    pub(super) size: u64,
    pub(super) atime: (u64, u32),
    pub(super) mtime: (u64, u32),
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

pub(super) fn mode(mode: u32) -> Set {
    Set {
        valid: 1,
        mode,
        ..Set::default()
    }
}

pub(super) fn size(size: u64) -> Set {
    Set {
        valid: 8,
        size,
        ..Set::default()
    }
}

pub(super) fn owner(uid: u32, gid: u32) -> Set {
    Set {
        valid: 6,
        uid,
        gid,
        ..Set::default()
    }
}
