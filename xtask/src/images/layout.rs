//! Writes OCI image layouts: blobs by digest, a manifest, `index.json`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::CREATED;

/// A blob as a manifest names it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Descriptor {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    size: u64,
}

/// A layer in the layout.
#[derive(Debug)]
pub(super) struct Stored {
    descriptor: Descriptor,
    diff_id: String,
    history: String,
}

/// An OCI layout that is being written.
#[derive(Debug)]
pub(super) struct Layout {
    dir: PathBuf,
    layers: Vec<Stored>,
}

impl Layout {
    /// An empty one in `dir`, which exists.
    pub(super) fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("blobs/sha256"))?;
        Ok(Self {
            dir: dir.to_owned(),
            layers: Vec::new(),
        })
    }

    /// Adds a layer, which `fill` writes as a tar stream. `history` says how it came about.
    pub(super) fn layer(
        &mut self,
        history: &str,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let file = tempfile::NamedTempFile::new_in(&self.dir)?;
        let gzip = GzEncoder::new(Hashing::new(file), Compression::new(6));
        let mut plain = Hashing::new(Pieces::new(gzip));
        fill(&mut plain)?;
        let (pieces, diff_id) = plain.finish();
        let gzip = pieces.finish()?;
        let (file, digest) = gzip.finish()?.finish();
        let size = file.as_file().metadata()?.len();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644))?;
        file.persist(self.blob_path(&digest)?)?;
        self.layers.push(Stored {
            descriptor: Descriptor {
                media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
                digest,
                size,
            },
            diff_id,
            history: history.to_owned(),
        });
        Ok(())
    }

    /// Adds the layers of the layout in `base`, sharing its files.
    pub(super) fn layers_of(&mut self, base: &Path) -> Result<()> {
        let read = |path: PathBuf| -> Result<Value> {
            let text =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(serde_json::from_slice(&text)?)
        };
        let blob = |descriptor: &Value| -> Result<Value> {
            let digest = descriptor["digest"].as_str().unwrap_or_default();
            read(blob_path(base, digest)?)
        };
        let manifest = blob(&read(base.join("index.json"))?["manifests"][0])?;
        let config = blob(&manifest["config"])?;
        let descriptors: Vec<Descriptor> = serde_json::from_value(manifest["layers"].clone())?;
        let diff_ids: Vec<String> = serde_json::from_value(config["rootfs"]["diff_ids"].clone())?;
        for (descriptor, diff_id) in descriptors.into_iter().zip(diff_ids) {
            let from = blob_path(base, &descriptor.digest)?;
            let to = self.blob_path(&descriptor.digest)?;
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to)?;
            }
            self.layers.push(Stored {
                descriptor,
                diff_id,
                history: "the base image".to_owned(),
            });
        }
        Ok(())
    }

    /// Writes configuration, manifest and index. `config` is the part of the configuration that containers are run with.
    pub(super) fn finish(self, name: &str, config: &Value) -> Result<()> {
        let diff_ids: Vec<&str> = self.layers.iter().map(|l| l.diff_id.as_str()).collect();
        let history = self
            .layers
            .iter()
            .map(|layer| json!({ "created": CREATED, "created_by": layer.history }));
        let config = self.json(
            "application/vnd.oci.image.config.v1+json",
            &json!({
                "created": CREATED,
                "architecture": "amd64",
                "os": "linux",
                "config": config,
                "rootfs": { "type": "layers", "diff_ids": diff_ids },
                "history": history.collect::<Vec<_>>(),
            }),
        )?;
        let layers: Vec<&Descriptor> = self.layers.iter().map(|l| &l.descriptor).collect();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = self.json(
            media_type,
            &json!({
                "schemaVersion": 2,
                "mediaType": media_type,
                "config": config,
                "layers": layers,
            }),
        )?;
        let mut manifest = serde_json::to_value(manifest)?;
        manifest["annotations"] = json!({
            "io.containerd.image.name": format!("docker.io/library/{name}:latest"),
            "org.opencontainers.image.ref.name": "latest",
        });
        fs::write(
            self.dir.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(self.dir.join("index.json"), serde_json::to_vec(&index)?)?;
        Ok(())
    }

    fn json(&self, media_type: &str, value: &Value) -> Result<Descriptor> {
        let bytes = serde_json::to_vec(value)?;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        fs::write(self.blob_path(&digest)?, &bytes)?;
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: bytes.len().try_into()?,
        })
    }

    fn blob_path(&self, digest: &str) -> Result<PathBuf> {
        blob_path(&self.dir, digest)
    }
}

fn blob_path(layout: &Path, digest: &str) -> Result<PathBuf> {
    let hex = digest
        .strip_prefix("sha256:")
        .with_context(|| format!("{digest:?} is not a sha256 digest"))?;
    Ok(layout.join("blobs/sha256").join(hex))
}

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        let hash = Sha256::new();
        Self { inner, hash }
    }

    fn finish(self) -> (W, String) {
        let digest = hex::encode(self.hash.finalize());
        (self.inner, format!("sha256:{digest}"))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hands on pieces of one size. The compressor's output depends on how its input is cut, and a pipe
/// cuts it differently each time.
struct Pieces<W> {
    inner: W,
    buffer: Vec<u8>,
}

impl<W: Write> Pieces<W> {
    const SIZE: usize = 1 << 18;

    fn new(inner: W) -> Self {
        let buffer = Vec::with_capacity(Self::SIZE);
        Self { inner, buffer }
    }

    fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&self.buffer)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Pieces<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(Self::SIZE - self.buffer.len());
        self.buffer
            .extend_from_slice(bytes.get(..count).unwrap_or_default());
        if self.buffer.len() == Self::SIZE {
            self.inner.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
