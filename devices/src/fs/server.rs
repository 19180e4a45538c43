//! One request: read once, done, answered.
//!
//! A request is a header and arguments in the buffers that the driver wrote, a reply is a header and a payload in those
//! that the device writes (virtio 1.2, section 5.11.6.1). What a handler does is in the other modules, as methods of
//! [`Server`]; here is what they have in common. The data of READ and WRITE stays where it is: the system call works on
//! the guest's buffers.
//!
//! Several threads serve one directory, each with a [`Server`] of its own around what they share. **Nothing that is shared is
//! locked during a system call that could wait for the host's file**, so a file that does not answer stalls the requests
//! that are about it, and no others. (What is locked then is one handle's position or one owner's ranges, which is about
//! that file anyway.)

use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::config::{FsBackend, FsCache, FsConfig, FsError, MIN_DESCRIPTORS};
use super::counters::FsCounters;
use super::handles::{Handle, Handles};
use super::host::{self, ProcSelfFd, Stat};
use super::init::Session;
use super::locks::{LockRequest, Locks, Owner};
use super::nodes::Nodes;
use super::wire::{Header, IN_HEADER, OUT_HEADER, Reader, WRITE_IN, Writer, op};
use crate::GuestMemory;
use crate::Segment;
use crate::iov::{Scatter, Span};
use crate::queue::total_len;
use crate::worker;

/// The most bytes of arguments, which is enough for an extended attribute of 64 KiB with its name.
const MAX_ARGS: u64 = 128 << 10;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// It is done, and this many bytes were written.
    Done(u32),
    /// It waits for a lock that someone else has, and is tried again later. The request is named by its `unique`.
    Waits(u64, LockRequest),
    /// It does not wait for a lock of a whole file that someone else has. It failed, unless that file is just being closed.
    Refused(u64, LockRequest),
    /// It is done without a reply, and the request with this `unique` should be given up if it waits.
    Interrupts(u64),
}

/// What a handler made of a request, if it didn't fail.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// The payload is in [`Server::out`].
    Payload,
    /// The payload of so many bytes is already where it belongs.
    Data(usize),
    /// There is no reply.
    Silent,
    /// See [`Served::Waits`].
    Wait(LockRequest),
    /// See [`Served::Refused`].
    Refused(LockRequest),
    /// See [`Served::Interrupts`].
    Interrupt(u64),
}

pub(super) type Result<T> = std::result::Result<T, Errno>;

/// A request whose header and arguments were copied.
pub(super) struct Request<'a> {
    pub(super) header: Header,
    pub(super) args: Reader<'a>,
    /// What follows the arguments of a WRITE.
    pub(super) data: Span<'a>,
    /// Where the payload of the reply goes.
    pub(super) target: Span<'a>,
    /// Bytes of payload that there is room for.
    pub(super) room: u64,
}

impl Request<'_> {
    pub(super) fn node(&self) -> u64 {
        self.header.node
    }
}

/// What all servers of one directory share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) read_only: bool,
    pub(super) cache: FsCache,
    pub(super) proc_self_fd: ProcSelfFd,
    session: Mutex<Option<Session>>,
    nodes: Mutex<Nodes>,
    handles: Mutex<Handles>,
    locks: Mutex<Locks>,
    /// Something was unlocked since this was last cleared, so waiting requests may be lucky.
    pub(super) unlocked: AtomicBool,
    pub(super) counters: Arc<FsCounters>,
}

/// What a session leaves behind. Closing files may take long, so no lock is to be held when it is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct Remains {
    _handles: Vec<Handle>,
    _owners: Vec<Arc<Mutex<Owner>>>,
}

impl Shared {
    /// What was negotiated; none before INIT.
    pub(super) fn session(&self) -> Option<Session> {
        *lock(&self.session)
    }

    pub(super) fn set_session(&self, session: Option<Session>) {
        *lock(&self.session) = session;
    }

