//! The configuration of one microVM, as one JSON file in the shape of Firecracker's configuration file.
//!
//! Sections are kebab-case, fields snake_case, and a field that is not known here is an error: nothing that a user
//! says is ignored. [`VmConfig::parse`] checks everything that can be known without opening a file.

mod drive;
mod logger;
mod machine;
mod path;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use drive::{CacheType, Drive};
pub use logger::{Level, Logger};
pub use machine::{HugePages, MachineConfig};
pub use path::HostPath;

/// Everything about one microVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct VmConfig {
    /// What the guest boots.
    pub boot_source: BootSource,
    /// Disks, in the order of the guest's names (`vda`, `vdb`, ...), except that the root disk always comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drives: Vec<Drive>,
    /// vCPUs and memory.
    #[serde(default)]
    pub machine_config: MachineConfig,
    /// The socket device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsock: Option<Vsock>,
    /// The random number device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<Entropy>,
    /// The VMM's own log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logger: Option<Logger>,
    /// A 16550 at COM1, there only when this section is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// A virtio console (`hvc0`), there only when this section is. Hull's own section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<Console>,
}

/// The kernel and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootSource {
    /// An ELF `vmlinux` or a `bzImage`.
    pub kernel_image_path: HostPath,
    /// An initramfs, which goes into guest memory as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd_path: Option<HostPath>,
    /// The kernel's command line, to which the VMM appends what describes its devices. Without it:
    /// [`BootSource::DEFAULT_ARGS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_args: Option<String>,
}

impl BootSource {
    /// The command line of a configuration that has none: a guest that reboots or panics ends its microVM.
    pub const DEFAULT_ARGS: &str = "reboot=k panic=-1 no_timer_check tsc=reliable";
}

/// Sockets between host and guest (virtio-vsock over Unix sockets).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// The guest's address, from 3 to 2^32 - 2.
    pub guest_cid: u64,
    /// Where the VMM listens for `CONNECT <port>`. A connection of the guest to port P of the host goes to the
    /// socket `<uds_path>_P`.
    pub uds_path: HostPath,
}

/// A random number device fed by the host. It has nothing to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entropy {}

/// Where the bytes of the 16550 go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// A file, which is made if missing and appended to, or a pipe.
    pub serial_out_path: HostPath,
}

/// Where the bytes of the virtio console go and come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// A file, which is made if missing and appended to, or a pipe.
    pub output_path: HostPath,
    /// What the guest reads: a pipe, a terminal or a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_path: Option<HostPath>,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, a field that is unknown or missing, or a value of the wrong type.
    #[error("the configuration cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A number that is out of its range.
    #[error("{field} is {value}; it must be from {least} to {most}")]
    Range {
        /// Section and field.
        field: &'static str,
        /// What was given.
        value: u64,
        /// The least possible.
        least: u64,
        /// The greatest possible.
        most: u64,
    },
    /// Hyper-threads come in pairs.
    #[error(
        "machine-config.smt needs an even vcpu_count, and {0} is odd; leave smt out or add a vCPU"
    )]
    OddThreads(u8),
    /// Huge pages are 2 MiB each.
    #[error(
        "machine-config.huge_pages is 2M, but mem_size_mib {0} is odd; make it a multiple of 2"
    )]
    OddHugePages(u64),
    /// An id that is no id.
    #[error("drives: drive_id {0:?} is no id; it must be 1 to 64 letters, digits and underscores")]
    DriveId(String),
    /// Two drives of one name.
    #[error("drives: two of them have the drive_id {0:?}; each needs one of its own")]
    DuplicateDrive(String),
    /// More than one root disk.
    #[error("drives: {first:?} and {second:?} both say is_root_device; only one can")]
    TwoRoots {
        /// The drive that said it first.
        first: String,
        /// The next one.
        second: String,
    },
    /// Too many disks for the interrupt lines there are.
    #[error("drives: there are {0}; there can be at most {most}", most = drive::MAX_DRIVES)]
    TooManyDrives(usize),
    /// Neither or both of the two ways to say what a drive consists of.
    #[error("drives: {0:?} must have either path_on_host or parts, and not both")]
    DriveBacking(String),
    /// Parts that are written to.
    #[error("drives: {0:?} is made of parts, so it must say is_read_only: true")]
    WritableParts(String),
    /// A PARTUUID that would not survive a kernel command line.
    #[error("drives: partuuid {0:?} must consist of letters, digits and dashes")]
    PartUuid(String),
    /// A path of no characters, or a descriptor without a name.
    #[error(
        "{0} is {1:?}; it must be a path, or fd: and the name of a descriptor that was handed over"
    )]
    Path(&'static str, String),
    /// Bytes that no kernel command line can hold.
    #[error("boot-source.boot_args must be printable ASCII in one line, and it has {0:?}")]
    BootArgs(char),
}

impl VmConfig {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// What was wrong, in a sentence.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(json)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// What was wrong, in a sentence.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.machine_config.validate()?;
        drive::validate(&self.drives)?;
        let boot = &self.boot_source;
        boot.kernel_image_path
            .check("boot-source.kernel_image_path")?;
        if let Some(path) = &boot.initrd_path {
            path.check("boot-source.initrd_path")?;
        }
        let args = boot.boot_args.as_deref().unwrap_or_default();
        if let Some(odd) = args.chars().find(|c| !c.is_ascii() || c.is_ascii_control()) {
            return Err(ConfigError::BootArgs(odd));
        }
        if let Some(vsock) = &self.vsock {
            in_range(
                "vsock.guest_cid",
                vsock.guest_cid,
                3,
                u64::from(u32::MAX) - 1,
            )?;
            vsock.uds_path.check("vsock.uds_path")?;
        }
        if let Some(serial) = &self.serial {
            serial.serial_out_path.check("serial.serial_out_path")?;
        }
        if let Some(console) = &self.console {
            console.output_path.check("console.output_path")?;
            if let Some(path) = &console.input_path {
                path.check("console.input_path")?;
            }
        }
        if let Some(path) = self.logger.as_ref().and_then(|l| l.log_path.as_ref()) {
            path.check("logger.log_path")?;
        }
        Ok(())
    }

    /// The drives in the guest's order: the root disk first.
    pub fn drives_in_order(&self) -> impl Iterator<Item = &Drive> {
        let root = self.drives.iter().filter(|drive| drive.is_root_device);
        root.chain(self.drives.iter().filter(|drive| !drive.is_root_device))
    }
}

fn in_range(field: &'static str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Range {
        field,
        value,
        least,
        most,
    })
}
