//! File systems that a build copies from and to: its context, images, and the results of stages. They are layers of this store's
//! kind, so nothing of them is ever unpacked onto the host.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::copy::Error;
use crate::layer::{self, Content, Index, components};
use crate::tree::{Body, NodeId, Tree};

/// Symbolic links that are followed on the way to one file, as Linux has it.
const MAX_LINKS: usize = 40;

/// A file system: layers, the lowest first.
#[derive(Debug, Default)]
pub struct Files {
    indexes: Vec<Index>,
    blobs: Vec<PathBuf>,
}

/// A file or directory of the tree, or a place where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From the root, no symbolic link among them.
    pub(super) names: Vec<Vec<u8>>,
    pub(super) node: Option<NodeId>,
}

impl Files {
    /// Opens layers of a store: index and blob of each, the lowest first.
    ///
    /// # Errors
    /// When an index cannot be read or is damaged.
    pub fn open(layers: &[(PathBuf, PathBuf)]) -> Result<Self, Error> {
        let indexes = layers.iter().map(|(index, _)| Index::read(index));
        Ok(Self {
            indexes: indexes.collect::<Result<_, _>>()?,
            blobs: layers.iter().map(|(_, blob)| blob.clone()).collect(),
        })
    }

    /// Takes a tar stream, such as a build's context, compressed or not. Its files lie in `dir`, which must be empty, for as long as this
    /// is used.
    ///
    /// # Errors
    /// When it is no archive, or `dir` cannot be written to.
    pub fn from_tar(stream: impl Read + Send, dir: &Path) -> Result<Self, Error> {
        let plain = crate::decompress::decompress(stream).map_err(layer::Error::Read)?;
        let imported = layer::import(plain, dir)?;
        Self::open(&[(imported.index, imported.blob)])
    }

    /// Takes once more what `from_tar` has left in `dir`.
    pub(super) fn again(dir: &Path) -> Result<Self, Error> {
        Self::open(&[(dir.join(layer::INDEX), dir.join(layer::BLOB))])
    }

    pub(super) fn tree(&self) -> Result<Tree<'_>, Error> {
        Ok(Tree::merge(&self.indexes)?)
    }

    /// The content of a file, which may not be longer than `limit`; `None` if there is no such file.
    ///
    /// # Errors
    /// When it is longer, or cannot be read.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        self.read_in(&self.tree()?, path, limit)
    }

    /// The same, of the tree that these files are.
    pub(super) fn read_in(
        &self,
        tree: &Tree<'_>,
        path: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        let place = resolve(tree, path.as_bytes(), true)?;
        let Some(node) = place.node.map(|node| tree.node(node)) else {
            return Ok(None);
        };
        let Body::File {
            size,
            content,
            layer,
        } = &node.body
        else {
            return Ok(None);
        };
        if *size > limit {
            return Err(Error::TooLong {
                path: path.to_owned(),
                limit,
            });
        }
        let mut bytes = Vec::new();
        self.copy_content(content, *layer, *size, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Copies a file's content.
    pub(super) fn copy_content(
        &self,
        content: &Content<'_>,
        layer: usize,
        size: u64,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let mut reader = self.content(content, layer, size)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = reader.read(&mut buffer).map_err(layer::Error::Read)?;
            if count == 0 {
                return Ok(());
            }
            let piece = buffer.get(..count).unwrap_or_default();
            out.write_all(piece).map_err(layer::Error::Output)?;
        }
    }

    /// Reads a file's content from its start.
    pub(super) fn content<'a>(
        &self,
        content: &'a Content<'a>,
        layer: usize,
        size: u64,
    ) -> Result<Reading<'a>, Error> {
        let blob = match (content, self.blobs.get(layer)) {
            (Content::Inline(_), _) | (_, None) => None,
            (_, Some(path)) => {
                Some(File::open(path).map_err(|e| layer::Error::io("read", path, e))?)
            }
        };
        Ok(Reading {
            content,
            blob,
            position: 0,
            size,
        })
    }
}

/// A file's content on its way.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    content: &'a Content<'a>,
    blob: Option<File>,
    position: u64,
    size: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
        let limit = buffer.len().min(left);
        let buffer = buffer.get_mut(..limit).unwrap_or_default();
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = match self.content {
            Content::Inline(bytes) => {
                let start = usize::try_from(self.position).unwrap_or(usize::MAX);
                bytes.get(start..).unwrap_or_default().read(buffer)?
            }
            Content::Stored { bits, runs } => {
                // The first run that is not behind us; the index has checked that none of this overflows.
                let bytes = |granule: u64| (granule << bits).saturating_mul(layer::BLOCK_U64);
                let end =
                    |run: &layer::Run| bytes(u64::from(run.granule) + u64::from(run.granules));
                let at = runs.partition_point(|run| end(run) <= self.position);
                let run = runs
                    .get(at)
                    .map(|run| (bytes(u64::from(run.granule)), end(run), run.block));
                match run {
                    Some((start, end, block)) if start <= self.position => {
                        let length = usize::try_from(end - self.position).unwrap_or(usize::MAX);
                        let limit = buffer.len().min(length);
                        let buffer = buffer.get_mut(..limit).unwrap_or_default();
                        let place = u64::from(block) * layer::BLOCK_U64 + (self.position - start);
                        let blob = self.blob.as_ref().ok_or(io::ErrorKind::NotFound)?;
                        blob.read_at(buffer, place)?
                    }
                    hole => {
                        let end = hole.map_or(self.size, |(start, ..)| start);
                        let length = usize::try_from(end - self.position).unwrap_or(usize::MAX);
                        let limit = buffer.len().min(length);
                        buffer.get_mut(..limit).unwrap_or_default().fill(0);
                        limit
                    }
                }
            }
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }
}

/// Follows a path from the root, through symbolic links that cannot lead out of it. What is not there is followed by name.
pub(super) fn resolve(tree: &Tree<'_>, path: &[u8], follow_last: bool) -> Result<Place, Error> {
    let mut rest: VecDeque<Vec<u8>> = components(path).map(<[u8]>::to_vec).collect();
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut nodes = vec![Some(Tree::ROOT)];
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        match name.as_slice() {
            b"." => continue,
            b".." => {
                names.pop();
                nodes.truncate(names.len() + 1);
                continue;
            }
            _ => {}
        }
        let present = nodes.last().copied().flatten();
        let children = present.and_then(|node| tree.node(node).children());
        let child = children.and_then(|children| children.get(&name));
        if let Some(Body::Symlink(target)) = child.map(|child| &tree.node(child).body)
            && (follow_last || !rest.is_empty())
        {
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::Loop(layer::printable(path)));
            }
            if target.starts_with(b"/") {
                names.clear();
                nodes.truncate(1);
            }
            for name in components(target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(name.to_vec());
            }
            continue;
        }
        names.push(name);
        nodes.push(child);
    }
    Ok(Place {
        node: nodes.last().copied().flatten(),
        names,
    })
}
