//! The kernel's command line: what the configuration says, and behind it what describes this machine.
//!
//! A kernel that uses ACPI finds the devices in its tables. One that was told `acpi=off` is told of them here instead; told of
//! them twice, it would complain about each.

use hull_arch::layout::{self, VirtioSlot};
use hull_vm_api::VmConfig;
use hull_vm_api::config::BootSource;

/// A command line that is longer than Linux takes.
#[derive(Debug, thiserror::Error)]
#[error(
    "the kernel's command line has {len} bytes with the {added} that describe the machine, and Linux takes at most {most}; shorten boot_args",
    most = layout::COMMAND_LINE_MAX - 1
)]
pub struct TooLong {
    len: usize,
    added: usize,
}

/// What makes Linux ignore the ACPI tables.
const NO_ACPI: &str = "acpi=off";

/// Puts the command line together. Arguments of the init program, behind `--`, stay last.
///
/// # Errors
/// If Linux would cut it.
pub fn command_line(config: &VmConfig, slots: &[VirtioSlot]) -> Result<String, TooLong> {
    let given = config.boot_source.boot_args.as_deref();
    let given = given.unwrap_or(BootSource::DEFAULT_ARGS).trim();
    let (kernel, init) = match given.split_once("-- ") {
        Some((kernel, init)) if kernel.is_empty() || kernel.ends_with(' ') => {
            (kernel.trim(), Some(init))
        }
        _ => (given, None),
    };
    let mut words = vec![kernel.to_owned()];
    words.extend(root(config));
    if kernel.split_ascii_whitespace().any(|word| word == NO_ACPI) {
        words.push(format!("pvpanic_mmio.port={:#x}", layout::PVPANIC_PORT));
        words.push(format!("power_button.irq={}", layout::POWER_BUTTON_GSI));
        words.extend(slots.iter().map(VirtioSlot::command_line));
    }
    words.extend(init.map(|init| format!("-- {init}")));
    words.retain(|word| !word.is_empty());

    let line = words.join(" ");
    if line.len() >= layout::COMMAND_LINE_MAX {
        return Err(TooLong {
            len: line.len(),
            added: line.len() - given.len(),
        });
    }
    Ok(line)
}

/// What a root device means: among disks it is always the first one.
fn root(config: &VmConfig) -> Option<String> {
    let mut pmem = config.pmem.iter().enumerate();
    if let Some((index, pmem)) = pmem.find(|(_, pmem)| pmem.root_device) {
        let mode = if pmem.read_only { "ro" } else { "rw" };
        return Some(format!("root=/dev/pmem{index} {mode}"));
    }
    let drive = config.drives.iter().find(|drive| drive.is_root_device)?;
    let mode = if drive.is_read_only { "ro" } else { "rw" };
    Some(match &drive.partuuid {
        Some(uuid) => format!("root=PARTUUID={uuid} {mode}"),
        None => format!("root=/dev/vda {mode}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &str, drives: &str) -> VmConfig {
        let json = format!(
            r#"{{"boot-source": {{"kernel_image_path": "k", "boot_args": "{args}"}}, "drives": [{drives}]}}"#
        );
        VmConfig::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_kernel_without_acpi_is_told_of_the_devices_before_the_arguments_of_init() {
        let slot = layout::virtio_slot(0).unwrap();
        let line = command_line(&config("acpi=off -- a b", ""), &[slot]).unwrap();
        assert_eq!(
            line,
            "acpi=off pvpanic_mmio.port=0x505 power_button.irq=3 virtio_mmio.device=4K@0xd0000000:5 -- a b"
        );
        let line = command_line(&config("quiet a=x-- b", ""), &[slot]).unwrap();
        assert_eq!(line, "quiet a=x-- b");
    }

    #[test]
    fn a_root_disk_is_named() {
        let disk = r#"{"drive_id": "d", "path_on_host": "/d", "is_root_device": true, "is_read_only": true}"#;
        assert!(
            command_line(&config("", disk), &[])
                .unwrap()
                .starts_with("root=/dev/vda ro")
        );
        let disk = r#"{"drive_id": "d", "path_on_host": "/d", "is_root_device": true, "partuuid": "ab-1"}"#;
        let line = command_line(&config("", disk), &[]).unwrap();
        assert!(line.starts_with("root=PARTUUID=ab-1 rw"), "{line}");
    }

    #[test]
    fn what_linux_would_cut_is_refused() {
        let error =
            command_line(&config(&format!("acpi=off {}", "x".repeat(2030)), ""), &[]).unwrap_err();
        assert!(
            error.to_string().contains("has 2082 bytes with the 43"),
            "{error}"
        );
        assert!(command_line(&config(&"x".repeat(2000), ""), &[]).is_ok());
    }
}
