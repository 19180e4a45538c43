//! How an image came to be: `docker history`.

use jiff::Timestamp;

use super::{Error, Store};
use crate::digest::Digest;
use crate::reference::Reference;

/// A step that made an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image that it made, if that is here.
    pub id: Option<Digest>,
    /// That one's names.
    pub names: Vec<Reference>,
    /// When, if it says so.
    pub created: Option<Timestamp>,
    /// By which command.
    pub created_by: String,
    /// What is noted about it.
    pub comment: String,
    /// Bytes that its layer takes here.
    pub size: u64,
}

impl Store {
    /// The steps that made the image that `name` leads to, the last one first.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryEntry>, Error> {
        let db = self.read()?;
        let id = db.resolve(name)?;
        let config = self.config(&id)?;
        let steps: &[_] = config.parsed().history().as_deref().unwrap_or_default();
        let full = steps.iter().filter(|step| step.empty_layer() != Some(true));
        // Nothing may be written about the lowest layers.
        let unknown = config.layers().len().saturating_sub(full.count());
        let (bare, layers) = config.layers().split_at(unknown);
        let mut layers = layers.iter();
        let size = |layer: &Digest| self.layout.layer(layer).size();
        let mut entries: Vec<HistoryEntry> = bare
            .iter()
            .map(|layer| HistoryEntry {
                size: size(layer),
                ..HistoryEntry::default()
            })
            .collect();
        for step in steps {
            let layer = match step.empty_layer() {
                Some(true) => None,
                _ => layers.next(),
            };
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let created = step.created().as_ref();
            entries.push(HistoryEntry {
                created: created.and_then(|text| text.parse().ok()),
                created_by: text(step.created_by()),
                comment: text(step.comment()),
                size: layer.map_or(0, size),
                ..HistoryEntry::default()
            });
        }
        entries.reverse();
        let mut image = Some(id);
        for entry in &mut entries {
            let Some(found) = image.filter(|image| db.images.contains_key(image)) else {
                break;
            };
            entry.id = Some(found);
            entry.names = db.names(&found).into_iter().cloned().collect();
            image = db.images.get(&found).and_then(|record| record.parent);
        }
        Ok(entries)
    }
}
