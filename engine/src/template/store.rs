//! The directory of templates. Each is a directory named by its key, which appears and disappears whole, by a rename.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;

use super::key::is_key;
use super::manifest::{Kind, Manifest, Seal};
use crate::hidden::{self, Hidden};
use crate::prepare::{Saved, SavedDisk};

pub(super) const MANIFEST: &str = "template.json";
pub(super) const STATE: &str = "state";
pub(super) const MEMORY: &str = "memory";
pub(super) const DISK: &str = "disk";

/// A manifest has a few hundred bytes.
const LONGEST_MANIFEST: u64 = 1 << 16;
/// How much templates take on disk, in bytes, where nobody says it.
const USUAL_SPACE: u64 = 8 << 30;

/// All templates of a root directory.
#[derive(Clone, Debug)]
pub struct Templates {
    directory: PathBuf,
    /// The most bytes that they take together.
    space: u64,
}

/// A template that can be cloned: its files are open, and what becomes of their names does not matter any more.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) key: String,
    pub(crate) kind: Kind,
    pub(crate) saved: Saved,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// What it depends on, hashed.
    pub key: String,
    /// How far it is.
    pub kind: Kind,
    /// vCPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// What the image was called, of one with an image.
    pub image: Option<String>,
    /// Bytes on disk.
    pub size: u64,
    /// When it was made.
    pub made: Timestamp,
    /// When a machine last started from it.
    pub used: Timestamp,
}

impl Templates {
    /// Those in `directory`, which is made when it is needed. `HULL_TEMPLATE_SPACE` says how many bytes they take together at most.
    pub(crate) fn at(directory: PathBuf) -> Self {
        let space = std::env::var("HULL_TEMPLATE_SPACE").ok();
        let space = space.and_then(|text| crate::parse_size(&text).ok());
        Self {
            directory,
            space: space.unwrap_or(USUAL_SPACE),
        }
    }

    /// The same with another limit.
    #[cfg(test)]
    pub(super) fn within(self, space: u64) -> Self {
        Self { space, ..self }
    }

    /// Whether there is one with this key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.directory.join(key).join(MANIFEST).exists()
    }

    /// Opens a template, and notes that it was used. One that is damaged is removed.
    pub(crate) fn find(&self, key: &str) -> Option<Template> {
        match self.open(key) {
            Ok(template) => Some(template),
            // Somebody removed it, unless it lacks a part of itself.
            Err(_) if !self.directory.join(key).exists() => None,
            Err(error) => {
                tracing::warn!(key, %error, "a template is of no use and is removed");
                self.discard(key);
                None
            }
        }
    }

    fn open(&self, key: &str) -> io::Result<Template> {
        let directory = self.directory.join(key);
        let path = directory.join(MANIFEST);
        let manifest = read_manifest(&path)?;
        let sealed = |name: &str, seal: &Seal| seal.open(&directory.join(name));
        let template = Template {
            key: key.to_owned(),
            kind: manifest.kind,
            saved: Saved {
                state: sealed(STATE, &manifest.state)?,
                memory: sealed(MEMORY, &manifest.memory)?,
                disk: match &manifest.disk {
                    Some(seal) => SavedDisk::Copy(sealed(DISK, seal)?),
                    None => SavedDisk::Empty,
                },
            },
        };
        // Who cannot write here uses it all the same.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(template)
    }

    /// A directory for a template that is being made. Dropping it removes it.
    pub(super) fn begin(&self) -> io::Result<Draft> {
        Hidden::make(&self.directory).map(Draft)
    }

    /// Gives a template its name, unless another of this key came first, and removes those that were not used for the longest time while
    /// all together take too much.
    pub(super) fn publish(&self, key: &str, draft: Draft) -> io::Result<()> {
        let target = self.directory.join(key);
        match fs::rename(draft.0.path(), &target) {
            Ok(()) => draft.0.was_renamed(),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty
                ) => {}
            Err(error) => return Err(error),
        }
        self.make_room(key);
        Ok(())
    }

    fn make_room(&self, newest: &str) {
        let mut all = self.list().unwrap_or_default();
        all.sort_by_key(|one| one.used);
        let mut taken: u64 = all.iter().map(|one| one.size).sum();
        for one in all.iter().filter(|one| one.key != newest) {
            if taken <= self.space {
                return;
            }
            tracing::debug!(key = one.key, "a template makes room for others");
            self.discard(&one.key);
            taken = taken.saturating_sub(one.size);
        }
    }

    /// All that there are, in no order.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn list(&self) -> io::Result<Vec<Listed>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let Ok(key) = entry?.file_name().into_string() else {
                continue;
            };
            // One that has just gone, or is damaged, which its next use will find.
            if is_key(&key)
                && let Ok(listed) = self.listed(key)
            {
                all.push(listed);
            }
        }
        Ok(all)
    }

    fn listed(&self, key: String) -> io::Result<Listed> {
        let directory = self.directory.join(&key);
        let path = directory.join(MANIFEST);
        let manifest = read_manifest(&path)?;
        let used = fs::metadata(&path)?.modified()?;
        let size = [STATE, MEMORY, DISK]
            .iter()
            .filter_map(|name| fs::metadata(directory.join(name)).ok())
            .map(|file| file.blocks() * 512)
            .sum();
        Ok(Listed {
            key,
            kind: manifest.kind,
            cpus: manifest.cpus,
            memory_mib: manifest.memory_mib,
            image: manifest.reference.or(manifest.image),
            size,
            made: manifest.made,
            used: Timestamp::try_from(used).unwrap_or(manifest.made),
        })
    }

    /// Removes a template; machines that are clones of it go on. Whether there was one.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, key: &str) -> io::Result<bool> {
        if !is_key(key) {
            return Ok(false);
        }
        hidden::remove(&self.directory, key)
    }

    pub(crate) fn discard(&self, key: &str) {
        if let Err(error) = self.remove(key) {
            tracing::warn!(key, %error, "a template was not removed");
        }
    }
}

fn read_manifest(path: &Path) -> io::Result<Manifest> {
    if fs::metadata(path)?.len() > LONGEST_MANIFEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// A template that is being made.
#[derive(Debug)]
pub(super) struct Draft(Hidden);

impl Draft {
    /// Where a file of it is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Seals what was written.
    pub(super) fn seal(&self, name: &str) -> io::Result<Seal> {
        Ok(Seal::of(&fs::metadata(self.path(name))?))
    }

    /// Writes the manifest.
    pub(super) fn finish(&self, manifest: &Manifest) -> io::Result<()> {
        fs::write(self.path(MANIFEST), serde_json::to_vec_pretty(manifest)?)
    }
}
