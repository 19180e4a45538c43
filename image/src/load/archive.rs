//! The table of contents of a tar archive, so that its files can be read in any order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use tar::{Archive, EntryType};

use super::Error;

/// Most bytes of headers that are read: it bounds the table and what long names and extended headers
/// can make us keep in memory.
const MAX_HEADERS: u64 = 64 << 20;
/// Longest chain of links that is followed.
const MAX_LINKS: usize = 8;

/// What the archive has at each path.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<String, Entry>);

/// Where a file's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) size: u64,
}

#[derive(Debug)]
enum Entry {
    File(Section),
    /// A link to another path of the archive. `docker save` wrote symbolic links for layers that several images have.
    Link(String),
    /// A link that leads out; an error only for who follows it.
    Escape(String),
}

impl Table {
    /// Reads the headers of `file` from its start.
    pub(super) fn read(file: &File) -> Result<Self, Error> {
        let length = file.metadata().map_err(Error::Read)?.len();
        let mut headers = Headers {
            file,
            left: MAX_HEADERS,
        };
        headers.rewind().map_err(Error::Read)?;
        let mut archive = Archive::new(headers);
        let mut table = BTreeMap::new();
        for entry in archive.entries_with_seek().map_err(Error::Archive)? {
            let entry = entry.map_err(Error::Archive)?;
            // No file that matters has a name that is not text.
            let Ok(name) = String::from_utf8(entry.path_bytes().into_owned()) else {
                continue;
            };
            let path = normalize("", &name).ok_or_else(|| Error::Escape(name.clone()))?;
            let link = || {
                let target = entry.link_name_bytes().unwrap_or_default();
                String::from_utf8_lossy(&target).into_owned()
            };
            let found = match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    let section = Section {
                        offset: entry.raw_file_position(),
                        size: entry.size(),
                    };
                    let end = section.offset.checked_add(section.size);
                    if end.is_none_or(|end| end > length) {
                        let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
                        return Err(Error::Archive(cut));
                    }
                    Entry::File(section)
                }
                EntryType::Symlink => {
                    let target = link();
                    let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
                    let absolute = target.starts_with('/');
                    match normalize(dir, &target) {
                        Some(target) if !absolute => Entry::Link(target),
                        _ => Entry::Escape(target),
                    }
                }
                EntryType::Link => {
                    let target = link();
                    normalize("", &target).map_or(Entry::Escape(target), Entry::Link)
                }
                _ => continue,
            };
            table.insert(path, found);
        }
        Ok(Self(table))
    }

    /// The file at `path`, through links within the archive.
    pub(super) fn find(&self, path: &str) -> Result<Option<Section>, Error> {
        let mut at = normalize("", path).ok_or_else(|| Error::Escape(path.to_owned()))?;
        for _ in 0..MAX_LINKS {
            match self.0.get(&at) {
                None => return Ok(None),
                Some(Entry::File(section)) => return Ok(Some(*section)),
                Some(Entry::Link(target)) => at.clone_from(target),
                Some(Entry::Escape(target)) => return Err(Error::Escape(target.clone())),
            }
        }
        Err(Error::Loop(path.to_owned()))
    }
}

/// `path`, seen from `dir`, without empty and dot components; `None` if it leaves the archive's root.
fn normalize(dir: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in dir.split('/').chain(path.split('/')) {
        match part {
            "" | "." => (),
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The archive as its headers are read: contents are skipped by seeking, and a limit holds for the rest.
struct Headers<'a> {
    file: &'a File,
    left: u64,
}

impl Read for Headers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let length = u64::try_from(count).unwrap_or(u64::MAX);
        self.left = self
            .left
            .checked_sub(length)
            .ok_or_else(|| io::Error::other("it has more than 64 MiB of headers"))?;
        Ok(count)
    }
}

impl Seek for Headers<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
