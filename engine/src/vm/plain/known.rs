//! Which file it is that a path leads to, and whether it is still as it was.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::{SeekFrom, seek};
use serde::{Deserialize, Serialize};

use crate::template::Seal;

/// A file as it was when a machine that knows its contents was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Known {
    /// Its times say whether anybody wrote to it.
    File(Seal),
    /// What is written to a device leaves no trace in its times.
    Device {
        /// Its number.
        number: u64,
        /// In bytes.
        size: u64,
    },
}

impl Known {
    /// What is open here.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        if kind.is_block_device() || kind.is_char_device() {
            return Ok(Self::Device {
                number: metadata.rdev(),
                size: seek(file, SeekFrom::End(0))?,
            });
        }
        Ok(Self::File(Seal::of(&metadata)))
    }

    /// Whether this is it, as it was.
    pub(crate) fn is(&self, file: &File) -> io::Result<bool> {
        Ok(Self::of(file)? == *self)
    }
}
