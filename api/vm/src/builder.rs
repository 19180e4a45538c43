//! A microVM before its start: a configuration that grows by requests.
//!
//! The VMM has one from its own start to that of the machine, applies every request to it, and does what the [`Step`] says.

use crate::config::{Draft, Logger, Metrics, VmConfig};
use crate::fault::Fault;
use crate::metadata::Metadata;
use crate::reply::{InstanceInfo, Reply, Version};
use crate::request::{Action, Request, SnapshotLoad};
use crate::stage::Stage;

/// Collects what a microVM is to be.
#[derive(Debug, Clone)]
pub struct Builder {
    id: String,
    vmm_version: String,
    draft: Draft,
    metadata: Metadata,
    /// Something was configured that a snapshot brings along.
    configured: bool,
}

/// What is to be done about a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Nothing but to answer.
    Answer(Reply),
    /// Log there and so from now on.
    Log(Logger),
    /// Open the file for the VMM's figures.
    Metrics(Metrics),
    /// Answer with the VMM's figures.
    Figures,
    /// Start the machine. If that fails, the configuration stays and can be changed.
    Start(Box<VmConfig>),
    /// Restore the machine.
    Restore(Box<SnapshotLoad>),
}

impl Builder {
    /// Nothing configured yet. `metadata_limit` is in bytes of JSON.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        vmm_version: impl Into<String>,
        metadata_limit: usize,
    ) -> Self {
        Self {
            id: id.into(),
            vmm_version: vmm_version.into(),
            draft: Draft::default(),
            metadata: Metadata::new(metadata_limit),
            configured: false,
        }
    }

    /// Takes a request into account. One that fails changes nothing.
    ///
    /// # Errors
    /// The answer to give.
    pub fn apply(&mut self, request: &Request) -> Result<Step, Fault> {
        Stage::NotStarted.check(request)?;
        if let Some(reply) = self.draft.answer(request) {
            return reply.map(Step::Answer);
        }
        match request {
            Request::GetInstance => {
                let info = InstanceInfo::new(&self.id, Stage::NotStarted, &self.vmm_version);
                Ok(Step::Answer(Reply::Instance(info)))
            }
            Request::GetVersion => {
                let version = Version::new(&self.vmm_version);
                Ok(Step::Answer(Reply::Version(version)))
            }
            Request::GetMetrics => Ok(Step::Figures),
            Request::GetMmds => Ok(Step::Answer(Reply::Mmds(self.metadata.value().clone()))),
            Request::PutMmds(value) => self.metadata(|m| m.put(value.clone())),
            Request::PatchMmds(value) => self.metadata(|m| m.patch(value.clone())),
            Request::PutAction(Action::InstanceStart) => self.start(),
            Request::LoadSnapshot(load) => self.restore(load),
            _ => self.configure(request),
        }
    }

    /// What was configured so far.
    #[must_use]
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// What goes over to the machine when it has started: its configuration, and its metadata.
    #[must_use]
    pub fn into_parts(self) -> (Draft, Metadata) {
        (self.draft, self.metadata)
    }

    fn metadata(
        &mut self,
        change: impl FnOnce(&mut Metadata) -> Result<(), Fault>,
    ) -> Result<Step, Fault> {
        change(&mut self.metadata)?;
        Ok(Step::Answer(Reply::Done))
    }

    fn start(&self) -> Result<Step, Fault> {
        let Some(boot_source) = self.draft.boot_source.clone() else {
            return Err(Fault::bad_request(
                "Start microvm error: Cannot start microvm without kernel configuration.",
            ));
        };
        let config = self.draft.clone().map_boot_source(|_| boot_source);
        Ok(Step::Start(Box::new(config)))
    }

    fn restore(&self, load: &SnapshotLoad) -> Result<Step, Fault> {
        if self.configured {
            return Err(Fault::bad_request(
                "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.",
            ));
        }
        Ok(Step::Restore(Box::new(load.clone())))
    }

    fn configure(&mut self, request: &Request) -> Result<Step, Fault> {
        self.draft = self.draft.changed_by(request)?;
        match request {
            Request::PutLogger(logger) => return Ok(Step::Log(logger.clone())),
            Request::PutMetrics(metrics) => return Ok(Step::Metrics(metrics.clone())),
            // A snapshot does not know where the bytes of its terminals are to go.
            Request::PutSerial(_) | Request::PutConsole(_) => {}
            _ => self.configured = true,
        }
        Ok(Step::Answer(Reply::Done))
    }
}

