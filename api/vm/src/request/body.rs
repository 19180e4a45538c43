//! From the bytes of a body to a checked value.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{SnapshotCreate, VmBody};
use crate::config::id::Kind;
use crate::config::{
    BootSource, ConfigError, Console, ConsoleUpdate, DRIVES, Drive, DriveUpdate, Entropy,
    INTERFACES, Logger, MachineConfig, MachineUpdate, MemoryHotplug, Metrics, NetworkInterface,
    NetworkUpdate, PMEM, Pmem, PmemUpdate, SHARES, Serial, Share, Vsock, strict,
};
use crate::fault::Fault;

/// What a row of the table has to go by.
pub(super) struct Input<'a> {
    /// The id in the path; empty if there is none.
    pub(super) id: &'a str,
    /// Empty if there is none.
    pub(super) body: &'a [u8],
    /// To be set where the body uses something that Firecracker has deprecated.
    pub(super) deprecated: bool,
}

/// A body that can be checked by itself.
pub(super) trait Body: DeserializeOwned {
    fn check(&self) -> Result<(), ConfigError>;
}

/// A body that repeats the id of the path.
pub(super) trait Named: Body {
    const KIND: Kind;
    fn id(&self) -> &str;
}

impl Input<'_> {
    /// Reads the body; what it says is checked elsewhere.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        strict::from_slice(self.body).map_err(|error| Fault::json(&error))
    }

    /// Reads and checks the body.
    pub(super) fn checked<T: Body>(&self) -> Result<T, Fault> {
        let body: T = self.json()?;
        body.check()?;
        Ok(body)
    }

    /// Reads and checks a body whose id must be the path's.
    pub(super) fn named<T: Named>(&self) -> Result<T, Fault> {
        self.id(&T::KIND)?;
        let body: T = self.json()?;
        let (path, own) = (self.id, body.id());
        if path != own {
            // In Firecracker's words, which are not the same everywhere.
            return Err(Fault::bad_request(
                if T::KIND.section == INTERFACES.section {
                    format!(
                        "The id from the path [{path}] does not match the id from the body [{own}]!"
                    )
                } else {
                    "The id from the path does not match the id from the body!".to_owned()
                },
            ));
        }
        body.check()?;
        Ok(body)
    }

    /// Checks the id of the path.
    pub(super) fn id(&self, kind: &Kind) -> Result<String, Fault> {
        // The first two in Firecracker's words.
        if self.id.is_empty() {
            return Err(Fault::bad_request("The ID cannot be empty."));
        }
        if !self
            .id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            return Err(Fault::bad_request(
                "API Resource IDs can only contain alphanumeric characters and underscores.",
            ));
        }
        kind.check(self.id)?;
        Ok(self.id.to_owned())
    }

    /// Reads an object of any fields.
    pub(super) fn object(&self) -> Result<Value, Fault> {
        let object: serde_json::Map<String, Value> = self.json()?;
        Ok(Value::Object(object))
    }
}

macro_rules! bodies {
    ($($body:ty),+ $(,)?) => {
        $(impl Body for $body {
            fn check(&self) -> Result<(), ConfigError> {
                self.validate()
            }
        })+
    };
}

macro_rules! named {
    ($($body:ty, $kind:ident, $id:ident);+ $(;)?) => {
        $(impl Named for $body {
            const KIND: Kind = $kind;
            fn id(&self) -> &str {
                &self.$id
            }
        })+
    };
}

bodies! {
    BootSource, MachineConfig, MachineUpdate, Vsock, Entropy, Serial, Console, ConsoleUpdate, MemoryHotplug, Logger, Metrics, SnapshotCreate,
    Drive, DriveUpdate, Pmem, PmemUpdate, NetworkInterface, NetworkUpdate, Share, VmBody,
}

named! {
    Drive, DRIVES, drive_id;
    DriveUpdate, DRIVES, drive_id;
    Pmem, PMEM, id;
    PmemUpdate, PMEM, id;
    NetworkInterface, INTERFACES, iface_id;
    NetworkUpdate, INTERFACES, iface_id;
    Share, SHARES, tag;
}
