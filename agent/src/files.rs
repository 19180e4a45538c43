//! Files of the container, for `cp`, `export`, `diff` and `commit`: each request is a process of the agent's own code, which has the
//! container's root for its own, so that no path leads anywhere else, and which lives and dies with its channel.
//!
//! - `path`: what a path of Docker's means, and what it leads to
//! - `archive`: trees as tar archives; `extract`: the way back
//! - `changes`: how the root differs from the image, as a list or as a layer
//! - `tar`: the format itself; `output`: standard output

mod archive;
mod changes;
pub(crate) mod extract;
mod output;
mod path;
pub(crate) mod tar;

use std::os::fd::{AsFd, OwnedFd};

use hull_agent_protocol::{Failure, FailureKind, Files, Frame, FromAgent, Write, decode, encode};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{chdir, chroot};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::accounts;
use crate::failure::{Explain, Result, words};
use crate::places::Places;
use crate::process::{Service, ServiceEnds, Spawned};
use crate::root::Root;
use crate::sys::clone::{self, Clone, Memory};
use crate::sys::{exec, read, signal};
use extract::{Extraction, Owner};

/// What the process needs.
#[derive(Debug)]
struct Task<'a> {
    places: &'a Places,
    files: &'a Files,
    read_only: bool,
    owner: Option<Owner>,
    ends: ServiceEnds,
}

/// Directories from which a process can look at the parts of the root.
#[derive(Debug)]
struct Parts {
    image: OwnedFd,
    /// What was written, as the overlay keeps it.
    upper: OwnedFd,
    /// Both together, without what is mounted in the root.
    merged: OwnedFd,
}

/// Starts the process for a request.
pub(crate) fn start(places: &Places, root: &Root, files: &Files) -> Result<Service> {
    let owner = match files {
        Files::Write(Write {
            owner: Some(spec), ..
        }) => {
            let user = accounts::look_up(root, spec, &[])?;
            Some(Owner {
                uid: user.uid,
                gid: user.gid,
            })
        }
        _ => None,
    };
    let streams = crate::process::service_streams(matches!(files, Files::Write(_)))?;
    let task = Task {
        places,
        files,
        read_only: root.read_only,
        owner,
        ends: streams.child,
    };
    let how = Clone {
        memory: Memory::Copied,
        namespaces: 0,
        cgroup: None,
    };
    let pid = clone::spawn(&how, main, &task)
        .explain(FailureKind::System, || "start a process".into())?;
    Ok(Service {
        spawned: Spawned {
            pid,
            input: streams.input,
            outputs: streams.outputs,
        },
        report: streams.report,
    })
}

/// What a process that has ended said about it; nothing if all went well.
pub(crate) fn failure(report: &OwnedFd) -> Option<Failure> {
    let mut bytes = Vec::new();
    while let Ok(1..) = read::append(report, &mut bytes, 16 * 1024) {}
    match decode::<FromAgent>(&bytes) {
        Ok(Some(received)) => match received.frame {
            Frame::Message(FromAgent::Aborted(failure)) => Some(failure),
            _ => None,
        },
        _ => None,
    }
}

fn main(task: &Task<'_>) -> i32 {
    let Err(failure) = task.run() else {
        return 0;
    };
    let mut bytes = Vec::new();
    if encode(
        &FromAgent::Aborted(crate::failure::cut(failure)),
        &mut bytes,
    )
    .is_ok()
    {
        let _ = rustix::io::write(rustix::stdio::stderr(), &bytes);
    }
    1
}

impl Task<'_> {
    fn run(&self) -> Result<()> {
        self.take_streams()
            .explain(FailureKind::System, || "take the streams".into())?;
        match self.files {
            Files::Stat { path } => self.enter().and_then(|()| path::send_stat(path)),
            Files::Read { path } => self.enter().and_then(|()| archive::read(path)),
            Files::Write(write) => self.enter().and_then(|()| self.write(write)),
            Files::Changes => self.parts().and_then(|parts| changes::list(&parts)),
            Files::Layer { .. } => self.parts().and_then(|parts| changes::layer(&parts)),
            Files::Export => {
                let parts = self.parts()?;
                archive::export(parts.merged.as_fd())
            }
        }
    }

    /// The container's root is this process's from now on.
    fn enter(&self) -> Result<()> {
        let entered = chroot(self.places.container()).and_then(|()| chdir("/"));
        entered.explain(FailureKind::System, || "enter the container's root".into())
    }

    /// The streams are its only descriptors: of the others a connection would stay open that the agent closes.
    fn take_streams(&self) -> std::result::Result<(), Errno> {
        let [input, output, report] = self.ends.fds();
        dup2_stdin(input)?;
        dup2_stdout(output)?;
        dup2_stderr(report)?;
        exec::close_from(3);
        signal::unblock_all();
        Ok(())
    }

    /// Opens the parts of the root while there is a way to them.
    fn parts(&self) -> Result<Parts> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path| openat(CWD, path, flags, Mode::empty());
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let opened = || -> std::result::Result<_, Errno> {
            Ok(Parts {
                image: open(self.places.image())?,
                upper: open(self.places.upper())?,
                merged: open_tree(CWD, self.places.container(), clone)?,
            })
        };
        let parts = opened().explain(FailureKind::System, || "look at the root".into())?;
        self.enter().map(|()| parts)
    }

    fn write(&self, write: &Write) -> Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, "/", flags, Mode::empty())
            .explain(FailureKind::System, || "open the container's root".into())?;
        let extraction = Extraction {
            root: root.as_fd(),
            target: &write.path,
            keep_kinds: write.no_overwrite_dir_non_dir,
            owner: self.owner,
            read_only: self.read_only,
        };
        extraction.run(rustix::stdio::stdin())
    }
}

/// Standard output was not taken.
fn unsent(error: Errno) -> Failure {
    let message = format!("cannot send the answer: {}", words(error));
    Failure::new(FailureKind::System, message)
}

/// What failed about a path.
fn about(path: &[u8], error: Errno) -> Failure {
    let kind = match error {
        Errno::NOENT | Errno::NOTDIR => FailureKind::NoSuchFile,
        Errno::ROFS => FailureKind::ReadOnly,
        _ => FailureKind::System,
    };
    let path = String::from_utf8_lossy(path);
    Failure::new(kind, format!("{path}: {}", words(error)))
}
