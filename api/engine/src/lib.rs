//! The Docker Engine API (versions 1.24 to 1.51), answered by the engine's supervisor.
//!
//! [`Api`] is the door. It holds no state of its own: each request becomes calls on
//! [`hull_engine::supervisor::Supervisor`] or on the image store, and what comes back is put into Docker's words. One folder per noun
//! of the API (`system`, `containers`, `exec`, `images`, `build`, `networks`, and `hull` for what is
//! not Docker's); what all requests have in common lies beside them.

#![recursion_limit = "512"] // The largest answers are one json! each.

mod body;
mod build;
mod containers;
mod detach;
mod error;
mod exec;
mod filters;
mod hijack;
mod hull;
mod images;
mod lines;
mod listener;
mod metrics;
mod networks;
mod params;
mod router;
mod server;
mod system;
mod tls;
mod version;
mod volumes;
mod words;

pub use detach::{DetachKeys, InvalidKeys};
pub use listener::Listener;
pub use metrics::Metrics;
pub use server::Api;
pub use tls::{TlsError, TlsFiles};
pub use words::duration;

/// The specification of the API, where there is a copy of it.
#[cfg(test)]
fn spec_for_tests() -> Option<serde_json::Value> {
    spec::load()
}

#[cfg(test)]
#[path = "../tests/api/spec.rs"]
mod spec;
