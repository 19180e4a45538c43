//! KVM: there, permitted, and what it does with a guest's kernel.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use hull_vm_api::HostProfile;
use hull_vm_api::profile::{Backend, Finding, SyscallEntry};

use super::{Check, key, profile};
use crate::find_vmm;

const DEVICE: &str = "/dev/kvm";
const KVM: &str = "KVM";
const VIRTUALISATION: &str = "virtualisation";
const SPEED: &str = "speed of guest kernels";

/// The checks, and the profile if there is one. The profile is kept in `cache_dir`.
pub(super) async fn checks(cache_dir: &Path) -> (Vec<Check>, Option<HostProfile>) {
    let device = device(Path::new(DEVICE));
    if device.verdict == super::Verdict::Bad {
        return (vec![device], None);
    }
    // That hull-vmm is missing is told among the parts.
    let Ok(vmm) = find_vmm() else {
        return (vec![device], None);
    };
    match profile::load_or_probe(&vmm, cache_dir).await {
        Ok(profile) => {
            let checks = vec![device, virtualisation(&profile), speed(&profile)];
            (checks, Some(profile))
        }
        Err(error) => {
            let advice = "look into the host's kernel log: sudo dmesg | grep -i kvm";
            (
                vec![
                    device,
                    Check::bad(VIRTUALISATION, error.to_string(), advice),
                ],
                None,
            )
        }
    }
}

fn device(path: &Path) -> Check {
    let shown = path.display();
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => {
            let modules = key::kvm_modules(Path::new("/sys/module"));
            let names: Vec<&str> = modules
                .iter()
                .filter_map(|each| each.split(' ').next())
                .collect();
            match names.as_slice() {
                [] => Check::good(KVM, format!("{shown} can be opened")),
                names => Check::good(KVM, format!("{shown} can be opened ({})", names.join(", "))),
            }
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Check::bad(
            KVM,
            format!("there is no permission to open {shown}"),
            "add yourself to its group, then log in again: sudo usermod -aG kvm $USER",
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => Check::bad(
            KVM,
            format!("there is no {shown}"),
            "load its module (sudo modprobe kvm_intel, or kvm_amd); if that fails, switch virtualisation on in the \
             firmware, or nested virtualisation at the provider of this machine",
        ),
        Err(error) => Check::bad(
            KVM,
            format!("{shown} cannot be opened: {error}"),
            "load its module: sudo modprobe kvm_intel, or kvm_amd",
        ),
    }
}

fn virtualisation(profile: &HostProfile) -> Check {
    if profile.syscall == SyscallEntry::Fails {
        return Check::bad(
            VIRTUALISATION,
            "programs of a guest cannot enter its kernel (`syscall` fails)",
            "use another host, or a newer kernel on this one",
        );
    }
    match profile.backend {
        Backend::VtX => Check::good(VIRTUALISATION, "VT-x: guests run on the processor"),
        Backend::AmdV => Check::good(VIRTUALISATION, "AMD-V: guests run on the processor"),
        Backend::Emulated => {
            let fails = |each: &&Finding| **each == Finding::Fails;
            let failing = profile.instructions.values().filter(fails).count();
            let all = profile.instructions.len();
            let kernels = match profile.syscall {
                SyscallEntry::StaysUser => "; only Hull's own kernel boots",
                _ => "",
            };
            Check::limited(
                VIRTUALISATION,
                format!(
                    "none: guest programs run on the processor, but guest kernels in KVM's emulator, where {failing} of \
                     {all} instructions that were tried fail{kernels}",
                ),
                "for full speed use a host with VT-x or AMD-V, or with nested virtualisation",
            )
        }
    }
}

fn speed(profile: &HostProfile) -> Check {
    let kernel = profile.kernel_instructions_per_second;
    let user = profile.user_instructions_per_second;
    let found = format!("{} million instructions a second", millions(kernel));
    if !profile.interpreted() {
        return Check::good(SPEED, found);
    }
    Check::limited(
        SPEED,
        format!("{found}; guest programs: {} million", millions(user)),
        "expect a start to take seconds, and what asks much of the kernel (files, pipes, new processes) to be slow; \
         computing is not",
    )
}

/// With one digit behind the point where that says something.
fn millions(count: u64) -> String {
    let tenths = count / 100_000;
    if tenths < 1000 {
        format!("{}.{}", tenths / 10, tenths % 10)
    } else {
        (tenths / 10).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_missing_device_is_bad_and_says_what_to_do() {
        let check = device(Path::new("/nowhere/kvm"));
        assert_eq!(check.verdict, Verdict::Bad);
        assert!(check.advice.unwrap().contains("modprobe"));
        assert_eq!(device(Path::new("/dev/null")).verdict, Verdict::Good);
    }

    #[test]
    fn speeds_are_told_in_millions() {
        assert_eq!(millions(2_712_345), "2.7");
        assert_eq!(millions(7_375_664_731), "7375");
        assert_eq!(millions(0), "0.0");
    }
}
