//! What a guest printed, on disk: `console.log`, and before it `console.log.old`, so that no guest fills a disk by printing.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;

/// At this many bytes a new file is begun; twice as many are kept.
const MOST: u64 = 8 << 20;
/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// The writing end.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    file: File,
    length: u64,
    most: u64,
}

impl LogWriter {
    /// A log in `dir` that starts empty.
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        Self::with_limit(dir, MOST)
    }

    fn with_limit(dir: &Path, most: u64) -> io::Result<Self> {
        let path = dir.join(FILE);
        for file in [&path, &dir.join(OLD)] {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let file = File::create(&path)?;
        Ok(Self {
            path,
            file,
            length: 0,
            most,
        })
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length >= self.most {
            fs::rename(&self.path, self.path.with_file_name(OLD))?;
            self.file = File::create(&self.path)?;
            self.length = 0;
        }
        self.file.write_all(bytes)?;
        self.length = self.length.saturating_add(bytes.len() as u64);
        Ok(())
    }
}

const FILE: &str = "console.log";
const OLD: &str = "console.log.old";

/// The reading end: from the oldest byte that is kept.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    file: Option<File>,
}

impl LogReader {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let file = match existing(&dir.join(OLD))? {
            Some(file) => Some(file),
            None => existing(&dir.join(FILE))?,
        };
        Ok(Self {
            dir: dir.to_owned(),
            file,
        })
    }

    /// The next bytes; none when there are no more so far.
    ///
    /// # Errors
    /// What the host says.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PIECE];
        loop {
            let length = match &mut self.file {
                Some(file) => file.read(&mut bytes)?,
                None => 0,
            };
            // Of the old file nothing more comes, once there is a new one.
            if length > 0 || !self.advance()? {
                bytes.truncate(length);
                return Ok(bytes);
            }
        }
    }

    /// Goes on to the file that is written now, if that is another one.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(next) = existing(&self.dir.join(FILE))? else {
            return Ok(false);
        };
        if let Some(file) = &mut self.file {
            let (this, other) = (file.metadata()?, next.metadata()?);
            if (this.dev(), this.ino()) == (other.dev(), other.ino()) {
                return Ok(false);
            }
        }
        self.file = Some(next);
        Ok(true)
    }
}

/// Waits for changes of a microVM's directory: of its log, and of its state.
#[derive(Debug)]
pub struct Follow(File);

impl Follow {
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        let changes = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&watch, dir, changes)?;
        Ok(Self(watch.into()))
    }

    /// Waits (blocking) until something changed since this was made, or since the last call.
    ///
    /// # Errors
    /// What the host says.
    pub fn wait(&mut self) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); 4096];
        inotify::Reader::new(&self.0, &mut space).next()?;
        Ok(())
    }
}

fn existing(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(reader: &mut LogReader) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let piece = reader.read().unwrap();
            if piece.is_empty() {
                return all;
            }
            all.extend(piece);
        }
    }

    #[test]
    fn a_reader_goes_on_over_the_change_of_files_and_two_of_them_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::with_limit(dir.path(), 4).unwrap();
        let mut reader = LogReader::open(dir.path()).unwrap();
        log.append(b"one ").unwrap();
        assert_eq!(all(&mut reader), b"one ");
        log.append(b"two ").unwrap();
        assert_eq!(all(&mut reader), b"two ");
        log.append(b"three").unwrap();
        log.append(b"four").unwrap();
        let mut late = LogReader::open(dir.path()).unwrap();
        assert_eq!(all(&mut late), b"threefour");

        let mut again = LogWriter::create(dir.path()).unwrap();
        again.append(b"anew").unwrap();
        assert_eq!(all(&mut LogReader::open(dir.path()).unwrap()), b"anew");
    }

    #[test]
    fn one_who_follows_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::create(dir.path()).unwrap();
        let mut reader = LogReader::open(dir.path()).unwrap();
        let mut follow = Follow::new(dir.path()).unwrap();
        let writer = std::thread::spawn(move || log.append(b"news").unwrap());
        follow.wait().unwrap();
        writer.join().unwrap();
        assert_eq!(all(&mut reader), b"news");
    }
}
