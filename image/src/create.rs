//! Images that are made here: `commit`, an image with a layer more, and `import`, an image of one layer.
//!
//! Their layers come as tar streams and go the way of all layers ([`crate::layer`]). The configuration is changed as JSON, so that
//! what other tools put there stays.

use std::collections::BTreeMap;
use std::io::{self, Read};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

#[cfg(test)]
mod tests;

use crate::build::{self, change};
use crate::config::{self, Config};
use crate::decompress::decompress;
use crate::digest::Digest;
use crate::layer::{self, Imported};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::scratch::Scratch;
use crate::store::{self, Claim, HeldLayer, LayerFiles, NewImage, Store};

/// What makes an image out of another one and a layer.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// Who made it.
    pub author: Option<String>,
    /// Why.
    pub comment: Option<String>,
    /// What made the layer, for the history.
    pub created_by: Option<String>,
    /// When it was made; now if it is not given.
    pub created: Option<Timestamp>,
    /// The field `config` of the new configuration; that of the image below if it is not given.
    pub config: Option<change::Config>,
    /// Lines of a Dockerfile that change it.
    pub changes: Vec<String>,
    /// The name that the image gets.
    pub name: Option<Reference>,
    /// What it runs on, where there is no image below that says it.
    pub platform: Option<Platform>,
}

/// How a file system becomes an image.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The name that the image gets.
    pub name: Option<Reference>,
    /// What the history says instead of where the image came from.
    pub message: Option<String>,
    /// Where it came from: an address, or `-`.
    pub source: String,
    /// Lines of a Dockerfile that change the empty configuration.
    pub changes: Vec<String>,
    /// What it runs on.
    pub platform: Option<Platform>,
}

