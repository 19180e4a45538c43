//! Layers: a tar stream becomes one blob of file contents and one index of everything else.
//!
//! The blob has the content of each file at a multiple of 4 KiB, so that block addresses can point into it; runs of
//! zeros are holes in it. The index has one record per member of the archive, in the archive's order, checked and with
//! paths normalised; very small files are inside it. No path of a layer ever reaches the host's file system. What else
//! the stream consists of is in a third file, the headers, with which it can be made again as it came.
//!
//! The meaning of an archive is what Docker and umoci make of it (OCI image specification, `layer.md`):
//! - Paths are relative to the root, whatever they begin with; `.` and `..` are resolved as text. One that
//!   leads out of the root is refused, and so is a hard link to such a path.
//! - `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` hides all that the layers below have in its directory, wherever
//!   they stand in the archive. Other names that begin with `.wh..wh.` are bookkeeping of aufs and left out.
//! - Global PAX headers are skipped, as by everything that is written in Go.
//! - Extended attributes are kept in the namespaces `user`, `trusted`, `security` and for POSIX ACLs, which is all that
//!   file systems keep, except for `trusted.overlay.*`: those would steer the guest's overlayfs.
//!
//! Stores call [`import`], [`verify`] and [`write_tar`]; [`crate::tree`] reads the indexes.

mod blob;
mod canonical;
mod entry;
mod error;
mod headers;
mod import;
mod index;
mod path;
mod rebuild;
mod record;
mod stream;
mod tar;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;

pub(crate) use canonical::header;
pub use entry::{Bytes, Content, Entry, Kind, Meta, Run};
pub use error::Error;
pub(crate) use error::printable;
pub(crate) use import::{BLOB, INDEX, begins_archive};
pub use import::{Imported, import};
pub use index::Index;
pub(crate) use index::crc32c;
pub(crate) use path::components;
pub use rebuild::{tar_len, write_canonical, write_tar};

/// Bytes of a block, of which blobs and disks consist.
pub const BLOCK: usize = 4096;
/// [`BLOCK`] as file sizes are counted.
pub(crate) const BLOCK_U64: u64 = 4096;
/// Files of at most this many bytes are kept inside the index. They then share a page of the guest with their inode, at the
/// price of not being shared between images.
pub const INLINE_MAX: usize = 1024;
/// Most members of one layer.
pub const MAX_ENTRIES: u64 = 4 << 20;
/// Longest path, in bytes; the kernel opens none that is longer.
pub const MAX_PATH: usize = 4095;
/// Longest name of a file, in bytes.
pub const MAX_NAME: usize = 255;
/// Largest file that can be described, in bytes.
pub const MAX_FILE: u64 = 1 << 56;
/// Most bytes that the extended attributes of one file may have together, names included.
pub const MAX_XATTRS: usize = 128 << 10;

/// Checks an index from end to end, and that `blob` is as long as it says. The contents of files are not read.
///
/// # Errors
/// When either cannot be read or is not what [`import`] wrote.
pub fn verify(blob: &Path, index: &Path) -> Result<(), Error> {
    let checked = Index::read(index)?;
    for entry in checked.entries() {
        let _ = entry?;
    }
    let meta = std::fs::metadata(blob).map_err(|e| Error::io("read", blob, e))?;
    if meta.len() != checked.blob_len() {
        return Err(Error::Damaged {
            path: blob.to_owned(),
            what: format!(
                "it has {} bytes instead of {}",
                meta.len(),
                checked.blob_len()
            ),
        });
    }
    Ok(())
}
