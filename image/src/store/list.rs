//! What there is: `ls` and `inspect`.

use jiff::Timestamp;

use super::db::{Db, Record};
use super::{Error, Store};
use crate::config::Config;
use crate::digest::Digest;
use crate::reference::Reference;

/// An image as `ls` shows it.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The image's id.
    pub id: Digest,
    /// Its names; none if it is dangling.
    pub names: Vec<Reference>,
    /// `repository@digest` for each registry that it came from.
    pub digests: Vec<Reference>,
    /// When it was built, if it says so.
    pub created: Option<Timestamp>,
    /// When it came into the store.
    pub added: Timestamp,
    /// Bytes of its files here, those shared with other images included.
    pub size: u64,
    /// Labels of its configuration.
    pub labels: Vec<(String, String)>,
}

/// An image as `inspect` shows it.
#[derive(Clone, Debug)]
pub struct Details {
    /// What `ls` shows.
    pub summary: Summary,
    /// The whole configuration.
    pub config: Config,
}

impl Store {
    /// All images, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read. An image whose configuration is damaged is listed without what only that knows.
    pub fn list(&self) -> Result<Vec<Summary>, Error> {
        let db = self.read()?;
        let images = db.images.iter();
        let mut list: Vec<Summary> = images
            .map(|(id, record)| summary(&db, id, record, self.config(id).ok().as_ref()))
            .collect();
        list.sort_by_key(|image| std::cmp::Reverse((image.created, image.added)));
        Ok(list)
    }

    /// Everything about the image that `name` leads to.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn inspect(&self, name: &str) -> Result<Details, Error> {
        let db = self.read()?;
        let id = db.resolve(name)?;
        let record = db
            .images
            .get(&id)
            .ok_or_else(|| Error::NotFound(name.to_owned()))?;
        let config = self.config(&id)?;
        Ok(Details {
            summary: summary(&db, &id, record, Some(&config)),
            config,
        })
    }
}

fn summary(db: &Db, id: &Digest, record: &Record, config: Option<&Config>) -> Summary {
    let parsed = config.map(Config::parsed);
    let created = parsed.and_then(|config| config.created().as_ref());
    let labels = parsed.and_then(oci_spec::image::ImageConfiguration::labels_of_config);
    let mut labels: Vec<(String, String)> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    labels.sort();
    Summary {
        id: *id,
        names: db.names(id).into_iter().cloned().collect(),
        digests: record.digests.iter().cloned().collect(),
        created: created.and_then(|text| text.parse().ok()),
        added: record.added,
        size: record.size,
        labels,
    }
}
