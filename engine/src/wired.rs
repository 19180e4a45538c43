//! A container's network from its start to its end: a jack for each interface of its machine, plugged into a network or not.
//!
//! The owner makes them before there is a machine, and takes them away when there is none any more. A machine gets no interface while it
//! runs, so that it has a spare one from the beginning. An endpoint's lock goes to the VMM, too, so that it is owned for as long as that
//! lives, and [`Networks::recover`] finds what a killed owner left. What there is while the container runs is in `network.json` of its
//! directory, for those who look.

mod files;
mod plug;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hull_agent_protocol::{Address, Interface};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::container::{ContainerConfig, Record, read_json, write_json};
use crate::network::{EndpointId, MacAddress, NetworkId, Networks, Published};
use plug::Jack;

/// So many interfaces a machine can have.
const MOST_INTERFACES: usize = 8;

/// And so many together with directories of the host: each has an interrupt line, and disks and others have the rest.
const LINES: usize = 14;

/// How many interfaces a machine has whose container is in so many networks and has so many mounts: one is for another network, to which it
/// may be connected while it runs, if there is room for that.
pub(crate) fn interfaces(networks: usize, mounts: usize) -> usize {
    match networks {
        0 => 0,
        _ => (networks + 1).min(most(mounts)).max(networks),
    }
}

/// Checks that a machine can have an interface for each of a container's networks.
pub(crate) fn check(config: &ContainerConfig) -> Result<(), Error> {
    match config.networks.get(most(config.mounts.len())) {
        Some(one) => Err(Error::NoSpare(one.network.clone())),
        None => Ok(()),
    }
}

/// How many interfaces a machine can have.
fn most(mounts: usize) -> usize {
    LINES.saturating_sub(mounts).min(MOST_INTERFACES)
}

/// A container in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connected {
    /// The network's name.
    pub network: String,
    /// And its identifier.
    pub network_id: NetworkId,
    /// The container's place in it.
    pub endpoint: EndpointId,
    /// The name of the interface in the container.
    pub interface: String,
    /// The interface's MAC address.
    pub mac: MacAddress,
    /// Its addresses, with the prefix length of their subnet.
    pub addresses: Vec<IpNet>,
    /// Where default routes lead.
    pub gateways: Vec<IpAddr>,
    /// Who answers for names in it; nobody in the default network.
    pub name_server: Option<IpAddr>,
    /// The interface's MTU in bytes.
    pub mtu: u16,
    /// The ports of the host that are the container's.
    pub published: Vec<Published>,
    /// What it is called in this network.
    pub names: Vec<String>,
    /// Of several networks the one with the highest priority has the way out.
    pub priority: i64,
}

/// All of a container's jacks. Dropping this leaves its endpoints to [`Networks::recover`].
#[derive(Debug, Default)]
pub(crate) struct Wired {
    networks: Option<Networks>,
    jacks: Vec<Jack>,
}

fn file(directory: &Path) -> PathBuf {
    directory.join("network.json")
}

/// The networks that a container which runs is in.
pub(crate) fn connected(directory: &Path) -> Vec<Connected> {
    read_json(&file(directory)).unwrap_or_default()
}

impl Wired {
    /// Attaches a container to all of its networks, or to none. Blocking, for milliseconds.
    pub(crate) fn attach(
        networks: &Path,
        record: &Record,
        directory: &Path,
    ) -> Result<Self, Error> {
        let config = &record.config;
        let wanted = config.interfaces.max(config.networks.len());
        if wanted == 0 {
            return Ok(Self::default());
        }
        let networks = Networks::open(networks)?;
        // What dead owners left may be in the way.
        let names = config.networks.iter().map(|wanted| wanted.network.as_str());
        networks.recover_for(&names.collect::<Vec<_>>())?;
        let mut wired = Self {
            networks: Some(networks),
            ..Self::unplugged(wanted)?
        };
        match wired.rewire(record, directory) {
            Ok(()) => Ok(wired),
            Err(error) => {
                wired.detach(directory);
                Err(error)
            }
        }
    }

    /// Interfaces in no network.
    pub(crate) fn unplugged(count: usize) -> Result<Self, Error> {
        let jacks = (0..count).map(|_| Jack::new()).collect::<Result<_, _>>()?;
        Ok(Self {
            networks: None,
            jacks,
        })
    }

    /// Makes the container's networks what its record says, all of them, or leaves them as they are but for those that it is to leave.
    /// Blocking, for milliseconds.
    pub(crate) fn rewire(&mut self, record: &Record, directory: &Path) -> Result<(), Error> {
        let config = &record.config;
        for jack in &mut self.jacks {
            let stays = |one: &Connected| config.networks.iter().any(|wanted| wanted.is(one));
            if jack.connected().is_some_and(|one| !stays(one)) {
                jack.unplug();
            }
        }
        let mut new = Vec::new();
        let plugged = self.plug_all(record, &mut new);
        let written = plugged.and_then(|()| self.write(directory));
        if written.is_err() {
            for index in new {
                if let Some(jack) = self.jacks.get_mut(index) {
                    jack.unplug();
                }
            }
            self.write(directory)?;
        }
        written
    }

