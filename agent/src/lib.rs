//! PID 1 of every microVM: makes the machine a container's machine, starts its processes, and
//! carries their streams, signals and exits over vsock. One thread, one `poll` loop.
//!
//! System calls and page faults are what guest code costs on slow hosts, so the modules avoid them:
//! mounts are made once in the agent's own namespace and copied by `clone`, a process is started by
//! `CLONE_VM | CLONE_VFORK` and touches no page of its own before `execve`, and output is read
//! straight into the frame that is sent.
//!
//! - `boot`: what happens between the kernel's start of `/init` and the loop
//! - `server`: the loop; `channel`: one connection and its process
//! - `machine`: clock, entropy, loopback, control groups, power
//! - `network`: its interfaces, by rtnetlink
//! - `root`: the container's file systems
//! - `files`: reading and writing its files for the engine
//! - `warm`: what clones of the machine find in the page cache
//! - `process`: starting one process in the container; `accounts`: its user
//! - `sys`: the system calls that need `unsafe`

mod accounts;
mod boot;
mod channel;
mod failure;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod log;
mod machine;
mod network;
mod places;
mod process;
mod relay;
mod root;
mod server;
mod sys;
mod warm;

pub use boot::boot;
pub use places::Places;
pub use server::{Server, Transport};
