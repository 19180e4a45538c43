//! `push`: an image of the store to a registry.
//!
//! What the registry has is not sent again: a layer that an image here came with from that registry, or went to it before, is
//! looked for under the digest that it had there, and taken from the other repository if that is where it is. Other layers are
//! made again as the tar streams that they came as, compressed into a file, and uploaded from there, so that an
//! upload that was interrupted goes on where it stopped.
//!
//! If all layers are found as a manifest in the store names them, that manifest is pushed as it is, and the digest stays what it
//! was. Otherwise a new one is made, in the format of the old one; in Docker's (schema 2) where there was none.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

mod error;
mod family;
mod layer;
#[cfg(test)]
mod tests;
mod transfer;

pub use error::Error;

use self::family::{Family, Sent};
use self::layer::Shared;
use crate::digest::Digest;
use crate::platform::Platform;
use crate::progress::{Event, LayerInfo, Progress};
use crate::reference::Reference;
use crate::registry::{self, Client};
use crate::store::{Known, Outgoing, Store};

/// How to push.
#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    /// The platform that the image must be for, if that matters.
    pub platform: Option<Platform>,
    /// How to reach registries.
    pub registries: registry::Config,
}

/// An image that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of its manifest.
    pub digest: Digest,
    /// The length of that in bytes.
    pub size: u64,
}

impl Store {
    /// Sends the image that has the name `reference` to the registry of that name. Dropping the future calls the push off.
    ///
    /// # Errors
    /// When there is no such image, or the registry fails or refuses it.
    pub async fn push(
        &self,
        reference: &Reference,
        options: &PushOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Pushed, Error> {
        let Some(tag) = reference.tag().filter(|_| reference.digest().is_none()) else {
            return Err(Error::Digest(reference.familiar()));
        };
        let (store, name) = (self.clone(), reference.to_string());
        let (image, known) = blocking(move || {
            let id = store.resolve(&name)?;
            Ok::<_, Error>((store.outgoing(&id)?, store.known(&id)?))
        })
        .await??;
        let found = image.config.platform();
        if let Some(wanted) = &options.platform
            && wanted.rank(&found).is_none()
        {
            return Err(Error::Platform {
                wanted: wanted.to_string(),
                found: found.to_string(),
            });
        }
        let mut client = Client::new(reference, &options.registries).await?;
        let here = known.layers.iter().flatten();
        let here = here.filter(|layer| layer.repository.registry() == reference.registry());
        let sources: Vec<String> = here
            .map(|layer| layer.repository.repository().to_owned())
            .collect();
        client.prepare_push(&sources);
        let push = Push {
            store: self,
            client: &client,
            reference,
            tag,
            options,
            progress: &progress,
        };
        push.run(&image, known).await
    }
}

struct Push<'a> {
    store: &'a Store,
    client: &'a Client,
    reference: &'a Reference,
    tag: &'a str,
    options: &'a PushOptions,
    progress: &'a Arc<dyn Progress>,
}

impl Push<'_> {
    async fn run(&self, image: &Outgoing, known: Known) -> Result<Pushed, Error> {
        let infos = image.layers.iter().map(|layer| LayerInfo {
            layer: layer.layer,
            size: layer.length,
        });
        self.progress.report(&Event::Layers(infos.collect()));
        let family = known
            .manifest
            .as_ref()
            .map_or(Family::Docker, |manifest| Family::of(&manifest.bytes));
        let slots = Semaphore::new(self.options.registries.uploads.max(1));
        let shared = Shared {
            store: self.store,
            client: self.client,
            retry: &self.options.registries.retry,
            slots: &slots,
            progress: self.progress,
            family,
            reference: self.reference,
        };
        // An image may have the same layer more than once; it is sent for its first place.
        let mut distinct = BTreeMap::new();
        for (index, layer) in image.layers.iter().enumerate() {
            distinct.entry(layer.layer).or_insert((index, layer));
        }
        let none = Vec::new();
        let layers = distinct.values().map(|(index, layer)| {
            let known = known.layers.get(*index).unwrap_or(&none);
            shared.layer(*index, layer, known)
        });
        let sent = try_join_all(layers).await?;
        let sent: BTreeMap<Digest, Sent> = distinct.into_keys().zip(sent).collect();
        let layers = image
            .layers
            .iter()
            .filter_map(|layer| sent.get(&layer.layer));
        let layers: Vec<&Sent> = layers.collect();

        let config = image.config.bytes();
        self.config(&image.config.id(), config).await?;
        let (kind, manifest) = match known.manifest {
            Some(manifest) if manifest.names(&image.config.id(), &layers) => {
                (Family::kind_of(&manifest.bytes), manifest.bytes)
            }
            _ => (family.manifest(), family.make(image, &layers)),
        };
        let manifest = Bytes::from(manifest);
        let put = || self.client.put_manifest(self.tag, kind, manifest.clone());
        self.retry(put).await?;
        let digest = Digest::of(&manifest);
        // The copy of an image whose layers have changed is not this image.
        if image.config.id() == image.image.id() {
            let (store, id) = (self.store.clone(), image.image.id());
            let name = self.reference.with_digest(digest);
            let bytes = manifest.clone();
            blocking(move || store.was_pushed(&id, name, &bytes)).await??;
        }
        let size = u64::try_from(manifest.len()).unwrap_or(u64::MAX);
        Ok(Pushed { digest, size })
    }

    async fn config(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        if self.retry(|| self.client.has_blob(digest)).await? {
            return Ok(());
        }
        let bytes = Bytes::copy_from_slice(bytes);
        self.retry(|| self.client.put_small(digest, bytes.clone()))
            .await
    }

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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = spawn_blocking(work).await;
    done.map_err(|e| Error::Thread(std::io::Error::other(e)))
}
