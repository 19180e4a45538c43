//! What a profile depends on. When any of it changes, the profile is made again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The host and the prober, as far as they decide what a probe finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    kernel_release: String,
    kernel_version: String,
    processor: String,
    /// KVM's modules, with the hash of their source where the kernel tells it.
    kvm_modules: Vec<String>,
    /// Another prober may find more: size, time of change and inode of `hull-vmm`.
    prober: (u64, i64, i64, u64),
}

impl Key {
    pub(crate) fn of_host(vmm: &Path) -> Self {
        let file = |path: &str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let prober =
            fs::metadata(vmm).map(|file| (file.len(), file.mtime(), file.mtime_nsec(), file.ino()));
        Self {
            kernel_release: file("/proc/sys/kernel/osrelease"),
            kernel_version: file("/proc/sys/kernel/version"),
            processor: processor(&file("/proc/cpuinfo")),
            kvm_modules: kvm_modules(Path::new("/sys/module")),
            prober: prober.unwrap_or_default(),
        }
    }
}

/// Model and microcode of the first processor.
fn processor(cpuinfo: &str) -> String {
    let first = cpuinfo.lines().take_while(|line| !line.is_empty());
    let wanted = [
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "stepping",
        "microcode",
    ];
    let values = first.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        wanted.contains(&name.trim()).then(|| value.trim())
    });
    values.collect::<Vec<_>>().join(" ")
}

/// In a fixed order.
pub(super) fn kvm_modules(modules: &Path) -> Vec<String> {
    let entries = fs::read_dir(modules).into_iter().flatten().flatten();
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            (name == "kvm" || name.starts_with("kvm_")).then_some(())?;
            let source = fs::read_to_string(entry.path().join("srcversion")).unwrap_or_default();
            Some(format!("{name} {}", source.trim()).trim().to_owned())
        })
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_the_first_one_s_model() {
        let info = "processor\t: 0\nvendor_id\t: A\nmodel name\t: EPYC\nflags\t: x\nmicrocode\t: 0x1\n\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(processor(info), "A EPYC 0x1");
    }

    #[test]
    fn only_kvm_s_modules_count() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["kvm_pvm", "kvm", "ext4", "kvmish"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("kvm/srcversion"), "ABC\n").unwrap();
        assert_eq!(kvm_modules(dir.path()), ["kvm ABC", "kvm_pvm"]);
    }
}
