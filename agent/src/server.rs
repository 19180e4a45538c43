//! The agent's loop: connections, processes, children that end, and the end of it all.

mod requests;
mod turn;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_agent_protocol::{
    Adopt, Configure, Failure, FailureKind, Identity, Interface, Limits, Network, PORT, POWER_PORT,
    Sysctl,
};
use rustix::process::{Pid, WaitOptions, wait};

use crate::channel::{Channel, Phase};
use crate::failure::Result;
use crate::machine::cgroup::Cgroup;
use crate::places::Places;
use crate::process::{Ended, Process};
use crate::root::Root;
use crate::sys::{signal, time};

/// How long processes may take to end after `SIGTERM` when the machine shuts down: as long as
/// `docker stop` gives them.
const GRACE_US: u64 = 10_000_000;
/// How long the kernel may take to end them after `SIGKILL`.
const KILL_US: u64 = 10_000_000;

/// Everything that the agent holds.
#[derive(Debug)]
pub struct Server {
    places: Places,
    signals: OwnedFd,
    transport: Transport,
    /// Where the engine asks for more channels.
    listener: Option<OwnedFd>,
    /// Where a connection is the machine's power button.
    power_button: Option<OwnedFd>,
    channels: Vec<Channel>,
    machine: Machine,
    first: Option<First>,
    /// The machine is at rest until the engine comes back, and asks for something.
    held: bool,
    /// The process of the control channel that there was before, frozen.
    resting: Option<Process>,
    /// Of the agent's own processes the one for which those of the container are frozen.
    still_for: Option<Pid>,
    stopping: Option<Stopping>,
    times: Times,
}

/// How connections come.
#[derive(Debug, Clone, Copy)]
pub struct Transport {
    /// Listens on a port.
    pub listen: fn(u32) -> rustix::io::Result<OwnedFd>,
    /// Takes a connection from a listener, not blocking and closed by `execve`.
    pub accept: fn(BorrowedFd<'_>) -> rustix::io::Result<OwnedFd>,
}

/// The container's machine, as far as it is configured.
#[derive(Debug, Default)]
struct Machine {
    cgroup: Option<Cgroup>,
    root: Option<Root>,
    hostname: String,
    domainname: String,
    privileged: bool,
    /// What the kernel was told last. Of a network that could not be set nothing is known.
    interfaces: Vec<Interface>,
    limits: Limits,
    /// For the first process to write.
    sysctls: Vec<Sysctl>,
}

/// The first process of the container.
#[derive(Debug)]
struct First {
    pid: Pid,
    pidfd: OwnedFd,
}

/// The machine is going down.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    /// When patience ends, in microseconds since boot.
    deadline_us: u64,
    killed: bool,
}

/// What the engine is told about the boot, in microseconds since the kernel started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    /// When the agent began.
    pub(crate) main_us: u64,
    /// When it had asked for its connection.
    pub(crate) ready_us: u64,
}

impl Server {
    /// A server for the connection `control`; more come by `transport`. Blocks all signals of the
    /// process.
    ///
    /// # Errors
    /// The kernel gives no descriptor for signals.
    pub fn new(places: Places, control: OwnedFd, transport: Transport) -> std::io::Result<Self> {
        signal::block_all();
        // Modes are what the calls say; a process gets a mask of its own.
        rustix::process::umask(rustix::fs::Mode::empty());
        Ok(Self {
            places,
            signals: signal::descriptor()?,
            transport,
            listener: None,
            power_button: None,
            channels: vec![Channel::new(control, true)],
            machine: Machine::default(),
            first: None,
            held: false,
            resting: None,
            still_for: None,
            stopping: None,
            times: Times::default(),
        })
    }

    fn listen(&self, port: u32) -> Option<OwnedFd> {
        let listener = (self.transport.listen)(port);
        if let Err(error) = &listener {
            crate::log::warn(&format!("cannot listen on port {port}: {error}"));
        }
        listener.ok()
    }

