//! Taking names and images away.

use super::db::Db;
use super::gc::Freed;
use super::lock::{FileLock, Mode};
use super::{Error, Store};
use crate::digest::Digest;
use crate::filter::Filters;
use crate::reference::Reference;

/// A container, stopped or not, that needs an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The image's id.
    pub image: Digest,
    /// How to say who it is: `container web`.
    pub by: String,
}

/// One line of what a removal did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name no longer leads to the image.
    Untagged(Reference),
    /// The image is gone from the store.
    Deleted(Digest),
}

/// How `Store::remove_with` goes about it.
#[derive(Clone, Debug, Default)]
pub struct Remove {
    /// Also an image that has several names, or is used.
    pub force: bool,
    /// Leave images without a name that it was made of.
    pub keep_parents: bool,
    /// What containers use.
    pub uses: Vec<Use>,
}

/// What `Store::prune` takes.
#[derive(Clone, Debug, Default)]
pub struct Prune {
    /// Also images that have a name, if nobody uses them.
    pub all: bool,
    /// Only those that these mean.
    pub filters: Filters,
    /// What containers use, and so stays.
    pub uses: Vec<Use>,
}

impl Store {
    /// Takes the name `name` away, and the image with it if that was its last name. An id takes all names. Layers
    /// that no other image has are removed.
    ///
    /// With `force`, an image goes from the list also if it is used; its files stay while a lease on it is held.
    ///
    /// # Errors
    /// When there is no such image, when `uses` or a lease keep it, or when an id has several names.
    pub fn remove(&self, name: &str, force: bool, uses: &[Use]) -> Result<Vec<Removed>, Error> {
        let remove = Remove {
            force,
            keep_parents: false,
            uses: uses.to_vec(),
        };
        self.remove_with(name, &remove)
    }

    /// The same, with all that can be said about it. With an image go those that it was made of here, as far as they have
    /// no name, no other children and no users.
    ///
    /// # Errors
    /// When there is no such image, or something keeps it.
    pub fn remove_with(&self, name: &str, remove: &Remove) -> Result<Vec<Removed>, Error> {
        let Remove { force, uses, .. } = remove;
        let _lock = self.lock()?;
        let mut db = self.read()?;
        let id = db.resolve(name)?;
        let names: Vec<Reference> = db.names(&id).into_iter().cloned().collect();
        let by_name = name
            .parse::<Reference>()
            .ok()
            .filter(|reference| names.contains(reference));
        let mut removed = Vec::new();
        match by_name {
            Some(reference) if names.len() > 1 => {
                db.tags.remove(&reference);
                removed.push(Removed::Untagged(reference));
            }
            _ => {
                if !*force {
                    if by_name.is_none() && names.len() > 1 {
                        return Err(several(name, &names));
                    }
                    self.refuse_use(name, &id, uses)?;
                }
                for reference in names {
                    db.tags.remove(&reference);
                    removed.push(Removed::Untagged(reference));
                }
                let record = db.images.remove(&id);
                removed.push(Removed::Deleted(id));
                let mut parent = record.and_then(|record| record.parent);
                while let Some(id) = parent.filter(|_| !remove.keep_parents)
                    && db.names(&id).is_empty()
                    && !db.has_children(&id)
                    && self.refuse_use("", &id, uses).is_ok()
                    && let Some(record) = db.images.remove(&id)
                {
                    removed.push(Removed::Deleted(id));
                    parent = record.parent;
                }
            }
        }
        db.write(&self.layout.db())?;
        self.collect()?;
        Ok(removed)
    }

    /// Removes images that have no name (or, with `all`, that nobody uses), layers that no image
    /// has, and downloads that were given up.
    ///
    /// # Errors
    /// When the store cannot be read or changed.
    pub fn prune(&self, prune: &Prune) -> Result<(Vec<Removed>, Freed), Error> {
        let _lock = self.lock()?;
        let meant = self.select(&prune.filters, true)?;
        let mut db = self.read()?;
        let mut removed = Vec::new();
        for image in meant {
            let id = image.id;
            // An image that another one was made of is not dangling, though nobody names it.
            let wanted = !prune.all && (!db.names(&id).is_empty() || db.has_children(&id));
            if wanted || self.refuse_use("", &id, &prune.uses).is_err() {
                continue;
            }
            removed.extend(forget(&mut db, &id));
        }
        db.write(&self.layout.db())?;
        let mut freed = self.collect()?;
        freed.bytes += self.collect_downloads()?;
        self.collect_locks()?;
        Ok((removed, freed))
    }

    pub(super) fn refuse_use(&self, name: &str, id: &Digest, uses: &[Use]) -> Result<(), Error> {
        let in_use = |by: String| Error::InUse {
            image: name.to_owned(),
            by,
        };
        if let Some(user) = uses.iter().find(|user| user.image == *id) {
            return Err(in_use(user.by.clone()));
        }
        let path = self.layout.image_lock(id);
        let lock =
            FileLock::try_lock(&path, Mode::Exclusive).map_err(|e| Error::io("lock", &path, e))?;
        match lock {
            Some(_) => Ok(()),
            None => Err(in_use("a running container".to_owned())),
        }
    }
}

fn forget(db: &mut Db, id: &Digest) -> Vec<Removed> {
    let names: Vec<Reference> = db.names(id).into_iter().cloned().collect();
    for name in &names {
        db.tags.remove(name);
    }
    db.images.remove(id);
    let untagged = names.into_iter().map(Removed::Untagged);
    untagged.chain([Removed::Deleted(*id)]).collect()
}

fn several(image: &str, names: &[Reference]) -> Error {
    let names: Vec<String> = names.iter().map(Reference::familiar).collect();
    Error::SeveralNames {
        image: image.to_owned(),
        names: names.join(", "),
    }
}
