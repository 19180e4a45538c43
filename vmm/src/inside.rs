//! The machine's process, from its fork to its end. What it needs it asks its keeper for; what it is to do it is told.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use hull_vm_api::{Draft, ExitCause, Metadata};

use crate::api::{Host, us};
use crate::args::Args;
use crate::error::StartError;
use crate::files::Files;
use crate::keeper::channel::Channel;
use crate::keeper::child::{self, Ends};
use crate::keeper::message::{Ended, Failure, Order, Origin, Report, Start};
use crate::last_words;
use crate::log;
use crate::lost_memory;
use crate::machine::Machine;
use crate::metrics::Figures;
use crate::outside::Wish;
use crate::ready::Ready;
use crate::sandbox::{Confinement, Sandbox, seccomp};
use crate::snapshot::load::{LoadError, Restored};
use crate::timeline::Timeline;

/// Enters its sandbox, runs a machine when the keeper orders one, and returns the cause of its end.
pub(crate) fn run(args: &Args, timeline: Timeline, sandbox: &Sandbox, ends: Ends) -> ExitCause {
    match serve(args, Arc::new(timeline), sandbox, ends) {
        Ok(cause) => cause,
        // Nobody is there to be told.
        Err(_) => ExitCause::ParentGone,
    }
}

fn serve(
    args: &Args,
    timeline: Arc<Timeline>,
    sandbox: &Sandbox,
    ends: Ends,
) -> io::Result<ExitCause> {
    let asks = ends.asks.as_raw_fd();
    let mut keeper = Channel::new(ends.channel, usize::MAX)?;
    let confinement = match enter(sandbox, asks) {
        Ok(confinement) => confinement,
        Err(error) => return end(keeper, Ended::Failed(Failure::from(&error))),
    };
    let files = Files::new(ends.asks, confinement.clone(), ends.kvm);
    loop {
        // What was made for a machine that did not start went with that.
        let ready = Ready::make(&files, args.expect_mem, &timeline);
        match keeper.await_message()? {
            Order::Start(start) => {
                let began = Instant::now();
                let host = (&files, &confinement);
                let ordered = order(args, *start, host, (&timeline, ready), &mut keeper);
                files.forget_ahead();
                match ordered {
                    Ok((machine, plan)) => {
                        let started = machine.start(plan.draft, plan.metadata, &confinement);
                        let mut running = match started {
                            Ok(running) => running,
                            Err(error) => return end(keeper, Ended::Failed(Failure::from(&error))),
                        };
                        if plan.restored {
                            running.latencies.load_snapshot.set(us(began));
                        }
                        if plan.runs {
                            running.resume();
                        }
                        keeper.send(&Report::Started)?;
                        let mut host = plan.host;
                        let ended = running.run(&mut keeper, &mut host);
                        timeline.finish();
                        return end(keeper, Ended::from(ended));
                    }
                    Err(NotMade::Error(error)) => {
                        keeper.send(&Report::NotStarted(Failure::from(&error)))?;
                    }
                    Err(NotMade::Unwanted(wish)) => return Ok(cause(wish)),
                    Err(NotMade::Gone(error)) => return Err(error),
                }
            }
            Order::Fulfil(wish) => return Ok(cause(wish)),
            // It has none before the start.
            Order::Answer(_) | Order::Restore(_) => return Ok(ExitCause::Failure),
        }
        keeper.flush_all()?;
    }
}

/// How it ends if somebody wants that before there is a machine.
fn cause(wish: Wish) -> ExitCause {
    match wish {
        Wish::PowerOff => ExitCause::Terminated,
        Wish::End(cause) => cause,
    }
}

/// Tells the keeper how it ended.
fn end(mut keeper: Channel, ended: Ended) -> io::Result<ExitCause> {
    let cause = ended.cause();
    keeper.send(&Report::Ended(ended))?;
    keeper.flush_all()?;
    // The keeper takes a closed channel for a sudden end.
    std::mem::forget(keeper);
    Ok(cause)
}

