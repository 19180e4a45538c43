//! What the machine's process gives up before it reads the first byte that anybody wrote: nearly everything.
//!
//! | piece | what is left |
//! |---|---|
//! | [`user`] | a user that owns nothing: one of this machine's own if root starts it, else the same in a user namespace |
//! | [`namespaces`] | no process, host name, network, shared memory or mount of the host can be seen |
//! | [`root`] | an empty directory that cannot be written |
//! | [`capabilities`] | none; threads that serve shares keep what passing owners through takes |
//! | [`limits`] | no core dumps, and many descriptors |
//! | [`cgroup`] | so many threads, where there are cgroups |
//! | [`landlock`] | no file at all, or those of a share, where the kernel has it |
//!
//! A piece that is not there is an error that says what to do; only cgroups and Landlock go without. What a kind of thread may call is
//! settled when the machine is started ([`Confinement`]).

mod capabilities;
mod cgroup;
mod landlock;
mod limits;
mod namespaces;
mod root;
pub mod seccomp;
mod user;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};

pub(crate) use cgroup::Cgroups;
use seccomp::{FilterError, Kind, Level};
use user::User;

use crate::args::Args;

/// Why there can be no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No user namespaces for those who are not root.
    #[error(
        "this host does not let {0} make a user namespace, which the sandbox needs; start as root, or allow it (sysctl \
         kernel.unprivileged_userns_clone=1, user.max_user_namespaces=10000 and, with AppArmor, \
         kernel.apparmor_restrict_unprivileged_userns=0), or go without a sandbox by --no-sandbox"
    )]
    UserNamespace(String, #[source] io::Error),
    /// Some other piece.
    #[error(
        "this host refuses {0}, which the sandbox needs; go without a sandbox by --no-sandbox if something else confines this process"
    )]
    Piece(&'static str, #[source] io::Error),
    /// The filters of system calls.
    #[error(
        "this host refuses the sandbox's filters of system calls; go without them by --no-seccomp"
    )]
    Filter(#[from] FilterError),
    /// Landlock, where the kernel has it.
    #[error("this host refuses the sandbox's Landlock rules; go without a sandbox by --no-sandbox")]
    Landlock(#[from] ::landlock::RulesetError),
}

impl SandboxError {
    /// For `map_err`: the host refused `piece`.
    fn piece<E: Into<io::Error>>(piece: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Piece(piece, error.into())
    }
}

/// The sandbox of a machine's process, chosen by its keeper before that is made.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// None if there is to be no sandbox.
    user: Option<User>,
    filter: Level,
}

impl Sandbox {
    /// What the command line wants and this process can do.
    #[must_use]
    pub(crate) fn choose(args: &Args) -> Self {
        Self {
            user: (!args.no_sandbox).then(User::choose),
            filter: args.filter(),
        }
    }

    /// The namespaces in which the process is to be made. It makes the others itself, while its keeper goes on.
    #[must_use]
    pub(crate) fn namespaces(&self) -> u64 {
        let flags = match self.user {
            None => 0,
            Some(User::Own(_)) => libc::CLONE_NEWPID,
            Some(User::Mapped { .. }) => libc::CLONE_NEWPID | libc::CLONE_NEWUSER,
        };
        u64::from(flags.cast_unsigned())
    }

    /// The error that a refusal to make a process in these namespaces is.
    pub(crate) fn refused(&self, error: io::Error) -> SandboxError {
        match self.user {
            Some(User::Mapped { uid, .. }) => {
                SandboxError::UserNamespace(format!("user {uid}"), error)
            }
            _ => SandboxError::Piece("a process of its own for the machine", error),
        }
    }

    /// Prepares what the process is to be made in, and raises what it may not raise itself.
    pub(crate) fn prepare(&self, id: &str) -> Cgroups {
        limits::raise();
        match self.user {
            None => Cgroups::none(),
            Some(_) => Cgroups::make(id),
        }
    }

    /// Enters it. This is the machine's process, it has one thread, and has read nothing yet.
    ///
    /// # Errors
    /// Which piece the host refuses.
    pub(crate) fn enter(&self) -> Result<Confinement, SandboxError> {
        let piece = SandboxError::piece;
        // The modes that a guest gives to files of a share are the ones that they get. Nothing else here makes files.
        umask(Mode::empty());
        let Some(user) = &self.user else {
            let own = root::of_host().map_err(piece("/proc/self/fd"))?;
            return Ok(Confinement::new(own, Level::None, Rights::Untouched));
        };
        user.map().map_err(piece("an id in its user namespace"))?;
        namespaces::enter().map_err(piece("new namespaces"))?;
        let own = root::own().map_err(piece("a /proc of its own"))?;
        root::empty().map_err(piece("an empty root directory"))?;
        limits::lower().map_err(piece("lower limits"))?;
        let kept = user.change().map_err(piece("another user"))?;
        capabilities::keep(kept).map_err(piece("giving up capabilities"))?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(SandboxError::piece("being closed to debuggers"))?;
        let rights = match kept.is_empty() {
            true => Rights::None,
            false => Rights::ForShares,
        };
        Ok(Confinement::new(own, self.filter, rights))
    }
}

