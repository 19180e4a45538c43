//! The API as its clients see it: over a real socket, with a VMM behind it that has no machine.

mod client;
mod openapi;
mod server;
mod vmm;
mod wire;
