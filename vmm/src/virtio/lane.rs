//! Threads for one device: whatever its backend does, it stalls nobody else.
//!
//! All threads of a lane wait for the same events, and each event goes to one of them; or one thread waits for the events of the
//! device and the others do what may take long, where all requests are to be begun by a single thread (see [`Threads`]). What takes long is done without the device's
//! lock (see `hull_devices::device`), so that as many requests can wait for the host as there are threads, and whoever
//! wants something of the device itself never waits for those. What needs the host but is no request (opening another file) is
//! an errand, done by whichever thread is free; a lane has one thread more than requests can occupy.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use hull_devices::MmioTransport;
use hull_vm_api::ExitCause;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EFD_SEMAPHORE, EventFd};

use super::Mappings;
use crate::ending::Ending;
use crate::error::with_sources;
use crate::sandbox::SandboxError;

/// How long threads may take to end.
const PATIENCE: Duration = Duration::from_millis(500);

/// The longest name that Linux shows of a thread, in bytes.
const MAX_NAME: usize = 15;

/// What an event is about: these, or the queue with that number.
const POLL: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;
const END: u64 = u64::MAX - 2;

type Errand = Box<dyn FnOnce() + Send>;

/// How many threads a device gets, and who does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threads {
    /// None: the machine's own event loop runs the device, because nothing that it does can take long.
    EventLoop,
    /// So many alike.
    Alike(usize),
    /// So many alike, and one that is there for errands alone. Were it to wait for requests, too, it would take turns with another
    /// one: a guest that asks again at once finds that one not yet waiting, and each turn wakes a thread and puts one to sleep.
    Spare(usize),
    /// One that begins all requests, and so many for what may take long. io_uring has workers for each thread that gives it requests,
    /// and those of two threads would stand in each other's way at a file's lock.
    Leader(usize),
}

impl Threads {
    /// How many there are.
    pub(super) fn count(self) -> usize {
        match self {
            Self::EventLoop => 0,
            Self::Alike(count) => count,
            Self::Spare(others) | Self::Leader(others) => others + 1,
        }
    }
}

/// A device's threads.
#[derive(Debug)]
pub(crate) struct Lane {
    shared: Arc<Shared>,
    /// Closed by the end of the last thread.
    out: mpsc::Receiver<()>,
}

/// What a thread of a lane waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Requests, and errands that nobody else is free for.
    Worker,
    /// Requests, which others carry out.
    Leader,
    /// Errands.
    Follower,
    /// Errands, before all others.
    Spare,
}

/// What the threads of a lane have in common.
struct Shared {
    transport: Arc<MmioTransport>,
    /// What the device waits for, with the bell if all threads are alike.
    epoll: OwnedFd,
    /// The bell alone, for those who are no leader, or for the spare thread.
    bells: Option<OwnedFd>,
    threads: Threads,
    /// The spare thread is on an errand, so the next one is for another.
    spare_is_out: AtomicBool,
    /// Rings once for each errand.
    bell: EventFd,
    errands: Mutex<VecDeque<Errand>>,
    /// Readable when all are to stop.
    end: EventFd,
    stop: AtomicBool,
}

impl Lane {
    /// Starts so many threads of a device, each of which calls `enter` first and holds on to what the device works with. If one fails
    /// later, the machine ends.
    ///
    /// # Errors
    /// If the host has no threads or no descriptors for it.
    pub(super) fn start(
        name: &str,
        threads: Threads,
        held: (Arc<MmioTransport>, Mappings),
        ending: &Arc<Ending>,
        enter: impl Fn() -> Result<(), SandboxError> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (transport, mappings) = held;
        let shared = Arc::new(Shared::new(transport, threads)?);
        let enter = Arc::new(enter);
        let (alive, out) = mpsc::channel::<()>();
        let short = name.get(..MAX_NAME).unwrap_or(name);
        let lane = Self {
            shared: shared.clone(),
            out,
        };
        for number in 0..threads.count() {
            let (shared, mappings) = (shared.clone(), mappings.clone());
            let (alive, ending) = (alive.clone(), ending.clone());
            let enter = enter.clone();
            let thread = thread::Builder::new().name(short.to_owned());
            thread.spawn(move || {
                let guard = Unwinding(ending.clone());
                if let Err(error) = enter() {
                    return ending.announce_with(ExitCause::Failure, with_sources(&error));
                }
                if let Err(error) = shared.run(number) {
                    let detail = format!("the event loop of a device failed: {error}");
                    ending.announce_with(ExitCause::Failure, detail);
                }
                drop(shared);
                drop(mappings);
                drop(guard);
                drop(alive);
            })?;
        }
        Ok(lane)
    }