    /// Takes note of how the machine came up.
    pub(crate) fn booted(&mut self, times: Times) {
        self.times = times;
    }

    /// Does what every container needs, whatever the engine will say. To be called while the
    /// engine's first message is under way.
    pub fn prepare(&mut self) {
        self.power_button = self.listen(POWER_PORT);
        self.listener = self.listen(PORT);
        if let Err(error) = crate::machine::bring_loopback_up() {
            crate::log::warn(&format!("no loopback interface: {error}"));
        }
        match Cgroup::make(&self.places) {
            Ok(group) => self.machine.cgroup = Some(group),
            Err(error) => crate::log::warn(&format!("no control groups: {error}")),
        }
        if let Err(failure) = crate::root::make_devices(&self.places) {
            // Attaching what is not there fails again, and then there is someone to tell.
            crate::log::warn(&failure.message);
        }
    }

    /// Serves until the machine is to go down.
    pub fn serve(&mut self) {
        while !self.is_over() {
            self.turn();
        }
        if let Some(group) = &self.machine.cgroup {
            group.remove();
        }
    }

    /// Takes the machine's file systems down.
    pub fn unmount(&mut self) {
        self.machine = Machine::default();
        crate::machine::power::unmount_all(&self.places);
    }

    fn is_over(&mut self) -> bool {
        let processes = self.channels.iter().filter_map(|c| c.process.as_ref());
        let running = processes
            .chain(&self.resting)
            .any(|process| process.ended.is_none());
        let Some(stopping) = &mut self.stopping else {
            return false;
        };
        if !running {
            return true;
        }
        let now = time::since_boot_us();
        if now < stopping.deadline_us {
            return false;
        }
        if stopping.killed {
            return true;
        }
        *stopping = Stopping {
            deadline_us: now + KILL_US,
            killed: true,
        };
        self.signal_all(9);
        false
    }

    /// Begins to go down: every process is asked to end.
    fn stop(&mut self) {
        if self.stopping.is_none() {
            let deadline_us = time::since_boot_us() + GRACE_US;
            self.stopping = Some(Stopping {
                deadline_us,
                killed: false,
            });
            self.thaw();
            self.signal_all(15);
        }
    }

    fn signal_all(&mut self, number: u8) {
        let processes = self.channels.iter_mut().filter_map(|c| c.process.as_mut());
        for process in processes.chain(&mut self.resting) {
            process.signal(number, &self.places);
        }
    }

