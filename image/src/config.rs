//! Image configurations: the JSON whose digest is an image's id.

use oci_spec::image::ImageConfiguration;

use crate::digest::{Digest, ParseDigestError};

/// Largest configuration that is read, in bytes.
pub const MAX_CONFIG: u64 = 8 << 20;
/// Most layers that an image may have. Docker's limit is 127; more serve no purpose.
pub const MAX_LAYERS: usize = 512;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not JSON, or lacks what the specification demands.
    #[error("it is not an image configuration")]
    Syntax(#[source] serde_json::Error),
    /// A layer's name is no digest.
    #[error("its list of layers is wrong")]
    DiffId(#[source] ParseDigestError),
    /// More layers than anybody needs.
    #[error("it has {0} layers, more than {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// It is too long.
    #[error("it has {0} bytes, more than {MAX_CONFIG}")]
    TooLong(u64),
}

/// A configuration that has been checked.
#[derive(Clone, Debug)]
pub struct Config {
    bytes: Vec<u8>,
    parsed: ImageConfiguration,
    layers: Vec<Digest>,
}

impl Config {
    /// Reads the JSON text of a configuration.
    ///
    /// # Errors
    /// When it is not one, or is beyond the limits of this module.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Error> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > MAX_CONFIG {
            return Err(Error::TooLong(length));
        }
        let parsed: ImageConfiguration = serde_json::from_slice(&bytes).map_err(Error::Syntax)?;
        let diff_ids = parsed.rootfs().diff_ids();
        if diff_ids.len() > MAX_LAYERS {
            return Err(Error::TooManyLayers(diff_ids.len()));
        }
        let layers = diff_ids.iter().map(|id| id.parse());
        let layers = layers.collect::<Result<_, _>>().map_err(Error::DiffId)?;
        Ok(Self {
            bytes,
            parsed,
            layers,
        })
    }

    /// The image's id.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// The text as it came, which the id is the digest of.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The configuration as the OCI specification has it.
    #[must_use]
    pub fn parsed(&self) -> &ImageConfiguration {
        &self.parsed
    }

    /// The diffIDs of its layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Digest] {
        &self.layers
    }

    /// What it runs on, such as `linux/amd64`.
    #[must_use]
    pub fn platform(&self) -> crate::platform::Platform {
        crate::platform::Platform {
            os: self.parsed.os().to_string(),
            architecture: self.parsed.architecture().to_string(),
            variant: self.parsed.variant().clone(),
        }
    }
}
