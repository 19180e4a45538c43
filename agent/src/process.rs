//! Starting one process in the container, and what the agent keeps of it.

mod child;
mod credentials;
mod identity;
mod init;
mod mounts;
mod program;
mod spawn;
mod stdio;
mod streams;
mod sysctl;

pub(crate) use identity::identify;
pub(crate) use spawn::{Container, Spawned, spawn};
pub(crate) use stdio::{ServiceEnds, service_streams};
pub(crate) use streams::{Input, Output, Progress};

use std::os::fd::OwnedFd;

use hull_agent_protocol::{ExitStatus, Failure, Place};
use rustix::process::{Pid, WaitStatus};

use crate::machine::processes;
use crate::places::Places;
use crate::sys::signal;

/// A process that runs, or has ended while its output is still under way.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) place: Place,
    pub(crate) input: Input,
    /// Standard output, and standard error if it is another stream.
    pub(crate) outputs: Vec<Output>,
    pub(crate) ended: Option<Ended>,
    /// The signal for which the agent killed it; see [`Process::signal`].
    killed_for: Option<u8>,
    /// Where a process of the agent's own says why it failed.
    report: Option<OwnedFd>,
}

/// A process of the agent's own that works for the engine.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) spawned: Spawned,
    pub(crate) report: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) oom_killed: bool,
    pub(crate) at_us: u64,
}

const SIGKILL: u8 = 9;

impl Process {
    pub(crate) fn new(spawned: Spawned, place: Place) -> Self {
        let Spawned {
            pid,
            input,
            outputs,
        } = spawned;
        Self {
            pid,
            place,
            input,
            outputs,
            ended: None,
            killed_for: None,
            report: None,
        }
    }

    /// A process of the agent's own.
    pub(crate) fn service(service: Service) -> Self {
        Self {
            report: Some(service.report),
            ..Self::new(service.spawned, Place::Beside)
        }
    }

    /// Why a process of the agent's own failed, once it has ended.
    pub(crate) fn failure(&self) -> Option<Failure> {
        self.report.as_ref().and_then(crate::files::failure)
    }

    /// Sends signal `number`.
    ///
    /// Linux spares the first process of a pid namespace every signal that it neither handles nor
    /// ignores. Nobody who interrupts `sleep` wants that, so the agent does what the signal's
    /// default action would have been.
    pub(crate) fn signal(&mut self, number: u8, places: &Places) {
        if self.ended.is_some() {
            return;
        }
        // Looked at before, and not after: a program that takes the signal into its hands just then would never see it.
        let first = matches!(self.place, Place::NewContainer { init: false });
        if first && ends_by_default(number) && spared(self.pid, number, places) {
            self.killed_for = Some(number);
            let _ = signal::send(self.pid, SIGKILL);
        } else {
            let _ = signal::send(self.pid, number);
        }
    }

    /// Goes on over another channel, whose windows are new.
    pub(crate) fn reattach(&mut self) {
        self.input.reattach();
        for output in &mut self.outputs {
            output.reattach();
        }
    }

    /// Takes note of its end. With the first process all others of its pid namespace have ended, too.
    pub(crate) fn end(&mut self, ended: Ended) {
        let alone = self.report.is_some() || matches!(self.place, Place::NewContainer { .. });
        self.input.finish();
        for output in &mut self.outputs {
            output.process_ended(alone);
        }
        self.ended = Some(ended);
    }

    /// What `status` of `wait` means for this process.
    pub(crate) fn exit_status(&self, status: WaitStatus) -> ExitStatus {
        if let Some(signal) = status.terminating_signal() {
            let signal = u8::try_from(signal).unwrap_or(SIGKILL);
            return ExitStatus::Signal(self.killed_for.unwrap_or(signal));
        }
        let code = status.exit_status().unwrap_or_default();
        ExitStatus::Code(u8::try_from(code & 0xff).unwrap_or_default())
    }
}

/// Whether the default action of a signal ends the process (`signal(7)`): all but CHLD, CONT, URG,
/// WINCH and those that stop.
fn ends_by_default(number: u8) -> bool {
    !matches!(number, SIGKILL | 17..=23 | 28)
}

/// Whether the process neither handles, ignores nor blocks a signal.
fn spared(pid: Pid, number: u8, places: &Places) -> bool {
    let status = processes::read(places, pid.as_raw_nonzero().get().cast_unsigned(), "status");
    status.is_ok_and(|status| !mentions(&String::from_utf8_lossy(&status), number))
}

/// Whether one of the sets of signals in `/proc/PID/status` holds a signal.
fn mentions(status: &str, number: u8) -> bool {
    let bit = 1_u64
        .checked_shl(u32::from(number.wrapping_sub(1)))
        .unwrap_or_default();
    status.lines().any(|line| {
        ["SigBlk:", "SigIgn:", "SigCgt:"].iter().any(|name| {
            let set = line.strip_prefix(name).map(str::trim);
            set.and_then(|set| u64::from_str_radix(set, 16).ok())
                .is_some_and(|set| set & bit != 0)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_found_in_the_sets_that_matter() {
        let status = "Name:\tsleep\nSigPnd:\t0000000000004000\nSigBlk:\t0000000000000001\n\
                      SigIgn:\t0000000000001000\nSigCgt:\t8000000000004000\n";
        for known in [1, 13, 15, 64] {
            assert!(mentions(status, known), "{known}");
        }
        for unknown in [2, 9, 14, 63, 0, 200] {
            assert!(!mentions(status, unknown), "{unknown}");
        }
        assert!(!mentions("SigBlk: garbage", 1));
    }

    #[test]
    fn only_signals_that_would_end_a_process_do() {
        for number in [1, 2, 3, 10, 13, 15, 34, 64] {
            assert!(ends_by_default(number), "{number}");
        }
        for number in [9, 17, 18, 19, 20, 23, 28] {
            assert!(!ends_by_default(number), "{number}");
        }
    }
}
