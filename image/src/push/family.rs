//! The two formats of manifests, OCI's and Docker's.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::digest::Digest;
use crate::manifest::{
    DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, Document, OCI_CONFIG, OCI_LAYER_GZIP,
    OCI_MANIFEST,
};
use crate::store::{KnownManifest, Outgoing};

/// Who defined a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Docker,
    Oci,
}

/// A layer that the registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) kind: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Family {
    /// That of a manifest.
    pub(super) fn of(manifest: &[u8]) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            media_type: Option<String>,
        }
        let kind: Option<Kind> = serde_json::from_slice(manifest).ok();
        match kind.and_then(|kind| kind.media_type).as_deref() {
            Some(DOCKER_MANIFEST) => Self::Docker,
            // The field is OCI's to leave out.
            _ => Self::Oci,
        }
    }

    /// The media type to push a manifest as.
    pub(super) fn kind_of(manifest: &[u8]) -> &'static str {
        Self::of(manifest).manifest()
    }

    pub(super) fn manifest(self) -> &'static str {
        match self {
            Self::Docker => DOCKER_MANIFEST,
            Self::Oci => OCI_MANIFEST,
        }
    }

    /// The type of a layer that is compressed with gzip.
    pub(super) fn gzip(self) -> &'static str {
        match self {
            Self::Docker => DOCKER_LAYER_GZIP,
            Self::Oci => OCI_LAYER_GZIP,
        }
    }

    /// What a layer of type `kind` is called in this family, if it can be in it.
    pub(super) fn layer(self, kind: &str) -> Option<String> {
        let gzip = kind.ends_with("+gzip") || kind.ends_with(".gzip");
        let zstd = kind.ends_with("+zstd") || kind.ends_with(".zstd");
        match (self, gzip, zstd) {
            (_, true, _) => Some(self.gzip().to_owned()),
            (Self::Oci, _, true) => Some("application/vnd.oci.image.layer.v1.tar+zstd".to_owned()),
            (Self::Docker, _, true) => None,
            (Self::Oci, ..) => Some("application/vnd.oci.image.layer.v1.tar".to_owned()),
            (Self::Docker, ..) => Some("application/vnd.docker.image.rootfs.diff.tar".to_owned()),
        }
    }

    /// A new manifest.
    pub(super) fn make(self, image: &Outgoing, layers: &[&Sent]) -> Vec<u8> {
        let config = match self {
            Self::Docker => DOCKER_CONFIG,
            Self::Oci => OCI_CONFIG,
        };
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| json!({"mediaType": layer.kind, "size": layer.size, "digest": layer.digest}))
            .collect();
        let size = image.config.bytes().len();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": self.manifest(),
            "config": {"mediaType": config, "size": size, "digest": image.config.id()},
            "layers": layers,
        });
        manifest.to_string().into_bytes()
    }
}

impl KnownManifest {
    /// Whether it names exactly this configuration and these layers.
    pub(super) fn names(&self, config: &Digest, layers: &[&Sent]) -> bool {
        let Ok(Document::Manifest(manifest)) = Document::parse(&self.bytes, None) else {
            return false;
        };
        let named = manifest.layers.iter().map(|layer| layer.digest);
        manifest.config.digest == *config && named.eq(layers.iter().map(|layer| layer.digest))
    }
}
