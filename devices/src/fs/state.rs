//! What a shared directory saves, and how it becomes one again.
//!
//! Files are saved by the names that led to them, never by what only the host's kernel should say (inode numbers, file
//! handles): a saved state is untrusted, and a name leads nowhere but into the directory. A file that is not there any
//! more, or is of another kind, is stale: the guest gets ESTALE for it and looks it up again. So the directory may have
//! changed meanwhile, or be a copy.

use std::ffi::CString;

use rustix::fs::{FileType, OFlags};
use serde::{Deserialize, Serialize};

use super::config::{FsConfig, FsError, MAX_WAITING};
use super::handles::Handle;
use super::host::{LockKind, Range};
use super::init::Session;
use super::locks::LockRequest;
use super::nodes::{Place, ROOT, SavedNode};
use super::server::Server;
use super::waiting::{Waiter, Waiting};
use super::wire::check_name;
use crate::queue::MAX_DESCRIPTORS;
use crate::{Chain, Segment};

/// The saved state of a shared directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FsState {
    /// What the user said.
    pub config: FsConfig,
    /// What INIT agreed on; none if the guest has not mounted it.
    pub session: Option<Session>,
    /// The next node ID.
    pub next_node: u64,
    /// Files that the guest knows.
    pub nodes: Vec<NodeState>,
    /// The next handle.
    pub next_handle: u64,
    /// Files that it has open.
    pub handles: Vec<HandleState>,
    /// Ranges of files that it has locked. They are locked again, unless someone else has done so meanwhile.
    pub locks: Vec<RangeLockState>,
    /// Requests for locks that wait.
    pub waiting: Vec<WaitingState>,
}

/// A file that the guest knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeState {
    /// Its ID.
    pub id: u64,
    /// How often the guest was told of it.
    pub lookups: u64,
    /// What it is: the file type bits of `st_mode`.
    pub kind: u32,
    /// The node of its directory, and its name; none if it had none, or that was not known.
    pub place: Option<(u64, Vec<u8>)>,
}

/// A file that the guest has open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandleState {
    /// Its ID.
    pub id: u64,
    /// The node.
    pub node: u64,
    /// Whether it is a directory.
    pub directory: bool,
    /// Flags of open(2).
    pub flags: u32,
    /// Its lock of flock(2): 0 shared, 1 exclusive.
    pub flock: Option<u32>,
}

/// A locked range of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeLockState {
    /// The node.
    pub node: u64,
    /// The guest's name for who holds its locks.
    pub owner: u64,
    /// The process, as the guest numbers it.
    pub pid: u32,
    /// 0 shared, 1 exclusive.
    pub kind: u32,
    /// The first byte.
    pub first: i64,
    /// The last byte.
    pub last: i64,
}

/// A request for a lock that waits: where its reply goes, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitingState {
    /// The index of the queue.
    pub queue: u16,
    /// The first descriptor's index.
    pub head: u16,
    /// Guest physical addresses and lengths of the buffers for the reply.
    pub reply: Vec<(u64, u32)>,
    /// The request's number.
    pub unique: u64,
    /// The handle's node.
    pub node: u64,
    /// The handle.
    pub handle: u64,
    /// The guest's name for who holds its locks.
    pub owner: u64,
    /// The process, as the guest numbers it.
    pub pid: u32,
    /// 0 shared, 1 exclusive.
    pub kind: u32,
    /// The first byte.
    pub first: i64,
    /// The last byte.
    pub last: i64,
    /// Whether it is flock(2), and the range means nothing.
    pub flock: bool,
}

