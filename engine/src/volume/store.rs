//! The directory of volumes.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{Volume, VolumeError, VolumeSpec, name};
use crate::Error;
use crate::container::{read_json, write_json};
use crate::hidden::{self, Hidden};

const RECORD: &str = "volume.json";
/// What containers see; named as Docker names it, since people look for it.
const DATA: &str = "_data";

/// All volumes of a root directory.
#[derive(Clone, Debug)]
pub struct Volumes {
    directory: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    spec: VolumeSpec,
    created: Timestamp,
    /// It goes with a container that is being removed.
    #[serde(default)]
    doomed: bool,
}

impl Volumes {
    /// Those in `directory`, which is made when it is needed.
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Makes a volume, unless it is there; and whether it was made. Blocking.
    ///
    /// # Errors
    /// It cannot be called so, has options that there are not, or cannot be written.
    pub(crate) fn make(&self, name: &str, spec: &VolumeSpec) -> Result<(Volume, bool), Error> {
        name::check(name, spec)?;
        let _lock = self.lock()?;
        if let Some(known) = self.read(name)? {
            if !spec.options.is_empty() && spec.options != known.spec.options {
                return Err(VolumeError::OtherOptions(name.to_owned()).into());
            }
            return Ok((self.volume(name, known), false));
        }
        let record = Record {
            spec: spec.clone(),
            created: Timestamp::now(),
            doomed: false,
        };
        let path = self.directory.join(name);
        let write = || {
            let hidden = Hidden::make(&self.directory)?;
            fs::DirBuilder::new()
                .mode(0o755)
                .create(hidden.join(DATA))?;
            write_json(&hidden.join(RECORD), &record)?;
            fs::rename(hidden.path(), &path)?;
            hidden.was_renamed();
            Ok(())
        };
        write().map_err(Error::io("make the volume", &path))?;
        Ok((self.volume(name, record), true))
    }

    /// The volume of this name. Blocking.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, name: &str) -> Result<Volume, Error> {
        let none = || VolumeError::NotFound(name.to_owned());
        if name::check(name, &VolumeSpec::default()).is_err() {
            return Err(none().into());
        }
        let record = self.read(name)?.ok_or_else(none)?;
        Ok(self.volume(name, record))
    }

    /// All of them, by name. Blocking.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<Volume>, Error> {
        let mut all: Vec<Volume> = Vec::new();
        for name in self.names()? {
            // It may have been removed since, or not be one.
            match self.find(&name) {
                Ok(volume) => all.push(volume),
                Err(error) => tracing::debug!(name, %error, "no volume"),
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// Removes a volume with all that is in it, unless somebody uses it. `users` is asked when nobody can make or remove one any more.
    /// Blocking.
    ///
    /// # Errors
    /// It is not there, is in use, or cannot be removed.
    pub(crate) fn remove(
        &self,
        name: &str,
        users: impl FnOnce() -> Vec<String>,
    ) -> Result<Volume, Error> {
        let lock = self.lock()?;
        let volume = self.find(name)?;
        let by = users();
        if !by.is_empty() {
            let name = name.to_owned();
            return Err(VolumeError::InUse { name, by }.into());
        }
        let failed = |error| Error::io("remove", self.directory.join(name))(error);
        let hidden = hidden::hide(&self.directory, name).map_err(failed)?;
        // Others need not wait until all that is in it is gone.
        drop(lock);
        hidden.map_or(Ok(()), Hidden::remove).map_err(failed)?;
        Ok(volume)
    }

    /// Notes that a volume goes with its container, which is about to be removed. Blocking.
    pub(crate) fn doom(&self, name: &str, doomed: bool) -> Result<(), Error> {
        let _lock = self.lock()?;
        if let Some(record) = self.read(name)? {
            let path = self.directory.join(name).join(RECORD);
            let written = write_json(&path, &Record { doomed, ..record });
            written.map_err(Error::io("write", path))?;
        }
        Ok(())
    }

    /// Removes what was to go with a container that is gone, and keeps what was to go with one that is still there. Blocking.
    pub(crate) fn recover(&self, is_used: impl Fn(&str) -> bool) -> Result<(), Error> {
        for name in self.names()? {
            if !self
                .read(&name)
                .ok()
                .flatten()
                .is_some_and(|record| record.doomed)
            {
                continue;
            }
            let done = match is_used(&name) {
                true => self.doom(&name, false),
                false => self.remove(&name, Vec::new).map(drop),
            };
            if let Err(error) = done {
                tracing::warn!(name, %error, "a volume was not put in order");
            }
        }
        Ok(())
    }

    /// Waits until nobody else fills a volume. It is filled when the lock is dropped. Blocking.
    pub(crate) fn lock_filling(&self, name: &str) -> io::Result<File> {
        let file = File::create(self.directory.join(name).join("fill.lock"))?;
        flock(file.as_fd(), FlockOperation::LockExclusive)?;
        Ok(file)
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io("read", &self.directory))?,
        };
        let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
        let is_one = |name: &String| name::check(name, &VolumeSpec::default()).is_ok();
        Ok(entries.flatten().filter_map(name).filter(is_one).collect())
    }

    fn read(&self, name: &str) -> Result<Option<Record>, Error> {
        let path = self.directory.join(name).join(RECORD);
        match read_json(&path) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    fn volume(&self, name: &str, record: Record) -> Volume {
        let device = name::device(name, &record.spec).ok().flatten();
        Volume {
            name: name.to_owned(),
            mountpoint: device.unwrap_or_else(|| self.data(name)),
            spec: record.spec,
            created: record.created,
        }
    }

    fn data(&self, name: &str) -> PathBuf {
        self.directory.join(name).join(DATA)
    }

    fn lock(&self) -> Result<File, Error> {
        let path = self.directory.join(LOCK);
        let lock = || {
            make_closed(&self.directory)?;
            let file = File::create(&path)?;
            flock(file.as_fd(), FlockOperation::LockExclusive)?;
            Ok(file)
        };
        lock().map_err(Error::io("lock", &path))
    }
}