/// No image was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store cannot take it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The layer is none.
    #[error("the file system cannot be made a layer")]
    Layer(#[source] layer::Error),
    /// A change makes no sense.
    #[error(transparent)]
    Change(#[from] build::Error),
    /// The configuration that would come of it is none.
    #[error("the image's configuration cannot be used")]
    Config(#[from] config::Error),
    /// A tag has no digest.
    #[error("{0} cannot be the name of a new image because it has a digest")]
    Digest(String),
    /// A thread of ours ended early.
    #[error("making the image ended unexpectedly")]
    Thread(#[source] io::Error),
}

impl Store {
    /// Makes an image of the image `base`, or of nothing, and the tar stream `layer` on top, compressed or not. A stream without
    /// members makes no layer. Returns the id.
    ///
    /// # Errors
    /// When there is no such base, `layer` is no layer, or the options make no sense.
    pub async fn commit(
        &self,
        base: Option<&Digest>,
        layer: impl Read + Send + 'static,
        options: CommitOptions,
    ) -> Result<Digest, Error> {
        check_name(options.name.as_ref())?;
        // What is wrong with the changes is told before the layer is read.
        let lease = base.map(|base| self.image(&base.to_string())).transpose()?;
        let below = match &lease {
            Some(image) => serde_json::from_slice(self.config(&image.id())?.bytes())
                .map_err(config::Error::Syntax)?,
            None => Map::new(),
        };
        let mut made = begin(below, &options)?;
        let added = self.add_layer(layer).await?;
        let mut held = Vec::new();
        for layer in lease.iter().flat_map(|image| image.layers()) {
            held.push(self.hold(layer).await?);
        }
        finish(&mut made, &options, added.as_ref().map(|layer| layer.layer));
        held.extend(added);
        let bytes = serde_json::to_vec(&made).map_err(config::Error::Syntax)?;
        let image = NewImage {
            config: Config::parse(bytes)?,
            held,
            names: options.name.into_iter().collect(),
            manifest: None,
            own_manifest: None,
            parent: base.copied(),
        };
        let store = self.clone();
        Ok(blocking(move || store.put_image(image)).await??)
    }

    /// Makes an image of the tar stream `root`, compressed or not. Returns the id.
    ///
    /// # Errors
    /// When `root` is no file system, or the options make no sense.
    pub async fn import(
        &self,
        root: impl Read + Send + 'static,
        options: ImportOptions,
    ) -> Result<Digest, Error> {
        let from = || format!("Imported from {}", options.source);
        let comment = options.message.clone().unwrap_or_else(from);
        let commit = CommitOptions {
            comment: Some(comment),
            changes: options.changes,
            name: options.name,
            platform: options.platform,
            ..CommitOptions::default()
        };
        self.commit(None, root, commit).await
    }

    /// Puts a layer into the store; `None` if there is nothing in it.
    async fn add_layer(
        &self,
        layer: impl Read + Send + 'static,
    ) -> Result<Option<HeldLayer>, Error> {
        let scratch = Scratch::new(&self.layout().tmp())?;
        let unpack = move || {
            let reader = decompress(layer).map_err(layer::Error::Read);
            let imported = reader.and_then(|reader| layer::import(reader, scratch.path()));
            Ok::<(Scratch, Imported), Error>((scratch, imported.map_err(Error::Layer)?))
        };
        let (scratch, imported) = blocking(unpack).await??;
        if imported.entries == 0 {
            return Ok(None);
        }
        let held = match self.claim(imported.diff_id, || ()).await? {
            Claim::Held(held) => held,
            Claim::Missing(missing) => {
                let files = LayerFiles {
                    blob: imported.blob,
                    index: imported.index,
                    headers: imported.headers,
                };
                self.put_layer(missing, &files).await?
            }
        };
        drop(scratch);
        Ok(Some(held))
    }

    /// Keeps a layer that is there.
    async fn hold(&self, layer: &Digest) -> Result<HeldLayer, Error> {
        match self.claim(*layer, || ()).await? {
            Claim::Held(held) => Ok(held),
            Claim::Missing(_) => Err(store::Error::Vanished(*layer).into()),
        }
    }
}

fn check_name(name: Option<&Reference>) -> Result<(), Error> {
    match name {
        Some(name) if name.digest().is_some() => Err(Error::Digest(name.familiar())),
        _ => Ok(()),
    }
}

/// The configuration below with what the options say of the new image, but for its layers.
fn begin(below: Map<String, Value>, options: &CommitOptions) -> Result<Map<String, Value>, Error> {
    let mut made = below;
    // They told of the container that the image below was made of.
    for old in [
        "container",
        "container_config",
        "docker_version",
        "id",
        "parent",
    ] {
        made.remove(old);
    }
    let mut config = match (&options.config, made.get("config")) {
        (Some(config), _) => config.clone(),
        (None, Some(Value::Object(config))) => config.clone(),
        (None, _) => Map::new(),
    };
    change::apply(&options.changes, &mut config)?;
    made.insert("config".to_owned(), config.into());
    let platform = options.platform.clone().unwrap_or_default();
    let mut default = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            made.entry(key).or_insert_with(|| value.into());
        }
    };
    default("os", Some(platform.os));
    default("architecture", Some(platform.architecture));
    default("variant", platform.variant);
    let created = options.created.unwrap_or_else(Timestamp::now).to_string();
    made.insert("created".to_owned(), created.into());
    for (key, value) in [("author", &options.author), ("comment", &options.comment)] {
        match value.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => made.insert(key.to_owned(), text.into()),
            None => made.remove(key),
        };
    }
    Ok(made)
}

/// Adds the layer, or the note that there is none.
fn finish(made: &mut Map<String, Value>, options: &CommitOptions, layer: Option<Digest>) {
    let mut entry = BTreeMap::from([("created", made.get("created").cloned().unwrap_or_default())]);
    for (key, value) in [
        ("created_by", &options.created_by),
        ("author", &options.author),
        ("comment", &options.comment),
    ] {
        if let Some(text) = value.as_deref().filter(|text| !text.is_empty()) {
            entry.insert(key, text.into());
        }
    }
    if layer.is_none() {
        entry.insert("empty_layer", true.into());
    }
    push(made, "history", json!(entry));
    let rootfs = made
        .entry("rootfs")
        .or_insert_with(|| json!({"type": "layers", "diff_ids": []}));
    if let (Some(layer), Value::Object(rootfs)) = (layer, rootfs) {
        push(rootfs, "diff_ids", layer.to_string().into());
    }
}

/// Appends to a list, which is made if it is missing or `null`.
fn push(object: &mut Map<String, Value>, key: &str, value: Value) {
    match object.get_mut(key) {
        Some(Value::Array(list)) => list.push(value),
        _ => {
            object.insert(key.to_owned(), json!([value]));
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = spawn_blocking(work).await;
    done.map_err(|e| Error::Thread(io::Error::other(e)))
}
