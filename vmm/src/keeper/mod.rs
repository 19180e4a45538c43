//! The keeper: the process that was started, which keeps its user's rights and has no guest.
//!
//! A microVM is two processes. The *machine's process* has KVM, the guest's memory, the devices and the vCPUs, and neither opens nor
//! connects anything: it asks for it ([`ask`]). The keeper gives it what the user named and nothing else ([`broker`], [`grants`]). It
//! also has all that reaches a microVM from outside: signals, the lifeline, the API's socket. Whoever breaks into the machine's process
//! is still not where HTTP is read, and cannot call open(2).
//!
//! One thread, besides the API's and the one that opens files. It waits for everything at once and for nothing in particular, least of
//! all for the machine.

mod answering;
mod api;
pub(crate) mod ask;
mod broker;
pub(crate) mod channel;
pub(crate) mod child;
mod configuring;
mod grants;
pub(crate) mod message;
pub(crate) mod opening;
mod staged;

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use hull_vm_api::config::{Logger, Metrics};
use hull_vm_api::request::SnapshotLoad;
use hull_vm_api::server::Call;
use hull_vm_api::{Builder, Draft, ExitCause, Metadata, Reply, VmConfig};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::WaitStatus;

use answering::Answering;
pub(crate) use api::Api;
pub(crate) use broker::Broker;
use channel::Channel;
use child::Child;
use configuring::Starting;
use message::{Ended, Failure, Forwarded, Order, Report};

use crate::error::{StartError, with_sources};
use crate::metrics::Figures;
use crate::outside::{Outside, Wish};
use crate::program;
use crate::sandbox::{Cgroups, seccomp};

/// How long the machine's process may take to end after it was told to, or said that it does.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// How long after a start the program's pages are given up that only that needed. Whoever asked for it has the answer by then, and those that
/// are needed again right behind it are still there.
const AFTER_START: Duration = Duration::from_millis(100);

/// The keeper of one machine.
#[derive(Debug)]
pub(crate) struct Keeper<'a> {
    pub(crate) outside: &'a mut Outside,
    pub(crate) api: Option<Api>,
    pub(crate) channel: Channel,
    pub(crate) broker: Broker,
    pub(crate) child: Child,
    /// How the log is.
    pub(crate) logger: Logger,
    /// How figures are, if they go anywhere.
    pub(crate) metrics: Option<Metrics>,
    /// What is counted here, for the machine's process.
    pub(crate) figures: Figures,
    /// What was started.
    pub(crate) draft: Draft,
    /// The machine's control groups, which go with this.
    pub(crate) cgroups: Cgroups,
    /// How much of its system calls is looked at.
    pub(crate) filter: seccomp::Level,
    /// What this host's KVM wants of kernels, if they are to be told.
    pub(crate) kernel_args: String,
    /// When what only the start needed is given up, if that is still to come.
    pub(crate) forgets: Option<Instant>,
}

/// What there is to start.
#[derive(Debug)]
pub(crate) enum Plan {
    /// This machine, at once.
    Config(Box<VmConfig>, Metadata),
    /// The one of this snapshot, at once.
    Snapshot(Box<SnapshotLoad>, Metadata),
    /// What the API says.
    Api(Box<Builder>),
}

/// How far the machine is.
#[derive(Debug)]
enum Stage {
    Configuring(Box<Builder>),
    Starting(Starting),
    /// With the requests that it answers.
    Running(Answering),
}

