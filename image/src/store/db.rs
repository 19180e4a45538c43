//! `db.json`: which images there are, what they consist of and what they are called.
//!
//! Readers take no lock: the file is replaced as a whole. Whoever changes it holds the store's lock
//! from reading to writing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::digest::Digest;
use crate::reference::Reference;

const VERSION: u32 = 2;
/// The oldest version that is read; what it lacks has a default.
const OLDEST: u32 = 1;

/// The content of `db.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Db {
    version: u32,
    /// By image id.
    pub(crate) images: BTreeMap<Digest, Record>,
    /// References with a tag and no digest.
    pub(crate) tags: BTreeMap<Reference, Digest>,
}

/// What is known about an image beside its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Layers by diffID, lowest first.
    pub(crate) layers: Vec<Digest>,
    /// Bytes that the image takes, layers shared with others included.
    pub(crate) size: u64,
    /// When it came into the store.
    pub(crate) added: Timestamp,
    /// `repository@manifest digest` for each registry that it was pulled from.
    pub(crate) digests: BTreeSet<Reference>,
    /// Where such a digest is that of a list of manifests: that of the image's own, which is in the store, too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) manifests: BTreeMap<Digest, Digest>,
    /// When it last got a name by `tag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tagged: Option<Timestamp>,
    /// The image that it was made of here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Digest>,
    /// The keys of the steps of builds that made it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) steps: BTreeSet<Digest>,
}

impl Default for Db {
    fn default() -> Self {
        Self {
            version: VERSION,
            images: BTreeMap::new(),
            tags: BTreeMap::new(),
        }
    }
}

impl Db {
    /// Reads `path`; a missing file is an empty database.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(Error::io("read", path, e)),
        };
        let database = |source| Error::Database {
            path: path.to_owned(),
            source,
        };
        let mut db: Self = serde_json::from_slice(&bytes).map_err(|e| database(Some(e)))?;
        if !(OLDEST..=VERSION).contains(&db.version) {
            return Err(database(None));
        }
        db.version = VERSION;
        Ok(db)
    }

    /// Replaces `path`. Only with the store's lock held.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|source| Error::Database {
            path: path.to_owned(),
            source: Some(source),
        })?;
        write_atomic(path, &bytes)
    }

    /// The names of an image.
    pub(crate) fn names(&self, image: &Digest) -> Vec<&Reference> {
        let of_image = self.tags.iter().filter(|(_, id)| *id == image);
        of_image.map(|(name, _)| name).collect()
    }

    /// Whether an image was made of this one here.
    pub(crate) fn has_children(&self, image: &Digest) -> bool {
        let mut all = self.images.values();
        all.any(|record| record.parent.as_ref() == Some(image))
    }

    /// Finds the image that `text` names: a reference, an id or the beginning of one. As with
    /// Docker, names go before ids.
    pub(crate) fn resolve(&self, text: &str) -> Result<Digest, Error> {
        if let Ok(id) = text.parse::<Digest>()
            && self.images.contains_key(&id)
        {
            return Ok(id);
        }
        let reference = text.parse::<Reference>();
        if let Ok(reference) = &reference
            && let Some(id) = self.named(reference)
        {
            return Ok(id);
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let is_prefix = !digits.is_empty()
            && digits
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if is_prefix {
            let mut matches = self.images.keys().filter(|id| id.hex().starts_with(digits));
            match (matches.next(), matches.next()) {
                (Some(id), None) => return Ok(*id),
                (Some(_), Some(_)) => return Err(Error::Ambiguous(text.to_owned())),
                (None, _) => return Err(Error::NotFound(text.to_owned())),
            }
        }
        let reference = reference?;
        Err(Error::NotFound(reference.familiar()))
    }

    fn named(&self, reference: &Reference) -> Option<Digest> {
        let Some(digest) = reference.digest() else {
            return self.tags.get(reference).copied();
        };
        // A digest settles it; the tag beside it is decoration, as it is for Docker.
        let wanted = reference.with_digest(*digest);
        let mut images = self.images.iter();
        images
            .find(|(_, record)| record.digests.contains(&wanted))
            .map(|(id, _)| *id)
    }
}

/// Writes a file that is there as a whole or not at all, also after a power cut.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |e: io::Error| Error::io("write", path, e);
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(dir)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    sync_dir(dir)
}

/// Makes renames in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| Error::io("sync", dir, e))
}