    /// Takes every child that has ended: processes of channels, and whatever else became one.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if self.still_for == Some(pid) {
                self.still_for = None;
                if self.resting.is_none() {
                    self.thaw();
                }
            }
            let was_first = self.first.as_ref().is_some_and(|first| first.pid == pid);
            if was_first {
                self.first = None;
            }
            let processes = self.channels.iter_mut().filter_map(|c| c.process.as_mut());
            let processes = processes.chain(&mut self.resting);
            if let Some(process) = processes.into_iter().find(|process| process.pid == pid) {
                let exit = process.exit_status(status);
                // Who ended well was not killed.
                let oom_killed = was_first
                    && exit.code() != 0
                    && self
                        .machine
                        .cgroup
                        .as_ref()
                        .is_some_and(Cgroup::was_out_of_memory);
                process.end(Ended {
                    status: exit,
                    oom_killed,
                    at_us: time::since_boot_us(),
                });
            }
        }
    }

    /// Drops connections that are gone, with their processes.
    fn drop_closed(&mut self) {
        if !self
            .channels
            .iter()
            .any(|channel| channel.phase == Phase::Closed)
        {
            return;
        }
        let mut control_lost = false;
        for channel in self
            .channels
            .iter_mut()
            .filter(|c| c.phase == Phase::Closed)
        {
            control_lost |= channel.control;
            if let Some(process) = channel.process.as_mut().filter(|_| !channel.control) {
                process.signal(9, &self.places);
            }
        }
        if control_lost && !self.held {
            self.stop();
        }
        // The control channel's process is waited for: it may still write to its disk.
        self.channels.retain(|channel| {
            channel.phase != Phase::Closed
                || channel
                    .process
                    .as_ref()
                    .is_some_and(|process| process.ended.is_none())
        });
    }

    /// Lets frozen processes go on.
    fn thaw(&self) {
        if let Some(Err(error)) = self.machine.cgroup.as_ref().map(Cgroup::thaw) {
            crate::log::warn(&format!("cannot let processes go on: {error}"));
        }
    }

    /// Makes the machine another container's.
    fn adopt_machine(&mut self, adopt: &Adopt) -> Result<()> {
        if self.first.is_some() && !(adopt.mounts.is_empty() && adopt.sysctls.is_empty()) {
            let message = "mounts and settings of the kernel are made before the first process of a container";
            return Err(Failure::new(FailureKind::Invalid, message));
        }
        if let Some(clock) = adopt.clock {
            crate::machine::set_clock(clock)?;
        }
        crate::machine::add_entropy(&adopt.entropy)?;
        self.limit(&adopt.limits)?;
        if let Some(interfaces) = &adopt.interfaces {
            self.set_interfaces(interfaces)?;
        }
        if let Some(size) = adopt.shm_size {
            crate::root::set_shm_size(&self.places, size)?;
        }
        self.machine.sysctls.extend_from_slice(&adopt.sysctls);
        self.identify(adopt)
    }

    /// Gives the container its mounts and its names.
    fn identify(&mut self, adopt: &Adopt) -> Result<()> {
        let Some(root) = &self.machine.root else {
            return Ok(());
        };
        crate::root::mount_more(&self.places, root, &adopt.mounts)?;
        let Some(identity) = &adopt.identity else {
            return Ok(());
        };
        crate::root::identify(&self.places, root, identity, &adopt.mounts)?;
        if let Some(first) = &self.first {
            crate::process::identify(&self.places, first.pidfd.as_fd(), identity)?;
        }
        self.machine.hostname.clone_from(&identity.hostname);
        self.machine.domainname.clone_from(&identity.domainname);
        Ok(())
    }

    fn configure_machine(&mut self, configure: &Configure) -> Result<()> {
        if let Some(clock) = configure.clock {
            crate::machine::set_clock(clock)?;
        }
        crate::machine::add_entropy(&configure.entropy)?;
        self.limit(&configure.limits)?;
        self.set_interfaces(&configure.interfaces)?;
        self.machine.root = Some(crate::root::compose(&self.places, configure)?);
        let Identity {
            hostname,
            domainname,
            ..
        } = &configure.identity;
        self.machine.hostname.clone_from(hostname);
        self.machine.domainname.clone_from(domainname);
        self.machine.sysctls.clone_from(&configure.sysctls);
        self.machine.privileged = configure.privileged;
        Ok(())
    }

    fn limit(&mut self, limits: &Limits) -> Result<()> {
        let group = self.machine.cgroup.as_ref();
        crate::machine::cgroup::limit(group, &self.machine.limits, limits)?;
        self.machine.limits = *limits;
        Ok(())
    }

    fn set_interfaces(&mut self, wanted: &[Interface]) -> Result<()> {
        // Until it is done, and if it is not done to its end.
        let before = std::mem::take(&mut self.machine.interfaces);
        crate::network::set(&before, wanted)?;
        self.machine.interfaces = wanted.to_vec();
        Ok(())
    }

    fn set_network(&mut self, network: &Network) -> Result<()> {
        self.set_interfaces(&network.interfaces)?;
        if let Some(hosts) = &network.hosts {
            crate::root::replace_hosts(&self.places, hosts)?;
        }
        if let Some(resolv_conf) = &network.resolv_conf {
            crate::root::replace_resolv_conf(&self.places, resolv_conf)?;
        }
        Ok(())
    }
}
