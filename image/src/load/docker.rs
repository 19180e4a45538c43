//! Archives of `docker save` before Docker 25, and of tools that still write them (skopeo, podman, kaniko).

use serde::Deserialize;

use super::source::Source;
use super::{Candidate, Error, Layer};
use crate::config::{Config, MAX_CONFIG, MAX_LAYERS};
use crate::digest::Digest;
use crate::import::{self, check_config, check_digest};
use crate::manifest::{self, MAX_MANIFEST};
use crate::platform::Platform;
use crate::reference::Reference;

const MANIFEST: &str = "manifest.json";
const MAX_IMAGES: usize = 1000;

/// An image of `manifest.json`. The paths are the archive's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The images of the archive's `manifest.json`.
pub(super) fn read(source: &Source, platform: &Platform) -> Result<Vec<Candidate>, Error> {
    let bytes = source.small(MANIFEST, MAX_MANIFEST)?;
    let images: Vec<Image> = serde_json::from_slice(&bytes).map_err(|source| Error::Syntax {
        path: MANIFEST.to_owned(),
        source,
    })?;
    if images.len() > MAX_IMAGES {
        return Err(Error::TooMany(images.len()));
    }
    let images = images.into_iter();
    images
        .map(|image| read_image(source, image, platform))
        .collect()
}

fn read_image(source: &Source, image: Image, platform: &Platform) -> Result<Candidate, Error> {
    let layers = image.layers.unwrap_or_default();
    if layers.len() > MAX_LAYERS {
        let many = manifest::Error::TooManyLayers(layers.len());
        return Err(Error::Import(many.into()));
    }
    let config = source.small(within(&image.config)?, MAX_CONFIG)?;
    if let Some(expected) = named_digest(&image.config) {
        check_digest(&config, &expected, "the configuration")?;
    }
    let config = Config::parse(config).map_err(import::Error::Config)?;
    check_config(&config, layers.len(), platform)?;
    let layers = layers.iter().map(|path| {
        Ok(Layer {
            content: source.content(within(path)?)?,
            // The configuration has the digest of what is in there.
            digest: None,
        })
    });
    let names = image.repo_tags.unwrap_or_default();
    let names = names.iter().map(|name| Ok(name.parse::<Reference>()?));
    let names: Vec<Reference> = names.collect::<Result<_, Error>>()?;
    Ok(Candidate {
        layers: layers.collect::<Result<_, Error>>()?,
        config,
        names: names.iter().filter_map(Reference::without_digest).collect(),
        manifest: None,
    })
}

/// `path` if it stays within the layout; for a directory the file system would follow it anywhere.
fn within(path: &str) -> Result<&str, Error> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(Error::Escape(path.to_owned()));
    }
    Ok(path)
}

/// The digest that the configuration's path holds, as in `<digits>.json` and `blobs/sha256/<digits>`.
fn named_digest(path: &str) -> Option<Digest> {
    let name = path.rsplit('/').next()?;
    Digest::from_hex(name.strip_suffix(".json").unwrap_or(name)).ok()
}
