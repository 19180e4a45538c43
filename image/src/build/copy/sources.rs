//! What is copied: files and directories by their paths, by patterns, and out of archives.

use std::io::{ErrorKind, Read};

use super::{Copying, Error};
use crate::build::Copy;
use crate::build::files::{Files, Place, resolve};
use crate::build::ignore::clean;
use crate::decompress::{Compression, decompress, detect};
use crate::glob::Glob;
use crate::layer::{self, MAX_PATH, components};
use crate::tree::{Body, Tree};

/// A file or directory to copy.
pub(super) struct Source {
    pub(super) place: Place,
    /// Its path as it was named, which is where a symbolic link was before it was followed.
    pub(super) given: Vec<Vec<u8>>,
}

impl Copying<'_> {
    /// What the sources lead to.
    pub(super) fn sources(&self, tree: &Tree<'_>, copy: &Copy) -> Result<Vec<Source>, Error> {
        let ignore = self.ignore.filter(|_| copy.from.is_none());
        let left_out = |place: &Place| {
            let path = String::from_utf8_lossy(&place.names.join(&b'/')).into_owned();
            let is_directory = place
                .node
                .is_some_and(|node| tree.node(node).children().is_some());
            ignore.is_some_and(|ignore| {
                !path.is_empty()
                    && ignore.leaves_out(&path)
                    && !(is_directory && ignore.keeps_something())
            })
        };
        let mut found = Vec::new();
        for source in &copy.sources {
            if source.contains("://") {
                return Err(Error::Remote(source.clone()));
            }
            if !source.contains(['*', '?', '[']) {
                let place = resolve(tree, source.as_bytes(), true)?;
                if place.node.is_none() || left_out(&place) {
                    return Err(Error::NotFound(source.clone()));
                }
                let given = clean(source);
                let given = components(given.as_bytes()).map(<[u8]>::to_vec).collect();
                found.push(Source { place, given });
                continue;
            }
            let pattern = clean(source);
            let glob =
                Glob::with_double_stars(&pattern).ok_or_else(|| Error::Pattern(source.clone()))?;
            let before = found.len();
            for path in all_paths(tree) {
                if glob.fits(&String::from_utf8_lossy(&path)) {
                    let place = resolve(tree, &path, true)?;
                    if place.node.is_some() && !left_out(&place) {
                        let given = components(&path).map(<[u8]>::to_vec).collect();
                        found.push(Source { place, given });
                    }
                }
            }
            if found.len() == before {
                return Err(Error::NothingFits(source.clone()));
            }
        }
        Ok(found)
    }

    /// The files in a file, if it is an archive.
    pub(super) fn unpack(
        &self,
        tree: &Tree<'_>,
        source: &Source,
        number: usize,
    ) -> Result<Option<Files>, Error> {
        let Some(Body::File {
            size,
            content,
            layer,
        }) = source.place.node.map(|node| &tree.node(node).body)
        else {
            return Ok(None);
        };
        let failed = |error| match error {
            Error::Layer(error) => Error::Archive {
                path: layer::printable(&source.given.join(&b'/')),
                source: error,
            },
            error => error,
        };
        let open = || self.from.content(content, *layer, *size);
        let dir = self.scratch.join(format!("archive-{number}"));
        if dir.exists() {
            return Files::again(&dir).map(Some);
        }
        if !is_archive(open()?, open()?).map_err(|error| failed(error.into()))? {
            return Ok(None);
        }
        std::fs::create_dir(&dir).map_err(|e| layer::Error::io("make", &dir, e))?;
        Files::from_tar(open()?, &dir).map(Some).map_err(failed)
    }
}

/// Whether a file is an archive, compressed or not. What only looks compressed is a file like others. The content is read twice,
/// each time from its start.
fn is_archive(first: impl Read, second: impl Read + Send) -> Result<bool, layer::Error> {
    let (compression, _) = detect(first).map_err(layer::Error::Read)?;
    let plain = decompress(second).map_err(layer::Error::Read)?;
    match layer::begins_archive(plain) {
        Err(layer::Error::Read(error)) => match (error.kind(), compression) {
            // Hull takes no more memory for it, whatever is in it.
            (ErrorKind::OutOfMemory, _) => Err(layer::Error::Read(error)),
            // It is cut off within a block, of which nothing can be read. What is cut off of gzip can be, up to there.
            (
                ErrorKind::UnexpectedEof,
                Compression::Bzip2 | Compression::Xz | Compression::Zstd,
            ) => Err(layer::Error::Read(error)),
            _ => Ok(false),
        },
        told => told,
    }
}

/// All paths of a tree but the root, in the order of their bytes within each directory.
fn all_paths(tree: &Tree<'_>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = vec![(Tree::ROOT, Vec::new())];
    while let Some((node, path)) = rest.pop() {
        let children: Vec<_> = tree
            .node(node)
            .children()
            .into_iter()
            .flat_map(|children| children.iter())
            .collect();
        for (name, child) in children.into_iter().rev() {
            let mut below: Vec<u8> = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend(name);
            if below.len() <= MAX_PATH {
                rest.push((child, below));
            }
        }
        if !path.is_empty() {
            found.push(path);
        }
    }
    found
}
