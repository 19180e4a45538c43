//! The lists: which system calls each kind of thread may make, and with which arguments.
//!
//! `build.rs` compiles them into programs for the kernel, so nothing but `libc` may be named here.

mod api;
mod assembly;
mod call;
mod common;
mod devices;
mod events;
mod keeper;
mod lane;
mod memory;
mod share;
mod snapshot;
mod vcpu;

pub(crate) use call::{Arg, Call};

/// What kind of thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The keeper's own thread.
    Keeper,
    /// The thread that reads HTTP.
    Api,
    /// The first thread of the machine's process, until there is a machine.
    Assembly,
    /// The same when there is: the event loop.
    Events,
    /// A device with a thread of its own.
    Lane,
    /// The same of a share.
    Share,
    /// A thread that brings in the memory of a snapshot.
    Memory,
    /// The thread that writes snapshots.
    Snapshot,
    /// A vCPU.
    Vcpu,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Keeper,
        Self::Api,
        Self::Assembly,
        Self::Events,
        Self::Lane,
        Self::Share,
        Self::Memory,
        Self::Snapshot,
        Self::Vcpu,
    ];

    /// Whose thread it is, in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keeper => "the keeper's thread",
            Self::Api => "the API's thread",
            Self::Assembly => "the thread that makes the machine",
            Self::Events => "the event loop's thread",
            Self::Lane => "a device's thread",
            Self::Share => "a share's thread",
            Self::Memory => "the memory's thread",
            Self::Snapshot => "the thread of snapshots",
            Self::Vcpu => "a vCPU's thread",
        }
    }

    /// The same in one.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Keeper => "keeper",
            Self::Api => "api",
            Self::Assembly => "assembly",
            Self::Events => "events",
            Self::Lane => "lane",
            Self::Share => "share",
            Self::Memory => "memory",
            Self::Snapshot => "snapshot",
            Self::Vcpu => "vcpu",
        }
    }

    /// What it may call.
    pub(crate) fn lists(self) -> &'static [&'static [Call]] {
        match self {
            Self::Keeper => keeper::CALLS,
            Self::Api => api::CALLS,
            Self::Assembly => assembly::CALLS,
            Self::Events => events::CALLS,
            Self::Lane => lane::CALLS,
            Self::Share => share::CALLS,
            Self::Memory => memory::CALLS,
            Self::Snapshot => snapshot::CALLS,
            Self::Vcpu => vcpu::CALLS,
        }
    }
}
