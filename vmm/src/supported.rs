//! What a configuration can say and this program does not do: refused, so that nothing a user says is ignored.

use hull_vm_api::VmConfig;
use hull_vm_api::config::Reboot;

use crate::error::StartError;
use crate::memory;

/// Refuses the first thing in a configuration that nothing here looks at.
///
/// # Errors
/// [`StartError::Unsupported`] with its name.
pub(crate) fn check<B>(config: &VmConfig<B>) -> Result<(), StartError> {
    if config.machine_config.reboot == Reboot::Restart {
        return Err(StartError::Unsupported("machine-config.reboot"));
    }
    Ok(memory::check(&config.machine_config)?)
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
            r#", "machine-config": { "vcpu_count": 1, "mem_size_mib": 64, "reboot": "restart" }"#,
        );
        assert_eq!(
            check(&config).unwrap_err().to_string(),
            "machine-config.reboot is not supported by this hull-vmm; leave it out"
        );
    }
}
