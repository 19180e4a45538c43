//! Requests that change or describe a device of a machine that was started.

use std::convert::Infallible as Never;
use std::error::Error;

use hull_devices::balloon::{self, Balloon};
use hull_devices::console::{Console, ConsoleSize};
use hull_devices::mem::Mem;
use hull_devices::net::Net;
use hull_vm_api::config::{LinkState, NetworkUpdate, RateLimiter};
use hull_vm_api::reply::{BalloonStatistics, HintingStatus, MemoryHotplugStatus};
use hull_vm_api::{Draft, Fault, Reply, Request};

use crate::error::with_sources;
use crate::memory::MIB;
use crate::running::Running;
use crate::virtio::{self, Name};

impl Running {
    /// Does what is asked of a device; `config` is what the configuration is to be.
    pub(super) fn change_device(
        &mut self,
        request: &Request,
        config: &Draft,
    ) -> Result<Reply, Fault> {
        match request {
            // Another file is put behind it later, and then this follows.
            Request::PatchDrive(update) => {
                let name = Name::Drive(update.drive_id.clone());
                self.change_rate(&name, 0, update.rate_limiter.as_ref());
            }
            Request::PatchPmem(update) => {
                let name = Name::Pmem(update.id.clone());
                self.change_rate(&name, 0, update.rate_limiter.as_ref());
            }
            Request::PatchNetworkInterface(update) => self.change_network(update, config)?,
            Request::PatchConsole(update) => {
                let (columns, rows) = (update.columns, update.rows);
                let size = ConsoleSize { columns, rows };
                let set = move |console: &mut Console| {
                    console.set_size(size);
                    Ok::<_, Never>(())
                };
                self.change((&Name::Console, "console"), set)?;
            }
            Request::PatchBalloon(update) => {
                let pages = virtio::pages(update.amount_mib);
                let set = move |balloon: &mut Balloon| {
                    balloon.set_target(pages);
                    Ok::<_, Never>(())
                };
                self.change((&Name::Balloon, "balloon"), set)?;
            }
            Request::PatchBalloonStatistics(update) => {
                let seconds = update.stats_polling_interval_s;
                let set = move |balloon: &mut Balloon| balloon.set_statistics_interval(seconds);
                self.change((&Name::Balloon, "balloon"), set)?;
            }
            Request::StartHinting(start) => {
                let acknowledge = start.acknowledge_on_stop;
                self.try_balloon(move |balloon| balloon.start_hinting(acknowledge))?;
            }
            Request::StopHinting => self.try_balloon(Balloon::stop_hinting)?,
            Request::PatchMemoryHotplug(update) => {
                let bytes = u64::from(update.requested_size_mib) * MIB;
                let set = move |mem: &mut Mem| mem.set_requested_size(bytes);
                let set = self.with(&Name::Hotplug, "memory-hotplug", set)?;
                set.map_err(|error| Fault::bad_request(error.to_string()))?;
            }
            Request::GetBalloonStatistics => return self.balloon_statistics(),
            Request::GetHintingStatus => {
                let status = self.try_balloon(|balloon| balloon.hinting_status())?;
                return Ok(Reply::HintingStatus(HintingStatus {
                    host_cmd: status.host_cmd,
                    guest_cmd: status.guest_cmd,
                }));
            }
            Request::GetMemoryHotplug => return self.hotplug_status(),
            // Devices can be neither plugged in nor pulled out.
            _ => return Err(Fault::after_start()),
        }
        Ok(Reply::Done)
    }

    fn change_network(&self, update: &NetworkUpdate, config: &Draft) -> Result<(), Fault> {
        let name = Name::Network(update.iface_id.clone());
        let mut interfaces = config.network_interfaces.iter();
        let interface = interfaces.find(|interface| interface.iface_id == update.iface_id);
        if let Some(interface) = interface.cloned()
            && (update.allowed_addresses.is_some() || update.link.is_some())
        {
            let set = move |net: &mut Net| {
                net.set_filter(virtio::filter(&interface, net.mac()));
                net.set_link(interface.link == LinkState::Up);
                Ok::<_, Never>(())
            };
            self.change((&name, "network interface"), set)?;
        }
        self.change_rate(&name, 0, update.rx_rate_limiter.as_ref());
        self.change_rate(&name, 1, update.tx_rate_limiter.as_ref());
        Ok(())
    }

