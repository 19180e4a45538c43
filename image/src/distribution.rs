//! What a registry says of an image without fetching it: `docker manifest`'s and Compose's question.

use crate::config::Config;
use crate::digest::Digest;
use crate::import::{self, check_digest};
use crate::manifest::Document;
use crate::platform::Platform;
use crate::pull::Error;
use crate::reference::Reference;
use crate::registry::{self, Client};

/// What a reference leads to in its registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// The media type of the manifest or the list.
    pub kind: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What the image can run on.
    pub platforms: Vec<Platform>,
}

/// Asks the registry of `reference`.
///
/// # Errors
/// When there is no such image, or the registry fails or lies.
pub async fn distribution(
    reference: &Reference,
    registries: &registry::Config,
) -> Result<Distribution, Error> {
    let client = Client::new(reference, registries).await?;
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or_default().to_owned(),
    };
    let again = |_, _| ();
    let (bytes, kind) = registries
        .retry
        .repeat(again, || client.manifest(&name))
        .await?;
    if let Some(expected) = reference.digest() {
        check_digest(&bytes, expected, "the manifest")?;
    }
    let document = Document::parse(&bytes, kind.as_deref()).map_err(import::Error::Manifest)?;
    let platforms = match &document {
        Document::List(list) => {
            let all = list.entries.iter().filter_map(|entry| entry.platform());
            // What is for no platform are attestations.
            all.filter(|platform| platform.os != "unknown").collect()
        }
        Document::Manifest(manifest) => {
            let blob = &manifest.config;
            let request = || client.small_blob(&blob.digest, blob.size);
            let bytes = registries.retry.repeat(again, request).await?;
            check_digest(&bytes, &blob.digest, "the image's configuration")?;
            let config = Config::parse(bytes).map_err(import::Error::Config)?;
            vec![config.platform()]
        }
    };
    Ok(Distribution {
        kind: document.kind(&bytes, kind.as_deref()),
        digest: Digest::of(&bytes),
        size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        platforms,
    })
}
