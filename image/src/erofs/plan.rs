//! Where everything goes: every inode gets its number before the first byte is written, since directories refer to them.

use super::format::{INODE, MAP_ENTRY, SLOT};
use super::xattr::Shared;
use super::{Built, Error, dir};
use crate::layer::{BLOCK_U64, Content, Run};
use crate::tree::{Body, NodeId, Tree};

/// Longest tail that is put behind its inode. It must not cross a block, and inodes begin in steps of 32 bytes.
const MAX_TAIL: u64 = BLOCK_U64 - SLOT;

/// A file in the image.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) node: NodeId,
    /// The directory that it is in, for directories.
    pub(super) parent: NodeId,
    pub(super) links: u32,
    pub(super) xattrs: Vec<u8>,
    /// Where its inode is, in bytes.
    pub(super) offset: u64,
    pub(super) data: Data,
}

/// Where the data of a file are.
#[derive(Debug)]
pub(super) enum Data {
    /// There are none.
    None,
    /// All behind the inode: so many bytes.
    Tail(u64),
    /// Metadata of so many bytes, in blocks from `block` on, counted from the first one of this kind. What
    /// is left over is behind the inode if `tail`. Directories, and link targets that are too long for a tail.
    Blocks { size: u64, block: u64, tail: bool },
    /// Blocks of the disk from here on, counted from the first blob.
    Plain(u64),
    /// Chunks of `1 << bits` blocks, and how many.
    Chunks { bits: u8, count: u64 },
}

/// The whole image.
#[derive(Debug)]
pub(super) struct Plan<'t, 'a> {
    pub(super) tree: &'t Tree<'a>,
    /// In the order of their inodes.
    pub(super) files: Vec<Planned>,
    /// By node: its place in the order of the tree, if it is in the image.
    places: Vec<Option<u64>>,
    pub(super) shared: Shared<'a>,
    /// First blocks of the shared attributes, of the directories, and of the blobs.
    pub(super) xattr_block: u64,
    pub(super) dir_block: u64,
    pub(super) blob_block: u64,
    /// First blocks of each layer's blob, counted from `blob_block`.
    pub(super) blobs: Vec<u64>,
    /// Of the whole disk.
    pub(super) blocks: u32,
}

impl<'t, 'a> Plan<'t, 'a> {
    /// Plans the image of `tree`, whose layers have blobs of `blobs` blocks.
    pub(super) fn new(tree: &'t Tree<'a>, blobs: &[u64]) -> Result<Self, Error> {
        let mut files = in_order(tree);
        let mut shared = Shared::default();
        for file in &files {
            shared.count(&tree.node(file.node).xattrs);
        }
        let mut starts = Vec::with_capacity(blobs.len());
        let mut blob_blocks = 0;
        for blocks in blobs {
            starts.push(blob_blocks);
            blob_blocks += blocks;
        }

        let mut area = InodeArea::new();
        let mut dir_blocks = 0;
        let mut places = vec![None; tree.len()];
        for file in &mut files {
            file.xattrs = shared.encode(&tree.node(file.node).xattrs);
            file.data = data(tree, file.node, &starts, dir_blocks);
            if let Data::Blocks { size, tail, .. } = file.data {
                dir_blocks += whole_blocks(size, tail);
            }
            let head = INODE + length(&file.xattrs);
            file.offset = match file.data {
                Data::Tail(tail) => area.with_tail(head, tail),
                Data::Blocks {
                    size, tail: true, ..
                } => area.with_tail(head, size % BLOCK_U64),
                Data::Chunks { count, .. } => area.alone(head + MAP_ENTRY * count),
                _ => area.alone(head),
            };
            if let Some(place) = places.get_mut(file.node.index()) {
                *place = Some(file.offset / SLOT);
            }
        }
        files.sort_unstable_by_key(|file| file.offset);

        let xattr_block = area.end.div_ceil(BLOCK_U64);
        let dir_block = xattr_block + length(shared.bytes()).div_ceil(BLOCK_U64);
        let blob_block = dir_block + dir_blocks;
        let total = blob_block + blob_blocks;
        Ok(Self {
            tree,
            files,
            places,
            shared,
            xattr_block,
            dir_block,
            blob_block,
            blobs: starts,
            // The last address stands for holes.
            blocks: u32::try_from(total)
                .ok()
                .filter(|blocks| *blocks != u32::MAX)
                .ok_or(Error::TooLarge(total))?,
        })
    }

    /// The number of a node's inode.
    pub(super) fn nid(&self, node: NodeId) -> u64 {
        self.places
            .get(node.index())
            .copied()
            .flatten()
            .unwrap_or(0)
    }

    pub(super) fn summary(&self) -> Built {
        Built {
            len: self.blob_block * BLOCK_U64,
            inodes: u64::try_from(self.files.len()).unwrap_or(u64::MAX),
            blocks: u64::from(self.blocks),
        }
    }
}

