//! One layer of an image that is being pushed: found there, or compressed and uploaded.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::{Compression, GzBuilder};
use tokio::sync::Semaphore;

use super::family::{Family, Sent};
use super::transfer::Transfer;
use super::{Error, blocking};
use crate::digest::{Digest, Hasher};
use crate::layer;
use crate::progress::{Event, LayerState, Progress};
use crate::reference::Reference;
use crate::registry::{self, Client, LocalBlob, Moved, Retry};
use crate::store::scratch::Scratch;
use crate::store::{KnownLayer, OutgoingLayer, Store};

/// Bytes that are compressed at once. What comes out could depend on it, so it is always the same.
const PIECE: usize = 256 << 10;
/// As Docker compresses.
const LEVEL: u32 = 6;

/// What all layers of a push share.
pub(super) struct Shared<'a> {
    pub(super) store: &'a Store,
    pub(super) client: &'a Client,
    pub(super) retry: &'a Retry,
    pub(super) slots: &'a Semaphore,
    pub(super) progress: &'a Arc<dyn Progress>,
    pub(super) family: Family,
    pub(super) reference: &'a Reference,
}

impl Shared<'_> {
    /// Makes sure that the registry has the layer.
    pub(super) async fn layer(
        &self,
        index: usize,
        layer: &OutgoingLayer,
        known: &[KnownLayer],
    ) -> Result<Sent, Error> {
        // The semaphore is never closed.
        let _slot = self.slots.acquire().await.ok();
        if layer.diff_id == layer.layer
            && let Some(sent) = self.find(index, known).await?
        {
            return Ok(sent);
        }
        self.state(index, LayerState::Compressing);
        let scratch = Scratch::new(&self.store.layout().tmp())?;
        let (path, layer) = (scratch.path().join("layer.gz"), layer.clone());
        let packed = blocking(move || pack(&layer, path)).await??;
        let sent = Sent {
            kind: self.family.gzip().to_owned(),
            digest: packed.digest,
            size: packed.size,
        };
        if self.has(index, &packed.digest).await? {
            self.state(index, LayerState::Present);
            return Ok(sent);
        }
        let (progress, size) = (Arc::clone(self.progress), packed.size);
        let moved = Moved::new(move |sent| {
            let state = LayerState::Uploading { sent, size };
            progress.report(&Event::Layer { index, state });
        });
        let transfer = Transfer {
            client: self.client,
            retry: self.retry,
            blob: LocalBlob {
                path: &packed.path,
                digest: packed.digest,
                size: packed.size,
            },
            moved,
        };
        transfer
            .run(|why, after| self.state(index, LayerState::Retrying { why, after }))
            .await?;
        self.state(index, LayerState::Done);
        drop(scratch);
        Ok(sent)
    }

    /// Looks for the layer under the digests that it has had in registries.
    async fn find(&self, index: usize, known: &[KnownLayer]) -> Result<Option<Sent>, Error> {
        let mut known: Vec<(&KnownLayer, String)> = known
            .iter()
            .filter_map(|layer| Some((layer, self.family.layer(&layer.kind)?)))
            .collect();
        known.sort_by_key(|(layer, _)| layer.repository.name() != self.reference.name());
        let sent = |layer: &KnownLayer, kind: &str| Sent {
            kind: kind.to_owned(),
            digest: layer.digest,
            size: layer.size,
        };
        let mut asked: Vec<Digest> = Vec::new();
        for (layer, kind) in &known {
            if asked.contains(&layer.digest) {
                continue;
            }
            asked.push(layer.digest);
            if self.has(index, &layer.digest).await? {
                self.state(index, LayerState::Present);
                return Ok(Some(sent(layer, kind)));
            }
        }
        for (layer, kind) in &known {
            let from = &layer.repository;
            if from.registry() != self.reference.registry() || from.name() == self.reference.name()
            {
                continue;
            }
            let mount = || self.client.mount(&layer.digest, from.repository());
            if self.retry(index, mount).await? {
                let from = from.familiar_name();
                self.state(index, LayerState::Mounted { from });
                return Ok(Some(sent(layer, kind)));
            }
        }
        Ok(None)
    }

    async fn has(&self, index: usize, digest: &Digest) -> Result<bool, Error> {
        self.retry(index, || self.client.has_blob(digest)).await
    }

    async fn retry<T, F>(&self, index: usize, request: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, registry::Error>>,
    {
        let report = |why, after: Duration| self.state(index, LayerState::Retrying { why, after });
        Ok(self.retry.repeat(report, request).await?)
    }

    fn state(&self, index: usize, state: LayerState) {
        self.progress.report(&Event::Layer { index, state });
    }
}

/// A layer as it is transferred.
struct Packed {
    path: PathBuf,
    digest: Digest,
    size: u64,
}

/// Makes the layer's tar stream and compresses it. Blocks.
fn pack(layer: &OutgoingLayer, path: PathBuf) -> Result<Packed, Error> {
    let failed = |source| Error::Layer {
        layer: layer.layer,
        source,
    };
    let written = |e| failed(layer::Error::io("write", &path, e));
    let counted = Counted::create(&path).map_err(written)?;
    let encoder = GzBuilder::new().write(counted, Compression::new(LEVEL));
    let mut pieces = BufPieces::new(encoder);
    layer.write(&mut pieces).map_err(|source| match source {
        layer::Error::Output(e) => written(e),
        source => failed(source),
    })?;
    let counted = pieces.finish().and_then(flate2::write::GzEncoder::finish);
    let (digest, size) = counted.and_then(Counted::finish).map_err(written)?;
    Ok(Packed { path, digest, size })
}

/// Hands on pieces of always the same size.
struct BufPieces<W: Write> {
    inner: W,
    piece: Vec<u8>,
}

impl<W: Write> BufPieces<W> {
    fn new(inner: W) -> Self {
        let piece = Vec::with_capacity(PIECE);
        Self { inner, piece }
    }

    fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&self.piece)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for BufPieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece
            .extend_from_slice(bytes.get(..count).unwrap_or_default());
        if self.piece.len() == PIECE {
            self.inner.write_all(&self.piece)?;
            self.piece.clear();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file, with the digest and the length of what is written to it.
struct Counted {
    file: BufWriter<File>,
    hasher: Hasher,
    size: u64,
}

impl Counted {
    fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: BufWriter::with_capacity(PIECE, File::create_new(path)?),
            hasher: Hasher::default(),
            size: 0,
        })
    }

    fn finish(mut self) -> io::Result<(Digest, u64)> {
        self.file.flush()?;
        Ok((self.hasher.finish(), self.size))
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        self.size += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
