//! A client of OCI distribution (and Docker v2) registries: what `pull` and `push` need of it.
//!
//! It is a small client of our own over `reqwest` because what a registry says is not trusted:
//! every answer has a size limit, every wait for a byte a time limit, and tokens are only sent where
//! they belong. The protocol is the OCI distribution specification 1.1, sections "Pull" and
//! "Push", and "Authentication" of Docker's registry documentation.

mod account;
mod auth;
mod client;
mod config;
mod credentials;
mod error;
mod helper;
mod keyring;
mod login;
mod remote;
mod request;
mod retry;
#[cfg(test)]
mod tests;
mod transport;
mod upload;

pub use account::{Found, LoggedIn, Search, login, registry_of, search};
pub(crate) use client::Client;
pub use config::{Config, ConfigError};
pub use credentials::Credentials;
pub use error::Error;
pub use keyring::{Kept, Keyring};
pub use remote::{Remote, remote};
pub(crate) use request::Moved;
pub use retry::Retry;
pub(crate) use upload::{LocalBlob, Upload};
