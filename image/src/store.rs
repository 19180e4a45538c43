//! The image store: layers, images and names in one directory (`<root>/images`).
//!
//! Several processes use a store at once; there is no daemon that owns it. What each lock protects
//! is said in `layout.rs`. Every change is a rename, made durable before the database names it, so
//! a crash leaves at most files that nothing refers to, and the next `open` or `prune` takes those.

use std::path::Path;

use jiff::Timestamp;

mod commit;
mod db;
mod error;
mod gc;
mod history;
mod image;
mod known;
mod layout;
mod list;
pub(crate) mod lock;
mod outgoing;
mod remove;
pub(crate) mod scratch;
mod steps;
#[cfg(test)]
mod tests;
mod usage;

pub(crate) use commit::{Claim, HeldLayer, NewImage};
pub use error::Error;
pub use gc::Freed;
pub use history::HistoryEntry;
pub use image::{Image, Lease};
pub(crate) use known::{Known, KnownLayer, KnownManifest};
pub(crate) use layout::{LayerFiles, Layout};
pub use list::{Details, Summary};
pub(crate) use outgoing::{Outgoing, OutgoingLayer};
pub use remove::{Prune, Remove, Removed, Use};
pub use steps::{Context, PruneSteps};
pub use usage::{ImageUsage, Usage};

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

    /// The images that `name` stands for, each with the name that was meant: a repository without a tag stands for
    /// all tags that it has here, and an id for an image without a name.
    pub(crate) fn named(&self, name: &str) -> Result<Vec<(Digest, Option<Reference>)>, Error> {
        let db = self.read()?;
        let reference = name.parse::<Reference>().ok();
        if let Some(reference) = &reference {
            let all = Reference::is_bare(name);
            let fits =
                |tag: &Reference| tag == reference || (all && tag.name() == reference.name());
            let found = db.tags.iter().filter(|(tag, _)| fits(tag));
            let found: Vec<_> = found.map(|(tag, id)| (*id, Some(tag.clone()))).collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(vec![(db.resolve(name)?, None)])
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
            if let Some(record) = db.images.get_mut(&image) {
                record.tagged = Some(Timestamp::now());
            }
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
