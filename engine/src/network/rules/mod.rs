//! Packet filter rules, all in the tables `inet hull` and `bridge hull`, applied by the program `nft`.
//!
//! Why the program and not netlink: its language is the documented interface of nftables, a script is one transaction (all of
//! it holds, or nothing), and what a person reads with `nft list table inet hull` is what stands in [`BASE`]. The crates that
//! speak netlink to nf_tables know a part of it, or want the C libraries. One call takes some ten milliseconds.
//!
//! No handle of a rule is ever kept: networks and endpoints are elements of maps and chains of their own, so a thing is
//! removed by adding it, which does nothing if it is there, and deleting it, in the same transaction. Values in scripts are
//! numbers, addresses and Hull's own identifiers; no text of a user gets into one.

mod endpoint;
mod network;
mod nft;
mod published;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use super::state::{EndpointRecord, NetworkRecord};
use super::{EndpointId, Error, Published};

const BASE: &str = include_str!("base.nft");

/// One transaction in the making. It begins with [`BASE`].
#[derive(Debug)]
pub(crate) struct Script {
    text: String,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self {
            text: BASE.to_owned(),
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = fmt::Write::write_fmt(&mut self.text, line);
        self.text.push('\n');
    }

    /// The rules of a network, whether or not they are there.
    pub(crate) fn add_network(&mut self, network: &NetworkRecord) {
        network::add(self, network);
    }

    /// The end of a network. Its endpoints are gone.
    pub(crate) fn remove_network(&mut self, network: &NetworkRecord) {
        network::add(self, network);
        network::delete(self, network);
    }

    /// The rules of an endpoint, its ports among them, whether or not they are there.
    pub(crate) fn add_endpoint(&mut self, network: &NetworkRecord, endpoint: &EndpointRecord) {
        endpoint::add(self, network, endpoint);
        published::elements(self, "add", &endpoint.published);
    }

    pub(crate) fn remove_endpoint(&mut self, network: &NetworkRecord, endpoint: &EndpointRecord) {
        endpoint::add(self, network, endpoint);
        endpoint::delete(self, endpoint);
        self.remove_ports(&endpoint.published);
    }

    pub(crate) fn add_ports(&mut self, ports: &[Published]) {
        published::elements(self, "add", ports);
    }

    pub(crate) fn remove_ports(&mut self, ports: &[Published]) {
        published::elements(self, "add", ports);
        published::elements(self, "delete", ports);
    }

    /// Removes the tables; to be run where there are no networks.
    pub(crate) fn remove_tables(&mut self) {
        self.line(format_args!("delete table inet hull"));
        self.line(format_args!("delete table bridge hull"));
    }

    /// All of it, or nothing.
    pub(crate) fn apply(&self) -> Result<(), Error> {
        nft::apply(&self.text)
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Whether any network has rules, of this or another state directory.
pub(crate) fn any_network() -> Result<bool, Error> {
    let answer = nft::list(&["set", "inet", "hull", "bridges"])?;
    Ok(answer
        .is_some_and(|answer| nft::objects(&answer, "set").any(|set| set.get("elem").is_some())))
}

/// How many frames of an endpoint were dropped because it was not allowed to send them.
pub(crate) fn spoofed(endpoint: &EndpointId) -> Result<u64, Error> {
    nft::counter("bridge", &endpoint::counter(endpoint))
}

/// How many packets were dropped between networks and the world, and on their way to the host itself.
pub(crate) fn refused() -> Result<(u64, u64), Error> {
    Ok((
        nft::counter("inet", "isolated")?,
        nft::counter("inet", "host_refused")?,
    ))
}

/// Chains of others that drop what is forwarded unless a rule of theirs accepts it. Accepting in one table does not help in
/// another, and Hull changes nobody's: people have to be told. (Rules of the old iptables-legacy cannot be seen.)
pub(crate) fn obstacles() -> Result<Vec<String>, Error> {
    let Some(listing) = nft::list(&["chains"])? else {
        return Ok(Vec::new());
    };
    let text = |chain: &serde_json::Value, key: &str| {
        let text = chain.get(key).and_then(|value| value.as_str());
        text.unwrap_or_default().to_owned()
    };
    let drops = nft::objects(&listing, "chain").filter(|chain| {
        let is_of_ip = ["ip", "ip6", "inet"].contains(&text(chain, "family").as_str());
        is_of_ip && text(chain, "hook") == "forward" && text(chain, "policy") == "drop"
    });
    let say = |chain: &serde_json::Value| {
        let name = ["family", "table", "name"]
            .map(|key| text(chain, key))
            .join(" ");
        format!(
            "chain {name} drops what the host forwards, so guests may reach nothing outside: let it accept Hull's bridges \
             (nft insert rule {name} iifname \"hull-*\" accept; nft insert rule {name} oifname \"hull-*\" accept)"
        )
    };
    Ok(drops.map(say).collect())
}

/// What nftables calls a family of addresses.
fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip6",
    }
}
