//! The layer that is written: a tar stream, and the digest of what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::Error;
use crate::build::files::{Files, resolve};
use crate::digest::{Digest, Hasher};
use crate::layer::{self, Content, Entry, Kind, Meta, header, printable};
use crate::tree::{Body, NodeId, Tree};

/// The layer that is being written.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    hasher: Hasher,
    /// Directories that are in it.
    pub(super) made: BTreeSet<Vec<u8>>,
    /// Files with several names that are in it.
    pub(super) links: BTreeMap<NodeId, Vec<u8>>,
    pub(super) owner: Owner,
    pub(super) mode: Option<u16>,
    now: i64,
    below: &'a Tree<'a>,
}

/// Whose files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// User and group.
    Of(u32, u32),
    /// Those that they have.
    Kept,
}

/// A member of the layer.
pub(super) struct Item<'a> {
    pub(super) path: Vec<u8>,
    pub(super) meta: Meta,
    pub(super) xattrs: Vec<(&'a [u8], &'a [u8])>,
    pub(super) body: ItemBody<'a>,
}

pub(super) enum ItemBody<'a> {
    Directory,
    Node(NodeId),
    Inline(&'a [u8]),
}

impl<'a> Output<'a> {
    /// An empty layer, whose files are going to be root's.
    pub(super) fn new(out: &'a mut dyn Write, below: &'a Tree<'a>, now: i64) -> Self {
        Self {
            out,
            hasher: Hasher::default(),
            made: BTreeSet::new(),
            links: BTreeMap::new(),
            owner: Owner::Of(0, 0),
            mode: None,
            now,
            below,
        }
    }
}

impl Output<'_> {
    /// Writes a file that has this in it.
    pub(super) fn inline(
        &mut self,
        files: &Files,
        tree: &Tree<'_>,
        names: &[Vec<u8>],
        content: &str,
    ) -> Result<(), Error> {
        self.parents(names)?;
        let item = Item {
            path: names.join(&b'/'),
            meta: self.meta(self.mode.unwrap_or(0o644)),
            xattrs: Vec::new(),
            body: ItemBody::Inline(content.as_bytes()),
        };
        self.item(files, tree, &item)
    }

    /// Owner, mode and times of what is made anew.
    fn meta(&self, mode: u16) -> Meta {
        let (uid, gid) = match self.owner {
            Owner::Of(uid, gid) => (uid, gid),
            Owner::Kept => (0, 0),
        };
        Meta {
            mode,
            uid,
            gid,
            mtime: self.now,
            nanos: 0,
        }
    }

    /// Makes the directories above a file, as far as they are missing.
    pub(super) fn parents(&mut self, names: &[Vec<u8>]) -> Result<(), Error> {
        match names.split_last() {
            Some((_, parents)) => self.directory(parents),
            None => Ok(()),
        }
    }

    /// Makes a directory with those above it, as far as they are missing.
    pub(super) fn directory(&mut self, names: &[Vec<u8>]) -> Result<(), Error> {
        for length in 1..=names.len() {
            let path = names.get(..length).unwrap_or_default().join(&b'/');
            if self.made.contains(&path) {
                continue;
            }
            let below = resolve(self.below, &path, false)?.node;
            match below.map(|node| self.below.node(node).children().is_some()) {
                Some(true) => continue,
                Some(false) => return Err(Error::NotADirectory(printable(&path))),
                None => {}
            }
            self.made.insert(path.clone());
            let entry = Entry {
                path: &path,
                meta: self.meta(0o755),
                xattrs: Vec::new(),
                kind: Kind::Directory,
            };
            self.header(&entry)?;
        }
        Ok(())
    }

    pub(super) fn item(
        &mut self,
        files: &Files,
        tree: &Tree<'_>,
        item: &Item<'_>,
    ) -> Result<(), Error> {
        let mut size = 0;
        let mut stored = None;
        let target;
        let kind = match &item.body {
            ItemBody::Directory => Kind::Directory,
            ItemBody::Inline(bytes) => {
                size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                Kind::File {
                    size,
                    content: Content::Inline(bytes),
                }
            }
            ItemBody::Node(node) => match &tree.node(*node).body {
                Body::File {
                    size: length,
                    content,
                    layer,
                } => {
                    if let Some(first) = self.links.get(node) {
                        target = first.clone();
                        Kind::HardLink(&target)
                    } else {
                        self.links.insert(*node, item.path.clone());
                        size = *length;
                        stored = Some((content, *layer));
                        Kind::File {
                            size,
                            content: content.clone(),
                        }
                    }
                }
                Body::Symlink(target) => Kind::Symlink(target),
                Body::Character(major, minor) => Kind::Character(*major, *minor),
                Body::Block(major, minor) => Kind::Block(*major, *minor),
                Body::Fifo => Kind::Fifo,
                Body::Directory(_) => Kind::Directory,
            },
        };
        let xattrs = item
            .xattrs
            .iter()
            .map(|(name, value)| (layer::Bytes(name), layer::Bytes(value)));
        let entry = Entry {
            path: &item.path,
            meta: item.meta,
            xattrs: xattrs.collect(),
            kind,
        };
        self.header(&entry)?;
        match (&item.body, stored) {
            (ItemBody::Inline(bytes), _) => self.bytes(bytes)?,
            (_, Some((content, layer))) => {
                let mut both = Both {
                    out: &mut *self.out,
                    hasher: &mut self.hasher,
                };
                files.copy_content(content, layer, size, &mut both)?;
            }
            _ => {}
        }
        let padding = usize::try_from(size.wrapping_neg() % 512).unwrap_or(0);
        self.bytes([0; 512].get(..padding).unwrap_or_default())
    }

    fn header(&mut self, entry: &Entry<'_>) -> Result<(), Error> {
        let timeless = Entry {
            meta: Meta {
                mtime: 0,
                nanos: 0,
                ..entry.meta
            },
            ..entry.clone()
        };
        self.hasher.update(&header(&timeless)?);
        let bytes = header(entry)?;
        self.out.write_all(&bytes).map_err(layer::Error::Output)?;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut both = Both {
            out: &mut *self.out,
            hasher: &mut self.hasher,
        };
        both.write_all(bytes).map_err(layer::Error::Output)?;
        Ok(())
    }

    pub(super) fn end(mut self) -> Result<Digest, Error> {
        self.bytes(&[0; 1024])?;
        self.out.flush().map_err(layer::Error::Output)?;
        Ok(self.hasher.finish())
    }
}

/// Writes and hashes.
struct Both<'a> {
    out: &'a mut dyn Write,
    hasher: &'a mut Hasher,
}

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
