//! From a layer's bytes to a layer in the store, for `pull` and `load` alike.

use std::io::{self, Read};

use crate::config::{self, Config};
use crate::decompress::decompress;
use crate::digest::{Digest, Hasher};
use crate::layer;
use crate::manifest;
use crate::platform::Platform;
use crate::store::{self, LayerFiles};

/// Why an image cannot come into the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its manifest is refused.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// Its configuration is refused.
    #[error("the image's configuration cannot be used")]
    Config(#[from] config::Error),
    /// What came is not what was announced.
    #[error("{what} has the digest {found} instead of {expected}: it was altered or damaged")]
    Digest {
        /// What was checked.
        what: String,
        /// The digest that it was asked for by.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// What came has another length than was announced.
    #[error("{what} has {found} bytes instead of {expected}")]
    Size {
        /// What was checked.
        what: String,
        /// As announced.
        expected: u64,
        /// As it came.
        found: u64,
    },
    /// Configuration and manifest do not belong together.
    #[error("the manifest has {manifest} layers, but the configuration names {config}")]
    LayerCount {
        /// Layers in the manifest.
        manifest: usize,
        /// Layers in the configuration.
        config: usize,
    },
    /// It is for another kind of machine.
    #[error("the image is for {found}, not for {wanted}; --platform {found} takes it nevertheless")]
    Platform {
        /// What was asked for.
        wanted: String,
        /// What the configuration says.
        found: String,
    },
    /// A layer cannot be unpacked.
    #[error("layer {} cannot be unpacked", .layer.short())]
    Layer {
        /// Its diffID.
        layer: Digest,
        /// Why.
        source: layer::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A thread of ours ended early.
    #[error("unpacking ended unexpectedly")]
    Thread(#[source] io::Error),
}

/// Checks that `bytes` are what `expected` names.
pub(crate) fn check_digest(bytes: &[u8], expected: &Digest, what: &str) -> Result<(), Error> {
    let found = Digest::of(bytes);
    if found == *expected {
        return Ok(());
    }
    Err(Error::Digest {
        what: what.to_owned(),
        expected: *expected,
        found,
    })
}

/// Checks that a configuration fits the number of layers and what was asked for.
pub(crate) fn check_config(config: &Config, layers: usize, wanted: &Platform) -> Result<(), Error> {
    if config.layers().len() != layers {
        return Err(Error::LayerCount {
            manifest: layers,
            config: config.layers().len(),
        });
    }
    let found = config.platform();
    if wanted.rank(&found).is_none() {
        return Err(Error::Platform {
            wanted: wanted.to_string(),
            found: found.to_string(),
        });
    }
    Ok(())
}

/// Unpacks a layer from its bytes, compressed or not, into the fresh directory `dir`. Blocks.
pub(crate) fn unpack(
    reader: impl Read + Send,
    layer: Digest,
    dir: &std::path::Path,
) -> Result<LayerFiles, Error> {
    let failed = |source| Error::Layer { layer, source };
    let reader = decompress(reader).map_err(|e| failed(layer::Error::Read(e)))?;
    let imported = layer::import(reader, dir).map_err(failed)?;
    if imported.diff_id != layer {
        return Err(Error::Digest {
            what: "the content of a layer".to_owned(),
            expected: layer,
            found: imported.diff_id,
        });
    }
    Ok(LayerFiles {
        blob: imported.blob,
        index: imported.index,
        headers: imported.headers,
    })
}

/// Computes the digest of what passes through.
#[derive(Debug)]
pub(crate) struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    length: u64,
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: Hasher::default(),
            length: 0,
        }
    }

    /// Reads the rest; the digest and length of everything.
    pub(crate) fn finish(mut self) -> io::Result<(Digest, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((self.hasher.finish(), self.length))
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        self.length += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }
}
