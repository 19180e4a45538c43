//! The microVM before its start: a configuration that grows by requests until one of them starts the machine.

use std::sync::Arc;

use hull_vm_api::config::Logger;
use hull_vm_api::server::Call;
use hull_vm_api::{Builder, ExitCause, Fault, Reply, Step, VmConfig};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::Api;
use crate::ending::End;
use crate::error::{StartError, with_sources};
use crate::files::{Access, Files};
use crate::log;
use crate::machine::Machine;
use crate::metrics::Figures;
use crate::outside::{Outside, Wish};
use crate::running::Running;
use crate::supported;
use crate::timeline::Timeline;

/// What a machine needs of the process besides its configuration.
#[derive(Debug)]
pub(crate) struct Host {
    /// Descriptors that were handed over.
    pub files: Files,
    /// Where stages of the boot are noted.
    pub timeline: Arc<Timeline>,
    /// Where figures are written.
    pub figures: Figures,
}

/// How the time before the start ends.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The machine runs.
    Started(Box<Running>),
    /// It never will.
    Ended(End),
}

/// Does what is asked until the machine runs.
///
/// # Errors
/// If the host does not let it wait.
pub(crate) fn wait(
    mut builder: Builder,
    host: &mut Host,
    api: &Api,
    outside: &mut Outside,
) -> Result<Outcome, StartError> {
    loop {
        let watched = outside
            .fds()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let mut fds: Vec<_> = watched.collect();
        fds.push(PollFd::new(api.calls(), PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(StartError::host("to wait for the API")(error)),
        }
        if let Some(wish) = outside.wish() {
            let cause = match wish {
                Wish::PowerOff => ExitCause::Terminated,
                Wish::End(cause) => cause,
            };
            let detail = Some("it had not been started yet".to_owned());
            return Ok(Outcome::Ended(End { cause, detail }));
        }
        while let Some(call) = api.calls().next_call() {
            if let Some(running) = answer(call, &mut builder, host) {
                return Ok(Outcome::Started(Box::new(running)));
            }
        }
    }
}

/// Answers one call; the machine, if it runs now.
fn answer(call: Call, builder: &mut Builder, host: &mut Host) -> Option<Running> {
    // A request that fails changes nothing.
    let mut next = builder.clone();
    let step = match next.apply(call.request()) {
        Ok(step) => step,
        Err(fault) => {
            call.answer(Err(fault));
            return None;
        }
    };
    let (answer, running) = match step {
        Step::Answer(reply) => (Ok(reply), None),
        Step::Log(logger) => (log_to(&logger, &host.files), None),
        Step::Metrics(metrics) => {
            let opened = host.figures.open(&metrics, &host.files);
            (opened.map(|()| Reply::Done), None)
        }
        Step::Start(config) => match start(&config, builder, host) {
            Ok(running) => (Ok(Reply::Done), Some(running)),
            Err(error) => {
                let message = format!("Start microvm error: {}", with_sources(&error));
                (Err(Fault::bad_request(message)), None)
            }
        },
        Step::Restore(_) => {
            let message = "Load snapshot error: this hull-vmm cannot restore snapshots; start the microVM by InstanceStart";
            (Err(Fault::bad_request(message)), None)
        }
    };
    if answer.is_ok() {
        *builder = next;
    }
    call.answer(answer);
    running
}

fn start(config: &VmConfig, builder: &Builder, host: &Host) -> Result<Running, StartError> {
    supported::check(config)?;
    let (draft, metadata) = builder.clone().into_parts();
    let machine = Machine::new(config, &metadata, &host.files, &host.timeline)?;
    machine.start(draft, metadata)
}

/// Sends the log elsewhere.
fn log_to(logger: &Logger, files: &Files) -> Result<Reply, Fault> {
    let file = match &logger.log_path {
        Some(path) => {
            let file = files.open("logger.log_path", path, Access::Append);
            Some(file.map_err(|error| Fault::bad_request(with_sources(&error)))?)
        }
        None => None,
    };
    log::change(logger, file);
    Ok(Reply::Done)
}
