//! Starting a process: everything is prepared here, so that the child has only calls to make.

use std::cell::RefCell;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_agent_protocol::{Failure, FailureKind, Frame, FromAgent, Place, Start, Sysctl, decode};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::child;
use super::credentials::check_oom_score;
use super::program::Program;
use super::stdio::{self, ChildEnds};
use super::streams::{Input, Output};
use crate::accounts::{self, User};
use crate::failure::{Explain, Result, words};
use crate::machine::cgroup::Cgroup;
use crate::places::Places;
use crate::root::{Root, make_directory};
use crate::sys::clone::{self, Clone, Memory};
use crate::sys::read;

/// The container that processes start in.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    pub(crate) places: &'a Places,
    pub(crate) root: &'a Root,
    pub(crate) cgroup: Option<&'a Cgroup>,
    pub(crate) hostname: &'a str,
    /// Empty leaves the kernel's.
    pub(crate) domainname: &'a str,
    pub(crate) sysctls: &'a [Sysctl],
    pub(crate) privileged: bool,
    /// Its first process, once there is one.
    pub(crate) first: Option<BorrowedFd<'a>>,
}

/// A process that has executed its program.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: Pid,
    pub(crate) input: Input,
    pub(crate) outputs: Vec<Output>,
}

/// What the child needs, all of it made before it exists.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) container: &'a Container<'a>,
    pub(super) start: &'a Start,
    pub(super) user: User,
    pub(super) cwd: CString,
    pub(super) program: Program,
    pub(super) stdio: ChildEnds,
    pub(super) report: Report,
}

/// How the child says what went wrong.
#[derive(Debug)]
pub(super) enum Report {
    /// It runs in the agent's memory: here.
    Shared(RefCell<Option<Failure>>),
    /// It has its own: an encoded message, and nothing if all went well.
    Pipe(OwnedFd),
}

/// Starts the process that `start` describes.
pub(crate) fn spawn(container: &Container<'_>, start: &Start) -> Result<Spawned> {
    check(container, start)?;
    let user = accounts::look_up(container.root, &start.user, &start.groups)?;
    let program = Program::new(start, &user.home)?;
    let cwd = working_directory(container, start)?;
    let streams = stdio::open(container.places, start.stdio)?;

    let init = start.place == (Place::NewContainer { init: true });
    let (receiver, report) = if init {
        let pipe = pipe_with(PipeFlags::CLOEXEC);
        let (read, write) = pipe.explain(FailureKind::System, || "make a pipe".into())?;
        (Some(read), Report::Pipe(write))
    } else {
        (None, Report::Shared(RefCell::new(None)))
    };
    let plan = Plan {
        container,
        start,
        user,
        cwd,
        program,
        stdio: streams.child,
        report,
    };
    let memory = if init {
        Memory::Copied
    } else {
        Memory::Borrowed
    };
    let pid = clone_child(&plan, memory)?;

    let failure = match plan.report {
        Report::Shared(failure) => failure.into_inner(),
        Report::Pipe(writer) => {
            drop(writer);
            receiver.and_then(|pipe| receive(&pipe))
        }
    };
    // A child that failed has ended; the server's reaper takes it.
    match failure {
        Some(failure) => Err(failure),
        None => Ok(Spawned {
            pid,
            input: streams.input,
            outputs: streams.outputs,
        }),
    }
}

fn check(container: &Container<'_>, start: &Start) -> Result<()> {
    check_oom_score(start.oom_score_adj)?;
    let message = match (start.place, container.first) {
        (Place::NewContainer { .. }, Some(_)) => "the container runs already",
        (Place::Beside, None) => "the container is not running",
        _ if !start.cwd.is_empty() && !start.cwd.starts_with('/') => {
            "the working directory must be an absolute path"
        }
        _ => return Ok(()),
    };
    Err(Failure::new(FailureKind::Invalid, message))
}

/// The working directory, made if it is missing and this is the container's first process.
fn working_directory(container: &Container<'_>, start: &Start) -> Result<CString> {
    let path = if start.cwd.is_empty() {
        "/"
    } else {
        start.cwd.as_str()
    };
    if path != "/" && start.place != Place::Beside {
        make_directory(container.root, path).map_err(|failure| {
            let message = format!("chdir to cwd ({path:?}) set in config.json failed: {failure}");
            Failure::new(FailureKind::WorkingDirectory, message)
        })?;
    }
    CString::new(path)
        .map_err(|_| Failure::new(FailureKind::Invalid, format!("{path:?} holds a zero byte")))
}

fn clone_child(plan: &Plan<'_>, memory: Memory) -> Result<Pid> {
    let namespaces = match plan.start.place {
        Place::Beside => 0,
        Place::NewContainer { .. } => {
            libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC
        }
    };
    let how = Clone {
        memory,
        namespaces: u64::from(namespaces.cast_unsigned()),
        cgroup: plan.container.cgroup.map(AsFd::as_fd),
    };
    let result = match plan.container.first {
        Some(first) => inside_pid_namespace(first, || clone::spawn(&how, child::main, plan)),
        None => clone::spawn(&how, child::main, plan),
    };
    result.explain(FailureKind::System, || "start a process".into())
}

/// Runs `action` such that children it makes belong to the pid namespace of `first`.
fn inside_pid_namespace<T>(
    first: BorrowedFd<'_>,
    action: impl FnOnce() -> std::result::Result<T, Errno>,
) -> std::result::Result<T, Errno> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    move_into_thread_name_spaces(first, ThreadNameSpaceType::PROCESS_ID)?;
    let result = action();
    move_into_thread_name_spaces(own.as_fd(), ThreadNameSpaceType::PROCESS_ID)?;
    result
}

/// What a child with its own memory reports before it executes its program.
fn receive(pipe: &OwnedFd) -> Option<Failure> {
    let mut bytes = Vec::new();
    loop {
        match read::append(pipe, &mut bytes, 4096) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    match decode::<FromAgent>(&bytes) {
        Ok(None) if bytes.is_empty() => None,
        Ok(Some(received)) => match received.frame {
            Frame::Message(FromAgent::Failed(failure)) => Some(failure),
            _ => Some(Failure::new(FailureKind::System, words(Errno::PROTO))),
        },
        _ => Some(Failure::new(FailureKind::System, words(Errno::PROTO))),
    }
}
