//! Where things lie in a store's directory.
//!
//! ```text
//! lock                      held while db.json changes and while garbage is collected
//! db.json                   images, their layers and names
//! configs/<image>.json      the configuration, byte for byte: its SHA-256 is the image's id
//! manifests/<digest>.json   manifests as a registry sent them
//! erofs/<image>.erofs       metadata image of an image
//! layers/<diffid>.blob      aligned contents of a layer      layers/<diffid>.index   its metadata
//! layers/<diffid>.headers   what else its tar stream had; missing for layers of the first versions of Hull
//! locks/layer-<diffid>      held alone to import a layer, shared to keep it
//! locks/image-<image>       shared by whoever uses an image
//! downloads/<digest>.part   compressed layers on their way, kept to be resumed
//! tmp/<name>/               files of one writer that lives while tmp/<name>.lock is locked
//! ```

use std::io;
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::digest::Digest;

/// The paths of one store.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// The files of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerFiles {
    pub(crate) blob: PathBuf,
    pub(crate) index: PathBuf,
    pub(crate) headers: PathBuf,
}

impl LayerFiles {
    /// What it takes to run is there. The index is put in place last, so it alone would do; a blob that went
    /// missing must not go unnoticed though.
    pub(crate) fn exist(&self) -> bool {
        self.index.is_file() && self.blob.is_file()
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> u64 {
        let files = [&self.blob, &self.index, &self.headers];
        files.map(|file| super::image::size(file)).iter().sum()
    }
}

impl Layout {
    /// Makes the directories that are missing.
    pub(crate) fn create(root: &Path) -> Result<Self, Error> {
        // The engine's working directory may change; paths that are handed out must not.
        let root = std::path::absolute(root).map_err(|e| Error::io("resolve", root, e))?;
        let layout = Self { root };
        for dir in [
            "configs",
            "manifests",
            "erofs",
            "layers",
            "locks",
            "downloads",
            "tmp",
        ] {
            let dir = layout.root.join(dir);
            std::fs::create_dir_all(&dir).map_err(|e| Error::io("make", &dir, e))?;
        }
        Ok(layout)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.root.join("db.json")
    }

    pub(crate) fn config(&self, image: &Digest) -> PathBuf {
        self.root.join("configs").join(image.hex() + ".json")
    }

    pub(crate) fn manifest(&self, digest: &Digest) -> PathBuf {
        self.root.join("manifests").join(digest.hex() + ".json")
    }

    pub(crate) fn erofs(&self, image: &Digest) -> PathBuf {
        self.root.join("erofs").join(image.hex() + ".erofs")
    }

    pub(crate) fn layer(&self, layer: &Digest) -> LayerFiles {
        let dir = self.root.join("layers");
        LayerFiles {
            blob: dir.join(layer.hex() + ".blob"),
            index: dir.join(layer.hex() + ".index"),
            headers: dir.join(layer.hex() + ".headers"),
        }
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn layer_lock(&self, layer: &Digest) -> PathBuf {
        self.locks().join(format!("layer-{}", layer.hex()))
    }

    pub(crate) fn image_lock(&self, image: &Digest) -> PathBuf {
        self.locks().join(format!("image-{}", image.hex()))
    }

    pub(crate) fn part(&self, digest: &Digest) -> PathBuf {
        self.downloads().join(digest.hex() + ".part")
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The digests that name the files of `dir` with this `extension`; other files are none of ours.
    pub(crate) fn named(&self, dir: &str, extension: &str) -> Result<Vec<Digest>, Error> {
        let dir = self.root.join(dir);
        let read = |e: io::Error| Error::io("read", &dir, e);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(read)? {
            let path = entry.map_err(read)?.path();
            let named = path.extension().is_some_and(|found| found == extension);
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let Some(digest) = stem.and_then(|stem| Digest::from_hex(stem).ok())
                && named
            {
                found.push(digest);
            }
        }
        Ok(found)
    }
}
