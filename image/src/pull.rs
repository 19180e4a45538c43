//! `pull`: an image from a registry into the store.
//!
//! Manifest, configuration, then the layers that the store lacks, several at once. Each layer streams:
//! network, partial file, digest of the compressed bytes, decompression, digest of the content, blob and
//! index. Nothing of it counts before the image is put into the database at the end, except that complete layers are
//! kept for the next attempt until garbage is collected.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

mod download;
mod error;
mod growing;
mod part;
mod task;
#[cfg(test)]
mod tests;

pub use error::Error;

use crate::config::Config;
use crate::digest::Digest;
use crate::import::{self, check_config, check_digest};
use crate::manifest::{Descriptor, Document, Manifest};
use crate::platform::Platform;
use crate::progress::{Event, LayerInfo, Progress};
use crate::reference::Reference;
use crate::registry::{self, Client};
use crate::store::{NewImage, Store};
use task::Shared;

/// Lists may lead to lists, but not for long.
const MAX_NESTING: usize = 3;

/// How to pull.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// The platform to take; what microVMs run if it is not given.
    pub platform: Option<Platform>,
    /// How to reach registries.
    pub registries: registry::Config,
}

/// An image that was pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Its id.
    pub id: Digest,
    /// The digest of what the reference led to: a manifest or a list of them.
    pub digest: Digest,
    /// Whether the name led to another image before, or to none.
    pub is_new: bool,
}

impl Store {
    /// Fetches what `reference` names and gives it that name. Dropping the future calls the pull off; what was
    /// downloaded is kept for the next one.
    ///
    /// # Errors
    /// When the registry fails, lies or lacks the image, or the store cannot take it.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Pulled, Error> {
        let client = Client::new(reference, &options.registries).await?;
        let pull = Pull {
            store: self,
            client: &client,
            reference,
            options,
            progress: progress.as_ref(),
        };
        pull.run().await
    }
}

struct Pull<'a> {
    store: &'a Store,
    client: &'a Client,
    reference: &'a Reference,
    options: &'a PullOptions,
    progress: &'a dyn Progress,
}

/// A manifest with what leads to it.
struct Found {
    digest: Digest,
    top: Vec<u8>,
    /// The manifest's bytes, where the top is a list.
    own: Option<Vec<u8>>,
    manifest: Manifest,
}

impl Pull<'_> {
    async fn run(&self) -> Result<Pulled, Error> {
        let found = self.find().await?;
        let config = self.config(&found.manifest.config).await?;
        let wanted = self.options.platform.clone().unwrap_or_default();
        check_config(&config, found.manifest.layers.len(), &wanted)?;
        let blobs = found.manifest.layers.iter();
        let infos = config.layers().iter().zip(blobs);
        let infos = infos.map(|(layer, blob)| LayerInfo {
            layer: *layer,
            size: blob.size,
        });
        self.progress.report(&Event::Layers(infos.collect()));

        let slots = Semaphore::new(self.options.registries.downloads.max(1));
        let shared = Shared {
            store: self.store,
            client: self.client,
            retry: &self.options.registries.retry,
            slots: &slots,
            progress: self.progress,
        };
        // An image may have the same layer more than once; it is fetched for its first place.
        let mut distinct: BTreeMap<Digest, (usize, &Descriptor)> = BTreeMap::new();
        let blobs = config.layers().iter().zip(&found.manifest.layers);
        for (index, (layer, blob)) in blobs.enumerate() {
            distinct.entry(*layer).or_insert((index, blob));
        }
        let mut distinct: Vec<_> = distinct.into_iter().collect();
        distinct.sort_by_key(|(_, (index, _))| *index);
        let layers = distinct
            .into_iter()
            .map(|(layer, (index, blob))| shared.layer(index, layer, blob));
        let held = try_join_all(layers).await?;

        let before = self.store.resolve(&self.reference.to_string()).ok();
        let image = NewImage {
            config,
            held,
            names: self.reference.without_digest().into_iter().collect(),
            manifest: Some((self.reference.with_digest(found.digest), found.top)),
            own_manifest: found.own,
            parent: None,
        };
        let store = self.store.clone();
        let id = tokio::task::spawn_blocking(move || store.put_image(image))
            .await
            .map_err(|e| import::Error::Thread(std::io::Error::other(e)))??;
        Ok(Pulled {
            id,
            digest: found.digest,
            is_new: before != Some(id),
        })
    }

    /// Follows the reference, through a list if there is one, to the manifest for the platform.
    async fn find(&self) -> Result<Found, Error> {
        let name = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or_default().to_owned(),
        };
        let (top, kind) = self.retry(|| self.client.manifest(&name)).await?;
        let digest = Digest::of(&top);
        if let Some(expected) = self.reference.digest() {
            check_digest(&top, expected, "the manifest")?;
        }
        let wanted = self.options.platform.clone().unwrap_or_default();
        let mut document = parse(&top, kind.as_deref())?;
        let mut own = None;
        for _ in 0..MAX_NESTING {
            let list = match document {
                Document::Manifest(manifest) => {
                    return Ok(Found {
                        digest,
                        top,
                        own,
                        manifest,
                    });
                }
                Document::List(list) => list,
            };
            let entry = list.select(&wanted).map_err(import::Error::Manifest)?;
            let name = entry.digest.to_string();
            let (bytes, kind) = self.retry(|| self.client.manifest(&name)).await?;
            check_digest(&bytes, &entry.digest, "the manifest")?;
            document = parse(&bytes, kind.as_deref())?;
            own = Some(bytes);
        }
        Err(Error::Nested)
    }

    async fn config(&self, blob: &Descriptor) -> Result<Config, Error> {
        if let Ok(known) = self.store.inspect(&blob.digest.to_string()) {
            return Ok(known.config);
        }
        let request = || self.client.small_blob(&blob.digest, blob.size);
        let bytes = self.retry(request).await?;
        check_digest(&bytes, &blob.digest, "the image's configuration")?;
        Ok(Config::parse(bytes).map_err(import::Error::Config)?)
    }

    /// Repeats a small request while its failure may be a passing one.
    async fn retry<T, F>(&self, request: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, registry::Error>>,
    {
        let report = |why, after| self.progress.report(&Event::Retry { why, after });
        Ok(self
            .options
            .registries
            .retry
            .repeat(report, request)
            .await?)
    }
}

fn parse(bytes: &[u8], kind: Option<&str>) -> Result<Document, Error> {
    Ok(Document::parse(bytes, kind).map_err(import::Error::Manifest)?)
}
