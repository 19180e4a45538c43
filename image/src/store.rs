//! The image store: layers, images and names in one directory (`<root>/images`).
//!
//! Several processes use a store at once; there is no daemon that owns it. What each lock protects
//! is said in `layout.rs`. Every change is a rename, made durable before the database names it, so
//! a crash leaves at most files that nothing refers to, and the next `open` or `prune` takes those.

use std::path::Path;

mod commit;
mod db;
mod error;
mod gc;
mod image;
mod layout;
mod list;
pub(crate) mod lock;
mod remove;
pub(crate) mod scratch;
#[cfg(test)]
mod tests;

pub(crate) use commit::{Claim, HeldLayer, NewImage};
pub use error::Error;
pub use gc::Freed;
pub use image::{Image, Lease};
pub(crate) use layout::{LayerFiles, Layout};
pub use list::{Details, Summary};
pub use remove::{Prune, Removed, Use};

use crate::digest::Digest;
use crate::reference::Reference;
use db::Db;
use lock::{FileLock, Mode};

/// A directory of images. Cheap to clone, and safe to use from many tasks and processes.
#[derive(Clone, Debug)]
pub struct Store {
    layout: Layout,
}

impl Store {
    /// Opens the store in `root`, which is made if it is missing, and removes what writers that died
    /// left behind.
    ///
    /// # Errors
    /// When the directory cannot be made, read or written.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let layout = Layout::create(root)?;
        scratch::clear(&layout.tmp())?;
        let store = Self { layout };
        gc::clear_new_files(&store)?;
        Ok(store)
    }

    /// The image that `name` leads to: a reference, an id, or the beginning of an id.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn resolve(&self, name: &str) -> Result<Digest, Error> {
        self.read()?.resolve(name)
    }

    /// Gives the image `source` the name `target` too, taking it from another image if need be.
    ///
    /// # Errors
    /// When `source` is unknown or `target` has a digest.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), Error> {
        if target.digest().is_some() {
            return Err(Error::TagWithDigest(target.familiar()));
        }
        self.change(|db| {
            let image = db.resolve(source)?;
            db.tags.insert(target.clone(), image);
            Ok(())
        })
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn read(&self) -> Result<Db, Error> {
        Db::read(&self.layout.db())
    }

    /// Waits for the store's lock. Held for moments only.
    fn lock(&self) -> Result<FileLock, Error> {
        let path = self.layout.lock();
        FileLock::lock(&path, Mode::Exclusive).map_err(|e| Error::io("lock", &path, e))
    }

    /// Changes the database under the store's lock; an error leaves it as it was.
    fn change<T>(&self, change: impl FnOnce(&mut Db) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = self.lock()?;
        let mut db = self.read()?;
        let before = db.clone();
        let result = change(&mut db)?;
        if db != before {
            db.write(&self.layout.db())?;
        }
        Ok(result)
    }
}