/// No volume can be called so.
const LOCK: &str = ".lock";

/// People who are not its owner may pass, to what they may see, and not look around.
fn make_closed(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o711).create(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes(dir: &tempfile::TempDir) -> Volumes {
        Volumes::at(dir.path().join("volumes"))
    }

    fn names(volumes: &Volumes) -> Vec<String> {
        let all = volumes.list().unwrap();
        all.into_iter().map(|volume| volume.name).collect()
    }

    #[test]
    fn a_volume_is_made_once_found_and_removed_when_nobody_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = volumes(&dir);
        assert!(volumes.list().unwrap().is_empty());
        let spec = VolumeSpec {
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..VolumeSpec::default()
        };
        let (made, new) = volumes.make("data", &spec).unwrap();
        assert!(new && made.mountpoint.is_dir());
        fs::write(made.mountpoint.join("kept"), "").unwrap();
        let (again, new) = volumes.make("data", &VolumeSpec::default()).unwrap();
        assert!(!new);
        assert_eq!(again, made);
        assert_eq!(volumes.find("data").unwrap(), made);
        let missing = volumes.find("nothing").unwrap_err();
        assert_eq!(missing.to_string(), "get nothing: no such volume");
        assert!(volumes.find("../data").is_err());
        let used = volumes.remove("data", || vec!["x".to_owned()]).unwrap_err();
        assert_eq!(used.to_string(), "remove data: volume is in use - [x]");
        assert!(made.mountpoint.join("kept").exists());
        volumes.remove("data", Vec::new).unwrap();
        assert!(!made.mountpoint.exists());
        assert!(names(&volumes).is_empty());
    }

    #[test]
    fn what_was_to_go_with_a_container_goes_unless_that_is_still_there() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = volumes(&dir);
        for name in ["gone", "used", "other"] {
            volumes.make(name, &VolumeSpec::default()).unwrap();
        }
        volumes.doom("gone", true).unwrap();
        volumes.doom("used", true).unwrap();
        volumes.doom("missing", true).unwrap();
        volumes.recover(|name| name == "used").unwrap();
        assert_eq!(names(&volumes), ["other", "used"]);
        volumes.recover(|_| false).unwrap();
        assert_eq!(
            names(&volumes),
            ["other", "used"],
            "it stays though its container goes now"
        );
    }

    #[test]
    fn a_directory_of_the_host_is_a_volume_too_and_stays_when_that_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (volumes, host) = (volumes(&dir), dir.path().join("host"));
        fs::create_dir(&host).unwrap();
        let device = host.to_str().unwrap().to_owned();
        let options = [("type", "none"), ("o", "bind"), ("device", device.as_str())];
        let spec = VolumeSpec {
            options: options.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..VolumeSpec::default()
        };
        let (volume, _) = volumes.make("bound", &spec).unwrap();
        assert_eq!(volume.mountpoint, host);
        assert!(volumes.make("bound", &VolumeSpec::default()).is_ok());
        volumes.make("plain", &VolumeSpec::default()).unwrap();
        assert!(volumes.make("plain", &spec).is_err());
        volumes.remove("bound", Vec::new).unwrap();
        assert!(host.is_dir());
    }
}
