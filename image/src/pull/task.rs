//! One layer of an image that is being pulled: found, or downloaded and unpacked at the same time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::download::Download;
use super::error::Error;
use super::growing::{Follower, Growth};
use super::part::Part;
use crate::digest::Digest;
use crate::import;
use crate::manifest::Descriptor;
use crate::progress::{Event, LayerState, Progress};
use crate::registry::{self, Client, Retry};
use crate::store::scratch::Scratch;
use crate::store::{Claim, HeldLayer, LayerFiles, Store};

/// What all layers of a pull share.
pub(crate) struct Shared<'a> {
    pub(crate) store: &'a Store,
    pub(crate) client: &'a Client,
    pub(crate) retry: &'a Retry,
    pub(crate) slots: &'a Semaphore,
    pub(crate) progress: &'a dyn Progress,
}

/// Tells how far one layer is.
pub(crate) struct Reporter<'a> {
    progress: &'a dyn Progress,
    index: usize,
}

impl std::fmt::Debug for Reporter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl Reporter<'_> {
    pub(crate) fn state(&self, state: LayerState) {
        let index = self.index;
        self.progress.report(&Event::Layer { index, state });
    }

    pub(crate) fn downloading(&self, received: u64) {
        self.state(LayerState::Downloading { received });
    }

    pub(crate) fn retrying(&self, why: &registry::Error, after: Duration) {
        let why = why.to_string();
        self.state(LayerState::Retrying { why, after });
    }
}

impl Shared<'_> {
    /// Makes sure that `layer` is in the store, and keeps it there.
    pub(crate) async fn layer(
        &self,
        index: usize,
        layer: Digest,
        blob: &Descriptor,
    ) -> Result<HeldLayer, Error> {
        let report = Reporter {
            progress: self.progress,
            index,
        };
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await.ok();
        let waiting = || report.state(LayerState::Waiting);
        let missing = match self.store.claim(layer, waiting).await? {
            Claim::Held(held) => {
                report.state(LayerState::Present);
                return Ok(held);
            }
            Claim::Missing(missing) => missing,
        };
        let path = self.store.layout().part(&blob.digest);
        let opened = Part::open(path.clone(), blob.size).await;
        let failed = |source| Error::Write {
            digest: blob.digest,
            path: path.clone(),
            source,
        };
        let mut part = opened.map_err(failed)?;
        let download = Download {
            client: self.client,
            retry: self.retry,
            digest: blob.digest,
            size: blob.size,
            report: &report,
        };
        loop {
            let resumed = part.length() > 0;
            let (next, digest, unpacked) = self.transfer(&download, part, layer).await?;
            part = next;
            if digest == blob.digest {
                // Complete and right: whatever comes of it now, it need not be resumed.
                part.remove().map_err(failed)?;
                let (scratch, files) = unpacked?;
                let held = self.store.put_layer(missing, &files).await?;
                drop(scratch);
                report.state(LayerState::Done);
                return Ok(held);
            }
            if !resumed {
                part.remove().map_err(failed)?;
                return Err(Error::Import(import::Error::Digest {
                    what: "a layer".to_owned(),
                    expected: blob.digest,
                    found: digest,
                }));
            }
            // What an earlier process left was spoilt: once more, from the start.
            part.clear().map_err(failed)?;
        }
    }

    /// Downloads and unpacks side by side. The digest is that of the downloaded bytes.
    #[allow(clippy::type_complexity)]
    async fn transfer(
        &self,
        download: &Download<'_>,
        part: Part,
        layer: Digest,
    ) -> Result<(Part, Digest, Result<(Scratch, LayerFiles), import::Error>), Error> {
        let growth = Arc::new(Growth::default());
        let path = part.path().to_owned();
        let file = part.reader().map_err(|source| Error::Write {
            digest: download.digest,
            path,
            source,
        })?;
        let follower = Follower::new(file, Arc::clone(&growth));
        let scratch = Scratch::new(&self.store.layout().tmp())?;
        let unpacking = spawn_blocking(move || {
            let files = import::unpack(follower, layer, scratch.path())?;
            Ok((scratch, files))
        });
        let downloaded = download.run(part, growth).await;
        if downloaded.is_ok() {
            download.report.state(LayerState::Unpacking);
        }
        // Also after a failure: the thread sees the end of the download and stops by itself.
        let unpacked = unpacking.await;
        let (part, digest) = downloaded?;
        let unpacked =
            unpacked.unwrap_or_else(|e| Err(import::Error::Thread(std::io::Error::other(e))));
        Ok((part, digest, unpacked))
    }
}
