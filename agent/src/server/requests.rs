//! What the engine asks for on a channel.

use std::os::fd::AsFd;

use hull_agent_protocol::{Adopt, Failure, FailureKind, FromAgent, PORT, Place, Start, ToAgent};
use rustix::process::{PidfdFlags, pidfd_open};

use super::{First, Server};
use crate::channel::Phase;
use crate::failure::{Explain, Result};
use crate::process::{Container, Process, spawn};
use crate::sys::time;

/// The most of a failure's message that is sent.
const MAX_MESSAGE: usize = 8 * 1024;

impl Server {
    /// Takes every message that has come on a channel.
    pub(super) fn messages(&mut self, index: usize) {
        loop {
            let Some(channel) = self.channels.get_mut(index) else {
                return;
            };
            match channel.next() {
                Ok(Some(message)) => self.message(index, message),
                Ok(None) => return,
                Err(broken) => {
                    crate::log::warn(&format!("a channel is closed: {broken}"));
                    channel.phase = Phase::Closed;
                    return;
                }
            }
        }
    }

    fn message(&mut self, index: usize, message: ToAgent) {
        let Some(channel) = self.channels.get_mut(index) else {
            return;
        };
        let holds = matches!(message, ToAgent::Hold);
        let result = match message {
            ToAgent::Shutdown => {
                self.stop();
                return;
            }
            ToAgent::Signal(number) => {
                if let Some(process) = &mut channel.process {
                    process.signal(number, &self.places);
                }
                return;
            }
            ToAgent::Warm(programs) => {
                let root = self.machine.root.as_ref();
                if let Some(root) = root.filter(|_| channel.control && self.first.is_none()) {
                    crate::warm::warm(root, &programs);
                }
                return;
            }
            _ if matches!(channel.phase, Phase::Over | Phase::Leaving) => return,
            ToAgent::Configure(configure) => self.configure(index, &configure),
            ToAgent::Adopt(adopt) => self.adopt(index, &adopt),
            ToAgent::Hold => self.hold(index),
            ToAgent::Attach => self.attach(index),
            ToAgent::Start(start) => self.start(index, &start),
            // The channel has dealt with the others.
            _ => return,
        };
        let Some(channel) = self.channels.get_mut(index) else {
            return;
        };
        match result {
            Ok(message) => channel.queue(&message),
            Err(mut failure) => {
                let mut end = failure.message.len().min(MAX_MESSAGE);
                while !failure.message.is_char_boundary(end) {
                    end -= 1;
                }
                failure.message.truncate(end);
                channel.queue(&FromAgent::Failed(failure));
                if !(holds && channel.phase == Phase::Running) {
                    channel.phase = Phase::Over;
                }
            }
        }
    }

    fn configure(
        &mut self,
        index: usize,
        configure: &hull_agent_protocol::Configure,
    ) -> Result<FromAgent> {
        if !self.is_control(index) || self.machine.root.is_some() {
            return Err(invalid(
                "the machine is configured once, on the control channel",
            ));
        }
        self.configure_machine(configure)?;
        Ok(self.configured())
    }

    fn adopt(&mut self, index: usize, adopt: &Adopt) -> Result<FromAgent> {
        let at_rest = self.first.is_none() || self.resting.is_some();
        if !self.is_control(index) || self.machine.root.is_none() || !at_rest {
            return Err(invalid(
                "a machine is adopted when it is configured and nothing runs in it, on the control channel",
            ));
        }
        self.adopt_machine(adopt)?;
        Ok(self.configured())
    }

    /// The machine belongs to whoever is at the other end of its control channel.
    fn configured(&mut self) -> FromAgent {
        self.held = false;
        FromAgent::Configured {
            main_us: self.times.main_us,
            ready_us: self.times.ready_us,
            at_us: time::since_boot_us(),
        }
    }

    fn hold(&mut self, index: usize) -> Result<FromAgent> {
        if !self.is_control(index) || self.stopping.is_some() || self.resting.is_some() {
            return Err(invalid("a machine is held by its control channel"));
        }
        if self.listener.is_none() {
            let listener = (self.transport.listen)(PORT);
            let listener =
                listener.explain(FailureKind::System, || format!("listen on port {PORT}"))?;
            self.listener = Some(listener);
        }
        if self.first.is_some() {
            let group = self.machine.cgroup.as_ref();
            let group = group.ok_or_else(|| {
                invalid(
                    "this guest's kernel has no control groups (cgroup2), which freeze processes",
                )
            })?;
            group.freeze()?;
        }
        if self.first.is_none() {
            // Else each clone would write the same to its disk, some seconds later. Processes are not kept waiting for that.
            rustix::fs::sync();
        }
        self.held = true;
        if let Some(channel) = self.channels.get_mut(index) {
            channel.pump_all();
            channel.phase = Phase::Leaving;
            self.resting = channel.process.take();
        }
        Ok(FromAgent::Held)
    }

    fn attach(&mut self, index: usize) -> Result<FromAgent> {
        let control = self.is_control(index);
        let channel = self.channels.get_mut(index).filter(|_| control);
        let (Some(channel), Some(mut process)) = (channel, self.resting.take()) else {
            return Err(invalid("no process was held"));
        };
        process.reattach();
        let pid = process.pid.as_raw_nonzero().get().cast_unsigned();
        channel.process = Some(process);
        channel.phase = Phase::Running;
        self.held = false;
        self.thaw();
        Ok(FromAgent::Started {
            pid,
            at_us: time::since_boot_us(),
        })
    }

    fn is_control(&self, index: usize) -> bool {
        let channel = self.channels.get(index);
        channel.is_some_and(|channel| channel.control)
    }

    fn start(&mut self, index: usize, start: &Start) -> Result<FromAgent> {
        let idle = self
            .channels
            .get(index)
            .is_some_and(|channel| channel.phase == Phase::Idle);
        let Some(root) = self.machine.root.as_ref().filter(|_| idle) else {
            return Err(invalid(
                "a process starts once per channel, in a configured machine",
            ));
        };
        if self.stopping.is_some() {
            return Err(invalid("the machine is shutting down"));
        }
        let container = Container {
            places: &self.places,
            root,
            cgroup: self.machine.cgroup.as_ref(),
            hostname: &self.machine.hostname,
            privileged: self.machine.privileged,
            first: self.first.as_ref().map(|first| first.pidfd.as_fd()),
        };
        let spawned = spawn(&container, start)?;
        self.held = false;
        let pid = spawned.pid;
        if matches!(start.place, Place::NewContainer { .. }) {
            let pidfd = pidfd_open(pid, PidfdFlags::empty())
                .explain(FailureKind::System, || "hold on to the new process".into())?;
            self.first = Some(First { pid, pidfd });
        }
        if let Some(channel) = self.channels.get_mut(index) {
            channel.process = Some(Process::new(spawned, start.place));
            channel.phase = Phase::Running;
        }
        if self.listener.is_none() {
            self.listener = self.listen(PORT);
        }
        let pid = pid.as_raw_nonzero().get().cast_unsigned();
        Ok(FromAgent::Started {
            pid,
            at_us: time::since_boot_us(),
        })
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new(FailureKind::Invalid, message)
}
