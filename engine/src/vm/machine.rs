//! One `hull-vmm` process: started with what it inherits, watched, ended.
//!
//! It dies with this process whatever happens: it holds the read end of a pipe whose write end is here
//! (`--lifeline`), and the kernel kills it when the thread that started it ends. That thread does
//! nothing but wait for it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal,
};
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use super::priority::Priority;
use crate::container::HostProcess;

/// How long a process may take to write down what it counted.
const TERMINATION: Duration = Duration::from_secs(5);

/// A microVM's process that could not be started.
#[derive(Debug, Error)]
#[error("{program} cannot be started")]
pub struct MachineError {
    program: PathBuf,
    source: io::Error,
}

/// What a new process is given.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: Vec<String>,
    /// Descriptors that it inherits, as `--fd NAME=NUMBER`.
    pub(crate) descriptors: Vec<(String, OwnedFd)>,
    /// Where it says what people should read.
    pub(crate) log: File,
    /// How important it is beside others.
    pub(crate) priority: Option<Priority>,
    /// The environment's only variable: the runtime directory, so that one can see whose it is.
    pub(crate) runtime: &'a Path,
}

/// How the process ended.
pub(crate) type Ended = Arc<io::Result<ExitStatus>>;

/// A running `hull-vmm`. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct Machine {
    process: HostProcess,
    handle: OwnedFd,
    ended: watch::Receiver<Option<Ended>>,
    /// Closed with this: the process reads end of file and exits.
    _lifeline: OwnedFd,
}

impl Machine {
    /// Starts the process; returns when `execve` succeeded.
    pub(crate) async fn start(launch: Launch<'_>) -> Result<Self, MachineError> {
        let program = launch.program.to_owned();
        let failed = |source| MachineError {
            program: program.clone(),
            source,
        };
        let (watched, lifeline) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|errno| failed(errno.into()))?;
        let mut command = Command::new(launch.program);
        command.args(launch.arguments);
        command
            .arg("--lifeline")
            .arg(watched.as_raw_fd().to_string());
        for (name, descriptor) in &launch.descriptors {
            command
                .arg("--fd")
                .arg(format!("{name}={}", descriptor.as_raw_fd()));
        }
        command.env_clear().env("HULL_RUN", launch.runtime);
        let error = launch.log.try_clone().map_err(failed)?;
        // A group of its own: the terminal's Ctrl-C is the container's, not the machine's.
        command
            .stdin(Stdio::null())
            .stdout(launch.log)
            .stderr(error)
            .process_group(0);
        let mut inherited: Vec<OwnedFd> = launch
            .descriptors
            .into_iter()
            .map(|(_, descriptor)| descriptor)
            .collect();
        inherited.push(watched);
        prepare(
            &mut command,
            inherited.iter().map(AsRawFd::as_raw_fd).collect(),
            launch.priority,
        );

        let (spawned, started) = oneshot::channel();
        let (report, ended) = watch::channel(None);
        std::thread::Builder::new()
            .name("vmm".to_owned())
            .spawn(move || {
                // Moved here so that they are open until the child has them, and closed then.
                let inherited = inherited;
                let child = command.spawn().and_then(|child| {
                    let pid = Pid::from_child(&child);
                    Ok((pidfd_open(pid, PidfdFlags::empty())?, child))
                });
                drop(inherited);
                supervise(child, spawned, &report);
            })
            .map_err(failed)?;
        let gone = || io::Error::other("the thread that starts it ended");
        let (handle, process) = started
            .await
            .unwrap_or_else(|_| Err(gone()))
            .map_err(failed)?;
        Ok(Self {
            process,
            handle,
            ended,
            _lifeline: lifeline,
        })
    }

    /// Which process it is, for other processes to find.
    pub(crate) fn process(&self) -> HostProcess {
        self.process
    }

    /// Waits until the process has ended and was reaped.
    pub(crate) async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(status) => status.clone(),
            Err(_) => None,
        }
        .unwrap_or_else(|| Arc::new(Err(io::Error::other("its end was not seen"))))
    }

    /// Ends the process at once. Its guest is not asked.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }

    /// Ends the process so that it still writes down what it counted. Its guest is not asked.
    pub(crate) async fn terminate(&self) {
        let _ = pidfd_send_signal(&self.handle, Signal::INT);
        let _ = tokio::time::timeout(TERMINATION, self.ended()).await;
        self.kill();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

fn supervise(
    child: io::Result<(OwnedFd, Child)>,
    spawned: oneshot::Sender<io::Result<(OwnedFd, HostProcess)>>,
    report: &watch::Sender<Option<Ended>>,
) {
    let (handle, mut child) = match child {
        Ok(child) => child,
        Err(error) => {
            let _ = spawned.send(Err(error));
            return;
        }
    };
    let pid = Pid::from_child(&child).as_raw_nonzero().get();
    let process = HostProcess::of(pid).unwrap_or(HostProcess { pid, start_time: 0 });
    if spawned.send(Ok((handle, process))).is_err() {
        let _ = child.kill();
    }
    let status = child.wait();
    report.send_replace(Some(Arc::new(status)));
}

/// Makes the child die with its parent and inherit `descriptors` under their numbers.
#[allow(unsafe_code)]
fn prepare(command: &mut Command, descriptors: Vec<RawFd>, priority: Option<Priority>) {
    let parent = getpid();
    let hook = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(parent) {
            // The parent died between fork and the line above.
            return Err(rustix::io::Errno::SRCH.into());
        }
        if let Some(priority) = &priority {
            priority.take()?;
        }
        for &descriptor in &descriptors {
            // SAFETY: the thread that spawns holds the descriptors open until after the spawn.
            let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
            fcntl_setfd(descriptor.as_fd(), FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes only system calls; nothing in it allocates.
    unsafe { command.pre_exec(hook) };
}

#[cfg(test)]
mod tests;
