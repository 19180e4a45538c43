//! What the tests of this crate share: images made in memory, archives of them, and servers.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use flate2::write::GzEncoder;
use serde_json::json;

use crate::digest::Digest;

pub(crate) mod debian;
pub(crate) mod proxy;
pub(crate) mod server;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pack {
    Plain,
    Gzip,
    Zstd,
}

/// A layer as it is transferred.
#[derive(Clone, Debug)]
pub(crate) struct LayerFixture {
    pub(crate) tar: Vec<u8>,
    pub(crate) blob: Vec<u8>,
    pub(crate) kind: &'static str,
}

/// An image as it is transferred.
#[derive(Clone, Debug)]
pub(crate) struct ImageFixture {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<LayerFixture>,
    pub(crate) manifest: Vec<u8>,
}

/// A layer with these regular files.
pub(crate) fn layer(files: &[(&str, &[u8])], pack: Pack) -> LayerFixture {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len().try_into().unwrap());
        header.set_mode(0o644);
        header.set_mtime(1);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    let tar = builder.into_inner().unwrap();
    let (blob, kind) = match pack {
        Pack::Plain => (tar.clone(), "application/vnd.oci.image.layer.v1.tar"),
        Pack::Gzip => (gzip(&tar), "application/vnd.oci.image.layer.v1.tar+gzip"),
        Pack::Zstd => (
            zstd::encode_all(&tar[..], 1).unwrap(),
            "application/vnd.oci.image.layer.v1.tar+zstd",
        ),
    };
    LayerFixture { tar, blob, kind }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let mut bytes = Vec::with_capacity(length + 4);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An image of these layers for linux/amd64; `label` makes it differ from others of the same layers.
pub(crate) fn image(layers: &[LayerFixture], label: &str) -> ImageFixture {
    image_for("amd64", layers, label)
}

pub(crate) fn image_for(architecture: &str, layers: &[LayerFixture], label: &str) -> ImageFixture {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| Digest::of(&layer.tar).to_string())
        .collect();
    let config = json!({
        "created": "2024-05-06T07:08:09Z",
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": {"label": label},
            "ExposedPorts": {"80/tcp": {}}, "Volumes": null, "Entrypoint": null},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [],
    });
    let config = serde_json::to_vec(&config).unwrap();
    let manifest = manifest_of(
        &config,
        layers,
        "application/vnd.oci.image.manifest.v1+json",
    );
    ImageFixture {
        config,
        layers: layers.to_vec(),
        manifest,
    }
}

pub(crate) fn manifest_of(config: &[u8], layers: &[LayerFixture], kind: &str) -> Vec<u8> {
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| descriptor(layer.kind, &layer.blob))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": layers,
    });
    serde_json::to_vec(&manifest).unwrap()
}

pub(crate) fn descriptor(kind: &str, bytes: &[u8]) -> serde_json::Value {
    json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

impl ImageFixture {
    pub(crate) fn id(&self) -> Digest {
        Digest::of(&self.config)
    }

    /// Everything that a registry or a layout holds by digest.
    pub(crate) fn blobs(&self) -> BTreeMap<Digest, Vec<u8>> {
        let layers = self.layers.iter().map(|layer| layer.blob.clone());
        let others = [self.config.clone(), self.manifest.clone()];
        let all = others.into_iter().chain(layers);
        all.map(|bytes| (Digest::of(&bytes), bytes)).collect()
    }
}

/// The files of an OCI layout of these images with these names (none if empty).
pub(crate) fn layout(images: &[(&ImageFixture, &str)]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut entries = Vec::new();
    for (image, name) in images {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut entry = descriptor(kind, &image.manifest);
        if !name.is_empty() {
            entry["annotations"] = json!({"io.containerd.image.name": name});
        }
        entries.push(entry);
        for (digest, bytes) in image.blobs() {
            files.insert(format!("blobs/sha256/{}", digest.hex()), bytes);
        }
    }
    let index = json!({"schemaVersion": 2, "manifests": entries});
    files.insert("index.json".to_owned(), index.to_string().into_bytes());
    let version = br#"{"imageLayoutVersion": "1.0.0"}"#;
    files.insert("oci-layout".to_owned(), version.to_vec());
    files
}

/// The files of an archive of `docker save` as they were before Docker 25.
pub(crate) fn docker_save(images: &[(&ImageFixture, &str)]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut entries = Vec::new();
    for (image, name) in images {
        let config = format!("{}.json", image.id().hex());
        files.insert(config.clone(), image.config.clone());
        let mut layers = Vec::new();
        for layer in &image.layers {
            let path = format!("{}/layer.tar", Digest::of(&layer.tar).hex());
            files.insert(path.clone(), layer.tar.clone());
            layers.push(path);
        }
        entries.push(json!({"Config": config, "RepoTags": [name], "Layers": layers}));
    }
    let manifest = serde_json::to_vec(&entries).unwrap();
    files.insert("manifest.json".to_owned(), manifest);
    files
}

/// A tar archive of these files.
pub(crate) fn archive(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len().try_into().unwrap());
        header.set_mode(0o644);
        let content = content.as_slice();
        builder.append_data(&mut header, path, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// These files below `dir`.
pub(crate) fn write(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (path, content) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// All files of a store that hold something, but for its locks and its database.
pub(crate) fn contents(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for dir in [
        "configs",
        "manifests",
        "erofs",
        "layers",
        "downloads",
        "tmp",
    ] {
        for entry in std::fs::read_dir(root.join(dir)).unwrap() {
            let name = entry.unwrap().file_name();
            found.push(format!("{dir}/{}", name.to_string_lossy()));
        }
    }
    found.sort();
    found
}
