//! The streams of a new process: three pipes or one terminal.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use hull_agent_protocol::{FailureKind, Stdio, Stream, TtySize};
use rustix::fs::{CWD, Mode, OFlags, fcntl_setfl, openat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::streams::{Input, Output};
use crate::failure::{Explain, Result};
use crate::places::Places;

/// The process's ends of its streams. All are closed by `execve`.
#[derive(Debug)]
pub(super) struct ChildEnds {
    /// Standard input, output and error.
    fds: [Rc<OwnedFd>; 3],
    /// The terminal's path inside the container.
    pub(super) terminal: Option<CString>,
}

/// Both sides of the streams.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) child: ChildEnds,
    pub(super) input: Input,
    pub(super) outputs: Vec<Output>,
}

impl ChildEnds {
    pub(super) fn fds(&self) -> [BorrowedFd<'_>; 3] {
        self.fds.each_ref().map(|fd| fd.as_fd())
    }
}

/// Makes the streams that `stdio` asks for.
pub(super) fn open(places: &Places, stdio: Stdio) -> Result<Streams> {
    match stdio {
        Stdio::Pipes { stdin } => {
            pipes(stdin).explain(FailureKind::System, || "make the process's pipes".into())
        }
        Stdio::Terminal(size) => terminal(places, size)
            .explain(FailureKind::System, || "make the process's terminal".into()),
    }
}

/// The ends of a process of the agent's own: standard input and output, and where it says what went wrong.
#[derive(Debug)]
pub(crate) struct ServiceEnds([OwnedFd; 3]);

impl ServiceEnds {
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 3] {
        self.0.each_ref().map(AsFd::as_fd)
    }
}

/// Both sides of the streams of such a process.
#[derive(Debug)]
pub(crate) struct ServiceStreams {
    pub(crate) child: ServiceEnds,
    pub(crate) input: Input,
    pub(crate) outputs: Vec<Output>,
    pub(crate) report: OwnedFd,
}

/// Makes the streams of a process of the agent's own.
pub(crate) fn service_streams(stdin: bool) -> Result<ServiceStreams> {
    let make = || -> std::result::Result<_, Errno> {
        let (read, input) = input(stdin)?;
        let (stdout, out) = output(Stream::Stdout)?;
        let (report, reporter) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&report, OFlags::NONBLOCK)?;
        Ok(ServiceStreams {
            child: ServiceEnds([read, stdout, reporter]),
            input,
            outputs: vec![out],
            report,
        })
    };
    make().explain(FailureKind::System, || "make the process's pipes".into())
}

fn input(stdin: bool) -> std::result::Result<(OwnedFd, Input), Errno> {
    if !stdin {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let nothing = openat(CWD, "/dev/null", flags, Mode::empty())?;
        return Ok((nothing, Input::none()));
    }
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&write, OFlags::NONBLOCK)?;
    Ok((read, Input::pipe(write)))
}

fn output(stream: Stream) -> std::result::Result<(OwnedFd, Output), Errno> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&read, OFlags::NONBLOCK)?;
    Ok((write, Output::new(stream, Rc::new(read))))
}

fn pipes(stdin: bool) -> std::result::Result<Streams, Errno> {
    let (read, input) = input(stdin)?;
    let (stdout, out) = output(Stream::Stdout)?;
    let (stderr, err) = output(Stream::Stderr)?;
    let fds = [Rc::new(read), Rc::new(stdout), Rc::new(stderr)];
    let child = ChildEnds {
        fds,
        terminal: None,
    };
    Ok(Streams {
        child,
        input,
        outputs: vec![out, err],
    })
}

fn terminal(places: &Places, size: TtySize) -> std::result::Result<Streams, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    // The devpts of the container: nothing of the image can be in the way, it is the agent's mount.
    let path = places.container().join("dev/pts/ptmx");
    let leader = openat(CWD, path, flags, Mode::empty())?;
    unlockpt(&leader)?;
    resize(&leader, size)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let follower = Rc::new(ioctl_tiocgptpeer(&leader, flags)?);
    let name = ptsname(&leader, Vec::new())?;
    let leader = Rc::new(leader);
    let input = Input::terminal(Rc::clone(&leader));
    let outputs = vec![Output::new(Stream::Stdout, leader)];
    let fds = [Rc::clone(&follower), Rc::clone(&follower), follower];
    Ok(Streams {
        child: ChildEnds {
            fds,
            terminal: Some(name),
        },
        input,
        outputs,
    })
}

/// Tells a terminal how large its window is.
pub(super) fn resize(leader: &impl AsFd, size: TtySize) -> std::result::Result<(), Errno> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(leader, size)
}
