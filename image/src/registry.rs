//! A client of OCI distribution (and Docker v2) registries: what `pull` needs of it.
//!
//! It is a small client of our own over `reqwest` because what a registry says is not trusted:
//! every answer has a size limit, every wait for a byte a time limit, and tokens are only sent where
//! they belong. The protocol is the OCI distribution specification 1.1, sections "Pull" and
//! "Authentication" of Docker's registry documentation.

mod auth;
mod client;
mod config;
mod credentials;
mod error;
mod login;
mod retry;
#[cfg(test)]
mod tests;
mod transport;

pub(crate) use client::Client;
pub use config::{Config, ConfigError};
pub use error::Error;
pub use retry::Retry;