impl Draft {
    /// The answer to a request that asks for the configuration, at any stage; `None` for all others.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Option<Result<Reply, Fault>> {
        match request {
            Request::GetVmConfig => Some(Ok(Reply::VmConfig(Box::new(self.clone())))),
            Request::GetMachineConfig => {
                Some(Ok(Reply::MachineConfig(self.machine_config.clone())))
            }
            Request::GetBalloon => Some(match &self.balloon {
                Some(balloon) => Ok(Reply::Balloon(balloon.clone())),
                None => Err(Fault::bad_request(
                    "Balloon config error: Device not found. PUT /balloon before the start",
                )),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::request::Method::{self, Delete, Get, Patch, Put};
    use crate::request::samples::{self, parse, sample};

    fn builder() -> Builder {
        Builder::new("vm", "1.2.3", Metadata::DEFAULT_LIMIT)
    }

    /// Sends requests that must succeed.
    fn send(builder: &mut Builder, requests: &[(Method, &str)]) {
        for (method, path) in requests {
            let step = builder.apply(&sample(*method, path));
            step.unwrap_or_else(|fault| panic!("{method} {path}: {fault}"));
        }
    }

    fn refusal(builder: &mut Builder, method: Method, path: &str, body: &Value) -> String {
        let before = builder.clone();
        let fault = match parse(method, path, body) {
            Ok(parsed) => builder.apply(&parsed.request).unwrap_err(),
            Err(fault) => fault,
        };
        assert_eq!(
            builder.draft(),
            before.draft(),
            "a refused request changed something"
        );
        fault.message
    }

    const DEVICES: &[(Method, &str)] = &[
        (Put, "/boot-source"),
        (Put, "/machine-config"),
        (Patch, "/machine-config"),
        (Put, "/drives/d"),
        (Put, "/pmem/p"),
        (Put, "/network-interfaces/n"),
        (Put, "/shares/s"),
        (Put, "/vsock"),
        (Put, "/entropy"),
        (Put, "/serial"),
        (Put, "/console"),
        (Put, "/balloon"),
        (Put, "/hotplug/memory"),
        (Put, "/mmds/config"),
        (Put, "/cpu-config"),
        (Put, "/logger"),
        (Put, "/metrics"),
    ];

    #[test]
    fn a_machine_grows_by_requests_into_what_its_file_would_say() {
        let mut builder = builder();
        send(&mut builder, DEVICES);
        let step = builder.apply(&sample(Put, "/actions")).unwrap();
        let Step::Start(config) = step else {
            panic!("it does not start: {step:?}");
        };
        assert_eq!(config.machine_config.vcpu_count, 4);
        let json = serde_json::to_vec(&config).unwrap();
        assert_eq!(VmConfig::parse(&json).unwrap(), *config);
        assert_eq!(Draft::from(*config), builder.into_parts().0);
    }

    #[test]
    fn what_was_put_can_be_had_replaced_and_deleted() {
        let mut builder = builder();
        send(&mut builder, DEVICES);
        let other = json!({ "drive_id": "d", "path_on_host": "/other", "is_root_device": true });
        let other = parse(Put, "/drives/d", &other).unwrap().request;
        builder.apply(&other).unwrap();
        assert_eq!(builder.draft().drives.len(), 1);
        assert!(builder.draft().drives[0].is_root_device);

        let Ok(Step::Answer(reply)) = builder.apply(&sample(Get, "/vm/config")) else {
            panic!("there is no configuration");
        };
        let config: Value = serde_json::from_slice(&reply.body().unwrap().unwrap()).unwrap();
        assert_eq!(config["drives"][0]["path_on_host"], "/other");
        assert_eq!(config["memory-hotplug"]["slot_size_mib"], 128);
        let balloon = builder.apply(&sample(Get, "/balloon")).unwrap();
        assert!(
            matches!(balloon, Step::Answer(Reply::Balloon(balloon)) if balloon.amount_mib == 1)
        );

        send(
            &mut builder,
            &[
                (Delete, "/drives/d"),
                (Delete, "/pmem/p"),
                (Delete, "/shares/s"),
            ],
        );
        assert!(builder.draft().drives.is_empty() && builder.draft().shares.is_empty());
        let gone = refusal(&mut builder, Delete, "/drives/d", &Value::Null);
        assert_eq!(gone, "drives: there is none with the drive_id \"d\"");
        let used = refusal(&mut builder, Delete, "/network-interfaces/n", &Value::Null);
        assert!(
            used.contains("mmds-config.network_interfaces names \"n\""),
            "{used}"
        );
    }

    #[test]
    fn sections_that_do_not_go_together_are_refused_when_they_meet() {
        let mut builder = builder();
        send(&mut builder, DEVICES);
        let root = json!({ "drive_id": "d", "path_on_host": "/r", "is_root_device": true });
        builder
            .apply(&parse(Put, "/drives/d", &root).unwrap().request)
            .unwrap();
        let second = json!({ "drive_id": "e", "path_on_host": "/r", "is_root_device": true });
        let second = refusal(&mut builder, Put, "/drives/e", &second);
        assert!(second.contains("only one can"), "{second}");
        let pmem = json!({ "id": "p", "path_on_host": "/r", "root_device": true });
        assert!(refusal(&mut builder, Put, "/pmem/p", &pmem).contains("only one can"));
        let large = json!({ "amount_mib": 257, "deflate_on_oom": true });
        let large = refusal(&mut builder, Put, "/balloon", &large);
        assert_eq!(large, "balloon.amount_mib is 257; it must be from 0 to 256");
        let odd = json!({ "vcpu_count": 3, "smt": true });
        assert!(refusal(&mut builder, Patch, "/machine-config", &odd).contains("3 is odd"));
        let early = refusal(&mut builder, Patch, "/balloon", &json!({ "amount_mib": 1 }));
        assert_eq!(early, Fault::BEFORE_START);
    }

    #[test]
    fn nothing_starts_without_a_kernel() {
        let mut builder = builder();
        let start = json!({ "action_type": "InstanceStart" });
        let sentence = refusal(&mut builder, Put, "/actions", &start);
        assert!(
            sentence.contains("without kernel configuration"),
            "{sentence}"
        );
    }

    #[test]
    fn a_snapshot_is_loaded_into_a_fresh_process_only() {
        let mut builder = builder();
        let harmless = [
            (Put, "/logger"),
            (Put, "/metrics"),
            (Put, "/serial"),
            (Put, "/console"),
            (Put, "/mmds"),
        ];
        send(&mut builder, &harmless);
        let load = sample(Put, "/snapshot/load");
        assert!(matches!(builder.apply(&load), Ok(Step::Restore(_))));
        send(&mut builder, &[(Put, "/entropy")]);
        let fault = builder.apply(&load).unwrap_err();
        assert!(
            fault.message.contains("not allowed after configuring"),
            "{fault}"
        );
    }

    #[test]
    fn it_says_what_it_is_and_keeps_metadata() {
        let mut builder = builder();
        let Ok(Step::Answer(info)) = builder.apply(&sample(Get, "/")) else {
            panic!("it does not say what it is");
        };
        let info: Value = serde_json::from_slice(&info.body().unwrap().unwrap()).unwrap();
        let expected = json!({ "app_name": "Hull", "id": "vm", "state": "Not started", "vmm_version": "1.2.3" });
        assert_eq!(info, expected);

        let get = sample(Get, "/mmds");
        let Ok(Step::Answer(nothing)) = builder.apply(&get) else {
            panic!("there is no metadata");
        };
        assert_eq!(nothing.body().unwrap().unwrap(), b"{}");
        send(&mut builder, &[(Put, "/mmds")]);
        let step = builder.apply(&get).unwrap();
        assert_eq!(step, Step::Answer(Reply::Mmds(json!({ "a": 1 }))));
        send(&mut builder, &[(Patch, "/mmds")]);
        assert_eq!(builder.into_parts().1.value(), &json!({}));
    }

    #[test]
    fn the_log_and_the_figures_are_for_the_vmm_to_open() {
        let mut builder = builder();
        let step = builder.apply(&sample(Put, "/logger")).unwrap();
        assert!(matches!(step, Step::Log(_)));
        let step = builder.apply(&sample(Put, "/metrics")).unwrap();
        assert!(matches!(step, Step::Metrics(_)));
    }

    /// One of the samples, with one of its fields changed or gone.
    fn any_request() -> impl Strategy<Value = Option<Request>> {
        let values = [
            json!(0),
            json!(2),
            json!(u32::MAX),
            json!("d"),
            json!("n"),
            json!(true),
            json!([]),
            json!(["n"]),
            Value::Null,
        ];
        (0..samples::all().len(), 0..8_usize, 0..values.len(), 0..3).prop_map(
            move |(row, field, value, how)| {
                let (method, path, mut body) = samples::all().swap_remove(row);
                if let Some(fields) = body.as_object_mut()
                    && let Some(name) = fields.keys().nth(field).cloned()
                {
                    match how {
                        0 => {
                            fields.insert(name, values[value].clone());
                        }
                        1 => {
                            fields.remove(&name);
                        }
                        _ => {}
                    }
                }
                parse(method, path, &body).ok().map(|parsed| parsed.request)
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_is_asked_the_configuration_stays_right(requests in proptest::collection::vec(any_request(), 0..40)) {
            let mut builder = builder();
            for request in requests.iter().flatten() {
                let _ = builder.apply(request);
            }
            let draft = builder.draft();
            prop_assert!(draft.validate().is_ok());
            let json = serde_json::to_vec(draft).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Draft>(&json).unwrap(), draft);
        }
    }
}
