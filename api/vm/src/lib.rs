//! The API of one microVM: what it is told, what it answers, and the two ends of the socket between.
//!
//! - [`config`] is the model of a machine, in its JSON file and in the bodies of the API.
//! - [`request`] turns a method, a path and a body into a [`Request`]; [`Reply`] and [`Fault`] are the answers.
//! - [`Stage`] says which requests go with what the machine does; [`Builder`] is a machine before its start.
//! - [`server`] is HTTP over a Unix socket, in a thread of its own, and hands [`server::Call`]s to the VMM's event loop.
//! - [`client`] is the other end, for whoever drives microVMs.
//!
//! [`tap`] opens the TAP devices that a machine names.
//!
//! `hull-vmm` serves it and ends with the status of an [`ExitCause`]. Names and rules are Firecracker's wherever Firecracker has
//! the thing; `openapi.yaml` describes the whole, and `DIFFERENCES.md` what is not as it is there.

pub mod builder;
pub mod client;
pub mod config;
mod exit;
pub mod fault;
#[doc(hidden)]
pub mod http;
pub mod metadata;
pub mod profile;
pub mod reply;
pub mod request;
pub mod server;
mod stage;
pub mod tap;

pub use builder::{Builder, Step};
pub use client::Client;
pub use config::{ConfigError, Draft, VmConfig};
pub use exit::ExitCause;
pub use fault::Fault;
pub use metadata::Metadata;
pub use profile::HostProfile;
pub use reply::Reply;
pub use request::Request;
pub use server::Server;
pub use stage::Stage;
