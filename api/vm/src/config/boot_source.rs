//! The kernel and what it is told.

use serde::{Deserialize, Serialize};

use super::{ConfigError, HostPath, path};

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

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        self.kernel_image_path
            .check("boot-source.kernel_image_path")?;
        path::check_some("boot-source.initrd_path", self.initrd_path.as_ref())?;
        let args = self.boot_args.as_deref().unwrap_or_default();
        match args.chars().find(|c| !c.is_ascii() || c.is_ascii_control()) {
            Some(odd) => Err(ConfigError::BootArgs(odd)),
            None => Ok(()),
        }
    }
}

/// The boot source of a configuration: there for certain, or perhaps not there.
pub trait BootSection {
    /// The boot source, if there is one.
    fn section(&self) -> Option<&BootSource>;

    /// Whether there is none.
    fn is_absent(&self) -> bool {
        self.section().is_none()
    }
}

impl BootSection for BootSource {
    fn section(&self) -> Option<&BootSource> {
        Some(self)
    }
}

impl BootSection for Option<BootSource> {
    fn section(&self) -> Option<&BootSource> {
        self.as_ref()
    }
}
