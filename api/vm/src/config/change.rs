//! What a request makes of a configuration.

use super::id::Kind;
use super::{
    ConfigError, CpuSection, CpuTemplate, DRIVES, Draft, INTERFACES, PMEM, SHARES, rate_limiter,
};
use crate::request::Request;

impl Draft {
    /// The configuration after `request`, checked as a whole; the same for a request that changes none. Before the start this is
    /// all that such a request does. Afterwards it is where it begins: the machine is changed next, and this one put in
    /// place when that went well.
    ///
    /// # Errors
    /// What is wrong with it, such as a device that is not there, or a second root disk.
    pub fn changed_by(&self, request: &Request) -> Result<Self, ConfigError> {
        let mut draft = self.clone();
        draft.change(request.clone())?;
        draft.validate()?;
        Ok(draft)
    }

    fn change(&mut self, request: Request) -> Result<(), ConfigError> {
        match request {
            Request::PutBootSource(boot) => self.boot_source = Some(boot),
            // What was said last about the CPUs counts, whichever way it was said.
            Request::PutMachineConfig(machine) => {
                if machine.cpu_template != CpuTemplate::None {
                    self.cpu_config = None;
                }
                self.machine_config = machine;
            }
            Request::PatchMachineConfig(update) => {
                if update.cpu_template.is_some() {
                    self.cpu_config = None;
                }
                self.machine_config.update(update);
            }
            Request::PutCpuConfig(cpu) => {
                self.machine_config.cpu_template = CpuTemplate::None;
                self.cpu_config = Some(CpuSection::Template(cpu));
            }
            Request::PutVsock(vsock) => self.vsock = Some(vsock),
            Request::PutEntropy(entropy) => self.entropy = Some(entropy),
            Request::PutSerial(serial) => self.serial = Some(serial),
            Request::PutConsole(console) => self.console = Some(console),
            Request::PutMmdsConfig(mmds) => self.mmds_config = Some(mmds),
            Request::PutLogger(logger) => self.logger = Some(logger),
            Request::PutMetrics(metrics) => self.metrics = Some(metrics),
            Request::PatchConsole(update) => {
                let console = there("console", self.console.as_mut())?;
                console.rows = Some(update.rows);
                console.columns = Some(update.columns);
            }
            Request::PutBalloon(_)
            | Request::PatchBalloon(_)
            | Request::PatchBalloonStatistics(_)
            | Request::PutMemoryHotplug(_)
            | Request::PatchMemoryHotplug(_) => return self.change_memory(request),
            _ => return self.change_devices(request),
        }
        Ok(())
    }

    fn change_memory(&mut self, request: Request) -> Result<(), ConfigError> {
        match request {
            Request::PutBalloon(balloon) => self.balloon = Some(balloon),
            Request::PatchBalloon(update) => {
                there("balloon", self.balloon.as_mut())?.amount_mib = update.amount_mib;
            }
            Request::PatchBalloonStatistics(update) => {
                there("balloon", self.balloon.as_mut())?.update_stats(update)?;
            }
            Request::PutMemoryHotplug(hotplug) => self.memory_hotplug = Some(hotplug),
            Request::PatchMemoryHotplug(update) => {
                there("memory-hotplug", self.memory_hotplug.as_ref())?.check(update)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn change_devices(&mut self, request: Request) -> Result<(), ConfigError> {
        match request {
            Request::PutDrive(drive) => put(&mut self.drives, *drive, |d| &d.drive_id),
            Request::PatchDrive(update) => {
                let id = update.drive_id.clone();
                let at = find(&DRIVES, &self.drives, &id, |d| &d.drive_id)?;
                self.drives[at].update(update)?;
            }
            Request::DeleteDrive(id) => {
                let at = find(&DRIVES, &self.drives, &id, |d| &d.drive_id)?;
                self.drives.remove(at);
            }
            Request::PutPmem(pmem) => put(&mut self.pmem, *pmem, |p| &p.id),
            Request::PatchPmem(update) => {
                let at = find(&PMEM, &self.pmem, &update.id, |p| &p.id)?;
                rate_limiter::update(&mut self.pmem[at].rate_limiter, update.rate_limiter);
            }
            Request::DeletePmem(id) => {
                let at = find(&PMEM, &self.pmem, &id, |p| &p.id)?;
                self.pmem.remove(at);
            }
            Request::PutNetworkInterface(interface) => {
                put(&mut self.network_interfaces, *interface, |i| &i.iface_id);
            }
            Request::PatchNetworkInterface(update) => {
                let interfaces = &mut self.network_interfaces;
                let at = find(&INTERFACES, interfaces, &update.iface_id, |i| &i.iface_id)?;
                interfaces[at].update(*update);
            }
            Request::DeleteNetworkInterface(id) => {
                let interfaces = &mut self.network_interfaces;
                let at = find(&INTERFACES, interfaces, &id, |i| &i.iface_id)?;
                interfaces.remove(at);
            }
            Request::PutShare(share) => put(&mut self.shares, share, |s| &s.tag),
            Request::DeleteShare(tag) => {
                let at = find(&SHARES, &self.shares, &tag, |s| &s.tag)?;
                self.shares.remove(at);
            }
            // The others are about the machine, not about its configuration.
            _ => {}
        }
        Ok(())
    }
}

fn there<T>(section: &'static str, found: Option<T>) -> Result<T, ConfigError> {
    found.ok_or(ConfigError::NoSection { section })
}

/// Puts a device in the place of the one with its id, or behind all others.
fn put<T>(devices: &mut Vec<T>, device: T, id: impl Fn(&T) -> &String) {
    match devices.iter_mut().find(|other| id(other) == id(&device)) {
        Some(other) => *other = device,
        None => devices.push(device),
    }
}

fn find<T>(
    kind: &Kind,
    devices: &[T],
    wanted: &str,
    id: impl Fn(&T) -> &String,
) -> Result<usize, ConfigError> {
    let found = devices.iter().position(|device| id(device) == wanted);
    found.ok_or_else(|| kind.missing(wanted))
}
