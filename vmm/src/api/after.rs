//! The microVM after its start: requests that change or describe a machine that runs or stands still.

use std::time::{Duration, Instant};

use hull_arch::layout;
use hull_vm_api::reply::{InstanceInfo, Version};
use hull_vm_api::request::{Action, VmState};
use hull_vm_api::{Draft, Fault, Metadata, Reply, Request, Stage};
use kvm_bindings::kvm_msi;
use vm_memory::Address;

use super::{Host, VERSION};
use crate::running::Running;

/// A message to the address of the local APICs that stands for all of them (Intel SDM, volume 3, 12.11.1).
const ALL_APICS: u64 = 0xff << 12;
/// How long a pause may take until its working set is written.
const PATIENCE: Duration = Duration::from_millis(500);
/// Its data when it is to be a non-maskable interrupt (12.11.2).
const NMI: u32 = 0b100 << 8;

impl Running {
    /// Does what is asked. One that fails changes nothing, unless its sentence says so.
    ///
    /// # Errors
    /// What to answer.
    pub(crate) fn answer(&mut self, request: &Request, host: &mut Host) -> Result<Reply, Fault> {
        self.stage.check(request)?;
        if let Some(answer) = self.config.answer(request) {
            return answer;
        }
        let config = self.config.changed_by(request)?;
        let reply = self.act(request, &config, host)?;
        self.config = config;
        Ok(reply)
    }

    fn act(&mut self, request: &Request, config: &Draft, host: &mut Host) -> Result<Reply, Fault> {
        match request {
            Request::GetInstance => {
                let info = InstanceInfo::new(host.figures.id(), self.stage, VERSION);
                return Ok(Reply::Instance(info));
            }
            Request::GetVersion => return Ok(Reply::Version(Version::new(VERSION))),
            Request::GetMetrics => return Ok(Reply::Metrics(host.figures.now())),
            Request::GetMmds => return Ok(Reply::Mmds(self.metadata.value().clone())),
            Request::PutMmds(value) => {
                self.change_metadata(|metadata| metadata.put(value.clone()))?;
            }
            Request::PatchMmds(value) => {
                self.change_metadata(|metadata| metadata.patch(value.clone()))?;
            }
            Request::PatchVm(vm) => {
                let began = Instant::now();
                match vm.state {
                    VmState::Paused => {
                        self.pause()?;
                        self.latencies.pause_vm.set(us(began));
                    }
                    VmState::Resumed => {
                        self.resume();
                        self.latencies.resume_vm.set(us(began));
                    }
                }
            }
            Request::PutAction(action) => self.action(*action, host)?,
            _ => return self.change_device(request, config),
        }
        Ok(Reply::Done)
    }

    fn action(&mut self, action: Action, host: &mut Host) -> Result<(), Fault> {
        match action {
            // Refused by the stage.
            Action::InstanceStart => Err(Fault::after_start()),
            Action::FlushMetrics => {
                if !host.figures.go_somewhere() {
                    return Err(Fault::bad_request(
                        "FlushMetrics error: there is no file for metrics; name one by PUT /metrics or --metrics-path at the start",
                    ));
                }
                let written = host.figures.write(None);
                written.map_err(|error| Fault::internal(format!("FlushMetrics error: {error}")))
            }
            Action::SendCtrlAltDel => {
                self.button.press_keys();
                Ok(())
            }
            Action::SendPowerButton => {
                self.button.press();
                Ok(())
            }
            Action::SendNmi => self.send_nmi(),
        }
    }

    /// Changes what the guest can see, and only then what the host is told of it.
    fn change_metadata(
        &mut self,
        change: impl FnOnce(&mut Metadata) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut changed = self.metadata.clone();
        change(&mut changed)?;
        if let Some(mmds) = self.virtio.mmds() {
            let put = mmds.put(changed.value().clone());
            put.map_err(|error| Fault::internal(error.to_string()))?;
        }
        self.metadata = changed;
        Ok(())
    }

    fn send_nmi(&self) -> Result<(), Fault> {
        let address = layout::LOCAL_APIC.raw_value() | ALL_APICS;
        let message = kvm_msi {
            address_lo: u32::try_from(address).unwrap_or_default(),
            data: NMI,
            ..Default::default()
        };
        let sent = self.vm.signal_msi(message);
        sent.map(drop)
            .map_err(|error| Fault::internal(format!("SendNmi error: KVM refused it: {error}")))
    }

    /// Stops vCPUs, then devices.
    fn pause(&mut self) -> Result<(), Fault> {
        if self.stage == Stage::Paused {
            return Ok(());
        }
        let stopped = self.vcpus.pause();
        stopped.map_err(|error| Fault::internal(format!("Pause error: {error}")))?;
        self.virtio.pause();
        self.stage = Stage::Paused;
        self.end_recording(PATIENCE);
        tracing::info!("paused");
        Ok(())
    }

    /// Starts devices, then vCPUs.
    pub(crate) fn resume(&mut self) {
        if self.stage == Stage::Running {
            return;
        }
        if let Some(recorder) = self.virtio.recorder() {
            recorder.go_on();
        }
        self.virtio.resume();
        self.vcpus.resume();
        self.stage = Stage::Running;
        tracing::info!("resumed");
    }
}

/// Microseconds since then.
pub(crate) fn us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
