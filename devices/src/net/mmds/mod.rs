//! The microVM metadata service: what the host wants a guest to know, for the guest to fetch by HTTP from a link-local
//! address, without any network behind it.
//!
//! It follows Firecracker's MMDS: version 1 answers any GET; version 2 wants a session token, which a PUT to
//! `/latest/api/token` gives. A value comes as JSON to those who accept it, else as text in the manner of EC2's IMDS: an object as
//! the list of its keys, a string as it is.
//!
//! ```text
//! store.rs      the data, and what the host does with it     query.rs    what a path means, JSON and text
//! token.rs      session tokens                               http.rs     requests and answers
//! exchange.rs   one connection's bytes                       stack.rs    TCP/IP for a few connections
//! responder.rs  frames in and out: what a network interface uses
//! ```
//!
//! The data is shared by all interfaces that show it, and by the host, behind a lock that is held for the time of one request. The rest
//! belongs to one interface. Everything that a guest can make grow has a bound: connections, their buffers, and
//! frames that wait for it.

mod exchange;
mod http;
mod query;
mod responder;
mod stack;
mod store;
#[cfg(test)]
mod tests;
mod token;

#[doc(hidden)]
pub use exchange::Exchange;
pub(in crate::net) use responder::Responder;
pub use store::{DEFAULT_LIMIT, Mmds, MmdsConfig, MmdsCounters, MmdsError, Version};
