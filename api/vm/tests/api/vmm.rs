//! A VMM without a machine: it does to requests what `hull-vmm` does, and answers for a machine that is always well.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use hull_vm_api::reply::{
    BalloonStatistics, HintingStatus, InstanceInfo, MemoryHotplugStatus, Version,
};
use hull_vm_api::request::{Action, VmState};
use hull_vm_api::server::{Call, Calls, Limits, RequestCounts, Requests, Server, ServerThread};
use hull_vm_api::{Builder, Client, Draft, Fault, Metadata, Reply, Request, Stage, Step};
use rustix::event::{PollFd, PollFlags, poll};
use tempfile::TempDir;

/// A VMM in a thread, behind a server in another. Both end with it.
pub(crate) struct Vmm {
    directory: TempDir,
    server: Option<ServerThread>,
    counts: Arc<RequestCounts>,
    thread: Option<JoinHandle<()>>,
    /// Its other end closes with it, which ends the thread.
    _lifeline: UnixStream,
}

impl Vmm {
    pub(crate) fn start() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(socket_in(directory.path())).unwrap();
        let (server, calls) = Server::new(listener, limits).unwrap();
        let counts = server.counts();
        let (lifeline, end) = UnixStream::pair().unwrap();
        Self {
            directory,
            server: Some(server.spawn(|| {}).unwrap()),
            counts,
            thread: Some(thread::spawn(move || event_loop(&calls, &end.into()))),
            _lifeline: lifeline,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket_in(self.directory.path())
    }

    /// What was asked for so far.
    pub(crate) fn requests(&self) -> Requests {
        self.counts.now()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.socket())
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        let stopped = self.server.take().map(ServerThread::stop);
        let _ = self._lifeline.shutdown(std::net::Shutdown::Both);
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            stopped.unwrap().unwrap();
            ended.unwrap().unwrap();
        }
    }
}

pub(crate) fn socket_in(directory: &Path) -> PathBuf {
    directory.join("api")
}

/// A server alone; whoever has the calls is the VMM.
pub(crate) fn serve(socket: &Path, limits: Limits) -> (ServerThread, Calls) {
    let listener = UnixListener::bind(socket).unwrap();
    let (server, calls) = Server::new(listener, limits).unwrap();
    (server.spawn(|| {}).unwrap(), calls)
}

/// The next call, for which it waits.
pub(crate) fn next_call(calls: &Calls) -> Call {
    loop {
        if let Some(call) = calls.next_call() {
            return call;
        }
        poll(&mut [PollFd::new(calls, PollFlags::IN)], None).unwrap();
    }
}

fn event_loop(calls: &Calls, end: &OwnedFd) {
    let mut machine = Machine::Building(Box::new(Builder::new("test", "0.0.0", 1 << 20)));
    loop {
        let fd = calls.as_fd();
        let mut fds = [
            PollFd::from_borrowed_fd(fd, PollFlags::IN),
            PollFd::new(end, PollFlags::IN),
        ];
        poll(&mut fds, None).unwrap();
        if !fds[1].revents().is_empty() {
            return;
        }
        while let Some(call) = calls.next_call() {
            let answer = machine.handle(call.request());
            call.answer(answer);
        }
    }
}

enum Machine {
    Building(Box<Builder>),
    Started(Box<Started>),
}

struct Started {
    stage: Stage,
    config: Draft,
    metadata: Metadata,
}

impl Machine {
    fn handle(&mut self, request: &Request) -> Result<Reply, Fault> {
        let builder = match self {
            Self::Started(started) => return started.handle(request),
            Self::Building(builder) => builder,
        };
        let (stage, config) = match builder.apply(request)? {
            Step::Answer(reply) => return Ok(reply),
            Step::Log(_) | Step::Metrics(_) => return Ok(Reply::Done),
            Step::Figures => return Ok(Reply::Metrics("hull_vm_info{} 1\n".to_owned())),
            Step::Start(config) => (Stage::Running, Draft::from(*config)),
            Step::Restore(load) if load.resume_vm => (Stage::Running, Draft::default()),
            Step::Restore(_) => (Stage::Paused, Draft::default()),
        };
        let (_, metadata) = builder.as_ref().clone().into_parts();
        *self = Self::Started(Box::new(Started {
            stage,
            config,
            metadata,
        }));
        Ok(Reply::Done)
    }
}

impl Started {
    fn handle(&mut self, request: &Request) -> Result<Reply, Fault> {
        self.stage.check(request)?;
        if let Some(answer) = self.config.answer(request) {
            return answer;
        }
        let config = self.config.changed_by(request)?;
        let reply = match request {
            Request::GetInstance => Reply::Instance(InstanceInfo::new("test", self.stage, "0.0.0")),
            Request::GetVersion => Reply::Version(Version::new("0.0.0")),
            Request::GetMetrics => Reply::Metrics("hull_vm_info{} 1\n".to_owned()),
            Request::GetMmds => Reply::Mmds(self.metadata.value().clone()),
            Request::GetBalloonStatistics => {
                self.balloon()?;
                Reply::BalloonStatistics(Box::new(BalloonStatistics {
                    target_mib: 5,
                    free_memory: Some(1 << 20),
                    ..BalloonStatistics::default()
                }))
            }
            Request::GetHintingStatus => {
                self.balloon()?;
                Reply::HintingStatus(HintingStatus::default())
            }
            Request::GetMemoryHotplug => match &config.memory_hotplug {
                Some(hotplug) => Reply::MemoryHotplug(MemoryHotplugStatus::new(hotplug, 0, 128)),
                None => return Err(Fault::bad_request("there is no hotpluggable memory")),
            },
            Request::PutMmds(value) => {
                self.metadata.put(value.clone())?;
                Reply::Done
            }
            Request::PatchMmds(value) => {
                self.metadata.patch(value.clone())?;
                Reply::Done
            }
            Request::PatchVm(vm) => {
                self.stage = match vm.state {
                    VmState::Paused => Stage::Paused,
                    VmState::Resumed => Stage::Running,
                };
                Reply::Done
            }
            Request::StartHinting(_) | Request::StopHinting => {
                self.balloon()?;
                Reply::Done
            }
            Request::PutAction(Action::FlushMetrics) if config.metrics.is_none() => {
                return Err(Fault::bad_request("there is no file for metrics"));
            }
            _ => Reply::Done,
        };
        self.config = config;
        Ok(reply)
    }

    fn balloon(&self) -> Result<(), Fault> {
        let balloon = self.config.balloon.as_ref();
        balloon
            .map(drop)
            .ok_or_else(|| Fault::bad_request("there is no balloon"))
    }
}
