//! What registries are known to have of an image: the manifests in the store say it.

use std::collections::BTreeMap;
use std::fs;

use super::db::{Db, Record, write_atomic};
use super::{Error, Store};
use crate::digest::Digest;
use crate::manifest::{Document, Manifest};
use crate::reference::Reference;

/// What is known of an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The manifest that it came with, if it did.
    pub(crate) manifest: Option<KnownManifest>,
    /// For each layer, where else it is.
    pub(crate) layers: Vec<Vec<KnownLayer>>,
}

/// The manifest of an image, byte for byte.
#[derive(Clone, Debug)]
pub(crate) struct KnownManifest {
    pub(crate) bytes: Vec<u8>,
}

/// A layer as a repository has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownLayer {
    /// With the digest of a manifest there.
    pub(crate) repository: Reference,
    /// Its media type.
    pub(crate) kind: String,
    /// Of the layer as it is transferred.
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Store {
    /// What is known of an image and its layers, those included that other images share.
    pub(crate) fn known(&self, image: &Digest) -> Result<Known, Error> {
        let db = self.read()?;
        let Some(record) = db.images.get(image) else {
            return Ok(Known::default());
        };
        let mut places: BTreeMap<Digest, Vec<KnownLayer>> = BTreeMap::new();
        for other in shared_with(&db, record) {
            for reference in &other.digests {
                let Some((_, manifest)) = self.manifest_of(other, reference) else {
                    continue;
                };
                for (layer, blob) in other.layers.iter().zip(manifest.layers) {
                    let known = KnownLayer {
                        repository: reference.clone(),
                        kind: blob.media_type,
                        digest: blob.digest,
                        size: blob.size,
                    };
                    let places = places.entry(*layer).or_default();
                    if !places.contains(&known) {
                        places.push(known);
                    }
                }
            }
        }
        let manifest = record
            .digests
            .iter()
            .find_map(|reference| self.manifest_of(record, reference));
        Ok(Known {
            manifest: manifest.map(|(bytes, _)| KnownManifest { bytes }),
            layers: record
                .layers
                .iter()
                .map(|layer| places.get(layer).cloned().unwrap_or_default())
                .collect(),
        })
    }

    /// The manifest of the image itself, also where the reference leads to a list of them. One that cannot be read is no loss.
    fn manifest_of(&self, record: &Record, reference: &Reference) -> Option<(Vec<u8>, Manifest)> {
        let top = reference.digest()?;
        let digest = record.manifests.get(top).unwrap_or(top);
        let bytes = fs::read(self.layout().manifest(digest)).ok()?;
        if Digest::of(&bytes) != *digest {
            return None;
        }
        match Document::parse(&bytes, None) {
            Ok(Document::Manifest(manifest)) if manifest.layers.len() == record.layers.len() => {
                Some((bytes, manifest))
            }
            _ => None,
        }
    }

    /// Notes that a registry has the image under this digest.
    pub(crate) fn was_pushed(
        &self,
        image: &Digest,
        reference: Reference,
        manifest: &[u8],
    ) -> Result<(), Error> {
        let path = self.layout().manifest(&Digest::of(manifest));
        self.change(|db| {
            // It may have been removed meanwhile, which is no reason to fail.
            if let Some(record) = db.images.get_mut(image) {
                write_atomic(&path, manifest)?;
                record.digests.insert(reference);
            }
            Ok(())
        })
    }
}

/// The image itself, and others that have a layer of it.
fn shared_with<'a>(db: &'a Db, record: &'a Record) -> impl Iterator<Item = &'a Record> {
    let shares = |other: &&Record| {
        other
            .layers
            .iter()
            .any(|layer| record.layers.contains(layer))
    };
    db.images.values().filter(shares)
}
