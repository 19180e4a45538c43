//! Networks and endpoints on disk.
//!
//! `lock` is held for every change and every look that a change depends on, and so is a lock of the network namespace, for the sake of
//! other directories. `<network>/network.json` is a network and
//! never changes; `<network>/last.json` are the addresses given last; `<network>/<endpoint>/endpoint.json` is an endpoint,
//! and with it the lease of its addresses and ports. `<network>/<endpoint>/lock` is held by the endpoint's owners for as long as
//! one of them lives, however it ends: it is a `flock`, and a process that inherits the descriptor is an owner, too.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{
    EndpointId, Error, IpNet, MacAddress, NetworkId, Published, Service, SubnetSpec, Tenant,
};

/// Subnets, and the tables of the packet filter, are shared with whoever has a directory of his own.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// A network, as it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkRecord {
    pub(crate) id: NetworkId,
    pub(crate) name: String,
    /// At most one of each family, with the gateway filled in.
    pub(crate) subnets: Vec<SubnetSpec>,
    pub(crate) mtu: u16,
    pub(crate) internal: bool,
    pub(crate) inter_container: bool,
    pub(crate) masquerade: bool,
    pub(crate) services: Vec<Service>,
    pub(crate) enable_forwarding: bool,
    /// What its maker called it beside its name.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// What its maker said for the driver, as it was said.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
    /// Names of reserved addresses.
    #[serde(default)]
    pub(crate) auxiliary: BTreeMap<String, IpAddr>,
    #[serde(default)]
    pub(crate) created: Timestamp,
}

impl NetworkRecord {
    /// Addresses in it, with the prefix length of their subnet.
    pub(crate) fn with_prefixes(&self, addresses: &[IpAddr]) -> Vec<IpNet> {
        let with_prefix = |address: &IpAddr| {
            let mut subnets = self.subnets.iter();
            let subnet = subnets.find(|subnet| subnet.net.contains(address))?;
            IpNet::new(*address, subnet.net.prefix_len()).ok()
        };
        addresses.iter().filter_map(with_prefix).collect()
    }
}

/// An endpoint, as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointRecord {
    pub(crate) id: EndpointId,
    pub(crate) mac: MacAddress,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) published: Vec<Published>,
    /// Whose it is, if it is a container's.
    #[serde(default)]
    pub(crate) container: Option<Tenant>,
}

/// The directory of all networks of a host.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    path: PathBuf,
}

/// The directory, locked. Nobody else changes anything in it, or in the kernel on its behalf.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    directory: &'a Directory,
    _lock: File,
    _namespace: File,
}

impl Directory {
    /// Makes it where it is missing.
    pub(crate) fn open(path: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        Ok(Self { path })
    }

    /// Waits (blocking) for its lock.
    pub(crate) fn lock(&self) -> Result<Locked<'_>, Error> {
        let path = self.path.join("lock");
        let lock = File::create(&path).map_err(Error::io("open", &path))?;
        flock(lock.as_fd(), FlockOperation::LockExclusive)
            .map_err(|errno| Error::io("lock", &path)(errno.into()))?;
        // The file that stands for the network namespace is the same one for all in it.
        let namespace = File::open(NAMESPACE).map_err(Error::io("open", NAMESPACE))?;
        flock(namespace.as_fd(), FlockOperation::LockExclusive)
            .map_err(|errno| Error::io("lock", NAMESPACE)(errno.into()))?;
        Ok(Locked {
            directory: self,
            _lock: lock,
            _namespace: namespace,
        })
    }

    /// What is there, as far as it is whole: for who looks often, and can do with what was there a moment ago or was left by the dead.
    pub(crate) fn survey(&self) -> Result<Vec<(NetworkRecord, Vec<EndpointRecord>)>, Error> {
        let mut all = Vec::new();
        for id in ids::<NetworkId>(&self.path)? {
            let path = self.network(&id);
            if let Some(network) = read_json(&path.join("network.json"))? {
                all.push((network, endpoints(&path)?));
            }
        }
        Ok(all)
    }

    /// A file whose lock is held by who answers for the names of a network.
    pub(crate) fn names_lock(&self, id: &NetworkId) -> PathBuf {
        self.network(id).join("names.lock")
    }

    fn network(&self, id: &NetworkId) -> PathBuf {
        self.path.join(id.as_str())
    }

    fn endpoint(&self, network: &NetworkId, id: &EndpointId) -> PathBuf {
        self.network(network).join(id.as_str())
    }
}

