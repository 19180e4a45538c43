//! Names of plain microVMs. A name is all the identity that one has, and the name of its directories.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::container::random_name;

/// Paths of sockets have at most 107 bytes, and the name is in the middle of some.
const MOST: usize = 40;

/// A name that no microVM can have.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "invalid name {0:?}: 1 to {MOST} letters, digits and _ . - are expected, the first a letter or a digit"
)]
pub struct InvalidVmName(String);

/// 1 to 40 letters, digits, `_`, `.` and `-`, the first a letter or a digit: it can be joined to a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VmName(String);

impl VmName {
    /// A name like `brisk_ketch`; of `attempt` 1 on with a number.
    pub(crate) fn random(attempt: u32) -> io::Result<Self> {
        let mut bytes = [0; 4];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(random_name(bytes, attempt)))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As `hull-vmm --id` takes it: letters, digits and dashes.
    pub(crate) fn as_id(&self) -> String {
        self.0.replace(['_', '.'], "-")
    }
}

impl TryFrom<String> for VmName {
    type Error = InvalidVmName;

    fn try_from(name: String) -> Result<Self, InvalidVmName> {
        let first = name.bytes().next();
        let first = first.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if first && name.bytes().all(rest) && name.len() <= MOST {
            return Ok(Self(name));
        }
        Err(InvalidVmName(name))
    }
}

impl std::str::FromStr for VmName {
    type Err = InvalidVmName;

    fn from_str(name: &str) -> Result<Self, InvalidVmName> {
        name.to_owned().try_into()
    }
}

impl From<VmName> for String {
    fn from(name: VmName) -> Self {
        name.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
