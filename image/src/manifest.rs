//! Manifests and manifest lists, of OCI and of Docker (schema 2), as far as running an image needs
//! them. They come from outside: everything is bounded and checked here.

use serde::Deserialize;

use crate::config::{MAX_CONFIG, MAX_LAYERS};
use crate::digest::Digest;
use crate::platform::Platform;

#[cfg(test)]
mod tests;

/// Largest manifest that is read, in bytes; the limit that the specification suggests.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Most entries of a list that are looked at.
const MAX_ENTRIES: usize = 4096;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What a registry may answer, for `Accept`.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not JSON, or not of the right shape.
    #[error("the manifest cannot be read")]
    Syntax(#[source] serde_json::Error),
    /// It is of a kind that holds no image.
    #[error("the manifest is of type {0}, which is not an image")]
    Kind(String),
    /// It is in Docker's first format, which was given up in 2017.
    #[error(
        "the manifest is in Docker's schema 1, which is too old; push the image again with a newer client"
    )]
    Schema1,
    /// More layers than anybody needs.
    #[error("the manifest has {0} layers, more than {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// The configuration is too long.
    #[error("the manifest announces a configuration of {0} bytes, more than {MAX_CONFIG}")]
    ConfigTooLong(u64),
    /// A layer is not a tar archive in a form that is known here.
    #[error("a layer is of type {0}, which hull cannot read")]
    Layer(String),
    /// Nothing in a list is for the platform.
    #[error("the image is not made for {wanted}; it is for {offered}")]
    NoPlatform {
        /// What was asked for.
        wanted: String,
        /// What there is.
        offered: String,
    },
}

/// What a manifest says about a blob.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default)]
    platform: Option<PlatformEntry>,
    #[serde(default)]
    pub(crate) annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct PlatformEntry {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// A manifest of an image: its configuration and layers, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// A manifest list (Docker) or index (OCI).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) entries: Vec<Descriptor>,
}

/// One or the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    Manifest(Manifest),
    List(List),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

impl Document {
    /// Reads a manifest. What it calls itself goes before `kind`, what it was delivered as; where
    /// neither says anything, its shape decides (OCI made the field optional).
    pub(crate) fn parse(bytes: &[u8], kind: Option<&str>) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            #[serde(default)]
            schema_version: u32,
        }
        // Schema 1 has other types in fields of the same name.
        let version: Version = serde_json::from_slice(bytes).map_err(Error::Syntax)?;
        if version.schema_version == 1 {
            return Err(Error::Schema1);
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(Error::Syntax)?;
        let essence = |kind: &str| kind.split(';').next().unwrap_or_default().trim().to_owned();
        let delivered = kind.map(essence).filter(|kind| {
            // Servers of plain files deliver JSON as just that.
            kind.starts_with("application/vnd.")
        });
        let kind = raw.media_type.clone().or(delivered);
        match (kind.as_deref(), raw.config, raw.layers, raw.manifests) {
            (Some(OCI_MANIFEST | DOCKER_MANIFEST) | None, Some(config), Some(layers), None) => {
                Manifest::check(config, layers).map(Self::Manifest)
            }
            (Some(OCI_INDEX | DOCKER_LIST) | None, None, None, Some(mut entries)) => {
                entries.truncate(MAX_ENTRIES);
                Ok(Self::List(List { entries }))
            }
            (kind, ..) => {
                let kind = kind.unwrap_or("unknown");
                Err(Error::Kind(printable(&format!(
                    "{kind} (schema {})",
                    raw.schema_version
                ))))
            }
        }
    }
}

impl Document {
    /// The media type of a document whose text is `bytes`, and which was delivered as `delivered`.
    pub(crate) fn kind(&self, bytes: &[u8], delivered: Option<&str>) -> String {
        let raw: Option<Raw> = serde_json::from_slice(bytes).ok();
        let own = raw.and_then(|raw| raw.media_type);
        let known = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST];
        let delivered = delivered.filter(|kind| known.contains(kind));
        let default = match self {
            Self::Manifest(_) => OCI_MANIFEST,
            Self::List(_) => OCI_INDEX,
        };
        own.unwrap_or_else(|| delivered.unwrap_or(default).to_owned())
    }
}

impl Manifest {
    fn check(config: Descriptor, layers: Vec<Descriptor>) -> Result<Self, Error> {
        if layers.len() > MAX_LAYERS {
            return Err(Error::TooManyLayers(layers.len()));
        }
        if config.size > MAX_CONFIG {
            return Err(Error::ConfigTooLong(config.size));
        }
        // Artifacts (charts, signatures, policies) use manifests too; their blobs are no layers.
        let unknown = layers.iter().find(|layer| !is_layer(&layer.media_type));
        match unknown {
            Some(layer) => Err(Error::Layer(printable(&layer.media_type))),
            None => Ok(Self { config, layers }),
        }
    }
}

impl Descriptor {
    /// The platform that the entry of a list is for, if it says.
    pub(crate) fn platform(&self) -> Option<Platform> {
        let found = self.platform.as_ref()?;
        Some(Platform {
            os: found.os.clone(),
            architecture: found.architecture.clone(),
            variant: found.variant.clone().filter(|variant| !variant.is_empty()),
        })
    }
}

impl List {
    /// The entry that serves `wanted` best.
    pub(crate) fn select(&self, wanted: &Platform) -> Result<&Descriptor, Error> {
        let ranked = self
            .entries
            .iter()
            .filter_map(|entry| Some((wanted.rank(&entry.platform()?)?, entry)));
        if let Some((_, best)) = ranked.min_by_key(|(rank, _)| *rank) {
            return Ok(best);
        }
        // A list of a single image without a platform leaves no choice; its configuration tells.
        match self.entries.as_slice() {
            [only] if only.platform.is_none() => return Ok(only),
            _ => (),
        }
        let mut offered: Vec<String> = self
            .entries
            .iter()
            .filter_map(|entry| Some(entry.platform()?.to_string()))
            .filter(|text| text != "unknown/unknown")
            .collect();
        offered.dedup();
        offered.truncate(20);
        let offered = if offered.is_empty() {
            "no platform at all".to_owned()
        } else {
            printable(&offered.join(", "))
        };
        Err(Error::NoPlatform {
            wanted: wanted.to_string(),
            offered,
        })
    }
}

/// The types of layers. Compression is told from the bytes themselves, since some tools get the type wrong.
fn is_layer(kind: &str) -> bool {
    let tar = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
    ];
    tar.iter().any(|prefix| {
        kind.strip_prefix(prefix)
            .is_some_and(|rest| matches!(rest, "" | "+gzip" | ".gzip" | "+zstd" | ".zstd"))
    })
}

/// Text from outside, fit for a terminal.
fn printable(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(400).collect()
}
