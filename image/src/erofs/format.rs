//! EROFS on disk: `struct erofs_super_block` and `struct erofs_inode_extended` of the kernel's `fs/erofs/erofs_fs.h`. All numbers
//! are little-endian.

use crate::layer::{BLOCK, Meta, crc32c};

/// Where the superblock begins.
const SUPER_OFFSET: usize = 1024;
const MAGIC: u32 = 0xE0F5_E1E2;
/// The superblock has a checksum.
const COMPAT_CHECKSUM: u32 = 1;
/// There are inodes with a block map.
const INCOMPAT_CHUNKED_FILE: u32 = 4;
/// Logarithm of the block size.
const BLOCK_BITS: u8 = 12;
/// Bytes of an extended inode.
pub(super) const INODE: u64 = 64;
/// Inodes are addressed in units of this many bytes.
pub(super) const SLOT: u64 = 32;
/// In a block map: there is nothing but zeros.
pub(super) const HOLE: u32 = u32::MAX;
/// Bytes of an entry of a block map.
pub(super) const MAP_ENTRY: u64 = 4;

/// What the superblock says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Superblock {
    pub(super) root: u64,
    pub(super) inodes: u64,
    /// Of the whole disk.
    pub(super) blocks: u32,
    /// Where shared attributes begin, in blocks; 0 if there are none.
    pub(super) xattr_block: u32,
    pub(super) has_chunks: bool,
}

impl Superblock {
    /// Block 0.
    pub(super) fn encode(&self) -> [u8; BLOCK] {
        let mut sb = Vec::with_capacity(128);
        sb.extend(MAGIC.to_le_bytes());
        sb.extend([0; 4]); // checksum, below
        sb.extend(COMPAT_CHECKSUM.to_le_bytes());
        sb.extend([BLOCK_BITS, 0]);
        // The root is the first inode, so its number is small.
        sb.extend(u16::try_from(self.root).unwrap_or(0).to_le_bytes());
        sb.extend(self.inodes.to_le_bytes());
        sb.extend([0; 12]); // build time: the same layers make the same bytes
        sb.extend(self.blocks.to_le_bytes());
        sb.extend([0; 4]); // inodes are counted from block 0
        sb.extend(self.xattr_block.to_le_bytes());
        sb.extend([0; 32]); // UUID and volume name
        let chunks = if self.has_chunks {
            INCOMPAT_CHUNKED_FILE
        } else {
            0
        };
        sb.extend(chunks.to_le_bytes());
        let mut block = [0; BLOCK];
        let mut place = block.iter_mut().skip(SUPER_OFFSET);
        for (to, from) in place.by_ref().zip(&sb) {
            *to = *from;
        }
        let checksum = !crc32c(block.get(SUPER_OFFSET..).unwrap_or_default());
        let place = block.iter_mut().skip(SUPER_OFFSET + 4);
        for (to, from) in place.zip(checksum.to_le_bytes()) {
            *to = from;
        }
        block
    }
}

/// How the data of an inode are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// In consecutive blocks.
    Plain = 0,
    /// So, but what remains at the end stands behind the inode.
    Inline = 2,
    /// By a map of chunks behind the inode.
    Chunks = 4,
}

/// What an inode says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inode {
    pub(super) layout: DataLayout,
    /// Type and permissions.
    pub(super) mode: u16,
    pub(super) meta: Meta,
    pub(super) size: u64,
    /// First block, device number or chunk format.
    pub(super) union: u32,
    /// Number that 32-bit programs see.
    pub(super) ino: u32,
    pub(super) links: u32,
    /// Bytes of attributes behind the inode: 0, or 12 and a multiple of 4.
    pub(super) xattr_len: u64,
}

impl Inode {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        let format = 1 | (self.layout as u16) << 1;
        bytes.extend(format.to_le_bytes());
        let count = match self.xattr_len {
            0 => 0,
            length => u16::try_from((length - 12) / 4 + 1).unwrap_or(0),
        };
        bytes.extend(count.to_le_bytes());
        bytes.extend(self.mode.to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.union.to_le_bytes());
        bytes.extend(self.ino.to_le_bytes());
        bytes.extend(self.meta.uid.to_le_bytes());
        bytes.extend(self.meta.gid.to_le_bytes());
        bytes.extend(self.meta.mtime.to_le_bytes());
        bytes.extend(self.meta.nanos.to_le_bytes());
        bytes.extend(self.links.to_le_bytes());
        bytes.extend([0; 16]);
        bytes
    }
}

/// A device number as inodes have it, Linux's `new_encode_dev`.
pub(super) fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}