    /// Files that the guest knows. The guard must be gone before anything else is locked, and before the host is asked.
    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        lock(&self.nodes)
    }

    /// Files that it has open. See [`Shared::nodes`].
    pub(super) fn handles(&self) -> MutexGuard<'_, Handles> {
        lock(&self.handles)
    }

    /// What it has locked. See [`Shared::nodes`].
    pub(super) fn locks(&self) -> MutexGuard<'_, Locks> {
        lock(&self.locks)
    }

    /// The open file behind a handle of a node.
    pub(super) fn file(&self, fh: u64, node: u64) -> Result<Arc<OwnedFd>> {
        Ok(Arc::clone(self.handles().file(fh, node)?))
    }

    /// Whether there is room for one more open file.
    pub(super) fn check_handles(&self) -> Result<()> {
        let others = self.locks().len();
        self.handles().check_room(others)
    }

    /// Forgets what came from the guest: it unmounts, or the driver resets the device.
    pub(super) fn end_session(&self) -> Remains {
        self.set_session(None);
        let owners = self.locks().clear();
        let handles = self.handles().clear();
        self.nodes().clear();
        self.note_unlock(true);
        Remains {
            _handles: handles,
            _owners: owners,
        }
    }

    /// Notes that something may have been unlocked.
    pub(super) fn note_unlock(&self, unlocked: bool) {
        if unlocked {
            self.unlocked
                .store(true, std::sync::atomic::Ordering::Release);
        }
    }
}

/// A lock that a thread that panicked leaves is as good as any: all changes under it are complete.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server of a directory: what it shares with the others, and what it needs for one request.
#[derive(Debug)]
pub(super) struct Server {
    shared: Arc<Shared>,
    pub(super) scatter: Scatter,
    pub(super) out: Writer,
    /// Kept for their capacity.
    input: Vec<u8>,
    pub(super) entries: Vec<MaybeUninit<u8>>,
}

impl Server {
    pub(super) fn new(config: &FsConfig, backend: FsBackend) -> std::result::Result<Self, FsError> {
        if backend.descriptors < MIN_DESCRIPTORS {
            return Err(FsError::Descriptors(backend.descriptors));
        }
        let io_error = |error: Errno| FsError::Root(io::Error::from(error));
        let handles = backend.descriptors / 4;
        let nodes = backend.descriptors - handles;
        let proc_self_fd = ProcSelfFd::new(backend.proc_self_fd);
        let root = &backend.root;
        // Another process' descriptors would give the guest files that nobody meant to share.
        let again = proc_self_fd.reopen_path(std::os::fd::AsFd::as_fd(root));
        let again = again.map_err(|_| FsError::ProcSelfFd)?;
        let both = (
            std::os::fd::AsFd::as_fd(root),
            std::os::fd::AsFd::as_fd(&again),
        );
        if !host::is_same(both.0, both.1).map_err(io_error)? {
            return Err(FsError::ProcSelfFd);
        }
        let nodes = Nodes::new(backend.root, backend.nodes, nodes).map_err(io_error)?;
        let shared = Shared {
            read_only: config.read_only,
            cache: config.cache,
            proc_self_fd,
            session: Mutex::default(),
            nodes: Mutex::new(nodes),
            handles: Mutex::new(Handles::new(handles)),
            locks: Mutex::default(),
            unlocked: AtomicBool::new(false),
            counters: Arc::default(),
        };
        Ok(Self::with(Arc::new(shared)))
    }