/// The machine's process is gone, or says what it must not.
#[derive(Debug, thiserror::Error)]
#[error("the machine's process cannot be talked to")]
pub(crate) struct Gone(#[source] io::Error);

/// What there is to do.
struct Ready {
    asks: bool,
    reports: bool,
}

impl Keeper<'_> {
    /// Keeps the machine to its end.
    ///
    /// # Errors
    /// If the host does not let it wait.
    pub(crate) fn keep(mut self, plan: Plan) -> Result<Ended, StartError> {
        let ended = self.run(plan);
        let ended = match ended {
            Ok(Ok(ended)) => ended,
            Ok(Err(gone)) => self.find_out(&gone),
            Err(error) => {
                self.child.kill();
                return Err(error);
            }
        };
        self.child.end(LAST_MOMENTS);
        Ok(ended)
    }

    fn run(&mut self, plan: Plan) -> Result<Result<Ended, Gone>, StartError> {
        let mut stage = match plan {
            Plan::Api(builder) => Stage::Configuring(builder),
            Plan::Config(config, metadata) => {
                let draft = (*config).clone().into();
                if let Err(gone) = self.order(*config, draft, &metadata, true) {
                    return Ok(Err(gone));
                }
                Stage::Starting(Starting {
                    asked: None,
                    restores: false,
                })
            }
            Plan::Snapshot(load, metadata) => {
                let draft = Draft::default();
                if let Err(gone) = self.order_restored(load, draft, &metadata, true) {
                    return Ok(Err(gone));
                }
                Stage::Starting(Starting {
                    asked: None,
                    restores: true,
                })
            }
        };
        // From here on the machine works by itself; what is left to do does not hold it up.
        self.settle()?;
        // Until when the machine may take to end, once it was told to.
        let mut last: Option<(Instant, ExitCause)> = None;
        loop {
            let until = last.map(|(until, _)| until);
            let ready = self.wait(&stage, until.into_iter().chain(self.forgets).min())?;
            if self.forgets.take_if(|at| *at <= Instant::now()).is_some() {
                program::forget_start();
            }
            if let Some((until, cause)) = last
                && until <= Instant::now()
            {
                self.child.kill();
                let detail = Some("it had to be killed".to_owned());
                return Ok(Ok(Ended::Told { cause, detail }));
            }
            while let Some(wish) = self.outside.wish() {
                if let Stage::Configuring(_) = stage {
                    return Ok(Ok(self.give_up(wish)));
                }
                if let (Wish::End(cause), None) = (wish, last) {
                    last = Some((Instant::now() + LAST_MOMENTS, cause));
                }
                if let Err(gone) = self.tell(&Order::Fulfil(wish)) {
                    return Ok(Err(gone));
                }
            }
            match self.turn(&mut stage, &ready) {
                Ok(None) => {}
                Ok(Some(ended)) => return Ok(Ok(ended)),
                Err(gone) => return Ok(Err(gone)),
            }
        }
    }

    /// Gives up what the keeper does not need, and cleans up behind keepers that were killed.
    fn settle(&mut self) -> Result<(), StartError> {
        self.cgroups.sweep();
        if !self.cgroups.is_there() {
            tracing::debug!(
                "there is no control group in which this process may make one for the machine"
            );
        }
        let filter = self.filter;
        let confine = move || {
            if let Err(error) = seccomp::put_on(seccomp::Kind::Keeper, filter) {
                eprintln!("hull-vmm: {}", with_sources(&error));
                std::process::exit(ExitCause::NoResource.code().into());
            }
        };
        let opener = self.broker.opener_mut();
        let aside = opener.step_aside(confine);
        aside.map_err(StartError::host("a thread that opens files"))?;
        let put_on = seccomp::put_on(seccomp::Kind::Keeper, self.filter);
        put_on.map_err(StartError::host("a seccomp filter"))
    }

    /// Waits until there is something to do.
    fn wait(&self, stage: &Stage, until: Option<Instant>) -> Result<Ready, StartError> {
        let mut fds = vec![
            PollFd::new(&self.broker, PollFlags::IN),
            PollFd::new(&self.channel, self.channel.interest()),
        ];
        let outside = self.outside.fds();
        fds.extend(outside.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let calls = self.api.as_ref().filter(|_| stage.takes_calls());
        let calls = calls.map(|api| PollFd::from_borrowed_fd(api.calls().as_fd(), PollFlags::IN));
        fds.extend(calls);
        let time = until.map(|until| until.saturating_duration_since(Instant::now()));
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut fds, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(StartError::host("to wait for the machine")(error)),
        }
        let is = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready {
            asks: is(0),
            reports: is(1),
        })
    }

    /// Does what there is to do; the end, if that is it.
    fn turn(&mut self, stage: &mut Stage, ready: &Ready) -> Result<Option<Ended>, Gone> {
        let asked = match ready.asks {
            true => self.broker.serve(),
            false => Ok(()),
        };
        if ready.reports || asked.is_err() {
            let flushed = self.channel.flush();
            // A process that is gone has said before how it ended, and that it had started.
            while let Some(report) = self.channel.receive().map_err(Gone)? {
                if let Some(ended) = self.take(report, stage)? {
                    return Ok(Some(ended));
                }
            }
            flushed.map_err(Gone)?;
        }
        asked.map_err(Gone)?;
        while let Some(call) = self.next_call(stage) {
            if let Some(api) = &self.api {
                self.figures.requests(api.requests());
            }
            match stage {
                Stage::Configuring(builder) => {
                    if let Some(starting) = self.configure(call, builder)? {
                        *stage = Stage::Starting(starting);
                    }
                }
                Stage::Running(answering) => {
                    let named = call.request().host_paths(&self.draft);
                    self.broker.lend(named);
                    let forwarded = Forwarded::new(call.original(), self.figures.counted());
                    answering.begin(call);
                    self.tell(&Order::Answer(forwarded))?;
                }
                // Refused by `takes_calls`.
                Stage::Starting(_) => {}
            }
        }
        Ok(None)
    }

    fn next_call(&self, stage: &Stage) -> Option<Call> {
        let api = self.api.as_ref().filter(|_| stage.takes_calls())?;
        api.calls().next_call()
    }

    /// What the machine's process said, in a stage in which it can.
    fn take(&mut self, report: Report, stage: &mut Stage) -> Result<Option<Ended>, Gone> {
        match (report, &mut *stage) {
            (Report::Restores(draft), Stage::Starting(starting)) if starting.restores => {
                starting.restores = false;
                self.restore(*draft)?;
            }
            (Report::Started, Stage::Starting(starting)) => {
                if let Some((call, _)) = starting.asked.take() {
                    call.answer(Ok(Reply::Done));
                }
                self.broker.opener_mut().be_patient(opening::PATIENCE);
                *stage = Stage::Running(Answering::default());
                self.forgets = Some(Instant::now() + AFTER_START);
            }
            (Report::NotStarted(failure), Stage::Starting(starting)) => {
                match starting.asked.take() {
                    None => {
                        // It waits for another machine.
                        self.child.kill();
                        return Ok(Some(Ended::Failed(failure)));
                    }
                    Some((call, builder)) => {
                        self.broker.revoke();
                        let fault = Starting::failed(call.request(), &failure.sentence);
                        call.answer(Err(fault));
                        *stage = Stage::Configuring(builder);
                    }
                }
            }
            (Report::Answer(answer), Stage::Running(answering)) if !answering.is_free() => {
                match answer {
                    Ok(_) => self.broker.keep(),
                    Err(_) => self.broker.take_back(),
                }
                answering.end(answer);
            }
            (Report::Aside, Stage::Running(answering)) if answering.can_wait() => {
                self.broker.set_aside();
                answering.set_aside();
            }
            (Report::Late(answer), Stage::Running(answering)) if answering.waits() => {
                self.broker.end_aside();
                answering.end_aside(answer);
            }
            (Report::Ended(ended), stage) => {
                if let (Ended::Failed(failure), Stage::Starting(starting)) = (&ended, stage)
                    && let Some((call, _)) = starting.asked.take()
                {
                    let fault = Starting::failed(call.request(), &failure.sentence);
                    call.answer(Err(fault));
                }
                return Ok(Some(ended));
            }
            _ => return Err(Gone(io::ErrorKind::InvalidData.into())),
        }
        Ok(None)
    }

    fn tell(&mut self, order: &Order) -> Result<(), Gone> {
        self.channel.send(order).map_err(Gone)
    }

    /// Ends before there is a machine.
    fn give_up(&self, wish: Wish) -> Ended {
        self.child.kill();
        let cause = match wish {
            Wish::PowerOff => ExitCause::Terminated,
            Wish::End(cause) => cause,
        };
        let detail = Some("it had not been started yet".to_owned());
        Ended::Told { cause, detail }
    }

    /// Why the machine's process can no longer be talked to.
    fn find_out(&mut self, gone: &Gone) -> Ended {
        // What it said last may be here still, and so may its reason.
        let _ = self.broker.serve();
        while let Ok(Some(report)) = self.channel.receive() {
            match report {
                Report::Ended(ended) => return ended,
                Report::NotStarted(failure) => return Ended::Failed(failure),
                Report::Started
                | Report::Restores(_)
                | Report::Answer(_)
                | Report::Aside
                | Report::Late(_) => {}
            }
        }
        let talks = !matches!(
            gone.0.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionReset
        );
        if talks {
            self.child.kill();
            let detail = Some(format!("the machine's process broke the rules: {}", gone.0));
            let cause = ExitCause::Failure;
            return Ended::Told { cause, detail };
        }
        let status = self.child.end(LAST_MOMENTS);
        let (cause, detail) = explain(status, self.broker.note());
        let detail = Some(detail);
        Ended::Told { cause, detail }
    }
}

