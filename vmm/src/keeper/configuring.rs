//! The microVM before its start: a configuration that grows by requests until one of them starts the machine.

use hull_vm_api::config::{Logger, Metrics};
use hull_vm_api::request::SnapshotLoad;
use hull_vm_api::server::Call;
use hull_vm_api::{Builder, Draft, Fault, Metadata, Reply, Request, Step, VmConfig};

use super::message::{Order, Origin, Start};
use super::{Gone, Keeper};
use crate::complete::complete;
use crate::error::with_sources;
use crate::files::Access;
use crate::log;
use crate::memory;

/// A machine that was ordered and is not there yet.
#[derive(Debug)]
pub(super) struct Starting {
    /// Who asked for it, and the configuration that there was before; nobody if it comes from a file.
    pub(super) asked: Option<(Call, Box<Builder>)>,
    /// It comes from a snapshot, and has not said yet what that names.
    pub(super) restores: bool,
}

impl Keeper<'_> {
    /// Answers one call; or, if it asks for the machine, orders that.
    ///
    /// # Errors
    /// If the machine's process is gone.
    pub(super) fn configure(
        &mut self,
        call: Call,
        builder: &mut Builder,
    ) -> Result<Option<Starting>, Gone> {
        // A request that fails changes nothing.
        let mut next = builder.clone();
        let step = next.apply(call.request()).and_then(|step| {
            if let Step::Start(config) = &step {
                let there = memory::check(&config.machine_config);
                there.map_err(|error| not_started(&with_sources(&error)))?;
            }
            Ok(step)
        });
        let answer = match step {
            Err(fault) => Err(fault),
            Ok(Step::Answer(reply)) => Ok(reply),
            Ok(Step::Log(logger)) => self.log_to(&logger),
            Ok(Step::Metrics(metrics)) => self.metrics_to(metrics),
            Ok(Step::Figures) => Ok(Reply::Metrics(self.figures.now())),
            Ok(Step::Start(config)) => {
                let before = Box::new(builder.clone());
                let (draft, metadata) = builder.clone().into_parts();
                self.order(*config, draft, &metadata, false)?;
                return Ok(Some(Starting {
                    asked: Some((call, before)),
                    restores: false,
                }));
            }
            Ok(Step::Restore(load)) => {
                let before = Box::new(builder.clone());
                let (draft, metadata) = builder.clone().into_parts();
                self.order_restored(load, draft, &metadata, false)?;
                return Ok(Some(Starting {
                    asked: Some((call, before)),
                    restores: true,
                }));
            }
        };
        if answer.is_ok() {
            *builder = next;
        }
        call.answer(answer);
        Ok(None)
    }

    /// Orders a machine, which may be the only one that can be tried.
    ///
    /// # Errors
    /// If the machine's process is gone.
    pub(super) fn order(
        &mut self,
        config: VmConfig,
        draft: Draft,
        metadata: &Metadata,
        only: bool,
    ) -> Result<(), Gone> {
        let config = complete(config, &self.kernel_args);
        self.broker.grant(config.host_paths());
        self.draft = draft.clone();
        let start = self.start(Origin::Boot(Box::new(config)), draft, metadata, only);
        self.tell(&Order::Start(Box::new(start)))
    }

    /// Orders a machine that goes on from a snapshot; of the draft it has what is this process's.
    ///
    /// # Errors
    /// If the machine's process is gone.
    pub(super) fn order_restored(
        &mut self,
        load: Box<SnapshotLoad>,
        draft: Draft,
        metadata: &Metadata,
        only: bool,
    ) -> Result<(), Gone> {
        self.broker.grant(load.host_paths());
        let start = self.start(Origin::Snapshot(load), draft, metadata, only);
        self.tell(&Order::Start(Box::new(start)))
    }

    /// Lets a machine have what its snapshot names. Whoever loads a snapshot lets it name files, as a configuration does; but its bytes
    /// were read in the machine's process, which can do so once, before any guest runs there.
    ///
    /// # Errors
    /// If the machine's process is gone.
    pub(super) fn restore(&mut self, draft: Draft) -> Result<(), Gone> {
        let checked = draft.validate();
        let answer = match checked {
            Ok(()) => {
                for named in draft.host_paths() {
                    tracing::debug!("the snapshot names {} ({:?})", named.path, named.used);
                }
                self.broker.grant(draft.host_paths());
                self.draft = draft;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        self.tell(&Order::Restore(answer))
    }

    fn start(&self, origin: Origin, draft: Draft, metadata: &Metadata, only: bool) -> Start {
        Start {
            origin,
            only,
            draft,
            metadata: metadata.value().clone(),
            metadata_limit: metadata.limit(),
            log: self.logger.clone(),
            log_in_file: log::is_in_file(),
            metrics: self.metrics.clone(),
            counted: self.figures.counted(),
        }
    }

    /// Sends the log elsewhere.
    fn log_to(&mut self, logger: &Logger) -> Result<Reply, Fault> {
        let open = |path| {
            let opener = self.broker.opener();
            opener.open("logger.log_path", path, Access::Append)
        };
        let file = logger.log_path.as_ref().map(open).transpose();
        let file = file.map_err(|error| Fault::bad_request(with_sources(&error)))?;
        log::change(logger, file);
        self.logger = logger.clone();
        Ok(Reply::Done)
    }

    /// Sends figures elsewhere.
    fn metrics_to(&mut self, metrics: Metrics) -> Result<Reply, Fault> {
        let opener = self.broker.opener();
        let path = &metrics.metrics_path;
        let file = opener.open("metrics.metrics_path", path, Access::Append);
        let file = file.map_err(|error| Fault::bad_request(with_sources(&error)))?;
        self.broker.send_metrics_to(file);
        self.metrics = Some(metrics);
        Ok(Reply::Done)
    }
}

/// A failed start, as an answer.
pub(super) fn not_started(sentence: &str) -> Fault {
    Fault::bad_request(format!("Start microvm error: {sentence}"))
}

impl Starting {
    /// The same to whoever asked, of what it asked for.
    pub(super) fn failed(request: &Request, sentence: &str) -> Fault {
        match request {
            Request::LoadSnapshot(_) => {
                Fault::bad_request(format!("Load snapshot error: {sentence}"))
            }
            _ => not_started(sentence),
        }
    }
}