/// Why a saved state did not become a shared directory.
#[derive(Debug, thiserror::Error)]
pub enum FsRestoreError {
    /// The guest would find another share, or its writes would fail, or succeed.
    #[error(
        "the saved share was configured as {saved:?} but is given as {given:?}: give the same configuration"
    )]
    Config {
        /// Then.
        saved: Box<FsConfig>,
        /// Now.
        given: Box<FsConfig>,
    },
    /// It was not written by this program, or is damaged.
    #[error("the saved share's {0} can't be")]
    Broken(&'static str),
    /// It can't be shared, saved or not.
    #[error(transparent)]
    Fs(#[from] FsError),
}

pub(super) fn save(config: &FsConfig, server: &Server, waiting: &Waiting) -> FsState {
    let (next_node, nodes) = server.nodes().save();
    let node = |node: SavedNode| NodeState {
        id: node.id,
        lookups: node.lookups,
        kind: node.kind.as_raw_mode(),
        place: node
            .place
            .map(|place| (place.parent, place.name.into_bytes())),
    };
    let locks = server.locks().all();
    let open = server.handles();
    let (next_handle, handles) = open.all();
    let handle = |(id, handle): (u64, &Handle)| HandleState {
        id,
        node: handle.node,
        directory: handle.directory,
        flags: handle.flags,
        flock: handle.flock.map(LockKind::raw),
    };
    let lock = |lock: LockRequest| RangeLockState {
        node: lock.node,
        owner: lock.owner,
        pid: lock.pid,
        kind: lock.kind.raw(),
        first: lock.range.first,
        last: lock.range.last,
    };
    FsState {
        config: config.clone(),
        session: server.session(),
        next_node,
        nodes: nodes.into_iter().map(node).collect(),
        next_handle,
        handles: handles.into_iter().map(handle).collect(),
        locks: locks.into_iter().map(lock).collect(),
        waiting: waiting.waiters.iter().map(save_waiter).collect(),
    }
}

fn save_waiter(waiter: &Waiter) -> WaitingState {
    let reply = waiter.chain.writable().iter();
    WaitingState {
        queue: waiter.queue,
        head: waiter.chain.head(),
        reply: reply.map(|segment| (segment.addr.0, segment.len)).collect(),
        unique: waiter.unique,
        node: waiter.lock.node,
        handle: waiter.lock.fh,
        owner: waiter.lock.owner,
        pid: waiter.lock.pid,
        kind: waiter.lock.kind.raw(),
        first: waiter.lock.range.first,
        last: waiter.lock.range.last,
        flock: waiter.lock.flock,
    }
}

/// Numbers of nodes and handles are counted up from what was saved, and must not come to an end.
const HIGHEST: u64 = 1 << 62;

/// Takes up what was saved. The server is new.
pub(super) fn restore(state: &FsState, server: &mut Server) -> Result<(), FsRestoreError> {
    server.set_session(state.session);
    if state.session.is_none() && !state.nodes.is_empty() {
        return Err(FsRestoreError::Broken("list of files, without a mount,"));
    }
    let nodes: Option<Vec<_>> = state.nodes.iter().map(restore_node).collect();
    nodes
        .filter(|_| state.next_node > ROOT && state.next_node < HIGHEST)
        .and_then(|nodes| server.nodes().restore(state.next_node, nodes))
        .ok_or(FsRestoreError::Broken("list of files"))?;
    if state.next_handle >= HIGHEST {
        return Err(FsRestoreError::Broken("list of open files"));
    }
    server.handles().set_next(state.next_handle);
    for saved in &state.handles {
        if !restore_handle(saved, server) {
            return Err(FsRestoreError::Broken("list of open files"));
        }
    }
    for saved in &state.locks {
        let lock = LockRequest {
            node: saved.node,
            fh: 0,
            owner: saved.owner,
            pid: saved.pid,
            range: Range {
                first: saved.first,
                last: saved.last,
            },
            kind: lock_kind(saved.kind).ok_or(FsRestoreError::Broken("list of locks"))?,
            flock: false,
        };
        if !lock.is_sound() {
            return Err(FsRestoreError::Broken("list of locks"));
        }
        if let Err(error) = server.lock_range(&lock) {
            tracing::warn!(%error, node = lock.node, "a restored guest has lost a lock");
        }
    }
    Ok(())
}

fn restore_node(saved: &NodeState) -> Option<SavedNode> {
    let kind = FileType::from_raw_mode(saved.kind);
    if kind == FileType::Unknown || kind.as_raw_mode() != saved.kind {
        return None;
    }
    let place = match &saved.place {
        None => None,
        Some((parent, name)) => {
            let name = CString::new(name.clone()).ok()?;
            check_name(&name).ok()?;
            Some(Place {
                parent: *parent,
                name,
            })
        }
    };
    Some(SavedNode {
        id: saved.id,
        lookups: saved.lookups,
        kind,
        place,
    })
}

/// Opens a file again; one that is not there any more stays as a handle that is stale. False if the data is broken.
fn restore_handle(saved: &HandleState, server: &mut Server) -> bool {
    let opened = if saved.directory {
        server.open_directory(saved.node)
    } else {
        let flags = server.host_flags(saved.flags);
        flags.and_then(|flags| server.open_node(saved.node, flags - OFlags::TRUNC))
    };
    let file = match opened {
        Ok(file) => Some(std::sync::Arc::new(file)),
        Err(error) => {
            tracing::debug!(%error, handle = saved.id, "an open file was not found again");
            None
        }
    };
    let mut handle = Handle {
        node: saved.node,
        file,
        directory: saved.directory,
        flags: saved.flags,
        position: None,
        flock: None,
        turn: std::sync::Arc::default(),
    };
    if let Some(raw) = saved.flock {
        let Some(kind) = lock_kind(raw) else {
            return false;
        };
        if let Some(file) = &handle.file {
            match super::host::flock(std::os::fd::AsFd::as_fd(&**file), kind) {
                Ok(()) => handle.flock = Some(kind),
                Err(error) => {
                    tracing::warn!(%error, node = saved.node, "a restored guest has lost a lock");
                }
            }
        }
    }
    server.nodes().opened(saved.node);
    server.handles().restore(saved.id, handle)
}

/// Requests that waited go on waiting.
pub(super) fn restore_waiting(
    state: &FsState,
    waiting: &mut Waiting,
) -> Result<(), FsRestoreError> {
    let broken = FsRestoreError::Broken("list of requests that wait");
    if state.waiting.len() > MAX_WAITING {
        return Err(broken);
    }
    for saved in &state.waiting {
        let lock = LockRequest {
            node: saved.node,
            fh: saved.handle,
            owner: saved.owner,
            pid: saved.pid,
            range: Range {
                first: saved.first,
                last: saved.last,
            },
            kind: lock_kind(saved.kind).ok_or(FsRestoreError::Broken("list of locks"))?,
            flock: saved.flock,
        };
        if !lock.is_sound() || saved.reply.len() > MAX_DESCRIPTORS {
            return Err(broken);
        }
        let segment = |(addr, len): &(u64, u32)| Segment {
            addr: vm_memory::GuestAddress(*addr),
            len: *len,
        };
        let writable = saved.reply.iter().map(segment).collect();
        waiting.waiters.push(Waiter {
            queue: saved.queue,
            chain: Chain::of_reply(saved.head, writable),
            unique: saved.unique,
            lock,
            order: None,
            last: false,
        });
    }
    Ok(())
}

/// A lock that is held, or waited for.
fn lock_kind(raw: u32) -> Option<LockKind> {
    LockKind::parse(raw)
        .ok()
        .filter(|kind| *kind != LockKind::Unlock)
}
