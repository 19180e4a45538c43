//! `load`: images from files into the store.
//!
//! Two kinds are read: OCI image layouts (specification 1.1, "Image Layout"), as a directory or a tar
//! archive, and what `docker save` writes: `manifest.json` beside configurations and layers, and since Docker 25 an OCI
//! layout in the same archive. Archives may be compressed. Nothing is ever unpacked onto the host's file
//! system: an archive is read in place, and names in it are looked up in a table, never on the host.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;

mod archive;
mod docker;
mod error;
mod oci;
mod source;
#[cfg(test)]
mod tests;

pub use error::Error;

use crate::config::Config;
use crate::digest::Digest;
use crate::import::{self, HashingReader};
use crate::platform::Platform;
use crate::progress::{Event, LayerInfo, LayerState, Progress};
use crate::reference::Reference;
use crate::store::scratch::Scratch;
use crate::store::{Claim, HeldLayer, LayerFiles, NewImage, Store};
use source::{Content, Source};

/// Where to load from.
pub enum Input {
    /// A directory with an OCI layout, or an archive.
    Path(PathBuf),
    /// An archive that comes as a stream, such as the standard input.
    Stream(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// How to load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The platform to take where there is a choice; what microVMs run if it is not given.
    pub platform: Option<Platform>,
    /// The name of an image that has none in the archive.
    pub name: Option<Reference>,
}

/// An image that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: Digest,
    /// The names that it got; none if the archive has none for it.
    pub names: Vec<Reference>,
}

/// An image of an archive, before its layers are read.
#[derive(Debug)]
struct Candidate {
    config: Config,
    layers: Vec<Layer>,
    names: Vec<Reference>,
    /// The manifest and its digest, where there is one.
    manifest: Option<(Digest, Vec<u8>)>,
}

/// A layer's bytes in the archive.
#[derive(Clone, Debug)]
struct Layer {
    content: Content,
    /// What its bytes, as they are in the archive, must hash to, if the archive says.
    digest: Option<Digest>,
}

impl Store {
    /// Stores all images of `input`, or none if one is wrong.
    ///
    /// # Errors
    /// When `input` is no archive of images, or lies, or the store cannot take it.
    pub async fn load(
        &self,
        input: Input,
        options: &LoadOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<Loaded>, Error> {
        let result = self.load_all(input, options, progress.as_ref()).await;
        if result.is_err() {
            // Layers that were complete before the error have no image now.
            let store = self.clone();
            let _ = spawn_blocking(move || store.sweep()).await;
        }
        result
    }

    async fn load_all(
        &self,
        input: Input,
        options: &LoadOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Loaded>, Error> {
        let tmp = self.layout().tmp();
        let options = options.clone();
        let candidates = blocking(move || {
            let source = Source::open(input, &tmp)?;
            candidates(&source, &options)
        });
        let mut ready = Vec::new();
        for candidate in candidates.await?? {
            ready.push(self.load_layers(candidate, progress).await?);
        }
        let mut loaded = Vec::new();
        for image in ready {
            let names = image.names.clone();
            let store = self.clone();
            let id = blocking(move || store.put_image(image)).await??;
            loaded.push(Loaded { id, names });
        }
        Ok(loaded)
    }

    async fn load_layers(
        &self,
        candidate: Candidate,
        progress: &dyn Progress,
    ) -> Result<NewImage, Error> {
        let ids = candidate.config.layers().to_vec();
        let infos = ids.iter().zip(&candidate.layers);
        let infos = infos.map(|(id, layer)| LayerInfo {
            layer: *id,
            size: layer.content.size(),
        });
        progress.report(&Event::Layers(infos.collect()));
        let mut held: BTreeMap<Digest, HeldLayer> = BTreeMap::new();
        for (index, (id, layer)) in ids.iter().zip(candidate.layers).enumerate() {
            if !held.contains_key(id) {
                let state = |state| progress.report(&Event::Layer { index, state });
                held.insert(*id, self.load_layer(*id, layer, state).await?);
            }
        }
        let repository = candidate.names.first();
        let manifest = candidate
            .manifest
            .and_then(|(digest, bytes)| Some((repository?.with_digest(digest), bytes)));
        Ok(NewImage {
            config: candidate.config,
            held: held.into_values().collect(),
            names: candidate.names,
            manifest,
            own_manifest: None,
            parent: None,
        })
    }

    async fn load_layer(
        &self,
        id: Digest,
        layer: Layer,
        state: impl Fn(LayerState),
    ) -> Result<HeldLayer, Error> {
        let missing = match self.claim(id, || state(LayerState::Waiting)).await? {
            Claim::Held(held) => {
                state(LayerState::Present);
                return Ok(held);
            }
            Claim::Missing(missing) => missing,
        };
        state(LayerState::Unpacking);
        let scratch = Scratch::new(&self.layout().tmp())?;
        let unpack = move || {
            let files = unpack(id, &layer, &scratch)?;
            Ok::<_, Error>((scratch, files))
        };
        let (scratch, files) = blocking(unpack).await??;
        let held = self.put_layer(missing, &files).await?;
        drop(scratch);
        state(LayerState::Done);
        Ok(held)
    }
}

/// Unpacks a layer and checks both of its digests. A wrong digest is reported rather than what came of it.
fn unpack(id: Digest, layer: &Layer, scratch: &Scratch) -> Result<LayerFiles, Error> {
    let mut reader = HashingReader::new(layer.content.read()?);
    let unpacked = import::unpack(&mut reader, id, scratch.path());
    if let Some(expected) = layer.digest {
        let (found, _) = reader.finish().map_err(Error::Read)?;
        if found != expected {
            return Err(Error::Import(import::Error::Digest {
                what: "a layer".to_owned(),
                expected,
                found,
            }));
        }
    }
    Ok(unpacked?)
}

fn candidates(source: &Source, options: &LoadOptions) -> Result<Vec<Candidate>, Error> {
    let platform = options.platform.clone().unwrap_or_default();
    let mut found = if source.has("index.json") && source.has("oci-layout") {
        oci::read(source, &platform)?
    } else if source.has("manifest.json") {
        docker::read(source, &platform)?
    } else {
        return Err(Error::Unknown);
    };
    if found.is_empty() {
        return Err(Error::Empty);
    }
    if let Some(name) = &options.name {
        match found.as_mut_slice() {
            [only] => only.names = vec![name.clone()],
            several => return Err(Error::NameForSeveral(several.len())),
        }
    }
    Ok(found)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work)
        .await
        .map_err(|e| Error::Import(import::Error::Thread(std::io::Error::other(e))))
}