    fn plug_all(&mut self, record: &Record, new: &mut Vec<usize>) -> Result<(), Error> {
        let Some(networks) = self.networks.clone() else {
            return match record.config.networks.first() {
                None => Ok(()),
                Some(wanted) => Err(Error::NoSpare(wanted.network.clone())),
            };
        };
        for wanted in &record.config.networks {
            let mut jacks = self.jacks.iter_mut();
            if let Some(jack) =
                jacks.find(|jack| jack.connected().is_some_and(|one| wanted.is(one)))
            {
                jack.rename(record, wanted)?;
                continue;
            }
            let free = self
                .jacks
                .iter()
                .position(|jack| jack.connected().is_none());
            let free = free.and_then(|index| Some((index, self.jacks.get_mut(index)?)));
            let (index, jack) = free.ok_or_else(|| Error::NoSpare(wanted.network.clone()))?;
            jack.plug(&networks, record, wanted, index)?;
            new.push(index);
        }
        self.publish(record)
    }

    /// Ports lead to one address: that which has the way out.
    fn publish(&mut self, record: &Record) -> Result<(), Error> {
        let ports = &record.config.ports;
        let all = || self.jacks.iter().filter_map(Jack::connected);
        if ports.is_empty() || all().any(|one| !one.published.is_empty()) {
            return Ok(());
        }
        let chosen = in_order(all())
            .into_iter()
            .find(|one| !one.gateways.is_empty());
        let Some(chosen) = chosen.map(|one| one.endpoint.clone()) else {
            return Ok(());
        };
        let mut jacks = self.jacks.iter_mut();
        match jacks.find(|jack| *jack.id() == chosen) {
            Some(jack) => jack.publish(ports),
            None => Ok(()),
        }
    }

    fn write(&self, directory: &Path) -> Result<(), Error> {
        let all: Vec<&Connected> = self.connected().collect();
        write_json(&file(directory), &all).map_err(Error::io("write", file(directory)))
    }

    fn connected(&self) -> impl Iterator<Item = &Connected> {
        self.jacks.iter().filter_map(Jack::connected)
    }

    /// Whether there are no interfaces at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.jacks.is_empty()
    }

    /// What a VMM is given: a TAP and a lock for each interface, by the names of [`name`].
    pub(crate) fn descriptors(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let mut all = Vec::new();
        for (index, jack) in self.jacks.iter().enumerate() {
            all.push((name(index), jack.queue()?));
            if let Some(lock) = jack.ownership() {
                all.push((format!("{}.lock", name(index)), lock.try_clone_to_owned()?));
            }
        }
        Ok(all)
    }

    /// The MAC addresses of the interfaces.
    pub(crate) fn macs(&self) -> Vec<[u8; 6]> {
        self.jacks.iter().map(|jack| jack.mac().octets()).collect()
    }

    /// What the agent is told.
    pub(crate) fn interfaces(&self) -> Vec<Interface> {
        let mut all = Vec::new();
        // One network has the way out, for each family.
        let (mut v4, mut v6) = (false, false);
        for one in in_order(self.connected()) {
            let mut way_out = |gateway: &&IpAddr| {
                let taken = if gateway.is_ipv4() { &mut v4 } else { &mut v6 };
                !std::mem::replace(taken, true)
            };
            let device = self
                .jacks
                .iter()
                .zip(0..)
                .find_map(|(jack, device)| (*jack.id() == one.endpoint).then_some(device));
            all.extend(device.map(|device| Interface {
                device,
                name: one.interface.clone(),
                mac: one.mac.octets(),
                mtu: one.mtu.into(),
                addresses: one.addresses.iter().map(address).collect(),
                gateways: one.gateways.iter().filter(&mut way_out).copied().collect(),
            }));
        }
        all.sort_by_key(|one| one.device);
        all
    }

    /// Undoes all. The machine is gone, or never was. Blocking, for milliseconds.
    pub(crate) fn detach(self, directory: &Path) {
        for jack in self.jacks {
            jack.detach();
        }
        match std::fs::remove_file(file(directory)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the list of a container's networks is left");
            }
            _ => {}
        }
    }
}

/// The highest priority first, and by name, as with Docker.
fn in_order<'a>(all: impl Iterator<Item = &'a Connected>) -> Vec<&'a Connected> {
    let mut all: Vec<&Connected> = all.collect();
    all.sort_by(|a, b| {
        let a = (-i128::from(a.priority), &a.network);
        a.cmp(&(-i128::from(b.priority), &b.network))
    });
    all
}

/// The name of an interface's TAP among a VMM's descriptors, and of the interface.
pub(crate) fn name(index: usize) -> String {
    format!("net{index}")
}

fn address(net: &IpNet) -> Address {
    Address {
        ip: net.addr(),
        prefix: net.prefix_len(),
    }
}
