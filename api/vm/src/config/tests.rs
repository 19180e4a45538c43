use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn valid() -> Value {
    json!({
        "boot-source": { "kernel_image_path": "/boot/vmlinux", "initrd_path": "fd:initrd", "boot_args": "quiet" },
        "drives": [
            { "drive_id": "data", "path_on_host": "/data.img", "is_root_device": false, "cache_type": "Writeback" },
            { "drive_id": "image", "parts": ["fd:a", "fd:b"], "is_root_device": true, "is_read_only": true },
        ],
        "machine-config": { "vcpu_count": 2, "mem_size_mib": 512, "smt": true, "huge_pages": "2M" },
        "vsock": { "guest_cid": 3, "uds_path": "/run/vsock" },
        "entropy": {},
        "logger": { "level": "warn", "show_level": true },
        "serial": { "serial_out_path": "/dev/stdout" },
        "console": { "output_path": "fd:out" },
    })
}

fn parse(value: &Value) -> Result<VmConfig, ConfigError> {
    VmConfig::parse(value.to_string().as_bytes())
}

/// The message for the valid configuration with one value put in at `pointer`.
fn refusal(pointer: &str, value: Value) -> String {
    let mut config = valid();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[field] = value;
    parse(&config).unwrap_err().to_string()
}

#[test]
fn a_full_configuration_is_read_and_written_alike() {
    let config = parse(&valid()).unwrap();
    assert_eq!(config.machine_config.huge_pages, HugePages::Hugetlbfs2M);
    assert_eq!(
        config.boot_source.initrd_path.as_ref().unwrap().as_fd(),
        Some("initrd")
    );
    assert_eq!(config.logger.as_ref().unwrap().level, Level::Warning);
    let again = serde_json::to_vec(&config).unwrap();
    assert_eq!(VmConfig::parse(&again).unwrap(), config);
}

#[test]
fn the_root_disk_comes_first() {
    let config = parse(&valid()).unwrap();
    let ids: Vec<_> = config
        .drives_in_order()
        .map(|d| d.drive_id.as_str())
        .collect();
    assert_eq!(ids, ["image", "data"]);
}

#[test]
fn a_kernel_is_all_that_is_needed() {
    let config = parse(&json!({ "boot-source": { "kernel_image_path": "k" } })).unwrap();
    assert_eq!(config.machine_config, MachineConfig::default());
}

#[test]
fn unknown_sections_and_fields_are_named() {
    assert!(refusal("/balloon", json!({})).contains("`balloon`"));
    assert!(refusal("/machine-config/cpus", json!(2)).contains("`cpus`"));
    assert!(refusal("/entropy/rate", json!(1)).contains("`rate`"));
    assert!(refusal("/drives/0/io_engine", json!("Sync")).contains("`io_engine`"));
    assert!(refusal("/logger/level", json!("loud")).contains("\"loud\" is no level"));
}

#[test]
fn numbers_out_of_range_are_refused_with_the_range() {
    let cpus = refusal("/machine-config/vcpu_count", json!(33));
    assert_eq!(
        cpus,
        "machine-config.vcpu_count is 33; it must be from 1 to 32"
    );
    assert!(refusal("/machine-config/vcpu_count", json!(0)).contains("from 1 to 32"));
    let memory = refusal("/machine-config/mem_size_mib", json!(16));
    assert!(memory.contains("is 16; it must be from 32 to"), "{memory}");
    assert!(refusal("/machine-config/mem_size_mib", json!(u64::MAX)).contains("from 32 to"));
    assert!(refusal("/machine-config/vcpu_count", json!(3)).contains("even vcpu_count"));
    assert!(refusal("/machine-config/mem_size_mib", json!(65)).contains("multiple of 2"));
    assert!(refusal("/vsock/guest_cid", json!(2)).contains("from 3 to"));
}

#[test]
fn drives_are_checked_against_each_other() {
    for id in ["", "a-b", "a/b", &"x".repeat(65)] {
        assert!(refusal("/drives/0/drive_id", json!(id)).contains("letters, digits"));
    }
    assert!(refusal("/drives/0/drive_id", json!("image")).contains("two of them"));
    let roots = refusal("/drives/0/is_root_device", json!(true));
    assert!(roots.contains("\"data\" and \"image\" both"), "{roots}");
    assert!(
        refusal("/drives/1/path_on_host", json!("/x")).contains("either path_on_host or parts")
    );
    assert!(
        refusal("/drives/0/path_on_host", Value::Null).contains("either path_on_host or parts")
    );
    assert!(refusal("/drives/1/is_read_only", json!(false)).contains("is_read_only: true"));
    assert!(refusal("/drives/1/partuuid", json!("x root=/dev/vdb")).contains("letters, digits"));
    let many: Vec<_> = (0..13)
        .map(|n| json!({ "drive_id": format!("d{n}"), "path_on_host": "/x", "is_root_device": false }))
        .collect();
    assert!(refusal("/drives", json!(many)).contains("there are 13"));
}

#[test]
fn paths_and_arguments_are_checked() {
    assert!(
        refusal("/boot-source/kernel_image_path", json!("")).contains("kernel_image_path is \"\"")
    );
    assert!(refusal("/vsock/uds_path", json!("fd:")).contains("vsock.uds_path is \"fd:\""));
    assert!(refusal("/boot-source/boot_args", json!("a\nb")).contains("'\\n'"));
    assert!(refusal("/boot-source/boot_args", json!("ä")).contains("printable ASCII"));
}

proptest! {
    #[test]
    fn no_bytes_upset_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = VmConfig::parse(&bytes);
    }

    #[test]
    fn what_is_accepted_has_sane_numbers(cpus in any::<u8>(), memory in prop_oneof![any::<u64>(), 0..2_000_000_u64]) {
        let mut config = valid();
        config["machine-config"] = json!({ "vcpu_count": cpus, "mem_size_mib": memory });
        let accepted = parse(&config).is_ok();
        prop_assert_eq!(accepted, (1..=32).contains(&cpus) && (32..=MachineConfig::MAX_MEMORY_MIB).contains(&memory));
    }
}
