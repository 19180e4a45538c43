//! Files that commands write: there as a whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::NamedTempFile;

/// A file on its way. Dropping it leaves what was there before, unless that is a pipe or a device.
pub(crate) struct Whole {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    /// What is written to it is gone.
    Special(File),
    New(NamedTempFile),
}

impl Whole {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let failed = || failed(path);
        let kind = if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            let file = File::options().write(true).open(path);
            Kind::Special(file.with_context(failed)?)
        } else {
            let dir = match path.parent() {
                Some(dir) if !dir.as_os_str().is_empty() => dir,
                _ => Path::new("."),
            };
            Kind::New(NamedTempFile::new_in(dir).with_context(failed)?)
        };
        let path = path.to_owned();
        Ok(Self { path, kind })
    }

    /// Puts it in its place.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        if let Kind::New(file) = self.kind {
            file.persist(&self.path)
                .with_context(|| failed(&self.path))?;
        }
        Ok(())
    }
}

impl Write for Whole {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Special(file) => file.write(data),
            Kind::New(file) => file.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Special(file) => file.flush(),
            Kind::New(file) => file.flush(),
        }
    }
}

pub(crate) fn failed(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_as_a_whole_or_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "before").unwrap();
        let mut broken = Whole::create(&path).unwrap();
        broken.write_all(b"half").unwrap();
        drop(broken);
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        let mut whole = Whole::create(&path).unwrap();
        whole.write_all(b"after").unwrap();
        whole.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let error = Whole::create(&dir.path().join("no/f")).err().unwrap();
        assert!(error.to_string().contains("cannot write"), "{error}");
    }

    #[test]
    fn a_device_is_written_to_and_stays() {
        let mut device = Whole::create(Path::new("/dev/null")).unwrap();
        device.write_all(b"x").unwrap();
        device.finish().unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }
}