impl Locked<'_> {
    /// All networks that are whole, by name.
    pub(crate) fn networks(&self) -> Result<Vec<NetworkRecord>, Error> {
        let mut networks: Vec<NetworkRecord> = Vec::new();
        for id in ids::<NetworkId>(&self.directory.path)? {
            networks.extend(read_json(
                &self.directory.network(&id).join("network.json"),
            )?);
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    /// The network, if it is still there.
    pub(crate) fn network(&self, id: &NetworkId) -> Result<Option<NetworkRecord>, Error> {
        read_json(&self.directory.network(id).join("network.json"))
    }

    pub(crate) fn add_network(&self, record: &NetworkRecord) -> Result<(), Error> {
        let path = self.directory.network(&record.id);
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
        write_json(&path.join("network.json"), record)
    }

    pub(crate) fn remove_network(&self, id: &NetworkId) -> Result<(), Error> {
        remove(&self.directory.network(id), "network.json")
    }

    /// Removes what was never finished.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        for network in ids::<NetworkId>(&self.directory.path)? {
            let path = self.directory.network(&network);
            if !path.join("network.json").exists() {
                remove(&path, "network.json")?;
                continue;
            }
            for endpoint in ids::<EndpointId>(&path)? {
                let path = path.join(endpoint.as_str());
                if !path.join("endpoint.json").exists() {
                    remove(&path, "endpoint.json")?;
                }
            }
        }
        Ok(())
    }

    /// All endpoints of a network that are whole, dead ones among them.
    pub(crate) fn endpoints(&self, network: &NetworkId) -> Result<Vec<EndpointRecord>, Error> {
        endpoints(&self.directory.network(network))
    }

    /// Writes a new endpoint down; the descriptor is its lock, held.
    pub(crate) fn add_endpoint(
        &self,
        network: &NetworkId,
        record: &EndpointRecord,
    ) -> Result<File, Error> {
        let path = self.directory.endpoint(network, &record.id);
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
        let path = path.join("lock");
        let lock = File::create(&path).map_err(Error::io("create", &path))?;
        flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| Error::io("lock", &path)(errno.into()))?;
        self.write_endpoint(network, record)?;
        Ok(lock)
    }

    pub(crate) fn endpoint(
        &self,
        network: &NetworkId,
        id: &EndpointId,
    ) -> Result<Option<EndpointRecord>, Error> {
        read_json(&self.directory.endpoint(network, id).join("endpoint.json"))
    }

    pub(crate) fn write_endpoint(
        &self,
        network: &NetworkId,
        record: &EndpointRecord,
    ) -> Result<(), Error> {
        let path = self.directory.endpoint(network, &record.id);
        write_json(&path.join("endpoint.json"), record)
    }

    pub(crate) fn remove_endpoint(
        &self,
        network: &NetworkId,
        id: &EndpointId,
    ) -> Result<(), Error> {
        remove(&self.directory.endpoint(network, id), "endpoint.json")
    }

    /// Whether an owner of the endpoint lives.
    pub(crate) fn is_owned(&self, network: &NetworkId, id: &EndpointId) -> Result<bool, Error> {
        let path = self.directory.endpoint(network, id).join("lock");
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        match flock(lock.as_fd(), FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(errno) => Err(Error::io("lock", path)(errno.into())),
        }
    }

    /// The addresses that were given last, one of a family: the next ones are looked for after them, so that an address rests
    /// before it is somebody else's.
    pub(crate) fn last(&self, network: &NetworkId) -> Result<Vec<IpAddr>, Error> {
        let path = self.directory.network(network).join("last.json");
        Ok(read_json(&path)?.unwrap_or_default())
    }

    pub(crate) fn write_last(&self, network: &NetworkId, last: &[IpAddr]) -> Result<(), Error> {
        write_json(&self.directory.network(network).join("last.json"), &last)
    }
}

fn endpoints(network: &Path) -> Result<Vec<EndpointRecord>, Error> {
    let mut endpoints = Vec::new();
    for id in ids::<EndpointId>(network)? {
        endpoints.extend(read_json(&network.join(id.as_str()).join("endpoint.json"))?);
    }
    Ok(endpoints)
}

/// What in a directory is named by an identifier.
fn ids<I: TryFrom<String>>(path: &Path) -> Result<Vec<I>, Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", path)(error)),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io("list", path))?.file_name();
        ids.extend(
            name.into_string()
                .ok()
                .and_then(|name| I::try_from(name).ok()),
        );
    }
    Ok(ids)
}

/// Removes a directory, the file that makes it whole first.
fn remove(path: &Path, record: &str) -> Result<(), Error> {
    match fs::remove_file(path.join(record)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", path)(error));
        }
        _ => {}
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Error::io("understand", path)(error.into()))
}

/// Replaces the file in one step, so that it is the old one or the new one also after a crash of the host.
fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let temporary = path.with_extension("json.new");
    let write = || {
        let mut file = File::create(&temporary)?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(Error::io("write", path))
}
