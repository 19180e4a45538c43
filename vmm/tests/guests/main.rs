//! The devices of a real process as a real Linux finds them: its own drivers, file systems and programs, and what the host sees of it.

#[path = "../common/mod.rs"]
mod common;

mod balloon;
mod disk;
mod files;
mod hotplug;
mod pmem;
mod posix;
mod share;
mod shell;
mod small;
mod snapshot;
mod tree;
mod vsock;
