//! What a configuration can say and this program does not do: refused, so that nothing a user says is ignored.

use hull_vm_api::VmConfig;
use hull_vm_api::config::{CpuTemplate, MachineConfig, Reboot};

use crate::error::StartError;

/// Refuses the first thing in a configuration that nothing here looks at.
///
/// # Errors
/// [`StartError::Unsupported`] with its name.
pub(crate) fn check<B>(config: &VmConfig<B>) -> Result<(), StartError> {
    let asked = sections(config)
        .into_iter()
        .chain(machine(&config.machine_config));
    match asked
        .filter(|(_, asked)| *asked)
        .map(|(name, _)| name)
        .next()
    {
        Some(name) => Err(StartError::Unsupported(name)),
        None => Ok(()),
    }
}

fn sections<B>(config: &VmConfig<B>) -> [(&'static str, bool); 2] {
    let serial = config.serial.as_ref();
    [
        ("cpu-config", config.cpu_config.is_some()),
        (
            "serial.rate_limiter",
            serial.is_some_and(|s| s.rate_limiter.is_some()),
        ),
    ]
}

fn machine(machine: &MachineConfig) -> [(&'static str, bool); 4] {
    let template = machine.cpu_template != CpuTemplate::None;
    [
        ("machine-config.cpu_template", template),
        ("machine-config.prefault", machine.prefault),
        (
            "machine-config.cpu_affinity",
            !machine.cpu_affinity.is_empty(),
        ),
        ("machine-config.reboot", machine.reboot != Reboot::Exit),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_looks_at_is_refused_by_its_name() {
        let parse = |more: &str| {
            let boot = r#""boot-source": { "kernel_image_path": "k" }"#;
            VmConfig::parse(format!("{{ {boot} {more} }}").as_bytes()).unwrap()
        };
        assert!(check(&parse("")).is_ok());
        let config = parse(
            r#", "machine-config": { "vcpu_count": 1, "mem_size_mib": 64, "cpu_template": "T2" }"#,
        );
        assert_eq!(
            check(&config).unwrap_err().to_string(),
            "machine-config.cpu_template is not supported by this hull-vmm; leave it out"
        );
    }
}
