//! Archives on their way: their bytes are counted, and their one member, or directory, gets another name.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use tar::{Archive, Builder, EntryType};

/// How many bytes went through something.
#[derive(Clone, Debug, Default)]
pub(super) struct Count(Arc<AtomicU64>);

/// What they go through.
pub(super) struct Counted<T> {
    inner: T,
    count: Count,
}

impl Count {
    pub(super) fn of<T>(&self, inner: T) -> Counted<T> {
        let count = self.clone();
        Counted { inner, count }
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl<T: Read> Read for Counted<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.add(count);
        Ok(count)
    }
}

/// An archive in which `from` is called `to`.
pub(super) struct Renamed {
    reader: io::PipeReader,
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl Renamed {
    pub(super) fn new(
        archive: impl Read + Send + 'static,
        from: String,
        to: String,
    ) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let writing = thread::Builder::new()
            .name("rename".to_owned())
            .spawn(move || rename(archive, &from, &to, writer))?;
        Ok(Self {
            reader,
            writing: Some(writing),
        })
    }
}

impl Read for Renamed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reader.read(buffer)? {
            // The end of a pipe may be that of a writer that failed.
            0 => match self.writing.take().map(JoinHandle::join) {
                Some(Ok(Err(error))) => Err(error),
                Some(Err(_)) => Err(io::Error::other("the archive was not read to its end")),
                _ => Ok(0),
            },
            count => Ok(count),
        }
    }
}

fn rename(archive: impl Read, from: &str, to: &str, writer: impl Write) -> io::Result<()> {
    let mut archive = Archive::new(archive);
    let mut renamed = Builder::new(writer);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = moved(&entry.path()?, from, to);
        let mut header = entry.header().clone();
        // Those of the extended header, which is not written again.
        header.set_size(entry.size());
        match (header.entry_type(), entry.link_name()?) {
            // It names another member.
            (EntryType::Link, Some(link)) => {
                renamed.append_link(&mut header, path, moved(&link, from, to))?;
            }
            (EntryType::Symlink, Some(link)) => {
                let link = link.into_owned();
                renamed.append_link(&mut header, path, link)?;
            }
            _ => renamed.append_data(&mut header, path, &mut entry)?,
        }
    }
    renamed.finish()
}

/// A path in which the first component, or that there is none, is another one.
fn moved(path: &Path, from: &str, to: &str) -> PathBuf {
    let parts = path.components();
    let mut parts = parts.filter(|part| !matches!(part, Component::CurDir | Component::RootDir));
    let is_inside = from == "." || from == "/";
    if !is_inside {
        parts.next();
    }
    let below: PathBuf = parts.collect();
    match below.as_os_str().is_empty() {
        // Not with a slash behind it.
        true => to.into(),
        false => Path::new(to).join(below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(names: &[&str]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            let is_dir = name.ends_with('/');
            header.set_entry_type(if is_dir {
                EntryType::Directory
            } else {
                EntryType::Regular
            });
            header.set_mode(0o644);
            header.set_size(0);
            // As the agent writes them, which the library would not.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, io::empty()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn names(from: &str, names: &[&str]) -> Vec<String> {
        let renamed = Renamed::new(
            io::Cursor::new(archive(names)),
            from.to_owned(),
            "new".to_owned(),
        );
        let mut renamed = Archive::new(renamed.unwrap());
        let paths = renamed.entries().unwrap();
        paths
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    #[test]
    fn a_member_gets_another_name() {
        assert_eq!(names("old", &["old"]), ["new"]);
        assert_eq!(names("old", &["old/", "old/old"]), ["new", "new/old"]);
        assert_eq!(names(".", &["./", "./a"]), ["new", "new/a"]);
    }

    #[test]
    fn a_broken_archive_is_an_error() {
        let mut broken = archive(&["old"]);
        broken.truncate(100);
        let mut renamed =
            Renamed::new(io::Cursor::new(broken), "old".to_owned(), "new".to_owned()).unwrap();
        assert!(io::copy(&mut renamed, &mut io::sink()).is_err());
    }
}
