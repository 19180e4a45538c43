//! What names there are, and who may know them.

use std::net::IpAddr;

use crate::network::{
    DEFAULT_NETWORK, EndpointRecord, Link, NetworkDirectory, NetworkId, NetworkRecord, Tenant,
    own_resolvers,
};

/// Digits of a short identifier.
const SHORT: usize = 12;

/// All networks, as one of them is asked.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) here: NetworkId,
    pub(super) pages: Vec<Page>,
    /// Whom the host asks.
    pub(super) servers: Vec<IpAddr>,
}

/// One network.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) id: NetworkId,
    pub(super) name: String,
    pub(super) internal: bool,
    pub(super) entries: Vec<Entry>,
}

/// One endpoint.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) tenant: Option<Tenant>,
}

/// What somebody who asks may know.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// The networks whose names are his to know.
    pub(super) pages: Vec<&'a Page>,
    /// Whom to ask for other names; nobody where they are not his to know.
    pub(super) servers: Vec<IpAddr>,
    /// His own names for others.
    links: &'a [Link],
}

impl Book {
    /// Reads what there is, without waiting for anybody.
    pub(super) fn read(
        directory: &NetworkDirectory,
        here: &NetworkId,
    ) -> Result<Self, crate::network::Error> {
        let page = |(network, endpoints): (NetworkRecord, Vec<EndpointRecord>)| {
            let entry = |endpoint: EndpointRecord| Entry {
                addresses: endpoint.addresses,
                tenant: endpoint.container,
            };
            Page {
                id: network.id,
                name: network.name,
                internal: network.internal,
                entries: endpoints.into_iter().map(entry).collect(),
            }
        };
        Ok(Self {
            here: here.clone(),
            pages: directory.survey()?.into_iter().map(page).collect(),
            servers: own_resolvers(),
        })
    }

    /// What a guest with this address in the network may know: a container, the names in all of its networks.
    pub(super) fn view(&self, asker: IpAddr) -> Option<View<'_>> {
        let here = self.pages.iter().find(|page| page.id == self.here)?;
        let mut entries = here.entries.iter();
        let own = entries.find(|entry| entry.addresses.contains(&asker))?;
        let is_his = |page: &&Page| match &own.tenant {
            Some(tenant) => page.has(&tenant.id),
            None => page.id == self.here,
        };
        let all: Vec<&Page> = self.pages.iter().filter(is_his).collect();
        // From internal networks nothing is asked outside, for what is asked says something, too.
        let leads_out = all.iter().any(|page| !page.internal);
        let wanted = own.tenant.as_ref().map(|tenant| &tenant.servers);
        let servers = wanted.filter(|servers| !servers.is_empty());
        Some(View {
            servers: match leads_out {
                true => servers.unwrap_or(&self.servers).clone(),
                false => Vec::new(),
            },
            links: own.tenant.as_ref().map_or(&[], |tenant| &tenant.links),
            pages: all
                .into_iter()
                .filter(|page| page.name != DEFAULT_NETWORK)
                .collect(),
        })
    }
}

impl Page {
    fn has(&self, container: &str) -> bool {
        let tenants = self
            .entries
            .iter()
            .filter_map(|entry| entry.tenant.as_ref());
        tenants.into_iter().any(|tenant| tenant.id == container)
    }
}

impl View<'_> {
    /// The addresses behind a name, in lower case and without a dot at its end: `web`, or `web.network`. Nothing if nobody has it.
    pub(super) fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let mut links = self.links.iter();
        match links.find(|link| link.alias.eq_ignore_ascii_case(name)) {
            // Of an identifier containers are known by the beginning.
            Some(link) => self
                .named(&link.container)
                .or_else(|| self.named(link.container.get(..SHORT)?)),
            None => self.named(name),
        }
    }

    fn named(&self, name: &str) -> Option<Vec<IpAddr>> {
        let mut found = Vec::new();
        let mut known = false;
        for page in &self.pages {
            let lower = name.to_ascii_lowercase();
            let within = lower
                .strip_suffix(&page.name.to_ascii_lowercase())
                .and_then(|name| name.strip_suffix('.'));
            for entry in &page.entries {
                let names = entry.tenant.iter().flat_map(|tenant| &tenant.names);
                let is_meant = |one: &String| {
                    one.eq_ignore_ascii_case(name)
                        || within.is_some_and(|within| one.eq_ignore_ascii_case(within))
                };
                if names.into_iter().any(is_meant) {
                    known = true;
                    found.extend(&entry.addresses);
                }
            }
        }
        known.then_some(found)
    }

    /// The first name of who has an address, with that of the network.
    pub(super) fn name(&self, address: IpAddr) -> Option<String> {
        self.pages.iter().find_map(|page| {
            let mut entries = page.entries.iter();
            let entry = entries.find(|entry| entry.addresses.contains(&address))?;
            let name = entry.tenant.as_ref()?.names.first()?;
            Some(format!("{name}.{}.", page.name))
        })
    }
}