/// All files that have a name, the root first, the files of a directory beside each other, and one directory after the other as a
/// walk meets them.
fn in_order(tree: &Tree<'_>) -> Vec<Planned> {
    let planned = |node, parent, links| Planned {
        node,
        parent,
        links,
        xattrs: Vec::new(),
        offset: 0,
        data: Data::None,
    };
    let mut files = vec![planned(Tree::ROOT, Tree::ROOT, 2)];
    let mut seen: Vec<Option<usize>> = vec![None; tree.len()];
    let mut directories = vec![(Tree::ROOT, 0)];
    while let Some((directory, place)) = directories.pop() {
        let first = directories.len();
        let children = tree.node(directory).children();
        for (_, child) in children.into_iter().flat_map(|children| children.iter()) {
            let is_directory = tree.node(child).children().is_some();
            let before = seen.get(child.index()).copied().flatten();
            if let Some(file) = before.and_then(|place| files.get_mut(place)) {
                file.links += 1;
                continue;
            }
            if let Some(seen) = seen.get_mut(child.index()) {
                *seen = Some(files.len());
            }
            if is_directory {
                directories.push((child, files.len()));
                if let Some(parent) = files.get_mut(place) {
                    parent.links += 1;
                }
            }
            files.push(planned(child, directory, if is_directory { 2 } else { 1 }));
        }
        if let Some(added) = directories.get_mut(first..) {
            added.reverse();
        }
    }
    files
}

fn data(tree: &Tree<'_>, node: NodeId, blobs: &[u64], dir_blocks: u64) -> Data {
    match &tree.node(node).body {
        Body::Directory(children) => {
            let names = children.iter().map(|(name, _)| name);
            let size = dir::size(dir::with_dots(names));
            let tail = size % BLOCK_U64;
            Data::Blocks {
                size,
                block: dir_blocks,
                tail: tail != 0 && tail <= MAX_TAIL,
            }
        }
        Body::File {
            size,
            content: Content::Stored { bits, runs },
            layer,
        } => stored(*size, *bits, runs, blobs.get(*layer).copied().unwrap_or(0)),
        Body::File { size: 0, .. } => Data::None,
        Body::File { size, .. } => Data::Tail(*size),
        Body::Symlink(target) if length(target) > MAX_TAIL => Data::Blocks {
            size: length(target),
            block: dir_blocks,
            tail: false,
        },
        Body::Symlink(target) => Data::Tail(length(target)),
        Body::Character(..) | Body::Block(..) | Body::Fifo => Data::None,
    }
}

/// A file that is in one piece needs no map.
fn stored(size: u64, bits: u8, runs: &[Run], blob: u64) -> Data {
    let blocks = size.div_ceil(BLOCK_U64);
    let granules = blocks.div_ceil(1 << bits);
    match runs {
        [run] if u64::from(run.granules) == granules => Data::Plain(blob + u64::from(run.block)),
        [] => {
            // Nothing but a hole: as few chunks as there can be.
            let needed = u64::BITS - blocks.saturating_sub(1).leading_zeros();
            let bits = u8::try_from(needed.min(31)).unwrap_or(31);
            let count = blocks.div_ceil(1 << bits);
            Data::Chunks { bits, count }
        }
        _ => Data::Chunks {
            bits,
            count: granules,
        },
    }
}

/// Blocks that such metadata take beside their inode.
pub(super) fn whole_blocks(size: u64, tail: bool) -> u64 {
    if tail {
        size / BLOCK_U64
    } else {
        size.div_ceil(BLOCK_U64)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The inodes, one after the other from block 1 on. Where a tail had to begin in the next block, the gap is left to those that have
/// none.
struct InodeArea {
    end: u64,
    gap: (u64, u64),
}

impl InodeArea {
    fn new() -> Self {
        Self {
            end: BLOCK_U64,
            gap: (0, 0),
        }
    }

    /// Room for `length` bytes that may cross blocks.
    fn alone(&mut self, length: u64) -> u64 {
        let (from, to) = self.gap;
        if to - from >= length {
            self.gap.0 = (from + length).next_multiple_of(SLOT).min(to);
            return from;
        }
        let offset = self.end;
        self.end = (offset + length).next_multiple_of(SLOT);
        offset
    }

    /// Room for `head` bytes that may cross blocks and `tail` bytes after them that may not.
    fn with_tail(&mut self, head: u64, tail: u64) -> u64 {
        let mut offset = self.end;
        if (offset + head) % BLOCK_U64 + tail > BLOCK_U64 {
            let block = (offset + head).next_multiple_of(BLOCK_U64);
            offset = (block - head).next_multiple_of(SLOT);
            self.gap = (self.end, offset);
        }
        self.end = (offset + head + tail).next_multiple_of(SLOT);
        offset
    }
}