/// What a share's thread stays in.
#[derive(Debug)]
pub(crate) struct Fence {
    /// The share's directory.
    pub(crate) directory: OwnedFd,
    /// It is only read.
    pub(crate) read_only: bool,
}

/// What the threads of a machine give up when they begin.
#[derive(Debug, Clone)]
pub(crate) struct Confinement(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    own: root::Own,
    filter: Level,
    rights: Rights,
    /// The first thread has given up what the others must not have, and they are made without.
    closed: AtomicBool,
    /// Threads that are on their way into their part of the sandbox.
    outside: Mutex<usize>,
    /// The last one has come in.
    arrived: Condvar,
}

/// What the process can put to use for shares.
#[derive(Debug)]
enum Rights {
    /// There is no sandbox: whatever its user can.
    Untouched,
    /// Nothing, and nothing was there: its files are its user's.
    None,
    /// The capabilities for other users' files, as long as there may be shares.
    ForShares,
}

impl Confinement {
    fn new(own: root::Own, filter: Level, rights: Rights) -> Self {
        Self(Arc::new(Inner {
            own,
            filter,
            rights,
            closed: AtomicBool::new(false),
            outside: Mutex::new(0),
            arrived: Condvar::new(),
        }))
    }

    /// `/proc/self/fd` of this process.
    ///
    /// # Errors
    /// If the host has no descriptors left.
    pub(crate) fn own_descriptors(&self) -> io::Result<OwnedFd> {
        self.0.own.descriptors.try_clone()
    }

    /// `/proc/self/pagemap` of this process.
    ///
    /// # Errors
    /// If the kernel has none, or the host has no descriptors left.
    pub(crate) fn pagemap(&self) -> io::Result<File> {
        let pagemap = self.0.own.pagemap.as_ref();
        let refused = |error: &io::Error| error.raw_os_error().unwrap_or(libc::ENOENT);
        pagemap
            .map_err(|error| io::Error::from_raw_os_error(refused(error)))?
            .try_clone()
    }

    /// Before the first order is read.
    ///
    /// # Errors
    /// If the kernel takes no filter.
    pub(crate) fn begin(&self) -> Result<(), SandboxError> {
        Ok(seccomp::put_on(Kind::Assembly, self.0.filter)?)
    }

    /// Before a machine is made that is the only one and has no shares: there will be no use for their capabilities.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn expect_no_shares(&self) -> Result<(), SandboxError> {
        match self.0.rights {
            Rights::ForShares => {
                capabilities::give_up().map_err(SandboxError::piece("giving up capabilities"))
            }
            Rights::Untouched | Rights::None => Ok(()),
        }
    }

    /// In a new thread that serves a share.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn enter_share(&self, fence: &Fence) -> Result<(), SandboxError> {
        if let Rights::ForShares = self.0.rights {
            capabilities::use_for_share(fence.read_only)
                .map_err(SandboxError::piece("a share's capabilities"))?;
        }
        if self.is_there() {
            landlock::restrict(Some((fence.directory.as_fd(), fence.read_only)))?;
        }
        Ok(seccomp::put_on(Kind::Share, self.0.filter)?)
    }

    /// In the first thread, when those of shares are there: this one, and all that it makes from now on, can open nothing.
    ///
    /// # Errors
    /// What the host refused.
    pub(crate) fn close(&self) -> Result<(), SandboxError> {
        if !self.is_there() {
            return Ok(());
        }
        self.shut()?;
        self.0.closed.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Takes files and capabilities from the calling thread.
    fn shut(&self) -> Result<(), SandboxError> {
        capabilities::give_up().map_err(SandboxError::piece("giving up capabilities"))?;
        if !landlock::restrict(None)? {
            tracing::debug!("this kernel has no Landlock; the rest of the sandbox is there");
        }
        Ok(())
    }

    /// In a thread of this kind, before it does anything.
    ///
    /// # Errors
    /// If the kernel takes no filter.
    pub(crate) fn enter(&self, kind: Kind) -> Result<(), SandboxError> {
        if self.is_there() && !self.0.closed.load(Ordering::Relaxed) {
            self.shut()?;
        }
        Ok(seccomp::put_on(kind, self.0.filter)?)
    }

    /// So many threads are about to be made. Each says that it has [`arrived`](Self::arrived).
    pub(crate) fn expect(&self, count: usize) {
        *self.outside() += count;
    }

    /// In a thread that was expected: it is where it is to stay, or ends.
    pub(crate) fn arrived(&self) {
        let mut outside = self.outside();
        *outside = outside.saturating_sub(1);
        if *outside == 0 {
            self.0.arrived.notify_all();
        }
    }

    /// Waits until all have arrived that were expected; false if that takes longer. No guest runs before.
    pub(crate) fn await_all(&self, patience: Duration) -> bool {
        let outside = self.outside();
        let waited = self
            .0
            .arrived
            .wait_timeout_while(outside, patience, |outside| *outside > 0);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn outside(&self) -> MutexGuard<'_, usize> {
        self.0
            .outside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn is_there(&self) -> bool {
        !matches!(self.0.rights, Rights::Untouched)
    }
}
