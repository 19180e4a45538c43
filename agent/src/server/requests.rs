//! What the engine asks for on a channel.

use std::os::fd::AsFd;

use hull_agent_protocol::{
    Adopt, Failure, FailureKind, Files, FromAgent, Limits, Network, PORT, Place, Start, ToAgent,
};
use rustix::process::{PidfdFlags, pidfd_open};

use super::{First, Server};
use crate::accounts::Names;
use crate::channel::Phase;
use crate::failure::{self, Explain, Result};
use crate::machine::cgroup::{self, Cgroup};
use crate::machine::{processes, stats};
use crate::process::{Container, Process, spawn};
use crate::root::Root;
use crate::sys::time;

const SHUTTING_DOWN: &str = "the machine is shutting down";

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
            ToAgent::Files(files) => self.files(index, &files),
            ToAgent::Network(network) => self.network(&network),
            ToAgent::Limit(limits) => self.limit_machine(&limits),
            ToAgent::Stats => self.stats(),
            ToAgent::Processes => self.processes(),
            // The channel has dealt with the others.
            _ => return,
        };
        let Some(channel) = self.channels.get_mut(index) else {
            return;
        };
        match result {
            Ok(message) => channel.queue(&message),
            Err(failure) => {
                channel.queue(&FromAgent::Failed(failure::cut(failure)));
                // A process goes on, whatever else could not be done.
                if channel.phase != Phase::Running {
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

    fn files(&mut self, index: usize, files: &Files) -> Result<FromAgent> {
        let idle = self.is_idle(index);
        let Some(root) = self.machine.root.as_ref().filter(|_| idle) else {
            return Err(invalid(
                "files are read and written once per channel, in a configured machine",
            ));
        };
        if self.stopping.is_some() {
            return Err(invalid(SHUTTING_DOWN));
        }
        let frozen = matches!(files, Files::Layer { frozen: true });
        if frozen {
            if self.still_for.is_some() {
                return Err(invalid("the container is frozen for another request"));
            }
            self.group("freeze the container")?.freeze()?;
        }
        let service = match crate::files::start(&self.places, root, files) {
            Ok(service) => Process::service(service),
            Err(failure) => {
                if frozen && self.resting.is_none() {
                    self.thaw();
                }
                return Err(failure);
            }
        };
        self.still_for = self.still_for.or(frozen.then_some(service.pid));
        Ok(self.started(index, service))
    }

    fn network(&mut self, network: &Network) -> Result<FromAgent> {
        self.check_configured()?;
        self.set_network(network)?;
        Ok(FromAgent::Done)
    }

    fn limit_machine(&mut self, limits: &Limits) -> Result<FromAgent> {
        self.check_configured()?;
        self.limit(limits)?;
        Ok(FromAgent::Done)
    }

    fn stats(&self) -> Result<FromAgent> {
        self.check_configured()?;
        let group = self.group("say what the container uses")?;
        Ok(FromAgent::Stats(Box::new(stats::read(group))))
    }

    fn processes(&self) -> Result<FromAgent> {
        let root = self.check_configured()?;
        let group = self.group("list the container's processes")?;
        let names = Names::read(root);
        Ok(FromAgent::Processes(processes::list(
            &self.places,
            group,
            &names,
        )))
    }

    fn check_configured(&self) -> Result<&Root> {
        let root = self.machine.root.as_ref();
        root.ok_or_else(|| invalid("the machine is not configured"))
    }

    fn group(&self, what: &str) -> Result<&Cgroup> {
        let group = self.machine.cgroup.as_ref();
        group.ok_or_else(|| cgroup::missing(what))
    }

    fn is_idle(&self, index: usize) -> bool {
        let channel = self.channels.get(index);
        channel.is_some_and(|channel| channel.phase == Phase::Idle)
    }

    /// The channel carries a process from now on.
    fn started(&mut self, index: usize, process: Process) -> FromAgent {
        let pid = process.pid.as_raw_nonzero().get().cast_unsigned();
        if let Some(channel) = self.channels.get_mut(index) {
            channel.process = Some(process);
            channel.phase = Phase::Running;
        }
        FromAgent::Started {
            pid,
            at_us: time::since_boot_us(),
        }
    }

    fn is_control(&self, index: usize) -> bool {
        let channel = self.channels.get(index);
        channel.is_some_and(|channel| channel.control)
    }

    fn start(&mut self, index: usize, start: &Start) -> Result<FromAgent> {
        let idle = self.is_idle(index);
        let Some(root) = self.machine.root.as_ref().filter(|_| idle) else {
            return Err(invalid(
                "a process starts once per channel, in a configured machine",
            ));
        };
        if self.stopping.is_some() {
            return Err(invalid(SHUTTING_DOWN));
        }
        if self.resting.is_some() {
            return Err(invalid(
                "the container is frozen: it goes on when its process is attached to",
            ));
        }
        if self.still_for.is_some() {
            // It would be frozen before its program runs.
            return Err(invalid(
                "the container is paused until a layer is made of its files",
            ));
        }
        let container = Container {
            places: &self.places,
            root,
            cgroup: self.machine.cgroup.as_ref(),
            hostname: &self.machine.hostname,
            domainname: &self.machine.domainname,
            sysctls: &self.machine.sysctls,
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
        Ok(self.started(index, Process::new(spawned, start.place)))
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new(FailureKind::Invalid, message)
}
