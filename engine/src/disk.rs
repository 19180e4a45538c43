//! The writable layer: a sparse ext4 file per container, copied from a template.
//!
//! mke2fs runs once per size. The copy shares the template's blocks where the file system can
//! (reflink), and else copies the few kilobytes that are not holes.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::container::remove_file;

/// Counts up whenever a template made by an older Hull should not be used any more.
const FORMAT: u32 = 2;

/// A writable layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    /// Bytes that the container can write at most. The file is sparse.
    pub(crate) size: u64,
    /// Whether it must be sound after its machine was killed. A layer that goes with its container
    /// needs no journal, which its guest would write everything to first.
    pub(crate) journal: bool,
}

/// The usual size, 10 GiB.
const USUAL: u64 = 10 << 30;
/// The smallest that ext4 with its journal leaves some room of.
const LEAST: u64 = 32 << 20;
/// Far more than ext4 without `64bit` needs to number its blocks (16 TiB), and than anybody writes from one machine.
const MOST: u64 = 1 << 40;
/// Sizes are multiples of this, so that there are not many templates of nearly one size.
const GRANULE: u64 = 1 << 20;

/// A size that no writable layer can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("--storage-opt size={0} is out of range: a container's disk has from 32m to 1t")]
pub struct InvalidDisk(u64);

impl Layer {
    /// One of this size in bytes, rounded up, or of the usual one.
    pub(crate) fn new(size: Option<u64>, journal: bool) -> Result<Self, InvalidDisk> {
        let asked = size.unwrap_or(USUAL);
        if !(LEAST..=MOST).contains(&asked) {
            return Err(InvalidDisk(asked));
        }
        let size = asked.next_multiple_of(GRANULE);
        Ok(Self { size, journal })
    }
}

/// A writable layer that could not be made.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The program is not there.
    #[error(
        "mke2fs, which formats the writable layer, was not found in PATH or /sbin: install e2fsprogs"
    )]
    NoMke2fs,
    /// The program does not work.
    #[error("mke2fs could not format the writable layer {path}: {message}")]
    Mke2fs {
        /// The file.
        path: PathBuf,
        /// The last line that it said.
        message: String,
    },
    /// The host's file system refused.
    #[error("the writable layer {path} cannot be made{}", hint(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            " (free some space there, or set HULL_ROOT to a larger file system)"
        }
        io::ErrorKind::FileTooLarge => " (the file system there does not allow files that large)",
        _ => "",
    }
}

/// Makes a writable layer at `path`, which must not exist.
/// Blocking: a few milliseconds, and 50 or so where the template has to be made first.
pub(crate) fn make(templates: &Path, layer: Layer, path: &Path) -> Result<(), DiskError> {
    let template = template(templates, layer)?;
    copy(&template, path).map_err(|source| DiskError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Makes a writable layer at `path` as `of` is. What is there was left by one who died at it.
/// Blocking: a few milliseconds.
pub(crate) fn make_copy(of: &File, path: &Path) -> Result<(), DiskError> {
    let copied = remove_file(path).and_then(|()| copy_open(of, path));
    copied.map_err(|source| DiskError::Io {
        path: path.to_owned(),
        source,
    })
}

/// The template for such a layer, made if it is missing.
fn template(templates: &Path, layer: Layer) -> Result<PathBuf, DiskError> {
    let Layer { size, journal } = layer;
    let kind = if journal { "journal" } else { "plain" };
    let path = templates.join(format!("writable-v{FORMAT}-{kind}-{size}.ext4"));
    if path.exists() {
        return Ok(path);
    }
    let make = || {
        fs::create_dir_all(templates)?;
        let file = tempfile::Builder::new()
            .prefix(".writable-")
            .tempfile_in(templates)?;
        file.as_file().set_len(size)?;
        Ok(file)
    };
    let file = make().map_err(|source| DiskError::Io {
        path: path.clone(),
        source,
    })?;
    format(file.path(), journal)?;
    // Whoever comes second replaces an equal file.
    file.persist(&path).map_err(|error| DiskError::Io {
        path: path.clone(),
        source: error.error,
    })?;
    Ok(path)
}

/// Formats the file so that the guest has nothing to initialise and little to compute.
fn format(path: &Path, journal: bool) -> Result<(), DiskError> {
    // A file of holes is zeroed already: neither mke2fs nor the guest need to clear inode tables or
    // the journal. Checksums of metadata guard against disks that lie; here they would only make the
    // guest compute.
    let features = "^metadata_csum,^64bit,^resize_inode,uninit_bg,sparse_super2,extent,flex_bg";
    let extended = "assume_storage_prezeroed=1,lazy_itable_init=0,nodiscard,root_owner=0:0";
    // The journal is small, since its blocks are written twice.
    let (features, journal_size) = match journal {
        true => (features.to_owned(), Some("size=4")),
        false => (format!("{features},^has_journal"), None),
    };
    let mut arguments = vec![
        "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", "hull",
    ];
    arguments.extend(["-O", features.as_str(), "-E", extended]);
    arguments.extend(journal_size.into_iter().flat_map(|size| ["-J", size]));
    let run = |program: &str| {
        Command::new(program)
            .args(&arguments)
            .arg(path)
            .env_remove("MKE2FS_CONFIG")
            .stdin(Stdio::null())
            .output()
    };
    // /sbin is not in a user's PATH.
    let output = ["mke2fs", "/sbin/mke2fs", "/usr/sbin/mke2fs"]
        .into_iter()
        .map(run)
        .find(|output| !matches!(output, Err(error) if error.kind() == io::ErrorKind::NotFound))
        .ok_or(DiskError::NoMke2fs)?
        .map_err(|source| DiskError::Io {
            path: path.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty());
    let message = last.map_or_else(|| output.status.to_string(), str::to_owned);
    Err(DiskError::Mke2fs {
        path: path.to_owned(),
        message,
    })
}

/// Copies a sparse file into a new one, holes as holes.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    copy_open(&File::open(from)?, to)
}

/// The same of a file that is open.
pub(crate) fn copy_open(source: &File, to: &Path) -> io::Result<()> {
    let target = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        // What a container writes is nobody else's business.
        .mode(0o600)
        .open(to)?;
    match ioctl_ficlone(&target, source) {
        Ok(()) => return Ok(()),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let size = source.metadata()?.len();
    target.set_len(size)?;
    let mut at = 0;
    loop {
        let start = match seek(source, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(()), // Nothing but a hole follows.
            Err(error) => return Err(error.into()),
        };
        at = seek(source, SeekFrom::Hole(start))?;
        copy_range(source, &target, start, at)?;
    }
}

fn copy_range(source: impl AsFd, target: impl AsFd, start: u64, end: u64) -> io::Result<()> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let length = usize::try_from(end - from).unwrap_or(usize::MAX);
        let copied = copy_file_range(
            source.as_fd(),
            Some(&mut from),
            target.as_fd(),
            Some(&mut to),
            length,
        )?;
        if copied == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
