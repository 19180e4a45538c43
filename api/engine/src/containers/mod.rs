//! Containers: what a client says about them, and what it is told.

pub(crate) mod archive;
pub(crate) mod attach;
pub(crate) mod changes;
pub(crate) mod checkpoints;
pub(crate) mod commit;
mod config;
pub(crate) mod create;
pub(crate) mod fields;
mod guest;
pub(crate) mod inspect;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod logs;
mod merge;
mod mounts;
pub(crate) mod prune;
mod shown;
pub(crate) mod stats;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod wait;

pub(crate) use config::{CreateBody, EndpointBody, attachment, convert};
pub(crate) use shown::{is_up, state as state_of};
