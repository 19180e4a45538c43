//! The tar format (pax(1) of POSIX): ustar headers, with extended ones where those do not do.

pub(crate) mod pax;
pub(crate) mod read;
pub(crate) mod write;

/// Bytes of a block: a header is one, and contents are filled up to whole ones.
pub(crate) const BLOCK: usize = 512;

/// What kind of file a member is, and the letter for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    HardLink,
    Symlink,
    Character,
    Block,
    Directory,
    Fifo,
}

impl Kind {
    pub(crate) const ALL: [(Kind, u8); 7] = [
        (Kind::Regular, b'0'),
        (Kind::HardLink, b'1'),
        (Kind::Symlink, b'2'),
        (Kind::Character, b'3'),
        (Kind::Block, b'4'),
        (Kind::Directory, b'5'),
        (Kind::Fifo, b'6'),
    ];
}

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    /// Where a link leads.
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permissions, without the kind.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Bytes of content; only regular files have any.
    pub(crate) size: u64,
    pub(crate) device: (u32, u32),
    /// Extended attributes: names and values.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Zeros behind `size` bytes of content.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// Where the fields of a header are.
mod field {
    use std::ops::Range;

    pub(super) const NAME: Range<usize> = 0..100;
    pub(super) const MODE: Range<usize> = 100..108;
    pub(super) const UID: Range<usize> = 108..116;
    pub(super) const GID: Range<usize> = 116..124;
    pub(super) const SIZE: Range<usize> = 124..136;
    pub(super) const MTIME: Range<usize> = 136..148;
    pub(super) const CHECKSUM: Range<usize> = 148..156;
    pub(super) const KIND: usize = 156;
    pub(super) const LINK: Range<usize> = 157..257;
    pub(super) const MAGIC: Range<usize> = 257..263;
    pub(super) const VERSION: Range<usize> = 263..265;
    pub(super) const MAJOR: Range<usize> = 329..337;
    pub(super) const MINOR: Range<usize> = 337..345;
    pub(super) const PREFIX: Range<usize> = 345..500;
}

/// The sum of all bytes, with blanks in place of the sum itself.
fn checksum(header: &[u8; BLOCK]) -> u32 {
    let bytes = header.iter().enumerate();
    bytes
        .map(|(index, byte)| match field::CHECKSUM.contains(&index) {
            true => u32::from(b' '),
            false => u32::from(*byte),
        })
        .sum()
}

#[cfg(test)]
mod tests;