impl Stage {
    /// Whether a request can be begun.
    fn takes_calls(&self) -> bool {
        match self {
            Self::Configuring(_) => true,
            Self::Starting(_) => false,
            Self::Running(answering) => answering.is_free(),
        }
    }
}

/// The end of a process that did not tell of it.
fn explain(status: Option<WaitStatus>, note: Option<&str>) -> (ExitCause, String) {
    let Some(status) = status else {
        return (ExitCause::Failure, "its process is gone".to_owned());
    };
    if let Some(signal) = status.terminating_signal() {
        let detail = format!("by signal {signal}; the host's kernel log may say more");
        return (ExitCause::Killed, detail);
    }
    let code = status.exit_status().unwrap_or(-1);
    let cause = ExitCause::from_code(code).unwrap_or(ExitCause::Failure);
    let detail = match note {
        Some(note) => note.to_owned(),
        None => format!("its process ended with status {code}"),
    };
    (cause, detail)
}

impl Ended {
    /// As a cause and a sentence.
    #[must_use]
    pub(crate) fn into_words(self) -> (ExitCause, String) {
        match self {
            Self::Failed(Failure { cause, sentence }) => (cause, sentence),
            Self::Told { cause, detail } => match detail {
                Some(detail) => (cause, format!("{cause}: {detail}")),
                None => (cause, cause.to_string()),
            },
        }
    }
}