    fn with(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            scatter: Scatter::default(),
            out: Writer::default(),
            input: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// One more server of the same directory.
    pub(super) fn another(&self) -> Self {
        Self::with(Arc::clone(&self.shared))
    }

    /// Does the request in `readable` and puts the reply, if there is one, into `writable`.
    pub(super) fn serve(
        &mut self,
        memory: &GuestMemory,
        readable: &[Segment],
        writable: &[Segment],
    ) -> Served {
        let mut input = std::mem::take(&mut self.input);
        let served = self.serve_copied(memory, readable, writable, &mut input);
        self.input = input;
        served
    }

    fn serve_copied(
        &mut self,
        memory: &GuestMemory,
        readable: &[Segment],
        writable: &[Segment],
        input: &mut Vec<u8>,
    ) -> Served {
        let mut head = [0; IN_HEADER];
        let copied = Span::all(memory, readable).copy_out(&mut head);
        let Some(header) = copied
            .ok()
            .and_then(|count| Header::parse(head.get(..count)?))
        else {
            tracing::debug!("a request has no header");
            self.counters.invalid_reqs_count.count();
            return Served::Done(0);
        };
        self.counters.request_count.count();
        let target = Span::all(memory, writable);
        let room = total_len(writable);
        self.out.clear();
        let answer = copy_args(memory, readable, &header, input).and_then(|args| {
            let request = Request {
                header,
                args: Reader::new(args),
                data: Span::all(memory, readable).part(
                    to_u64(IN_HEADER + WRITE_IN),
                    u64::from(header.len).saturating_sub(to_u64(IN_HEADER + WRITE_IN)),
                ),
                target: target.part(to_u64(OUT_HEADER), u64::MAX),
                room: room.saturating_sub(to_u64(OUT_HEADER)),
            };
            self.execute(request)
        });
        if let Err(error) = answer {
            self.counters.error_count.count();
            tracing::trace!(opcode = header.opcode, node = header.node, %error, "a request failed");
        }
        match answer {
            Ok(Answer::Silent) => Served::Done(0),
            Ok(Answer::Wait(lock)) => Served::Waits(header.unique, lock),
            Ok(Answer::Refused(lock)) => Served::Refused(header.unique, lock),
            Ok(Answer::Interrupt(unique)) => Served::Interrupts(unique),
            Err(_) if is_silent(header.opcode) => Served::Done(0),
            Ok(Answer::Payload) => Served::Done(self.reply(target, room, header.unique, Ok(None))),
            Ok(Answer::Data(len)) => {
                Served::Done(self.reply(target, room, header.unique, Ok(Some(len))))
            }
            Err(error) => Served::Done(self.reply(target, room, header.unique, Err(error))),
        }
    }

    /// Answers a request that waited.
    pub(super) fn answer(
        &mut self,
        memory: &GuestMemory,
        writable: &[Segment],
        unique: u64,
        result: Result<()>,
    ) -> u32 {
        self.out.clear();
        let result = result.map(|()| None);
        self.reply(
            Span::all(memory, writable),
            total_len(writable),
            unique,
            result,
        )
    }

    /// Writes the header, and the payload unless it is there. How many bytes the reply has; 0 if it has no place.
    fn reply(
        &self,
        target: Span<'_>,
        room: u64,
        unique: u64,
        result: Result<Option<usize>>,
    ) -> u32 {
        let mut result = result;
        let len = |result: &Result<Option<usize>>| match result {
            Ok(Some(direct)) => OUT_HEADER + direct,
            Ok(None) => OUT_HEADER + self.out.len(),
            Err(_) => OUT_HEADER,
        };
        if to_u64(len(&result)) > room {
            result = Err(Errno::IO);
        }
        let len = len(&result);
        let error = result.err().map_or(0, |error| -error.raw_os_error());
        let mut head = [0; OUT_HEADER];
        head[..4].copy_from_slice(&worker::written(len).to_ne_bytes());
        head[4..8].copy_from_slice(&error.to_ne_bytes());
        head[8..].copy_from_slice(&unique.to_ne_bytes());
        let payload = match result {
            Ok(None) => self.out.as_slice(),
            _ => &[],
        };
        let written = target.copy_in(&head).and_then(|count| {
            let body = target.part(to_u64(OUT_HEADER), u64::MAX).copy_in(payload)?;
            Ok(count == OUT_HEADER && body == payload.len())
        });
        match written {
            Ok(true) => worker::written(len),
            _ => {
                tracing::debug!("a reply has no place");
                0
            }
        }
    }

    fn execute(&mut self, request: Request<'_>) -> Result<Answer> {
        let opcode = request.header.opcode;
        if opcode == op::INIT {
            return self.init(request);
        }
        if self.session().is_none() {
            return Err(Errno::IO);
        }
        if self.read_only && changes(opcode) {
            return Err(Errno::ROFS);
        }
        match opcode {
            op::DESTROY => self.destroy(),
            op::LOOKUP => self.lookup(request),
            op::FORGET => self.forget(request),
            op::BATCH_FORGET => self.batch_forget(request),
            op::GETATTR => self.getattr(request),
            op::STATX => self.statx(request),
            op::SETATTR => self.setattr(request),
            op::ACCESS => self.access(&request),
            op::STATFS => self.statfs(&request),
            op::READLINK => self.readlink(&request),
            op::SYMLINK => self.symlink(request),
            op::MKNOD => self.mknod(request),
            op::MKDIR => self.mkdir(request),
            op::LINK => self.link(request),
            op::CREATE => self.create(request),
            op::TMPFILE => self.tmpfile(request),
            op::UNLINK => self.unlink(request, false),
            op::RMDIR => self.unlink(request, true),
            op::RENAME => self.rename(request, false),
            op::RENAME2 => self.rename(request, true),
            op::OPEN => self.open(request),
            op::RELEASE => self.release(request),
            op::READ => self.read(request),
            op::WRITE => self.write(request),
            op::FLUSH => self.flush(request),
            op::FSYNC => self.fsync(request, false),
            op::FSYNCDIR => self.fsync(request, true),
            op::SYNCFS => self.syncfs(),
            op::FALLOCATE => self.fallocate(request),
            op::LSEEK => self.lseek(request),
            op::COPY_FILE_RANGE => self.copy_file_range(request),
            op::OPENDIR => self.opendir(&request),
            op::RELEASEDIR => self.release(request),
            op::READDIR => self.readdir(request, false),
            op::READDIRPLUS => self.readdir(request, true),
            op::SETXATTR => self.setxattr(request),
            op::GETXATTR => self.getxattr(request),
            op::LISTXATTR => self.listxattr(request),
            op::REMOVEXATTR => self.removexattr(request),
            op::GETLK => self.getlk(request),
            op::SETLK => self.setlk(request, false),
            op::SETLKW => self.setlk(request, true),
            op::INTERRUPT => interrupt(request),
            _ => Err(Errno::NOSYS),
        }
    }

    fn destroy(&mut self) -> Result<Answer> {
        drop(self.end_session());
        Ok(Answer::Payload)
    }

    /// Puts what the guest is told of a file it may keep: `fuse_entry_out`.
    pub(super) fn put_entry(&mut self, id: u64, stat: &Stat) {
        self.out.u64(id);
        // IDs don't come twice, so there is but one generation.
        self.out.u64(0);
        let valid = self.cache.valid();
        for _ in 0..2 {
            self.out.u64(valid.as_secs());
        }
        for _ in 0..2 {
            self.out.u32(valid.subsec_nanos());
        }
        self.put_attr(stat);
    }
}

impl Deref for Server {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

fn interrupt(mut request: Request<'_>) -> Result<Answer> {
    Ok(Answer::Interrupt(request.args.u64()?))
}

/// The arguments of a request; of a WRITE without the data.
fn copy_args<'a>(
    memory: &GuestMemory,
    readable: &[Segment],
    header: &Header,
    input: &'a mut Vec<u8>,
) -> Result<&'a [u8]> {
    let head = to_u64(IN_HEADER);
    let given = u64::from(header.len);
    if given < head || given > total_len(readable) {
        return Err(Errno::INVAL);
    }
    let mut len = given - head;
    if header.opcode == op::WRITE {
        len = len.min(to_u64(WRITE_IN));
    }
    if len > MAX_ARGS {
        return Err(Errno::TOOBIG);
    }
    input.clear();
    input.resize(usize::try_from(len).map_err(|_| Errno::TOOBIG)?, 0);
    let copied = Span::all(memory, readable).part(head, len).copy_out(input);
    if copied != Ok(input.len()) {
        return Err(Errno::FAULT);
    }
    Ok(input)
}

/// Requests that are never answered, not even with an error.
fn is_silent(opcode: u32) -> bool {
    matches!(opcode, op::FORGET | op::BATCH_FORGET | op::INTERRUPT)
}

/// Requests that a read-only share refuses whatever is in them. CREATE, OPEN and ACCESS depend on their flags.
fn changes(opcode: u32) -> bool {
    matches!(
        opcode,
        op::SETATTR
            | op::SYMLINK
            | op::MKNOD
            | op::MKDIR
            | op::LINK
            | op::TMPFILE
            | op::UNLINK
            | op::RMDIR
            | op::RENAME
            | op::RENAME2
            | op::WRITE
            | op::FALLOCATE
            | op::COPY_FILE_RANGE
            | op::SETXATTR
            | op::REMOVEXATTR
    )
}

pub(super) fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// What an I/O call on guest memory failed with. A buffer outside of memory is the only error without a number.
pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::FAULT)
}
