//! The network that is there without anybody making it.

use std::fs;

use super::{Error, Network, NetworkSpec, Networks};

/// Its name, as with Docker.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Names that mean no network where one is named.
pub(crate) const RESERVED: [&str; 3] = ["none", "host", "user"];

/// The network of containers about whose network nothing is said.
const USUAL: &str = "HULL_NETWORK";

/// The network of containers about whose network nothing is said: what `HULL_NETWORK` says, else the default network; nothing for who has
/// no right to make networks.
#[must_use]
pub fn usual_network() -> Option<String> {
    let said = std::env::var(USUAL).ok().filter(|name| !name.is_empty());
    match said.as_deref() {
        Some("none") => None,
        Some(_) => said,
        None => may_make_networks().then(|| DEFAULT_NETWORK.to_owned()),
    }
}

/// Whether this process has the capability `CAP_NET_ADMIN`, the twelfth bit of `CapEff` (proc_pid_status(5)).
fn may_make_networks() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let effective = lines.find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    effective.is_some_and(|bits| bits & (1 << 12) != 0)
}

impl Networks {
    /// The network of this name or identifier; [`DEFAULT_NETWORK`] is there when it is asked for.
    pub fn get(&self, name: &str) -> Result<Network, Error> {
        match self.find(name) {
            Err(Error::NotFound(_)) if name == DEFAULT_NETWORK => {
                match self.define(&NetworkSpec::new(DEFAULT_NETWORK)) {
                    // Somebody else was faster.
                    Err(Error::NameTaken { .. }) => self.find(name),
                    made => made,
                }
            }
            found => found,
        }
    }
}
