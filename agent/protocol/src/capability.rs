//! Linux capabilities, numbered as `linux/capability.h` numbers them, and Docker's choice of them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A set of capabilities: bit N is capability N.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySet(pub u64);

/// The five sets of a process (`capabilities(7)`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What `execve` can at most give.
    pub bounding: CapabilitySet,
    /// What counts.
    pub effective: CapabilitySet,
    /// What it can make effective.
    pub permitted: CapabilitySet,
    /// What survives `execve` of a file that also has it.
    pub inheritable: CapabilitySet,
    /// What survives `execve` of any file.
    pub ambient: CapabilitySet,
}

/// A name that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no capability named {0:?}; `man 7 capabilities` lists them")]
pub struct UnknownCapability(String);

const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl CapabilitySet {
    /// How many capabilities Linux has.
    pub const COUNT: u8 = 41;

    /// All of them.
    pub const ALL: Self = Self((1 << Self::COUNT) - 1);

    /// What Docker gives a container: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID,
    /// SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE and SETFCAP.
    pub const DOCKER_DEFAULT: Self = Self(0xa804_25fb);

    /// Docker's default with `--cap-add` and `--cap-drop`: names with or without `CAP_`, in any
    /// case, or `ALL`. As in Docker, adding all and dropping some leaves the rest, dropping all and
    /// adding some gives those, and adding all wins over dropping all.
    ///
    /// # Errors
    /// The first name that is none.
    pub fn docker<S: AsRef<str>>(add: &[S], drop: &[S]) -> Result<Self, UnknownCapability> {
        let all = |names: &[S]| names.iter().any(|name| is_all(name.as_ref()));
        let (added, dropped) = (Self::named(add)?, Self::named(drop)?);
        Ok(Self(match (all(add), all(drop)) {
            (true, true) => Self::ALL.0,
            (true, false) => Self::ALL.0 & !dropped.0,
            (false, true) => added.0,
            (false, false) => (Self::DOCKER_DEFAULT.0 & !dropped.0) | added.0,
        }))
    }

    fn named<S: AsRef<str>>(names: &[S]) -> Result<Self, UnknownCapability> {
        names.iter().try_fold(Self(0), |set, name| {
            name.as_ref().parse().map(|one: Self| Self(set.0 | one.0))
        })
    }

    /// Whether capability `number` is in the set.
    #[must_use]
    pub fn contains(self, number: u8) -> bool {
        number < 64 && self.0 & (1 << number) != 0
    }
}

impl Capabilities {
    /// The sets that Docker derives from what a container may do: nothing inheritable, nothing
    /// ambient. A user other than root loses the effective ones at `execve`, by Linux's rules.
    #[must_use]
    pub fn of_container(set: CapabilitySet) -> Self {
        let none = CapabilitySet::default();
        Self {
            bounding: set,
            effective: set,
            permitted: set,
            inheritable: none,
            ambient: none,
        }
    }
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL")
}

impl FromStr for CapabilitySet {
    type Err = UnknownCapability;

    /// Reads `NET_ADMIN`, `cap_net_admin` or `ALL`.
    fn from_str(name: &str) -> Result<Self, UnknownCapability> {
        if is_all(name) {
            return Ok(Self::ALL);
        }
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES.iter().position(|known| *known == bare);
        number
            .map(|n| Self(1 << n))
            .ok_or_else(|| UnknownCapability(name.to_owned()))
    }
}

#[cfg(test)]
mod tests;
