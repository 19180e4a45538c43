//! What pulls, pushes and loads tell about how far they are.

use std::time::Duration;

use crate::digest::Digest;

/// Somebody who shows progress. Called often and from several threads; it must not block.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn report(&self, event: &Event);
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&self, _event: &Event) {}
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The layers of the image are known, lowest first. Later events name them by their place.
    Layers(Vec<LayerInfo>),
    /// A layer went on.
    Layer {
        /// Its place in the list, from 0.
        index: usize,
        /// What it does now.
        state: LayerState,
    },
    /// A request is repeated.
    Retry {
        /// Why.
        why: String,
        /// In how long.
        after: Duration,
    },
}

/// A layer of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// Its diffID.
    pub layer: Digest,
    /// Bytes to transfer, compressed; for a push, which compresses them yet, bytes before that.
    pub size: u64,
}

/// What a layer does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerState {
    /// Another process or task makes it; its result is used.
    Waiting,
    /// Its bytes come in and are unpacked on the fly.
    Downloading {
        /// Bytes that are here, those of an earlier attempt included.
        received: u64,
    },
    /// The connection failed and will be taken up again.
    Retrying {
        /// Why.
        why: String,
        /// In how long.
        after: Duration,
    },
    /// All bytes are here, and the rest is being unpacked.
    Unpacking,
    /// It is made again from the store and compressed.
    Compressing,
    /// Its bytes go out.
    Uploading {
        /// Bytes that are on their way, those of an earlier attempt included.
        sent: u64,
        /// All of them.
        size: u64,
    },
    /// The registry takes it from another repository of its own.
    Mounted {
        /// That repository.
        from: String,
    },
    /// It was there before.
    Present,
    /// It is there now.
    Done,
}
