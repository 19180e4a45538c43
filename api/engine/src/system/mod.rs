//! The daemon itself.

pub(crate) mod auth;
pub(crate) mod df;
pub(crate) mod events;
mod host;
pub(crate) mod info;
pub(crate) mod ping;
pub(crate) mod swarm;
pub(crate) mod version;