    /// The way to its threads.
    pub(super) fn way(&self) -> Way {
        Way(self.shared.clone())
    }

    /// Has a thread do something that may take long, as soon as one is free.
    pub(super) fn send(&self, errand: impl FnOnce() + Send + 'static) {
        self.shared.send(Box::new(errand));
    }
}

/// The way to the threads of a lane, which may be gone.
#[derive(Debug, Clone)]
pub(super) struct Way(Arc<Shared>);

impl Way {
    /// Has a thread do something, and waits for what comes of it; none if that takes longer.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        errand: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = mpsc::channel();
        self.0.send(Box::new(move || {
            // It fails if it was not waited for.
            let _ = tell.send(errand());
        }));
        told.recv_timeout(patience).ok()
    }
}

impl Shared {
    fn new(transport: Arc<MmioTransport>, threads: Threads) -> io::Result<Self> {
        let new_set = || epoll::create(CreateFlags::CLOEXEC);
        let has_two_sets = matches!(threads, Threads::Leader(_) | Threads::Spare(_));
        let shared = Self {
            epoll: new_set()?,
            bells: has_two_sets.then(new_set).transpose()?,
            threads,
            spare_is_out: AtomicBool::new(false),
            bell: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE)?,
            errands: Mutex::default(),
            end: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            stop: AtomicBool::new(false),
            transport,
        };
        let edge = EventFlags::IN | EventFlags::ET;
        let bells = shared.bells.as_ref().unwrap_or(&shared.epoll);
        watch(bells, borrow(&shared.bell), BELL, EventFlags::IN)?;
        if let Threads::Spare(_) = threads {
            // They leave most rings to the spare thread, and must not be told again and again.
            watch(&shared.epoll, borrow(&shared.bell), BELL, edge)?;
        }
        for set in [Some(&shared.epoll), shared.bells.as_ref()]
            .into_iter()
            .flatten()
        {
            watch(set, borrow(&shared.end), END, EventFlags::IN)?;
        }
        // Kicks need not be read: each is an edge of its own.
        for (queue, kick) in (0..).zip(shared.transport.kicks()) {
            watch(&shared.epoll, borrow(kick), queue, edge)?;
        }
        if let Some(fd) = shared.poll_fd() {
            watch(&shared.epoll, fd, POLL, shared.readiness())?;
        }
        Ok(shared)
    }

    #[allow(unsafe_code)]
    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.transport.poll_fd()?;
        // SAFETY: the descriptor is the device's, which lives as long as the transport.
        Some(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Takes events until it is told to stop: one at a time, for the others may be another thread's.
    fn run(self: &Arc<Self>, number: usize) -> io::Result<()> {
        let none = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let role = self.role(number);
        let epoll = match (role, &self.bells) {
            (Role::Follower | Role::Spare, Some(bells)) => bells,
            _ => &self.epoll,
        };
        while !self.stop.load(Ordering::Acquire) {
            let mut events = [none];
            match epoll::wait(epoll, &mut events[..], None) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            let job = match events[0].data.u64() {
                END => continue,
                BELL => {
                    self.answer_bell(role);
                    continue;
                }
                POLL => self.transport.begin_poll(),
                queue => self
                    .transport
                    .begin_kick(u16::try_from(queue).unwrap_or(u16::MAX)),
            };
            match job {
                Some(job) if role == Role::Leader => {
                    let transport = self.transport.clone();
                    self.send(Box::new(move || transport.work(Some(job))));
                }
                job => self.transport.work(job),
            }
            if events[0].data.u64() == POLL
                && !self.is_alone()
                && let Some(fd) = self.poll_fd()
            {
                epoll::modify(&self.epoll, fd, EventData::new_u64(POLL), self.readiness())?;
            }
        }
        Ok(())
    }

    fn send(&self, errand: Errand) {
        self.errands().push_back(errand);
        // It cannot fail: the counter is far from full.
        let _ = self.bell.write(1);
    }

    /// How the device's own descriptor is waited for: of several threads one is told, and asks for more when it has seen to it.
    fn readiness(&self) -> EventFlags {
        if self.is_alone() {
            EventFlags::IN
        } else {
            EventFlags::IN | EventFlags::ONESHOT
        }
    }

    /// Whether one thread alone waits for the device.
    fn is_alone(&self) -> bool {
        matches!(
            self.threads,
            Threads::Leader(_) | Threads::Spare(1) | Threads::Alike(1)
        )
    }

    fn role(&self, number: usize) -> Role {
        match self.threads {
            Threads::Leader(_) if number == 0 => Role::Leader,
            Threads::Leader(_) => Role::Follower,
            Threads::Spare(others) if number == others => Role::Spare,
            _ => Role::Worker,
        }
    }

    fn answer_bell(&self, role: Role) {
        let has_spare = matches!(self.threads, Threads::Spare(_));
        if role == Role::Worker && has_spare && !self.spare_is_out.load(Ordering::SeqCst) {
            return;
        }
        // Without a ring it is another thread's.
        if self.stop.load(Ordering::Acquire) || self.bell.read().is_err() {
            return;
        }
        let errand = self.errands().pop_front();
        let Some(errand) = errand else {
            return;
        };
        if role == Role::Spare {
            self.spare_is_out.store(true, Ordering::SeqCst);
        }
        // Workers are told of one ring, however many there were, and left those to the spare thread that came before it was out.
        if has_spare && !self.errands().is_empty() {
            let _ = self.bell.write(1);
        }
        errand();
        if role == Role::Spare {
            self.spare_is_out.store(false, Ordering::SeqCst);
        }
    }

    fn errands(&self) -> MutexGuard<'_, VecDeque<Errand>> {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch(set: &OwnedFd, fd: BorrowedFd<'_>, what: u64, flags: EventFlags) -> io::Result<()> {
    epoll::add(set, fd, EventData::new_u64(what), flags)?;
    Ok(())
}

