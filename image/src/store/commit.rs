//! How layers and images come into the store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jiff::Timestamp;

use super::db::{Record, sync_dir, write_atomic};
use super::lock::{FileLock, Mode};
use super::scratch::Scratch;
use super::{Error, LayerFiles, Store};
use crate::config::Config;
use crate::digest::Digest;
use crate::erofs;
use crate::reference::Reference;

/// A layer that is in the store and stays while this lives.
#[derive(Debug)]
pub(crate) struct HeldLayer {
    pub(crate) layer: Digest,
    _lock: FileLock,
}

/// What came of asking for a layer.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is there.
    Held(HeldLayer),
    /// It is not, and nobody else may make it meanwhile.
    Missing(MissingLayer),
}

/// The exclusive right to make a layer.
#[derive(Debug)]
pub(crate) struct MissingLayer {
    layer: Digest,
    lock: FileLock,
}

/// An image whose layers are all there.
#[derive(Debug)]
pub(crate) struct NewImage {
    pub(crate) config: Config,
    /// What keeps its layers in place meanwhile.
    pub(crate) held: Vec<HeldLayer>,
    /// Names to give it, taken from other images if need be.
    pub(crate) names: Vec<Reference>,
    /// The manifest with the reference `repository@digest` that it was found under.
    pub(crate) manifest: Option<(Reference, Vec<u8>)>,
    /// The image's own manifest, where that is a list.
    pub(crate) own_manifest: Option<Vec<u8>>,
    /// The image that it was made of here.
    pub(crate) parent: Option<Digest>,
}

impl Store {
    /// Waits for whoever makes `layer`, and tells whether it is there now. `waiting` is called if there is someone.
    pub(crate) async fn claim(
        &self,
        layer: Digest,
        waiting: impl FnOnce(),
    ) -> Result<Claim, Error> {
        let path = self.layout.layer_lock(&layer);
        let failed = |e| Error::io("lock", &path, e);
        let files = self.layout.layer(&layer);
        let mut waiting = Some(waiting);
        let lock = FileLock::acquire(&path, Mode::Shared, || {
            if let Some(waiting) = waiting.take() {
                waiting();
            }
        })
        .await
        .map_err(failed)?;
        if files.exist() {
            return Ok(Claim::Held(HeldLayer { layer, _lock: lock }));
        }
        drop(lock);
        let lock = FileLock::acquire(&path, Mode::Exclusive, || {
            if let Some(waiting) = waiting.take() {
                waiting();
            }
        })
        .await
        .map_err(failed)?;
        let missing = MissingLayer { layer, lock };
        if files.exist() {
            return missing.held(&files).await.map(Claim::Held);
        }
        Ok(Claim::Missing(missing))
    }

    /// Puts a complete layer in its place. `made` are files on the store's file system.
    pub(crate) async fn put_layer(
        &self,
        missing: MissingLayer,
        made: &LayerFiles,
    ) -> Result<HeldLayer, Error> {
        let files = self.layout.layer(&missing.layer);
        for path in [&made.blob, &made.index, &made.headers] {
            fs::File::open(path)
                .and_then(|file| file.sync_all())
                .map_err(|e| Error::io("sync", path, e))?;
        }
        // The index says that the layer is there, so it comes last.
        rename(&made.headers, &files.headers)?;
        rename(&made.blob, &files.blob)?;
        rename(&made.index, &files.index)?;
        if let Some(dir) = files.index.parent() {
            sync_dir(dir)?;
        }
        missing.held(&files).await
    }

    /// Makes the image known. Its layers are let go of only afterwards, so that no collection of
    /// garbage comes in between.
    pub(crate) fn put_image(&self, image: NewImage) -> Result<Digest, Error> {
        let id = image.config.id();
        let layers = image.config.layers().to_vec();
        // Whoever makes an image without its layers would make a broken one.
        if let Some(layer) = layers
            .iter()
            .find(|layer| !image.held.iter().any(|held| held.layer == **layer))
        {
            return Err(Error::Vanished(*layer));
        }
        // Before the lock, because it may take a while for a large image.
        if !self.layout.erofs(&id).is_file() {
            self.put_erofs(&id, &layers)?;
        }
        let _lock = self.lock()?;
        let mut db = self.read()?;
        write_atomic(&self.layout.config(&id), image.config.bytes())?;
        let record = db.images.entry(id).or_insert_with(|| Record {
            layers: layers.clone(),
            size: 0,
            added: Timestamp::now(),
            digests: BTreeSet::new(),
            manifests: BTreeMap::new(),
            tagged: None,
            parent: image.parent,
            steps: BTreeSet::new(),
        });
        record.size = self.size_of(&id, &layers);
        if let Some((reference, bytes)) = image.manifest {
            if let Some(digest) = reference.digest() {
                write_atomic(&self.layout.manifest(digest), &bytes)?;
                if let Some(own) = image.own_manifest {
                    let own_digest = Digest::of(&own);
                    write_atomic(&self.layout.manifest(&own_digest), &own)?;
                    record.manifests.insert(*digest, own_digest);
                }
            }
            record.digests.insert(reference);
        }
        for name in image.names {
            db.tags.insert(name, id);
        }
        db.write(&self.layout.db())?;
        Ok(id)
    }

    /// Makes the metadata image from the indexes of the layers. Its bytes follow from theirs, so it does not matter
    /// if two do it at once.
    pub(super) fn put_erofs(&self, image: &Digest, layers: &[Digest]) -> Result<(), Error> {
        let indexes: Vec<_> = layers
            .iter()
            .map(|layer| self.layout.layer(layer).index)
            .collect();
        let scratch = Scratch::new(&self.layout.tmp())?;
        let made = scratch.path().join("erofs");
        erofs::build(&indexes, &made).map_err(|source| Error::Erofs {
            image: *image,
            source,
        })?;
        let place = self.layout.erofs(image);
        rename(&made, &place)?;
        place.parent().map_or(Ok(()), sync_dir)
    }

    /// Bytes that an image takes here.
    fn size_of(&self, image: &Digest, layers: &[Digest]) -> u64 {
        let mut distinct = layers.to_vec();
        distinct.sort();
        distinct.dedup();
        let layers = distinct.iter().map(|layer| {
            let files = self.layout.layer(layer);
            files.size()
        });
        layers.sum::<u64>() + super::image::size(&self.layout.erofs(image))
    }
}

impl MissingLayer {
    async fn held(self, files: &LayerFiles) -> Result<HeldLayer, Error> {
        let layer = self.layer;
        let path = self.lock.path().to_owned();
        let lock = self.lock.share();
        let lock = lock.await.map_err(|e| Error::io("lock", path, e))?;
        if files.exist() {
            Ok(HeldLayer { layer, _lock: lock })
        } else {
            Err(Error::Vanished(layer))
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|e| Error::io("put in place", to, e))
}
