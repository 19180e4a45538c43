//! `save`: images as an archive that `load`, Docker and others read.
//!
//! It is what `docker save` writes since Docker 25: an OCI image layout (specification 1.1, "Image Layout"), and in the same
//! archive `manifest.json` and `repositories` for what only knows Docker's own format. Layers are in it as plain tar streams, each
//! once, and the same images always make the same archive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde_json::json;

#[cfg(test)]
mod tests;

use crate::digest::Digest;
use crate::layer;
use crate::manifest::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{self, Outgoing, Store};

/// Bytes of a record of the archive.
const RECORD: u64 = 512;

/// How to save.
#[derive(Clone, Debug, Default)]
pub struct SaveOptions {
    /// The platform that the images must be for, if that matters.
    pub platform: Option<Platform>,
}

/// A save failed; what was written is no archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store lacks the image, or cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A layer cannot be made again.
    #[error("layer {} cannot be saved", .layer.short())]
    Layer {
        /// Its diffID.
        layer: Digest,
        /// Why.
        source: layer::Error,
    },
    /// The image is for another kind of machine.
    #[error("the image {image} is for {found}, not for {wanted}")]
    Platform {
        /// As the user named it.
        image: String,
        /// What it is for.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// Where the archive goes to failed.
    #[error("the archive cannot be written")]
    Write(#[source] io::Error),
}

impl Store {
    /// Writes the images that `names` lead to as one archive. A name with a tag is in it as the image's name; a repository
    /// without a tag stands for all its tags here; an id saves the image without a name. Blocks, and holds no layer in memory.
    ///
    /// # Errors
    /// When there is no such image, when the store cannot be read, or `out` fails.
    pub fn save(
        &self,
        names: &[String],
        options: &SaveOptions,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let mut images: Vec<(Outgoing, BTreeSet<Reference>)> = Vec::new();
        for name in names {
            for (id, tag) in self.named(name)? {
                let known = images.iter_mut().find(|(image, _)| image.image.id() == id);
                if let Some((_, names)) = known {
                    names.extend(tag);
                    continue;
                }
                let image = self.outgoing(&id)?;
                check_platform(name, &image, options)?;
                images.push((image, tag.into_iter().collect()));
            }
        }
        let mut archive = Archive::new(out);
        archive.all(&images)
    }
}

fn check_platform(name: &str, image: &Outgoing, options: &SaveOptions) -> Result<(), Error> {
    let found = image.config.platform();
    match &options.platform {
        Some(wanted) if wanted.rank(&found).is_none() => Err(Error::Platform {
            image: name.to_owned(),
            found: found.to_string(),
            wanted: wanted.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The archive that is being written.
struct Archive<'a> {
    out: &'a mut dyn Write,
    /// What is in it already, by digest.
    blobs: BTreeSet<Digest>,
}

impl<'a> Archive<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        let blobs = BTreeSet::new();
        Self { out, blobs }
    }

    fn all(&mut self, images: &[(Outgoing, BTreeSet<Reference>)]) -> Result<(), Error> {
        let mut index = Vec::new();
        let mut list = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        self.directory("blobs/")?;
        self.directory("blobs/sha256/")?;
        for (image, names) in images {
            let manifest = self.image(image)?;
            let entry =
                json!({"mediaType": OCI_MANIFEST, "digest": manifest.0, "size": manifest.1});
            for name in names {
                let mut entry = entry.clone();
                let tag = name.tag().unwrap_or_default();
                entry["annotations"] = json!({
                    "io.containerd.image.name": name.to_string(),
                    "org.opencontainers.image.ref.name": tag,
                });
                index.push(entry);
                if let Some(top) = image.layers.last() {
                    let tags = repositories.entry(name.familiar_name()).or_default();
                    tags.insert(tag.to_owned(), top.diff_id.hex());
                }
            }
            if names.is_empty() {
                index.push(entry);
            }
            list.push(docker_entry(image, names));
        }
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index});
        self.file("index.json", index.to_string().as_bytes())?;
        let list = serde_json::Value::from(list).to_string();
        self.file("manifest.json", list.as_bytes())?;
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        if !repositories.is_empty() {
            let text = json!(repositories).to_string();
            self.file("repositories", text.as_bytes())?;
        }
        self.write(&[0; 1024])?;
        self.out.flush().map_err(Error::Write)
    }

    /// Everything of one image; the digest and size of its manifest.
    fn image(&mut self, image: &Outgoing) -> Result<(Digest, usize), Error> {
        for layer in &image.layers {
            if !self.blobs.insert(layer.diff_id) {
                continue;
            }
            self.header(&blob(&layer.diff_id), layer.length)?;
            layer.write(self.out).map_err(|source| match source {
                layer::Error::Output(source) => Error::Write(source),
                source => Error::Layer {
                    layer: layer.layer,
                    source,
                },
            })?;
            self.pad(layer.length)?;
        }
        let config = image.config.bytes();
        let layers = image.layers.iter().map(
            |layer| json!({"mediaType": OCI_LAYER, "digest": layer.diff_id, "size": layer.length}),
        );
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": image.config.id(), "size": config.len()},
            "layers": layers.collect::<Vec<_>>(),
        });
        let manifest = manifest.to_string().into_bytes();
        let digest = Digest::of(&manifest);
        for (digest, bytes) in [(image.config.id(), config), (digest, &manifest)] {
            if self.blobs.insert(digest) {
                self.file(&blob(&digest), bytes)?;
            }
        }
        Ok((digest, manifest.len()))
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.header(path, length)?;
        self.write(bytes)?;
        self.pad(length)
    }

    fn directory(&mut self, path: &str) -> Result<(), Error> {
        self.member(path, tar::EntryType::Directory, 0o755, 0)
    }

    fn header(&mut self, path: &str, size: u64) -> Result<(), Error> {
        self.member(path, tar::EntryType::Regular, 0o644, size)
    }

    fn member(
        &mut self,
        path: &str,
        kind: tar::EntryType,
        mode: u32,
        size: u64,
    ) -> Result<(), Error> {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).map_err(Error::Write)?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn pad(&mut self, length: u64) -> Result<(), Error> {
        let zeros = usize::try_from(length.wrapping_neg() % RECORD).unwrap_or(0);
        self.write([0; 512].get(..zeros).unwrap_or_default())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::Write)
    }
}

/// The image as `manifest.json` has it.
fn docker_entry(image: &Outgoing, names: &BTreeSet<Reference>) -> serde_json::Value {
    let names: Vec<String> = names.iter().map(Reference::familiar).collect();
    let layers: Vec<String> = image
        .layers
        .iter()
        .map(|layer| blob(&layer.diff_id))
        .collect();
    let sources = image.layers.iter().map(|layer| {
        let source = json!({"mediaType": OCI_LAYER, "size": layer.length, "digest": layer.diff_id});
        (layer.diff_id.to_string(), source)
    });
    json!({
        "Config": blob(&image.config.id()),
        "RepoTags": if names.is_empty() { serde_json::Value::Null } else { names.into() },
        "Layers": layers,
        "LayerSources": sources.collect::<BTreeMap<_, _>>(),
    })
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