#[allow(unsafe_code)]
fn borrow(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as the eventfd is borrowed.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

/// The threads end when they get to it; they are waited for, but not for ever.
impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Nobody reads it.
        let _ = self.shared.end.write(1);
        if self.out.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("a device waits for the host's file or disk; ending without it");
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// Ends the machine if a thread unwinds: its guest would wait for the device for ever.
struct Unwinding(Arc<Ending>);

impl Drop for Unwinding {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.announce(ExitCause::Failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use hull_devices::rng::{Rng, RngConfig};
    use hull_devices::{Cause, GuestMemory, Interrupt};

    use super::*;

    #[derive(Debug)]
    struct NoInterrupt;

    impl Interrupt for NoInterrupt {
        fn trigger(&self, _cause: Cause) -> io::Result<()> {
            Ok(())
        }
    }

    fn lane(threads: Threads) -> Lane {
        let device = Box::new(Rng::new(&RngConfig::default()).unwrap());
        let transport =
            MmioTransport::new(device, GuestMemory::new(), Arc::new(NoInterrupt)).unwrap();
        let held = (Arc::new(transport), Arc::from([]));
        let ending = Arc::new(Ending::new().unwrap());
        Lane::start("test", threads, held, &ending, || Ok(())).unwrap()
    }

    #[test]
    fn an_errand_that_is_stuck_leaves_the_other_threads_to_others() {
        for threads in [Threads::Alike(2), Threads::Spare(1), Threads::Leader(2)] {
            one_is_stuck(threads);
        }
    }

    fn one_is_stuck(threads: Threads) {
        let lane = lane(threads);
        let (go_on, wait) = mpsc::channel::<()>();
        let (told, tells) = mpsc::channel();
        let tell = told.clone();
        lane.send(move || {
            wait.recv().unwrap();
            tell.send(0).unwrap();
        });
        for number in 1..20 {
            let tell = told.clone();
            lane.send(move || tell.send(number).unwrap());
        }
        let others: Vec<_> = (1..20).map(|_| tells.recv().unwrap()).collect();
        assert_eq!(others, (1..20).collect::<Vec<_>>());
        go_on.send(()).unwrap();
        assert_eq!(tells.recv(), Ok(0));
    }

    #[test]
    fn an_errand_is_the_spare_threads_as_long_as_that_is_free() {
        let lane = lane(Threads::Spare(1));
        let (told, tells) = mpsc::channel();
        for _ in 0..1000 {
            let tell = told.clone();
            lane.send(move || tell.send(thread::current().id()).unwrap());
            tells.recv().unwrap();
        }
        let (go_on, wait) = mpsc::channel::<()>();
        let tell = told.clone();
        lane.send(move || {
            tell.send(thread::current().id()).unwrap();
            wait.recv().unwrap();
        });
        let stuck = tells.recv().unwrap();
        let tell = told.clone();
        lane.send(move || tell.send(thread::current().id()).unwrap());
        assert_ne!(tells.recv().unwrap(), stuck);
        go_on.send(()).unwrap();
    }

    #[test]
    fn all_threads_end_with_their_lane() {
        for threads in [Threads::Alike(2), Threads::Spare(2), Threads::Leader(2)] {
            let lane = lane(threads);
            let shared = Arc::downgrade(&lane.shared);
            drop(lane);
            assert!(shared.upgrade().is_none());
        }
    }
}
