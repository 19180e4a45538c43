//! Images as EROFS: a metadata image whose block addresses also reach the blobs of the layers.
//!
//! The disk that a guest sees is one address space of 4 KiB blocks: the metadata image, then the blob of each
//! layer, lowest first. EROFS's plain inodes have absolute block addresses, so nothing else is needed
//! (Linux, `Documentation/filesystems/erofs.rst` and `fs/erofs/erofs_fs.h`). No compression, extended inodes
//! throughout for 64-bit times and 32-bit owners.
//!
//! | blocks | what |
//! |---|---|
//! | 0 | superblock, at byte 1024 |
//! | 1.. | inodes, each with its extended attributes and, where it fits, its directory, link target or tiny file |
//! | after | attributes that several files have |
//! | after | the other blocks of directories |
//! | after | the blobs, which are files of their own |
//!
//! The bytes are a function of the indexes. The store calls [`build`].

mod dir;
mod error;
mod format;
mod plan;
#[cfg(test)]
mod tests;
mod write;
mod xattr;

use std::fs;
use std::path::{Path, PathBuf};

pub use error::Error;

use self::plan::Plan;
use crate::layer::{BLOCK_U64, Index};
use crate::tree::Tree;

/// A metadata image that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Its length in bytes, a multiple of 4096.
    pub len: u64,
    /// Files in the image, hard links counted once.
    pub inodes: u64,
    /// Blocks of the whole disk, the layers' blobs included.
    pub blocks: u64,
}

/// Merges the layers with these indexes, lowest first, and writes the metadata image to `out`, which must not exist. It is on the
/// disk when this returns, and not there if it fails.
///
/// # Errors
/// When an index is damaged, the layers do not fit together, the image is too large for EROFS, or `out` cannot be written.
pub fn build(indexes: &[PathBuf], out: &Path) -> Result<Built, Error> {
    let read = |path: &PathBuf| Index::read(path);
    let layers = indexes.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let tree = Tree::merge(&layers)?;
    let blobs: Vec<u64> = layers
        .iter()
        .map(|index| index.blob_len() / BLOCK_U64)
        .collect();
    let plan = Plan::new(&tree, &blobs)?;
    let file = fs::File::create_new(out).map_err(|e| Error::io("create", out, e))?;
    let written = write::image(&plan, &file).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // The failure is what matters; half an image helps nobody.
        let _ = fs::remove_file(out);
        return Err(Error::io("write", out, error));
    }
    Ok(plan.summary())
}
