//! What builds need of the store: the files of images, a context's files, and the results of steps, which are found again by their keys.
//!
//! A result is an image like any other. It keeps the keys of the steps that made it, so it is forgotten when it goes, and with a
//! key that leads nowhere the step is done again.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::scratch::Scratch;
use super::{Error, Freed, Image, Store, Use};
use crate::build::{CopyError, Files};
use crate::digest::Digest;
use crate::layer;

/// Files that came for a build, and a place for what it makes of them. They are on the disk for as long as this lives.
#[derive(Debug)]
pub struct Context {
    /// The files.
    pub files: Arc<Files>,
    scratch: Scratch,
}

/// Which results of steps go.
#[derive(Clone, Debug, Default)]
pub struct PruneSteps {
    /// The keys of all others are forgotten, too: the next build does every step again.
    pub all: bool,
    /// Only those that are older.
    pub until: Option<Timestamp>,
    /// What containers use, and so stays.
    pub uses: Vec<Use>,
}

impl Context {
    /// Another place, empty, on the store's file system.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn place(&self) -> Result<tempfile::TempDir, CopyError> {
        let within = self.scratch.path();
        tempfile::tempdir_in(within).map_err(|e| layer::Error::io("make", within, e).into())
    }

    fn dir(&self) -> &Path {
        self.scratch.path()
    }
}

impl Store {
    /// Takes the tar stream of a build's context, compressed or not. Blocks.
    ///
    /// # Errors
    /// It is no archive, or there is no room for it.
    pub fn context(&self, stream: impl Read + Send) -> Result<Context, CopyError> {
        let scratch = Scratch::new(&self.layout.tmp()).map_err(CopyError::Store)?;
        let mut context = Context {
            files: Arc::default(),
            scratch,
        };
        let dir = context.dir().join("context");
        std::fs::create_dir(&dir).map_err(|e| layer::Error::io("make", &dir, e))?;
        context.files = Arc::new(Files::from_tar(stream, &dir)?);
        Ok(context)
    }

    /// The files of an image, for as long as that is held.
    ///
    /// # Errors
    /// A layer cannot be read.
    pub fn files(&self, image: &Image) -> Result<Files, CopyError> {
        let layers: Vec<_> = image
            .layers()
            .iter()
            .map(|layer| {
                let files = self.layout.layer(layer);
                (files.index, files.blob)
            })
            .collect();
        Files::open(&layers)
    }

    /// What the step with this key made, if it is there.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn step(&self, key: &Digest) -> Result<Option<Image>, Error> {
        let db = self.read()?;
        let made = |(_, record): &(_, &super::db::Record)| record.steps.contains(key);
        let found = db.images.iter().find(made).map(|(id, _)| id.to_string());
        match found.map(|id| self.image(&id)).transpose() {
            // It has just been removed, or is damaged: then the step is done again.
            Err(Error::NotFound(_) | Error::Damaged { .. }) => Ok(None),
            found => found,
        }
    }

    /// Notes that the step with this key made this image.
    ///
    /// # Errors
    /// There is no such image, or the database cannot be written.
    pub fn note_step(&self, key: &Digest, image: &Digest) -> Result<(), Error> {
        self.change(|db| {
            let record = db.images.get_mut(image);
            let record = record.ok_or_else(|| Error::NotFound(image.to_string()))?;
            record.steps.insert(*key);
            Ok(())
        })
    }

    /// Removes results of steps that have no name, and that neither an image with a name nor a container was made of.
    ///
    /// # Errors
    /// The store cannot be read or changed.
    pub fn prune_steps(&self, prune: &PruneSteps) -> Result<(Vec<Digest>, Freed), Error> {
        let _lock = self.lock()?;
        let mut db = self.read()?;
        let mut removed = Vec::new();
        loop {
            let fits = |(id, record): &(&Digest, &super::db::Record)| {
                !record.steps.is_empty()
                    && prune.until.is_none_or(|until| record.added < until)
                    && db.names(id).is_empty()
                    && !db.has_children(id)
                    && self.refuse_use("", id, &prune.uses).is_ok()
            };
            // With each that goes, the one that it was made of may have no other child.
            let Some(id) = db.images.iter().find(fits).map(|(id, _)| *id) else {
                break;
            };
            db.images.remove(&id);
            removed.push(id);
        }
        if prune.all {
            for record in db.images.values_mut() {
                if prune.until.is_none_or(|until| record.added < until) {
                    record.steps.clear();
                }
            }
        }
        db.write(&self.layout.db())?;
        let freed = self.collect()?;
        Ok((removed, freed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CommitOptions, Remove};

    fn layer(name: &str) -> std::io::Cursor<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &b"x"[..]).unwrap();
        std::io::Cursor::new(archive.into_inner().unwrap())
    }

    /// Two steps of which the second has a name.
    async fn built(store: &Store) -> (Digest, Digest, Digest) {
        let options = CommitOptions::default();
        let first = store
            .commit(None, layer("a"), options.clone())
            .await
            .unwrap();
        let key = Digest::of(b"first");
        store.note_step(&key, &first).unwrap();
        let named = CommitOptions {
            name: Some("app:1".parse().unwrap()),
            ..options
        };
        let last = store.commit(Some(&first), layer("b"), named).await.unwrap();
        store.note_step(&Digest::of(b"last"), &last).unwrap();
        (key, first, last)
    }

    #[tokio::test]
    async fn a_step_is_found_by_its_key_for_as_long_as_its_image_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (key, first, last) = built(&store).await;
        assert_eq!(store.step(&key).unwrap().unwrap().id(), first);
        assert!(store.step(&Digest::of(b"another")).unwrap().is_none());
        let files = store
            .files(&store.image(&last.to_string()).unwrap())
            .unwrap();
        assert_eq!(files.read("/a", 10).unwrap().unwrap(), b"x");
        store.remove_with("app:1", &Remove::default()).unwrap();
        assert!(store.step(&key).unwrap().is_none());
    }

    #[tokio::test]
    async fn pruning_takes_steps_of_which_nothing_is_left_and_forgets_the_others_if_asked() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (key, first, _) = built(&store).await;
        let orphan = store.commit(Some(&first), layer("c"), CommitOptions::default());
        let orphan = orphan.await.unwrap();
        store.note_step(&Digest::of(b"orphan"), &orphan).unwrap();
        let (removed, _) = store.prune_steps(&PruneSteps::default()).unwrap();
        assert_eq!(removed, [orphan]);
        assert!(store.step(&key).unwrap().is_some());
        let all = PruneSteps {
            all: true,
            ..PruneSteps::default()
        };
        assert!(store.prune_steps(&all).unwrap().0.is_empty());
        assert!(store.step(&key).unwrap().is_none());
        assert!(store.image("app:1").is_ok());
    }

    #[test]
    fn a_context_is_read_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let context = store.context(layer("Dockerfile")).unwrap();
        assert_eq!(context.files.read("Dockerfile", 10).unwrap().unwrap(), b"x");
        let place = context.place().unwrap();
        assert!(place.path().starts_with(dir.path()));
        drop((place, context));
        assert_eq!(std::fs::read_dir(store.layout().tmp()).unwrap().count(), 0);
    }
}
