//! The machine's process, from its fork to its end. What it needs it asks its keeper for; what it is to do it is told.

use std::sync::Arc;

use hull_vm_api::{ExitCause, Metadata};

use crate::api::Host;
use crate::args::Args;
use crate::error::StartError;
use crate::files::Files;
use crate::keeper::channel::Channel;
use crate::keeper::child::{self, Ends};
use crate::keeper::message::{Ended, Failure, Order, Report, Start};
use crate::log;
use crate::machine::Machine;
use crate::metrics::Figures;
use crate::outside::Wish;
use crate::running::Running;
use crate::timeline::Timeline;

/// Runs a machine when the keeper orders one, and returns the cause of its end.
pub(crate) fn run(args: &Args, timeline: Timeline, ends: Ends) -> ExitCause {
    match serve(args, Arc::new(timeline), ends) {
        Ok(cause) => cause,
        // Nobody is there to be told.
        Err(_) => ExitCause::ParentGone,
    }
}

fn serve(args: &Args, timeline: Arc<Timeline>, ends: Ends) -> std::io::Result<ExitCause> {
    child::close_input()?;
    child::die_with_parent()?;
    let mut keeper = Channel::new(ends.channel, usize::MAX)?;
    let files = Files::new(ends.asks);
    loop {
        match keeper.await_message()? {
            Order::Start(start) => match order(args, *start, &files, &timeline) {
                Ok((running, mut host)) => {
                    keeper.send(&Report::Started)?;
                    let end = running.run(&mut keeper, &mut host);
                    timeline.finish();
                    let ended = Ended::from(end);
                    let cause = ended.cause();
                    keeper.send(&Report::Ended(ended))?;
                    keeper.flush_all()?;
                    // The keeper takes a closed channel for a sudden end.
                    std::mem::forget(keeper);
                    return Ok(cause);
                }
                Err(error) => keeper.send(&Report::NotStarted(Failure::from(&error)))?,
            },
            Order::Fulfil(wish) => {
                return Ok(match wish {
                    Wish::PowerOff => ExitCause::Terminated,
                    Wish::End(cause) => cause,
                });
            }
            // It has none before the start.
            Order::Answer(_) => return Ok(ExitCause::Failure),
        }
        keeper.flush_all()?;
    }
}

/// Makes a machine and starts it.
fn order(
    args: &Args,
    start: Start,
    files: &Files,
    timeline: &Arc<Timeline>,
) -> Result<(Running, Host), StartError> {
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
    let host = Host {
        files: files.clone(),
        figures,
    };
    let machine = Machine::new(&start.config, &metadata, files, timeline)?;
    Ok((machine.start(start.draft, metadata)?, host))
}
