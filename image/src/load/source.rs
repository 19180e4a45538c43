//! A layout to load from, be it a directory or an archive.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::Table;
use super::{Error, Input};
use crate::decompress::{Compression, decompress, detect};

/// Where the files of a layout are.
#[derive(Debug)]
pub(super) enum Source {
    Directory(PathBuf),
    Archive { file: Arc<File>, table: Table },
}

/// The bytes of one file of the layout: a section of `file`.
#[derive(Clone, Debug)]
pub(super) struct Content {
    path: String,
    file: Arc<File>,
    offset: u64,
    size: u64,
}

impl Source {
    /// Opens `input`. An archive that is compressed or a stream is first put aside in `tmp`, because
    /// its parts refer to each other in any order.
    pub(super) fn open(input: Input, tmp: &Path) -> Result<Self, Error> {
        let file = match input {
            Input::Path(path) => {
                let failed = |source| Error::Open {
                    path: path.clone(),
                    source,
                };
                if fs::metadata(&path).map_err(failed)?.is_dir() {
                    return Ok(Self::Directory(path));
                }
                let mut file = File::open(&path).map_err(failed)?;
                let regular = file.metadata().map_err(failed)?.is_file();
                if regular {
                    let (compression, _) = detect(&file).map_err(Error::Read)?;
                    file.seek(SeekFrom::Start(0)).map_err(Error::Read)?;
                    if compression == Compression::None {
                        file
                    } else {
                        spool(file, tmp)?
                    }
                } else {
                    spool(file, tmp)?
                }
            }
            Input::Stream(stream) => spool(stream, tmp)?,
        };
        let table = Table::read(&file)?;
        Ok(Self::Archive {
            file: Arc::new(file),
            table,
        })
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, path: &str) -> bool {
        match self {
            Self::Directory(dir) => dir.join(path).is_file(),
            Self::Archive { table, .. } => matches!(table.find(path), Ok(Some(_))),
        }
    }

    /// The file `path`, which must be free of `..` where it comes from outside and this is a directory.
    pub(super) fn content(&self, path: &str) -> Result<Content, Error> {
        match self {
            Self::Directory(dir) => {
                let failed = |source: io::Error| match source.kind() {
                    io::ErrorKind::NotFound => Error::Missing(path.to_owned()),
                    _ => Error::ReadFile {
                        path: path.to_owned(),
                        source,
                    },
                };
                // A pipe would block for ever.
                let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
                let file = OpenOptions::new()
                    .read(true)
                    .custom_flags(nonblock)
                    .open(dir.join(path))
                    .map_err(failed)?;
                let meta = file.metadata().map_err(failed)?;
                if !meta.is_file() {
                    return Err(failed(io::Error::other("it is not a regular file")));
                }
                Ok(Content {
                    path: path.to_owned(),
                    file: Arc::new(file),
                    offset: 0,
                    size: meta.len(),
                })
            }
            Self::Archive { file, table } => {
                let section = table.find(path)?;
                let section = section.ok_or_else(|| Error::Missing(path.to_owned()))?;
                Ok(Content {
                    path: path.to_owned(),
                    file: Arc::clone(file),
                    offset: section.offset,
                    size: section.size,
                })
            }
        }
    }

    /// A file that is small enough for memory.
    pub(super) fn small(&self, path: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let content = self.content(path)?;
        if content.size > limit {
            return Err(Error::TooLong {
                path: path.to_owned(),
                size: content.size,
                limit,
            });
        }
        let mut bytes = Vec::new();
        let read = content.read()?.read_to_end(&mut bytes);
        read.map_err(|source| Error::ReadFile {
            path: path.to_owned(),
            source,
        })?;
        Ok(bytes)
    }
}

impl Content {
    /// Its length.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Its bytes. Independent of other readers of the same archive.
    pub(super) fn read(&self) -> Result<Section, Error> {
        let end = self.offset.checked_add(self.size);
        let end = end.ok_or_else(|| Error::Missing(self.path.clone()))?;
        Ok(Section {
            file: Arc::clone(&self.file),
            position: self.offset,
            end,
        })
    }
}

/// Reads a section of a file.
#[derive(Debug)]
pub(super) struct Section {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        let count = self.file.read_at(buffer, self.position)?;
        if count == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }
}

/// Puts the plain content of `reader` into a file without a name.
fn spool(reader: impl Read + Send, tmp: &Path) -> Result<File, Error> {
    let failed = |source| Error::Spool {
        path: tmp.to_owned(),
        source,
    };
    let mut file = tempfile::tempfile_in(tmp).map_err(failed)?;
    let mut reader = Tell::new(decompress(reader).map_err(Error::Read)?);
    let copied = io::copy(&mut reader, &mut file);
    match (copied, reader.failed) {
        (Ok(_), _) => Ok(file),
        (Err(e), true) => Err(Error::Archive(e)),
        (Err(e), false) => Err(failed(e)),
    }
}

/// Remembers whether reading failed, to tell a bad input from a full disk.
struct Tell<R> {
    inner: R,
    failed: bool,
}

impl<R> Tell<R> {
    fn new(inner: R) -> Self {
        let failed = false;
        Self { inner, failed }
    }
}

impl<R: Read> Read for Tell<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        self.failed |= result
            .as_ref()
            .is_err_and(|e| e.kind() != io::ErrorKind::Interrupted);
        result
    }
}
