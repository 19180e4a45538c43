//! Registries, the blob store, and layers as EROFS images.
//!
//! [`Store`] is the door: it holds images as DESIGN.md says (each layer once, as an aligned blob and an
//! index; a small EROFS metadata image per image), takes them from registries ([`Store::pull`]) and
//! archives ([`Store::load`]), and gives them out ([`Store::image`]).

pub mod config;
mod decompress;
pub mod digest;
pub mod erofs;
#[cfg(fuzzing)]
pub mod fuzzing;
mod import;
pub mod layer;
mod load;
pub mod manifest;
pub mod platform;
pub mod progress;
pub mod pull;
pub mod reference;
pub mod registry;
pub mod store;
#[cfg(test)]
mod testing;
pub mod tree;

pub use digest::Digest;
pub use import::Error as ImportError;
pub use load::{Error as LoadError, Input, LoadOptions, Loaded};
pub use platform::Platform;
pub use progress::{Event, LayerInfo, LayerState, Progress};
pub use pull::{Error as PullError, PullOptions, Pulled};
pub use reference::Reference;
pub use store::{Image, Lease, Prune, Removed, Store, Use};
