//! virtio-vsock (virtio 1.2, section 5.10) with Unix sockets at the host's end.
//!
//! Host to guest: a client connects to the listening socket and writes `CONNECT <port>\n`; when the guest's listener has
//! accepted it reads `OK <host port>\n`, and then the stream is the connection's. Guest to host (CID 2): the connection to
//! port P is whatever the [`Connector`] gives for P, by custom the socket `<path>_<P>`.
//!
//! ```text
//! device.rs      queues: packets in and out           state.rs   what is saved
//! mux.rs         which connection a packet is for     table.rs   connections, and whose turn it is
//! connection.rs  one stream: credit, half-close       packet.rs  the header on the wire
//! counters.rs    for metrics
//! host.rs        sockets: accept, handshake, dial     config.rs, connector.rs, dial.rs: what the VMM hands over
//! ```
//!
//! A slow peer stops its own connection and no other: what the guest sends beyond what the peer takes is kept, up to the
//! credit that was granted, and what the peer sends stays in its socket until the guest has room.

mod config;
mod connection;
mod connector;
mod counters;
mod device;
mod dial;
mod host;
mod mux;
mod packet;
mod state;
mod table;
#[cfg(test)]
mod tests;

pub use config::{VsockBackend, VsockConfig};
pub use connector::{Connector, UnixConnector};
pub use counters::VsockCounters;
pub use device::Vsock;
pub use dial::{DialOutcome, Dialer, OnOutcome};
pub use state::{VsockError, VsockState};
