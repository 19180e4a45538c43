//! What there is: `ls` and `inspect`.

use std::path::PathBuf;

use jiff::Timestamp;

use super::db::{Db, Record};
use super::image::size;
use super::{Error, Store};
use crate::config::Config;
use crate::digest::Digest;
use crate::filter::Filters;
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
    /// The image that it was made of, if it was made here and that is still there.
    pub parent: Option<Digest>,
    /// Whether others were made of it.
    pub has_children: bool,
}

/// An image as `inspect` shows it.
#[derive(Clone, Debug)]
pub struct Details {
    /// What `ls` shows.
    pub summary: Summary,
    /// The whole configuration.
    pub config: Config,
    /// When it last got a name here.
    pub tagged: Option<Timestamp>,
    /// The EROFS image of its metadata.
    pub erofs: PathBuf,
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

    /// The images that `filters` mean, the newest first, under those of their names that are meant. Images without a name that
    /// others were made of are left out, unless `all` of them are asked for.
    ///
    /// # Errors
    /// When the database cannot be read, or a filter names an image that is not there.
    pub fn select(&self, filters: &Filters, all: bool) -> Result<Vec<Summary>, Error> {
        let created = |name: &String| {
            let id = self.resolve(name)?;
            let config = self.config(&id)?;
            let created = config.parsed().created().as_ref();
            Ok(created.and_then(|text| text.parse::<Timestamp>().ok()))
        };
        let times = |names: &[String]| names.iter().map(created).collect::<Result<Vec<_>, Error>>();
        let (before, since) = (times(&filters.before)?, times(&filters.since)?);
        let mut list = self.list()?;
        list.retain(|image| {
            let is_dangling = image.names.is_empty() && !image.has_children;
            let hidden = image.names.is_empty() && image.has_children && !all;
            let named = match filters.dangling {
                Some(true) => is_dangling,
                Some(false) => !image.names.is_empty(),
                None => true,
            };
            // What does not say when it was made is neither before nor after anything.
            let earlier = before
                .iter()
                .all(|time| image.created.is_some() && image.created < *time);
            let later = since
                .iter()
                .all(|time| time.is_some() && image.created > *time);
            let fits = filters.fits(&image.labels, image.created);
            named && !hidden && earlier && later && fits
        });
        if filters.has_references() {
            for image in &mut list {
                image.names.retain(|name| filters.fits_name(name));
                image.digests.retain(|name| filters.fits_name(name));
            }
            list.retain(|image| !image.names.is_empty() || !image.digests.is_empty());
        }
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
            tagged: record.tagged,
            erofs: self.layout.erofs(&id),
        })
    }

    /// Bytes of a layer's files, if it is in the store.
    #[must_use]
    pub fn layer_size(&self, layer: &Digest) -> Option<u64> {
        let files = self.layout.layer(layer);
        files
            .exist()
            .then(|| size(&files.index) + size(&files.blob))
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
        parent: record
            .parent
            .filter(|parent| db.images.contains_key(parent)),
        has_children: db.has_children(id),
    }
}
