use hull_vm_api::HostProfile;
use hull_vm_api::profile::{Backend, Costs, SyscallEntry};

use super::spec::ConsoleEnds;
use super::*;

fn spec() -> VmSpec {
    VmSpec {
        kernel: Some("/dev/null".into()),
        initrd: None,
        disks: vec!["/dev/null:ro".parse().unwrap()],
        root: None,
        networks: Vec::new(),
        publish: Vec::new(),
        dns: Vec::new(),
        shares: Vec::new(),
        cpus: 1,
        memory_mib: 64,
        console: ConsoleKind::Virtio,
        cmdline: "debug".to_owned(),
        raw_cmdline: false,
    }
}

fn profile() -> HostProfile {
    HostProfile {
        backend: Backend::VtX,
        kernel_instructions_per_second: 1,
        user_instructions_per_second: 1,
        instructions: [].into(),
        syscall: SyscallEntry::Kernel,
        cpuid_can_hide: true,
        costs: Costs::default(),
        max_vcpus: 1,
    }
}

fn boot_args(spec: &VmSpec) -> (String, bool) {
    let (input, output) = std::io::pipe().unwrap();
    let ends = ConsoleEnds {
        output: output.into(),
        input: input.into(),
        size: None,
    };
    let (config, _) = spec.configuration(&profile(), ends, Vec::new()).unwrap();
    let root = config.drives.first().is_some_and(|d| d.is_root_device);
    (config.boot_source.boot_args.unwrap_or_default(), root)
}

#[test]
fn names_can_be_joined_to_paths() {
    for good in ["a", "web-1", "A.b_c", &"x".repeat(40)] {
        assert!(good.parse::<VmName>().is_ok(), "{good}");
    }
    for bad in ["", ".", "..", "a/b", "-a", "a b", &"x".repeat(41)] {
        assert!(bad.parse::<VmName>().is_err(), "{bad}");
    }
}

#[test]
fn the_kernel_is_told_what_the_host_and_the_console_need_unless_one_says_all() {
    let mut spec = spec();
    let (line, root) = boot_args(&spec);
    assert!(
        line.contains("console=hvc0") && line.ends_with(" debug"),
        "{line}"
    );
    assert!(root);
    spec.cmdline = "root=/dev/vda1".to_owned();
    assert!(!boot_args(&spec).1, "who names a root means it");
    spec.raw_cmdline = true;
    assert_eq!(boot_args(&spec), ("root=/dev/vda1".to_owned(), false));
}

#[test]
fn a_root_is_a_partition_or_a_directory_or_what_one_says() {
    let mut spec = spec();
    for (said, told) in [
        ("2", "root=/dev/vda2 ro debug"),
        ("LABEL=x", "root=LABEL=x ro debug"),
    ] {
        spec.root = Some(said.parse().unwrap());
        let (line, root) = boot_args(&spec);
        assert!(line.ends_with(told) && !root, "{line}");
    }
    for bad in ["", "0", "999", "/dev/vda 1", "\"x"] {
        assert!(bad.parse::<RootSpec>().is_err(), "{bad}");
    }
    spec.root = None;
    spec.disks.clear();
    spec.shares = vec!["/srv:tree".parse().unwrap()];
    let (line, _) = boot_args(&spec);
    assert!(
        line.ends_with("root=tree rootfstype=virtiofs rw debug"),
        "{line}"
    );
    spec.initrd = Some("/dev/null".into());
    assert!(!boot_args(&spec).0.contains("root="));
}

#[test]
fn files_that_a_guest_would_not_understand_are_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let path = file.to_str().unwrap();
    let mut disk = spec();
    disk.disks = vec![path.parse().unwrap()];
    let mut initrd = spec();
    initrd.kernel = None;
    initrd.initrd = Some(file.clone());
    let mut foreign = initrd.clone();
    foreign.kernel = Some("/dev/null".into());
    let refusal = |spec: &VmSpec| spec.clone().checked().unwrap_err().to_string();

    std::fs::write(&file, b"QFI\xfb\0\0\0\x03").unwrap();
    assert!(refusal(&disk).contains(&format!("qemu-img convert -O raw {path}")));
    std::fs::write(&file, [0x1f, 0x8b, 8, 0]).unwrap();
    assert!(refusal(&disk).contains(&format!("zcat {path} > ")));
    assert!(refusal(&initrd).contains(&format!("zcat {path} > ")));
    assert!(foreign.checked().is_ok(), "another kernel may unpack it");
}

#[test]
fn a_disk_that_one_machine_writes_is_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, "").unwrap();
    let mut spec = spec();
    spec.disks = vec![disk.to_str().unwrap().parse().unwrap()];
    let ends = || {
        let (input, output) = std::io::pipe().unwrap();
        ConsoleEnds {
            output: output.into(),
            input: input.into(),
            size: None,
        }
    };
    let first = spec.configuration(&profile(), ends(), Vec::new()).unwrap();
    let second = spec.configuration(&profile(), ends(), Vec::new());
    assert!(matches!(second, Err(VmError::DiskInUse(_))));
    drop(first);
    assert!(spec.configuration(&profile(), ends(), Vec::new()).is_ok());
}

#[test]
fn what_was_left_open_of_the_network_is_chosen_once() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, "").unwrap();
    let with = |networks: &[&str], publish: &[&str]| {
        let mut spec = spec();
        spec.disks = vec![disk.to_str().unwrap().parse().unwrap()];
        spec.networks = networks.iter().map(|net| net.parse().unwrap()).collect();
        spec.publish = publish.iter().map(|port| port.parse().unwrap()).collect();
        spec.checked()
    };
    let made = with(&["x", "none", "tap=t,mac=02:00:00:00:00:07"], &["80:80"]).unwrap();
    let macs: Vec<_> = made.networks.iter().map(|net| net.mac).collect();
    assert!(macs[0].is_some() && macs[1].is_none());
    assert_eq!(macs[2].unwrap().to_string(), "02:00:00:00:00:07");
    // It is the same when it is read again.
    let text = serde_json::to_string(&made).unwrap();
    assert_eq!(serde_json::from_str::<VmSpec>(&text).unwrap(), made);

    assert!(with(&[], &[]).unwrap().networks.is_empty());
    let default = match rustix::process::geteuid().is_root() {
        true => NetTarget::Network("bridge".to_owned()),
        false => NetTarget::User,
    };
    assert_eq!(with(&[], &["80:80"]).unwrap().networks[0].to, default);
    for nets in [&["none"][..], &["tap=t"]] {
        let refused = with(nets, &["80:80"]).unwrap_err().to_string();
        assert!(refused.contains("--publish needs"), "{refused}");
    }
    let many = with(&["x"; 9], &[]).unwrap_err().to_string();
    assert!(many.contains("at most 8"), "{many}");
}