    pub(super) fn change_rate(&self, name: &Name, index: usize, limiter: Option<&RateLimiter>) {
        if let (Some(rate), Some(limiter)) = (self.virtio.rates(name).get(index), limiter) {
            rate.change(&virtio::change(limiter));
        }
    }

    fn balloon_statistics(&self) -> Result<Reply, Fault> {
        let told = |balloon: &mut Balloon| {
            let statistics = balloon.statistics()?;
            Ok((statistics, balloon.config(), balloon.actual_pages()))
        };
        let (statistics, config, actual) = self.try_balloon(told)?;
        let (target, actual) = (u64::from(config.target_pages), u64::from(actual));
        let mib = |pages: u64| pages * balloon::PAGE_SIZE / MIB;
        Ok(Reply::BalloonStatistics(Box::new(BalloonStatistics {
            target_pages: target,
            actual_pages: actual,
            target_mib: mib(target),
            actual_mib: mib(actual),
            swap_in: statistics.swap_in,
            swap_out: statistics.swap_out,
            major_faults: statistics.major_faults,
            minor_faults: statistics.minor_faults,
            free_memory: statistics.free_memory,
            total_memory: statistics.total_memory,
            available_memory: statistics.available_memory,
            disk_caches: statistics.disk_caches,
            hugetlb_allocations: statistics.hugetlb_allocations,
            hugetlb_failures: statistics.hugetlb_failures,
            oom_kill: statistics.oom_kill,
            alloc_stall: statistics.alloc_stall,
            async_scan: statistics.async_scan,
            direct_scan: statistics.direct_scan,
            async_reclaim: statistics.async_reclaim,
            direct_reclaim: statistics.direct_reclaim,
        })))
    }

    fn hotplug_status(&self) -> Result<Reply, Fault> {
        let status = self.with(&Name::Hotplug, "memory-hotplug", |mem: &mut Mem| {
            mem.status()
        })?;
        let Some(config) = &self.config.memory_hotplug else {
            return Err(missing("memory-hotplug"));
        };
        let plugged = status.plugged_size / MIB;
        let requested = status.config.requested_size / MIB;
        let status = MemoryHotplugStatus::new(config, plugged, requested);
        Ok(Reply::MemoryHotplug(status))
    }

    fn balloon<R>(&self, act: impl FnOnce(&mut Balloon) -> R) -> Result<R, Fault> {
        self.with(&Name::Balloon, "balloon", act)
    }

    fn try_balloon<R>(
        &self,
        act: impl FnOnce(&mut Balloon) -> Result<R, balloon::BalloonError>,
    ) -> Result<R, Fault> {
        let done = self.balloon(act)?;
        done.map_err(|error| Fault::bad_request(error.to_string()))
    }

    /// Does something to a device that may refuse it.
    fn change<D: hull_devices::VirtioDevice, E: Error>(
        &self,
        (name, kind): (&Name, &str),
        act: impl FnOnce(&mut D) -> Result<(), E>,
    ) -> Result<(), Fault> {
        let done = self.with(name, kind, act)?;
        done.map_err(|error| Fault::bad_request(with_sources(&error)))
    }

    /// Does something to a device that must be there.
    fn with<D: hull_devices::VirtioDevice, R>(
        &self,
        name: &Name,
        kind: &str,
        act: impl FnOnce(&mut D) -> R,
    ) -> Result<R, Fault> {
        let done = self.virtio.with(name, act);
        done.ok_or_else(|| missing(kind))
    }
}

pub(super) fn missing(kind: &str) -> Fault {
    Fault::bad_request(format!("there is no {kind} in this microVM"))
}
