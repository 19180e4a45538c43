//! Registries, the blob store, and layers as EROFS images.
//!
//! [`Store`] is the door: it holds images as DESIGN.md says (each layer once, as an aligned blob and an
//! index; a small EROFS metadata image per image), takes them from registries ([`Store::pull`]) and
//! archives ([`Store::load`]), and gives them out ([`Store::image`]).

pub mod build;
pub mod config;
mod create;
mod decompress;
pub mod digest;
mod distribution;
pub mod docker;
pub mod erofs;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzing;
mod glob;
mod import;
pub mod layer;
mod load;
pub mod manifest;
pub mod platform;
pub mod progress;
pub mod pull;
mod push;
pub mod reference;
pub mod registry;
mod save;
pub mod store;
#[cfg(test)]
mod testing;
mod time;
pub mod tree;

pub use create::{CommitOptions, Error as CreateError, ImportOptions};
pub use decompress::decompress;
pub use digest::Digest;
pub use distribution::{Distribution, distribution};
pub use filter::{FilterError, Filters};
pub use import::Error as ImportError;
pub use load::{Error as LoadError, Input, LoadOptions, Loaded};
pub use platform::Platform;
pub use progress::{Event, LayerInfo, LayerState, Progress};
pub use pull::{Error as PullError, PullOptions, Pulled};
pub use push::{Error as PushError, PushOptions, Pushed};
pub use reference::Reference;
pub use save::{Error as SaveError, SaveOptions};
pub use store::{Image, Lease, Prune, Remove, Removed, Store, Use};
pub use time::{go_duration, moment};
