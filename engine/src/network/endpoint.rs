//! One endpoint: a guest's interface in a network, from its attachment to its end.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipnet::IpNet;

use super::netlink::Netlink;
use super::networks::{bury, disconnect, forget, forget_before};
use super::publish::Market;
use super::rules::{self, Script};
use super::state::{Directory, EndpointRecord, NetworkRecord};
use super::{EndpointId, Error, MacAddress, Publication, Published, Tenant, bridge};

/// An endpoint. Dropping this closes this process's descriptors and no more; when no owner is left, its TAP is gone, and
/// [`super::Networks::recover`] removes the rest.
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) directory: Directory,
    pub(crate) network: NetworkRecord,
    pub(crate) record: EndpointRecord,
    pub(crate) queues: Vec<OwnedFd>,
    /// Locked for as long as it is open here or elsewhere; none if another process owns the endpoint.
    pub(crate) lock: Option<File>,
    /// They hold the published ports.
    pub(crate) sockets: Vec<OwnedFd>,
}

impl Endpoint {
    /// What names it for good.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        &self.record.id
    }

    /// The only MAC address that its guest may use.
    #[must_use]
    pub fn mac(&self) -> MacAddress {
        self.record.mac
    }

    /// The only addresses that its guest may use, with the prefix length of their subnet.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpNet> {
        self.network.with_prefixes(&self.record.addresses)
    }

    /// Where its guest's default routes lead, one of a family; none in an internal network.
    #[must_use]
    pub fn gateways(&self) -> Vec<IpAddr> {
        let subnets = self
            .network
            .subnets
            .iter()
            .filter(|_| !self.network.internal);
        subnets.filter_map(|subnet| subnet.gateway).collect()
    }

    /// The MTU of its guest's interface, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.network.mtu
    }

    /// The name of its TAP.
    #[must_use]
    pub fn tap(&self) -> String {
        self.record.id.tap()
    }

    /// The TAP's descriptors, one of each queue, to be handed to the VMM. They are non-blocking, close on exec, and carry a
    /// `virtio_net_hdr` before each frame, of 10 bytes until TUNSETVNETHDRSZ says otherwise. The second call gives none.
    pub fn take_queues(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.queues)
    }

    /// The descriptor that makes a process an owner for as long as it is open there. A microVM that inherits it keeps its network
    /// when the process that attached it ends.
    #[must_use]
    pub fn ownership(&self) -> Option<BorrowedFd<'_>> {
        self.lock.as_ref().map(AsFd::as_fd)
    }

    /// Its published ports.
    #[must_use]
    pub fn published(&self) -> &[Published] {
        &self.record.published
    }

    /// Notes whose it is now.
    pub(crate) fn set_container(&mut self, container: Tenant) -> Result<(), Error> {
        let locked = self.directory.lock()?;
        let now = locked.endpoint(&self.network.id, &self.record.id)?;
        let mut record = now.ok_or_else(|| self.gone())?;
        record.container = Some(container);
        locked.write_endpoint(&self.network.id, &record)?;
        self.record = record;
        Ok(())
    }

    /// Publishes more ports: all of these, or none.
    pub fn publish(&mut self, publications: &[Publication]) -> Result<Vec<Published>, Error> {
        if self.network.internal {
            return Err(Error::PublishInternal(self.network.name.clone()));
        }
        let locked = self.directory.lock()?;
        let mut netlink = Netlink::open().map_err(Error::kernel("open a netlink socket"))?;
        let mut taken = Vec::new();
        for network in locked.networks()? {
            // Rules of the dead would be in the way.
            bury(
                &locked,
                &mut netlink,
                &network,
                locked.endpoints(&network.id)?,
            )?;
            for endpoint in locked.endpoints(&network.id)? {
                taken.extend(endpoint.published);
            }
        }
        // Whoever adopted it may have published ports, too.
        let now = locked.endpoint(&self.network.id, &self.record.id)?;
        let now = now.ok_or_else(|| self.gone())?;
        let market = Market {
            by_kernel: true,
            to: &self.record.addresses,
            taken: &taken,
        };
        let reserved = market.reserve(publications)?;
        let mut record = now.clone();
        record.published.extend_from_slice(&reserved.ports);
        // Written first: what is in the kernel can always be found here.
        locked.write_endpoint(&self.network.id, &record)?;
        let mut script = Script::new();
        script.add_ports(&reserved.ports);
        if let Err(error) = script.apply() {
            locked.write_endpoint(&self.network.id, &now)?;
            return Err(error);
        }
        forget_before(&reserved.ports);
        drop(locked);
        self.record = record;
        self.sockets.extend(reserved.sockets);
        Ok(reserved.ports)
    }

    /// How many frames of its guest were dropped because the MAC or IP address in them was not its own, or for their kind.
    pub fn spoofed(&self) -> Result<u64, Error> {
        rules::spoofed(&self.record.id)
    }

    /// Ends the endpoint: its TAP, whoever has descriptors of it, its rules, ports and addresses.
    pub fn detach(self) -> Result<(), Error> {
        self.end(disconnect)
    }

    /// The same, but its TAP stays, in no network, for as long as somebody has a descriptor of it: a spare one for another endpoint.
    pub(crate) fn unplug(self) -> Result<(), Error> {
        self.end(|netlink, id| bridge::leave(netlink, &id.tap()))
    }

    fn end(
        self,
        part: impl FnOnce(&mut Netlink, &EndpointId) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let locked = self.directory.lock()?;
        // As it is now: whoever adopted it may have published ports, or have ended it.
        let Some(record) = locked.endpoint(&self.network.id, &self.record.id)? else {
            return Ok(());
        };
        let mut netlink = Netlink::open().map_err(Error::kernel("open a netlink socket"))?;
        part(&mut netlink, &record.id)?;
        let mut script = Script::new();
        script.remove_endpoint(&self.network, &record);
        script.apply()?;
        forget(&record);
        locked.remove_endpoint(&self.network.id, &record.id)
    }

    fn gone(&self) -> Error {
        Error::NotFound(format!("{}/{}", self.network.name, self.record.id))
    }
}
