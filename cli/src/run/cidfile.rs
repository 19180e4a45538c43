//! `--cidfile`: a file that holds a container's id, and belongs to it alone.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A file that did not exist. It goes again if no id is written to it.
#[derive(Debug)]
pub(super) struct CidFile {
    path: PathBuf,
    file: File,
    is_written: bool,
}

impl CidFile {
    pub(super) fn make(path: &Path) -> anyhow::Result<Self> {
        let file = File::create_new(path).with_context(|| {
            format!(
                "the container id file {} cannot be made: make sure the other container isn't running or delete the file",
                path.display()
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            is_written: false,
        })
    }

    pub(super) fn write(mut self, id: &str) -> anyhow::Result<()> {
        let written = self.file.write_all(id.as_bytes());
        written.with_context(|| {
            format!(
                "the container id {id} cannot be written to {}",
                self.path.display()
            )
        })?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if !self.is_written {
            let _ = fs::remove_file(&self.path);
        }
    }
}
