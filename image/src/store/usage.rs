//! What images take on the disk: `docker system df`, and the sizes of `docker images`.

use std::collections::BTreeMap;

use super::list::Summary;
use super::{Error, Store, Use};
use crate::digest::Digest;

/// What all images take.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Bytes of all layers that images have, each once.
    pub layers: u64,
    /// Each image.
    pub images: Vec<ImageUsage>,
}

/// What one image takes.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// The image; its size counts what it shares with others.
    pub image: Summary,
    /// Bytes of layers that other images have, too.
    pub shared: u64,
    /// Containers that need it.
    pub containers: usize,
}

impl ImageUsage {
    /// Bytes that are nobody else's.
    #[must_use]
    pub fn unique(&self) -> u64 {
        self.image.size.saturating_sub(self.shared)
    }
}

impl Store {
    /// What all images take, the newest first. `uses` are the containers.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn usage(&self, uses: &[Use]) -> Result<Usage, Error> {
        let db = self.read()?;
        // By layer: its size, and how many images have it.
        let mut layers: BTreeMap<Digest, (u64, usize)> = BTreeMap::new();
        for record in db.images.values() {
            for layer in distinct(&record.layers) {
                let size = || self.layout.layer(&layer).size();
                layers.entry(layer).or_insert_with(|| (size(), 0)).1 += 1;
            }
        }
        let usage = |image: Summary| {
            let own = db
                .images
                .get(&image.id)
                .map(|record| distinct(&record.layers));
            let own = own.unwrap_or_default();
            let known = own.iter().filter_map(|layer| layers.get(layer));
            let shared = known
                .filter(|(_, images)| *images > 1)
                .map(|(size, _)| size);
            ImageUsage {
                shared: shared.sum(),
                containers: uses.iter().filter(|user| user.image == image.id).count(),
                image,
            }
        };
        Ok(Usage {
            layers: layers.values().map(|(size, _)| size).sum(),
            images: self.list()?.into_iter().map(usage).collect(),
        })
    }
}

fn distinct(layers: &[Digest]) -> Vec<Digest> {
    let mut layers = layers.to_vec();
    layers.sort();
    layers.dedup();
    layers
}
