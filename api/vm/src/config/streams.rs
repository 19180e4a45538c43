//! Devices that carry bytes: sockets between host and guest, the 16550, the virtio console.

use serde::{Deserialize, Serialize};

use super::number::{in_range, number, optional};
use super::{ConfigError, HostPath, TokenBucket, path};

/// Sockets between host and guest (virtio-vsock over Unix sockets).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// The guest's address, from 3 to 2^32 - 2.
    #[serde(deserialize_with = "number::<_, _, { Vsock::MIN_CID }, { Vsock::MAX_CID }>")]
    pub guest_cid: u64,
    /// Where the VMM listens for `CONNECT <port>`. A connection of the guest to port P of the host goes to the
    /// socket `<uds_path>_P`.
    pub uds_path: HostPath,
    /// A name for a device of which there is only one. Firecracker has deprecated it; it means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsock_id: Option<String>,
}

/// A 16550 at COM1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// Where its bytes go: a file, which is made if missing and appended to, or a pipe. Without it: standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_out_path: Option<HostPath>,
    /// What the guest reads: a pipe, a terminal or a file. Without it: nothing. Hull's own field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_in_path: Option<HostPath>,
    /// Bytes in a time; those beyond are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limiter: Option<TokenBucket>,
}

/// Where the bytes of the virtio console go and come from. Hull's own section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// A file, which is made if missing and appended to, or a pipe.
    pub output_path: HostPath,
    /// What the guest reads: a pipe, a terminal or a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_path: Option<HostPath>,
    /// Lines of the terminal, from 1. With `columns` or not at all.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional::<_, _, 1, { u16::MAX as u64 }>"
    )]
    pub rows: Option<u16>,
    /// Characters in a line, from 1. With `rows` or not at all.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional::<_, _, 1, { u16::MAX as u64 }>"
    )]
    pub columns: Option<u16>,
}

/// A new size of the console's terminal while the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleUpdate {
    /// Lines, from 1.
    #[serde(deserialize_with = "number::<_, _, 1, { u16::MAX as u64 }>")]
    pub rows: u16,
    /// Characters in a line, from 1.
    #[serde(deserialize_with = "number::<_, _, 1, { u16::MAX as u64 }>")]
    pub columns: u16,
}

impl Vsock {
    /// Below are the hypervisor, loopback and the host (`vsock(7)`).
    pub const MIN_CID: u64 = 3;
    /// Above is what stands for any address.
    pub const MAX_CID: u64 = u32::MAX as u64 - 1;

    /// A device for the guest with the address `guest_cid`.
    #[must_use]
    pub fn new(guest_cid: u64, uds_path: HostPath) -> Self {
        Self {
            guest_cid,
            uds_path,
            vsock_id: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let cid = self.guest_cid;
        in_range("vsock.guest_cid", cid, Self::MIN_CID, Self::MAX_CID)?;
        self.uds_path.check("vsock.uds_path")
    }
}

impl Serial {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        path::check_some("serial.serial_out_path", self.serial_out_path.as_ref())?;
        path::check_some("serial.serial_in_path", self.serial_in_path.as_ref())?;
        let bucket = self.rate_limiter.as_ref();
        bucket.map_or(Ok(()), |b| b.validate("serial.rate_limiter.refill_time"))
    }
}

impl Console {
    /// A console without input and of no particular size.
    #[must_use]
    pub fn new(output_path: HostPath) -> Self {
        Self {
            output_path,
            input_path: None,
            rows: None,
            columns: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.output_path.check("console.output_path")?;
        path::check_some("console.input_path", self.input_path.as_ref())?;
        match (self.rows, self.columns) {
            (Some(rows), Some(columns)) => ConsoleUpdate { rows, columns }.validate(),
            (None, None) => Ok(()),
            _ => Err(ConfigError::conflict(
                "console.rows and console.columns go together; give both or none",
            )),
        }
    }
}

impl ConsoleUpdate {
    pub(crate) fn validate(self) -> Result<(), ConfigError> {
        in_range("console.rows", self.rows, 1, u16::MAX.into())?;
        in_range("console.columns", self.columns, 1, u16::MAX.into())
    }
}
