//! OCI image layouts.

use super::source::Source;
use super::{Candidate, Error, Layer};
use crate::config::{Config, MAX_CONFIG};
use crate::digest::Digest;
use crate::import::{self, check_config, check_digest};
use crate::manifest::{Descriptor, Document, List, MAX_MANIFEST, Manifest};
use crate::platform::Platform;
use crate::reference::Reference;

/// The whole name of an image, as containerd, buildx and Docker write it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// By the specification the tag only; podman and skopeo put the whole name there.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const MAX_NESTING: usize = 3;
const MAX_IMAGES: usize = 1000;

/// The images of the layout's `index.json`.
pub(super) fn read(source: &Source, platform: &Platform) -> Result<Vec<Candidate>, Error> {
    let bytes = source.small("index.json", MAX_MANIFEST)?;
    let index = match Document::parse(&bytes, None).map_err(import::Error::Manifest)? {
        Document::List(list) => list,
        Document::Manifest(_) => return Err(Error::Unknown),
    };
    if index.entries.len() > MAX_IMAGES {
        return Err(Error::TooMany(index.entries.len()));
    }
    let wanted: Vec<&Descriptor> = choose(&index, platform)?;
    let mut found: Vec<Candidate> = Vec::new();
    for entry in wanted {
        let mut image = image(source, entry, platform)?;
        image.names.extend(name(entry)?);
        // One image with two names has two entries.
        let id = image.config.id();
        match found.iter_mut().find(|other| other.config.id() == id) {
            Some(other) => other.names.extend(image.names),
            None => found.push(image),
        }
    }
    Ok(found)
}

/// Entries that say nothing about a platform are images of their own; of those that do, the ones that fit.
fn choose<'a>(index: &'a List, platform: &Platform) -> Result<Vec<&'a Descriptor>, Error> {
    let fitting: Vec<&Descriptor> = index
        .entries
        .iter()
        .filter(|entry| {
            let offered = entry.platform();
            offered.is_none_or(|offered| platform.rank(&offered).is_some())
        })
        .collect();
    if fitting.is_empty() && !index.entries.is_empty() {
        index.select(platform).map_err(import::Error::Manifest)?;
    }
    Ok(fitting)
}

fn image(source: &Source, entry: &Descriptor, platform: &Platform) -> Result<Candidate, Error> {
    let (digest, bytes, manifest) = manifest(source, entry, platform)?;
    let config = blob(source, &manifest.config, MAX_CONFIG, "the configuration")?;
    let config = Config::parse(config).map_err(import::Error::Config)?;
    check_config(&config, manifest.layers.len(), platform)?;
    let layers = manifest.layers.iter().map(|layer| {
        let content = source.content(&path(&layer.digest))?;
        check_size(layer, content.size())?;
        Ok(Layer {
            content,
            digest: Some(layer.digest),
        })
    });
    Ok(Candidate {
        layers: layers.collect::<Result<_, Error>>()?,
        config,
        names: Vec::new(),
        manifest: Some((digest, bytes)),
    })
}

/// Follows lists to the manifest for the platform. The digest is that of the entry, the bytes are those it names.
fn manifest(
    source: &Source,
    entry: &Descriptor,
    platform: &Platform,
) -> Result<(Digest, Vec<u8>, Manifest), Error> {
    let top = blob(source, entry, MAX_MANIFEST, "the manifest")?;
    let parse = |bytes: &[u8], entry: &Descriptor| {
        Document::parse(bytes, Some(&entry.media_type)).map_err(import::Error::Manifest)
    };
    let mut document = parse(&top, entry)?;
    for _ in 0..MAX_NESTING {
        let list = match document {
            Document::Manifest(manifest) => return Ok((entry.digest, top, manifest)),
            Document::List(list) => list,
        };
        let chosen = list.select(platform).map_err(import::Error::Manifest)?;
        let bytes = blob(source, chosen, MAX_MANIFEST, "the manifest")?;
        document = parse(&bytes, chosen)?;
    }
    Err(Error::Nested)
}

fn blob(source: &Source, blob: &Descriptor, limit: u64, what: &str) -> Result<Vec<u8>, Error> {
    let path = path(&blob.digest);
    let bytes = source.small(&path, limit)?;
    check_size(blob, u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    check_digest(&bytes, &blob.digest, what)?;
    Ok(bytes)
}

fn check_size(blob: &Descriptor, found: u64) -> Result<(), Error> {
    if found == blob.size {
        return Ok(());
    }
    Err(Error::Import(import::Error::Size {
        what: format!("blob {}", blob.digest),
        expected: blob.size,
        found,
    }))
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The name of an entry of the index, if it has one that can be used.
fn name(entry: &Descriptor) -> Result<Option<Reference>, Error> {
    let annotations = entry.annotations.as_ref();
    let annotation = |key: &str| annotations.and_then(|all| all.get(key));
    if let Some(name) = annotation(CONTAINERD_NAME) {
        let name: Reference = name.parse()?;
        return Ok(name.without_digest());
    }
    let Some(name) = annotation(REF_NAME) else {
        return Ok(None);
    };
    // A bare tag names no repository; a bare word that is no usual tag is a repository.
    let is_tag = !name.contains(['/', ':'])
        && (name == "latest" || name.starts_with(|c: char| c.is_ascii_digit()));
    match name.parse::<Reference>() {
        Ok(name) if !is_tag => Ok(name.without_digest()),
        _ => Ok(None),
    }
}
