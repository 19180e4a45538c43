//! An opened image: what the engine needs to run it, kept from removal while it is held.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::ImageConfiguration;

use super::lock::{FileLock, Mode};
use super::{Error, Store};
use crate::config::Config;
use crate::digest::Digest;

/// Keeps an image's files in place while any clone of it lives, whoever asks for their removal, also
/// in other processes. Ends with the process.
#[derive(Clone, Debug)]
pub struct Lease {
    _lock: Arc<FileLock>,
}

/// An image that is ready to be run.
#[derive(Clone, Debug)]
pub struct Image {
    id: Digest,
    config: Config,
    parts: Vec<PathBuf>,
    lease: Lease,
}

impl Image {
    /// The image's id, which is the digest of its configuration.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.id
    }

    /// The configuration: command, environment, user, ...
    #[must_use]
    pub fn config(&self) -> &ImageConfiguration {
        self.config.parsed()
    }

    /// The files which make up the image's disk, in this order and each padded to 4 KiB: the EROFS metadata, then
    /// the contents of each layer that has any. Absolute paths, read-only.
    #[must_use]
    pub fn parts(&self) -> &[PathBuf] {
        &self.parts
    }

    /// The diffIDs of its layers, lowest first.
    pub(crate) fn layers(&self) -> &[Digest] {
        self.config.layers()
    }

    /// What keeps the files in place.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }
}

impl Store {
    /// Opens the image that `name` leads to and keeps its files from removal.
    ///
    /// # Errors
    /// When there is no such image, or files of it are missing.
    pub fn image(&self, name: &str) -> Result<Image, Error> {
        let id = self.resolve(name)?;
        let lease = self.lease(&id)?;
        // A removal may have gone by between looking and leasing.
        if !self.read()?.images.contains_key(&id) {
            return Err(Error::NotFound(name.to_owned()));
        }
        let config = self.config(&id)?;
        let parts = self.parts(&id, config.layers())?;
        Ok(Image {
            id,
            config,
            parts,
            lease,
        })
    }

    pub(super) fn lease(&self, image: &Digest) -> Result<Lease, Error> {
        let path = self.layout.image_lock(image);
        let lock = FileLock::lock(&path, Mode::Shared).map_err(|e| Error::io("lock", &path, e))?;
        Ok(Lease {
            _lock: Arc::new(lock),
        })
    }

    /// The checked configuration of an image of this store.
    pub(crate) fn config(&self, image: &Digest) -> Result<Config, Error> {
        let damaged = |what: String| Error::Damaged {
            image: *image,
            what,
        };
        let path = self.layout.config(image);
        let bytes = fs::read(&path)
            .map_err(|e| damaged(format!("{} cannot be read ({e})", path.display())))?;
        if Digest::of(&bytes) != *image {
            return Err(damaged(format!(
                "{} does not have its digest",
                path.display()
            )));
        }
        Config::parse(bytes).map_err(Error::Config)
    }

    /// The files of the image's disk. The metadata image is derived from the layers' indexes, so it
    /// is made again if it is missing.
    fn parts(&self, image: &Digest, layers: &[Digest]) -> Result<Vec<PathBuf>, Error> {
        for layer in layers {
            if !self.layout.layer(layer).exist() {
                return Err(Error::Damaged {
                    image: *image,
                    what: format!("its layer {} is missing", layer.short()),
                });
            }
        }
        let erofs = self.layout.erofs(image);
        if !erofs.is_file() {
            self.put_erofs(image, layers)?;
        }
        let blobs = layers.iter().map(|layer| self.layout.layer(layer).blob);
        // A layer without contents (directories, links, whiteouts) takes no room in the address space.
        let blobs = blobs.filter(|blob| size(blob) > 0);
        Ok(std::iter::once(erofs).chain(blobs).collect())
    }
}

/// Bytes of a file; a missing one has none.
pub(super) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}
