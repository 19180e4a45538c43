//! Removal of what nothing refers to.
//!
//! Roots are the images in the database and those that somebody holds a lease on. A layer stays if
//! a root has it or if its lock is held, as it is by a pull that has not reached the database yet.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::lock::{FileLock, Mode};
use super::{Error, Store};
use crate::digest::Digest;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Bytes that are free again.
    pub bytes: u64,
    /// Layers that went, by diffID.
    pub layers: Vec<Digest>,
}

impl Store {
    /// Removes what no image needs.
    pub(crate) fn sweep(&self) -> Result<Freed, Error> {
        let _lock = self.lock()?;
        self.collect()
    }

    /// Removes what no image needs. The caller holds the store's lock.
    pub(super) fn collect(&self) -> Result<Freed, Error> {
        let db = self.read()?;
        let mut freed = Freed::default();
        let mut needed: BTreeSet<Digest> = BTreeSet::new();
        for record in db.images.values() {
            needed.extend(&record.layers);
        }
        for image in self.layout.named("configs", "json")? {
            if db.images.contains_key(&image) {
                continue;
            }
            let lock = self.layout.image_lock(&image);
            if let Some(lock) = try_exclusive(&lock)? {
                freed.bytes += remove(&self.layout.erofs(&image))?;
                freed.bytes += remove(&self.layout.config(&image))?;
                unlink(lock)?;
            } else if let Ok(config) = self.config(&image) {
                needed.extend(config.layers());
            } else {
                // Somebody runs an image whose layers are unknown: keep everything until then.
                return Ok(freed);
            }
        }
        for layer in self.layers_on_disk()? {
            if needed.contains(&layer) {
                continue;
            }
            if let Some(lock) = try_exclusive(&self.layout.layer_lock(&layer))? {
                let files = self.layout.layer(&layer);
                // The index last: it is what says that a layer is there.
                freed.bytes += remove(&files.index)?;
                freed.bytes += remove(&files.blob)?;
                freed.bytes += remove(&files.headers)?;
                unlink(lock)?;
                freed.layers.push(layer);
            }
        }
        let manifests: BTreeSet<Digest> = db
            .images
            .values()
            .flat_map(|record| {
                let digests = record.digests.iter().filter_map(|name| name.digest());
                digests.chain(record.manifests.values())
            })
            .copied()
            .collect();
        for manifest in self.layout.named("manifests", "json")? {
            if !manifests.contains(&manifest) {
                freed.bytes += remove(&self.layout.manifest(&manifest))?;
            }
        }
        Ok(freed)
    }

    /// Removes downloads that were interrupted and that nobody goes on with.
    pub(super) fn collect_downloads(&self) -> Result<u64, Error> {
        let mut bytes = 0;
        for digest in self.layout.named("downloads", "part")? {
            let path = self.layout.part(&digest);
            if let Some(lock) = try_exclusive(&path)? {
                bytes += super::image::size(&path);
                unlink(lock)?;
            }
        }
        Ok(bytes)
    }

    /// Removes the lock files of layers and images that are not there. The caller holds the store's lock.
    pub(super) fn collect_locks(&self) -> Result<(), Error> {
        let dir = self.layout.locks();
        let read = |e| Error::io("read", &dir, e);
        for entry in fs::read_dir(&dir).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name();
            let parts = name.to_str().and_then(|name| name.split_once('-'));
            let there = match parts.map(|(kind, hex)| (kind, Digest::from_hex(hex))) {
                Some(("layer", Ok(layer))) => self.layout.layer(&layer).exist(),
                Some(("image", Ok(image))) => self.layout.config(&image).is_file(),
                // Not ours.
                _ => true,
            };
            if !there && let Some(lock) = try_exclusive(&entry.path())? {
                unlink(lock)?;
            }
        }
        Ok(())
    }

    fn layers_on_disk(&self) -> Result<BTreeSet<Digest>, Error> {
        let mut layers: BTreeSet<Digest> =
            self.layout.named("layers", "index")?.into_iter().collect();
        layers.extend(self.layout.named("layers", "blob")?);
        layers.extend(self.layout.named("layers", "headers")?);
        Ok(layers)
    }
}

/// Removes files that `write_atomic` of a process that died left. Skipped while somebody writes.
pub(super) fn clear_new_files(store: &Store) -> Result<(), Error> {
    let Some(_lock) = try_exclusive(&store.layout.lock())? else {
        return Ok(());
    };
    let root = store.layout.root();
    for dir in [
        root.to_owned(),
        root.join("configs"),
        root.join("manifests"),
        root.join("erofs"),
    ] {
        for path in new_files(&dir).map_err(|e| Error::io("read", &dir, e))? {
            remove(&path)?;
        }
    }
    Ok(())
}

fn new_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".new-") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn try_exclusive(path: &Path) -> Result<Option<FileLock>, Error> {
    FileLock::try_lock(path, Mode::Exclusive).map_err(|e| Error::io("lock", path, e))
}

fn unlink(lock: FileLock) -> Result<(), Error> {
    let path = lock.path().to_owned();
    lock.remove().map_err(|e| Error::io("remove", path, e))
}

/// Removes a file if it is there; its size.
fn remove(path: &Path) -> Result<u64, Error> {
    let bytes = super::image::size(path);
    match fs::remove_file(path) {
        Ok(()) => Ok(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}
