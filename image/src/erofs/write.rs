//! Writes what has been planned, from the first byte to the last.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::dir::{self, Dirent};
use super::format::{DataLayout, HOLE, Inode, SLOT, Superblock, device};
use super::plan::{Data, Plan, Planned, whole_blocks};
use crate::layer::{BLOCK_U64, Content};
use crate::tree::{Body, NodeId, Tree};

/// Bytes that are handed to the kernel at once.
const BUFFER: usize = 256 << 10;

/// Writes the metadata image.
pub(super) fn image(plan: &Plan<'_, '_>, file: &File) -> io::Result<()> {
    let mut out = Output {
        inner: BufWriter::with_capacity(BUFFER, file),
        position: 0,
    };
    let shared = plan.shared.bytes();
    let superblock = Superblock {
        root: plan.nid(Tree::ROOT),
        inodes: plan.summary().inodes,
        blocks: plan.blocks,
        xattr_block: if shared.is_empty() {
            0
        } else {
            u32::try_from(plan.xattr_block).unwrap_or(0)
        },
        has_chunks: plan
            .files
            .iter()
            .any(|file| matches!(file.data, Data::Chunks { .. })),
    };
    out.put(&superblock.encode())?;
    for file in &plan.files {
        out.pad_to(file.offset)?;
        inode(plan, file, &mut out)?;
    }
    out.pad_to(plan.xattr_block * BLOCK_U64)?;
    out.put(shared)?;
    for file in &plan.files {
        if let Data::Blocks { size, block, tail } = file.data
            && let blocks @ 1.. = whole_blocks(size, tail)
        {
            let bytes = bytes(plan, file);
            let at = (plan.dir_block + block) * BLOCK_U64;
            out.pad_to(at)?;
            let (whole, _) = split(&bytes, blocks * BLOCK_U64);
            out.put(whole)?;
        }
    }
    out.pad_to(plan.blob_block * BLOCK_U64)?;
    out.inner.flush()
}

/// Writes an inode and what stands behind it.
fn inode(plan: &Plan<'_, '_>, file: &Planned, out: &mut impl Write) -> io::Result<()> {
    let node = plan.tree.node(file.node);
    let (layout, size, union) = match &file.data {
        Data::None => (DataLayout::Plain, 0, 0),
        Data::Tail(size) => (DataLayout::Inline, *size, 0),
        Data::Blocks { size, block, tail } => {
            let layout = if *tail {
                DataLayout::Inline
            } else {
                DataLayout::Plain
            };
            (layout, *size, address(plan.dir_block + block))
        }
        Data::Plain(block) => (
            DataLayout::Plain,
            size(plan, file.node),
            address(plan.blob_block + block),
        ),
        Data::Chunks { bits, .. } => (DataLayout::Chunks, size(plan, file.node), u32::from(*bits)),
    };
    let union = match node.body {
        Body::Character(major, minor) | Body::Block(major, minor) => device(major, minor),
        _ => union,
    };
    let inode = Inode {
        layout,
        mode: type_bits(&node.body) | node.meta.mode,
        meta: node.meta,
        size,
        union,
        ino: u32::try_from(file.offset / SLOT).unwrap_or(u32::MAX),
        links: file.links,
        xattr_len: u64::try_from(file.xattrs.len()).unwrap_or(0),
    };
    out.write_all(&inode.encode())?;
    out.write_all(&file.xattrs)?;
    behind(plan, file, out)
}

/// Writes the tail or the map of chunks.
fn behind(plan: &Plan<'_, '_>, file: &Planned, out: &mut impl Write) -> io::Result<()> {
    match (&file.data, &plan.tree.node(file.node).body) {
        (Data::Tail(_), Body::Symlink(bytes))
        | (
            Data::Tail(_),
            Body::File {
                content: Content::Inline(bytes),
                ..
            },
        ) => out.write_all(bytes),
        (
            Data::Blocks {
                size, tail: true, ..
            },
            _,
        ) => {
            let bytes = bytes(plan, file);
            let (_, tail) = split(&bytes, size / BLOCK_U64 * BLOCK_U64);
            out.write_all(tail)
        }
        (
            Data::Chunks { count, .. },
            Body::File {
                content: Content::Stored { bits, runs },
                layer,
                ..
            },
        ) => {
            let blob = plan.blob_block + plan.blobs.get(*layer).copied().unwrap_or(0);
            let mut next = 0;
            for run in runs {
                holes(u64::from(run.granule) - next, out)?;
                for granule in 0..u64::from(run.granules) {
                    let block = blob + u64::from(run.block) + (granule << bits);
                    out.write_all(&address(block).to_le_bytes())?;
                }
                next = u64::from(run.granule) + u64::from(run.granules);
            }
            holes(count - next, out)
        }
        _ => Ok(()),
    }
}

fn holes(count: u64, out: &mut impl Write) -> io::Result<()> {
    for _ in 0..count {
        out.write_all(&HOLE.to_le_bytes())?;
    }
    Ok(())
}

/// The whole bytes of a directory or a long link.
fn bytes(plan: &Plan<'_, '_>, file: &Planned) -> Vec<u8> {
    let children = match &plan.tree.node(file.node).body {
        Body::Directory(children) => children,
        Body::Symlink(target) => return target.to_vec(),
        _ => return Vec::new(),
    };
    let entry = |name, node: NodeId| Dirent {
        name,
        nid: plan.nid(node),
        kind: kind(&plan.tree.node(node).body),
    };
    let mut entries = vec![entry(b".", file.node), entry(b"..", file.parent)];
    entries.extend(children.iter().map(|(name, node)| entry(name, node)));
    entries.sort_unstable_by_key(|entry| entry.name);
    dir::encode(&entries)
}

fn size(plan: &Plan<'_, '_>, node: NodeId) -> u64 {
    match plan.tree.node(node).body {
        Body::File { size, .. } => size,
        _ => 0,
    }
}

/// A block address; the plan has made sure that all of them fit.
fn address(block: u64) -> u32 {
    u32::try_from(block).unwrap_or(HOLE)
}

/// `S_IFMT` bits of the mode.
fn type_bits(body: &Body<'_>) -> u16 {
    match body {
        Body::Fifo => 0o010_000,
        Body::Character(..) => 0o020_000,
        Body::Directory(_) => 0o040_000,
        Body::Block(..) => 0o060_000,
        Body::File { .. } => 0o100_000,
        Body::Symlink(_) => 0o120_000,
    }
}

/// The type of a directory entry, `EROFS_FT_*`.
fn kind(body: &Body<'_>) -> u8 {
    match body {
        Body::File { .. } => 1,
        Body::Directory(_) => 2,
        Body::Character(..) => 3,
        Body::Block(..) => 4,
        Body::Fifo => 5,
        Body::Symlink(_) => 7,
    }
}

fn split(bytes: &[u8], at: u64) -> (&[u8], &[u8]) {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    bytes.split_at(at.min(bytes.len()))
}

/// Counts what passes, so that everything comes to its place.
struct Output<W> {
    inner: W,
    position: u64,
}

impl<W: Write> Output<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    /// Writes zeros up to `offset`, which has not been passed yet.
    fn pad_to(&mut self, offset: u64) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.position < offset {
            let missing = usize::try_from(offset - self.position).unwrap_or(ZEROS.len());
            let zeros = ZEROS.get(..missing.min(ZEROS.len())).unwrap_or(&ZEROS);
            self.put(zeros)?;
        }
        Ok(())
    }
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.position += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