/// Gives up what the process has, before it reads the first order.
#[allow(unsafe_code)]
fn enter(sandbox: &Sandbox, asks: RawFd) -> Result<Confinement, StartError> {
    child::close_input().map_err(StartError::host("/dev/null"))?;
    for variable in ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"] {
        // What draws a backtrace opens files.
        // SAFETY: the process has a single thread.
        unsafe { std::env::remove_var(variable) };
    }
    last_words::send_to(Some(asks));
    seccomp::watch().map_err(StartError::host("a handler for violations"))?;
    lost_memory::watch().map_err(StartError::host("a handler for lost memory"))?;
    let confinement = sandbox.enter()?;
    // Behind the change of the user, which takes it back.
    child::die_with_parent().map_err(StartError::host("to die with its parent"))?;
    confinement.begin()?;
    Ok(confinement)
}

/// What goes with a machine.
struct Plan {
    draft: Draft,
    metadata: Metadata,
    host: Host,
    /// It comes from a snapshot.
    restored: bool,
    /// It is to run, and does not do so by itself.
    runs: bool,
}

/// Why there is no machine.
enum NotMade {
    /// Another can be made.
    Error(StartError),
    /// Somebody wants the end before it was there.
    Unwanted(Wish),
    /// The keeper cannot be talked to.
    Gone(io::Error),
}

impl From<StartError> for NotMade {
    fn from(error: StartError) -> Self {
        Self::Error(error)
    }
}

/// Makes a machine. Where that fails another can be made.
fn order(
    args: &Args,
    start: Start,
    (files, confinement): (&Files, &Confinement),
    (timeline, ready): (&Arc<Timeline>, Option<Ready>),
    keeper: &mut Channel,
) -> Result<(Machine, Plan), NotMade> {
    if let Origin::Boot(config) = &start.origin
        && start.only
        && config.shares.is_empty()
    {
        confinement.expect_no_shares().map_err(StartError::from)?;
    }
    let log_file = match start.log_in_file {
        true => Some(files.log().map_err(StartError::host("the log's file"))?),
        false => None,
    };
    log::start(&args.id, &start.log, log_file);
    let mut figures = Figures::new(&args.id, timeline.clone());
    figures.learn(start.counted);
    if let Some(settings) = start.metrics {
        let file = files.metrics();
        let file = file.map_err(StartError::host("the metrics' file"))?;
        figures.send_to(file, settings);
    }
    let mut metadata = Metadata::new(start.metadata_limit);
    if !start.metadata.is_null() {
        let put = metadata.put(start.metadata);
        put.map_err(StartError::MetadataLimit)?;
    }
    let restored = matches!(start.origin, Origin::Snapshot(_));
    let (machine, draft, runs) = match start.origin {
        Origin::Boot(config) => {
            let machine = Machine::new(&config, &metadata, (files, timeline), ready)?;
            (machine, start.draft, false)
        }
        Origin::Snapshot(load) => {
            let restored = Restored::read(&load, &start.draft, files).map_err(StartError::from)?;
            agree(&restored.draft, keeper)?;
            restored.ask_ahead(files);
            let machine = Machine::restore(&restored, &metadata, (files, timeline), ready)?;
            (machine, restored.draft, load.resume_vm)
        }
    };
    let files = files.clone();
    let host = Host { files, figures };
    Ok((
        machine,
        Plan {
            draft,
            metadata,
            host,
            restored,
            runs,
        },
    ))
}

/// Tells the keeper what a snapshot names, and waits until that can be asked for.
fn agree(draft: &Draft, keeper: &mut Channel) -> Result<(), NotMade> {
    let asked = keeper.send(&Report::Restores(Box::new(draft.clone())));
    let asked = asked.and_then(|()| keeper.flush_all());
    asked.map_err(NotMade::Gone)?;
    match keeper.await_message().map_err(NotMade::Gone)? {
        Order::Restore(Ok(())) => Ok(()),
        Order::Restore(Err(sentence)) => Err(NotMade::Error(LoadError::Config(sentence).into())),
        Order::Fulfil(wish) => Err(NotMade::Unwanted(wish)),
        Order::Start(_) | Order::Answer(_) => Err(NotMade::Gone(io::ErrorKind::InvalidData.into())),
    }
}
