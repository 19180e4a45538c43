use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn valid() -> Value {
    let limiter = json!({ "bandwidth": { "size": 1000, "refill_time": 100, "one_time_burst": 5 }, "ops": { "size": 1, "refill_time": 0 } });
    json!({
        "boot-source": { "kernel_image_path": "/boot/vmlinux", "initrd_path": "fd:initrd", "boot_args": "quiet" },
        "drives": [
            { "drive_id": "data", "path_on_host": "/data.img", "is_root_device": false, "cache_type": "Writeback",
              "io_engine": "Async", "rate_limiter": limiter, "direct": true, "queues": 2, "serial": "disk 1" },
            { "drive_id": "image", "parts": ["fd:a", "fd:b"], "is_root_device": true, "is_read_only": true },
        ],
        "machine-config": { "vcpu_count": 2, "mem_size_mib": 512, "smt": true, "huge_pages": "Transparent", "prefault": true,
            "cpu_affinity": [[0, 1], [2]], "reboot": "restart" },
        "cpu-config": { "kvm_capabilities": ["!56"] },
        "pmem": [
            { "id": "p", "path_on_host": "/pmem.img", "read_only": true, "rate_limiter": limiter },
            { "id": "q", "parts": ["fd:a", "/b"], "read_only": true },
        ],
        "network-interfaces": [
            { "iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": "06:00:AC:10:00:02", "mtu": 1500, "queues": 2,
              "rx_rate_limiter": limiter, "tx_rate_limiter": limiter, "allowed_addresses": ["10.0.0.2", "fd00::2"] },
            { "iface_id": "eth1", "host_dev_name": "fd:tap", "link": "down" },
        ],
        "shares": [{ "tag": "src", "path": "/src", "read_only": true, "cache": "never", "queues": 2 }],
        "vsock": { "guest_cid": 3, "uds_path": "/run/vsock", "vsock_id": "v" },
        "entropy": { "rate_limiter": limiter },
        "balloon": { "amount_mib": 64, "deflate_on_oom": true, "stats_polling_interval_s": 5, "free_page_reporting": true },
        "memory-hotplug": { "total_size_mib": 1024 },
        "mmds-config": { "version": "V2", "network_interfaces": ["eth0"], "ipv4_address": "169.254.1.1" },
        "logger": { "level": "warn", "show_level": true },
        "metrics": { "metrics_path": "/metrics", "emit_id": true, "properties": { "rack": "7" } },
        "serial": { "serial_out_path": "/dev/stdout", "rate_limiter": { "size": 1, "refill_time": 1 } },
        "console": { "output_path": "fd:out", "rows": 24, "columns": 80 },
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
    assert_eq!(config.machine_config.huge_pages, HugePages::Transparent);
    assert_eq!(
        config.boot_source.initrd_path.as_ref().unwrap().as_fd(),
        Some("initrd")
    );
    assert_eq!(config.logger.as_ref().unwrap().level, Level::Warning);
    let hotplug = config.memory_hotplug.unwrap();
    assert_eq!((hotplug.slot_size_mib, hotplug.block_size_mib), (128, 2));
    let mac = config.network_interfaces[0].guest_mac.unwrap();
    assert_eq!(mac.to_string(), "06:00:ac:10:00:02");
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
    let json = json!({ "boot-source": { "kernel_image_path": "k" } });
    let config = parse(&json).unwrap();
    assert_eq!(config.machine_config, MachineConfig::default());
    let mut written = serde_json::to_value(&config).unwrap();
    let machine = written["machine-config"].take();
    assert_eq!(
        machine,
        json!({ "vcpu_count": 1, "mem_size_mib": 128, "smt": false, "track_dirty_pages": false, "huge_pages": "None" }),
        "what Firecracker does not know is not there unless somebody asked for it"
    );
}

#[test]
fn a_draft_has_no_kernel_and_a_configuration_has() {
    let error = parse(&json!({})).unwrap_err().to_string();
    assert!(error.contains("missing field `boot-source`"), "{error}");
    let draft: Draft = serde_json::from_value(json!({})).unwrap();
    assert_eq!(draft, Draft::default());
    assert_eq!(
        serde_json::to_value(&draft).unwrap().get("boot-source"),
        None
    );
    let config = parse(&valid()).unwrap();
    let draft = Draft::from(config.clone());
    assert_eq!(
        serde_json::to_value(draft).unwrap(),
        serde_json::to_value(config).unwrap()
    );
}

#[test]
fn unknown_sections_and_fields_are_named() {
    assert!(refusal("/ballon", json!({})).contains("`ballon`"));
    assert!(refusal("/balloon/amount", json!(1)).contains("`amount`"));
    assert!(refusal("/network-interfaces/0/mac", json!("")).contains("`mac`"));
    assert!(refusal("/drives/0/rate_limiter/ops/burst", json!(1)).contains("`burst`"));
    assert!(refusal("/metrics/path", json!("")).contains("`path`"));
    assert!(refusal("/machine-config/cpus", json!(2)).contains("`cpus`"));
    assert!(refusal("/entropy/rate", json!(1)).contains("`rate`"));
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
    assert!(refusal("/machine-config/vcpu_count", json!(300)).contains("number from 1 to 32"));
    assert!(refusal("/machine-config/vcpu_count", json!(-1)).contains("number from 1 to 32"));
    assert!(refusal("/machine-config/vcpu_count", json!(1.5)).contains("number from 1 to 32"));
    assert!(refusal("/machine-config/vcpu_count", json!("2")).contains("number from 1 to 32"));
    assert!(refusal("/machine-config/vcpu_count", Value::Null).contains("number from 1 to 32"));
    assert!(
        refusal("/drives/0/queues", json!(17)).contains("drives.queues is 17; it must be from 1")
    );
    assert!(
        refusal("/network-interfaces/0/mtu", json!(67)).contains("mtu is 67; it must be from 68")
    );
    assert!(refusal("/network-interfaces/0/mtu", json!(65536)).contains("from 68 to 65535"));
    assert!(refusal("/network-interfaces/0/queues", json!(0)).contains("queues is 0"));
    assert!(refusal("/shares/0/queues", json!(0)).contains("shares.queues is 0"));
    assert!(refusal("/balloon/amount_mib", json!(513)).contains("from 0 to 512"));
    assert!(refusal("/balloon/stats_polling_interval_s", json!(65536)).contains("0 to 65535"));
    assert!(refusal("/console/rows", json!(0)).contains("console.rows is 0"));
    let refill = refusal("/entropy/rate_limiter/ops/refill_time", json!(u64::MAX));
    assert!(refill.contains("refill_time is 18446744073709551615; it must be from 0"));
    assert!(refusal("/entropy/rate_limiter/ops/size", json!(-1)).contains("number from 0 to"));
    assert!(refusal("/machine-config/vcpu_count", json!(3)).contains("even vcpu_count"));
    assert!(parse(&json!({ "boot-source": { "kernel_image_path": "k" }, "machine-config": { "vcpu_count": 1, "mem_size_mib": 64, "smt": true } })).is_ok());
    let odd = json!({ "vcpu_count": 1, "mem_size_mib": 65, "huge_pages": "2M" });
    assert!(refusal("/machine-config", odd).contains("multiple of 2"));
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
    let roots = refusal("/pmem/0/root_device", json!(true));
    assert!(
        roots.contains("\"image\" and \"p\" of pmem both"),
        "{roots}"
    );
    assert!(refusal("/drives/0/socket", json!("/vhost")).contains("vhost-user"));
    assert!(refusal("/drives/0/serial", json!("x".repeat(21))).contains("1 to 20 printable"));
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

#[test]
fn interfaces_are_checked_against_each_other() {
    let interface = "/network-interfaces/1";
    let field = |name: &str, value: Value| refusal(&format!("{interface}/{name}"), value);
    assert!(field("iface_id", json!("eth0")).contains("two of them have the iface_id"));
    assert!(field("guest_mac", json!("06:00:ac:10:00:02")).contains("already in use"));
    for mac in [
        "",
        "06:00:ac:10:00",
        "06:00:ac:10:00:02:03",
        "6:0:ac:10:0:2",
        "+6:00:ac:10:00:02",
    ] {
        assert!(
            field("guest_mac", json!(mac)).contains("is not a MAC address"),
            "{mac}"
        );
    }
    assert!(field("guest_mac", json!("01:00:5e:00:00:01")).contains("one station"));
    assert!(field("host_dev_name", json!("a-name-of-16-byte")).contains("at most 15 bytes"));
    assert!(field("host_dev_name", json!("")).contains("host_dev_name is \"\""));
    for address in ["10.0.0.0/24", "10.0.0", "x", ""] {
        let sentence = field("allowed_addresses", json!([address]));
        assert!(sentence.contains("invalid IP address"), "{sentence}");
    }
    let many = field("allowed_addresses", json!(vec!["10.0.0.2"; 65]));
    assert!(
        many.contains("there are 65; there can be at most 64"),
        "{many}"
    );
    let lease = |lease: Value| field("dhcp", lease);
    let short = lease(json!({ "address": "10.0.0.2", "prefix_length": 0 }));
    assert!(short.contains("from 1 to 32"), "{short}");
    let group = lease(json!({ "address": "224.0.0.1", "prefix_length": 24 }));
    assert!(group.contains("the address of one host"), "{group}");
    let dns = vec!["192.0.2.53"; 9];
    let many = lease(json!({ "address": "10.0.0.2", "prefix_length": 24, "dns": dns }));
    assert!(many.contains("at most 8"), "{many}");
    assert!(lease(json!({ "address": "10.0.0.2" })).contains("prefix_length"));
    assert!(refusal("/mmds-config/network_interfaces", json!(["eth9"])).contains("\"eth9\""));
    assert!(refusal("/mmds-config/network_interfaces", json!([])).contains("is empty"));
    for address in ["169.254.0.1", "169.254.255.1", "10.0.0.1"] {
        assert!(refusal("/mmds-config/ipv4_address", json!(address)).contains("link-local"));
    }
}

#[test]
fn a_stream_is_one_descriptor_that_was_handed_over() {
    let interface = |name: &str, queues: u8| {
        let interface = json!({
            "iface_id": "eth0", "host_dev_name": name, "backend": "stream", "queues": queues,
            "dhcp": { "address": "10.0.0.2", "prefix_length": 24, "gateway": "10.0.0.1", "dns": ["192.0.2.53"] },
        });
        let mut config = valid();
        config["network-interfaces"] = json!([interface]);
        parse(&config)
    };
    let config = interface("fd:net0", 1).unwrap();
    let [interface_] = &config.network_interfaces[..] else {
        panic!("{config:?}");
    };
    assert_eq!(interface_.backend, NetworkBackend::Stream);
    let again = serde_json::to_vec(&config).unwrap();
    assert_eq!(VmConfig::parse(&again).unwrap(), config);
    let named = interface("tap0", 1).unwrap_err().to_string();
    assert!(named.contains("fd:NAME, a connected socket"), "{named}");
    let many = interface("fd:net0", 2).unwrap_err().to_string();
    assert!(many.contains("of a stream is 2"), "{many}");
}

#[test]
fn memory_and_cpus_are_checked() {
    let hotplug = |json: Value| refusal("/memory-hotplug", json);
    assert!(hotplug(json!({ "total_size_mib": 100 })).contains("from 128 to"));
    assert!(hotplug(json!({ "total_size_mib": 200 })).contains("multiple of slot_size_mib, 128"));
    assert!(hotplug(json!({ "total_size_mib": 256, "block_size_mib": 3 })).contains("power of 2"));
    assert!(hotplug(json!({ "total_size_mib": 256, "block_size_mib": 1 })).contains("from 2 to"));
    let many = json!({ "total_size_mib": 1 << 22, "slot_size_mib": 128, "block_size_mib": 2 });
    assert!(hotplug(many).contains("2097152 blocks"));
    let slot = json!({ "total_size_mib": 260, "slot_size_mib": 130, "block_size_mib": 4 });
    assert!(hotplug(slot).contains("multiple of block_size_mib, 4"));
    let affinity = |json: Value| refusal("/machine-config/cpu_affinity", json);
    assert!(affinity(json!([[0]])).contains("1 lists for 2 vCPUs"));
    assert!(affinity(json!([[0], []])).contains("leaves vCPU 1 no CPU"));
    assert!(affinity(json!([[0], [8192]])).contains("from 0 to 8191"));
    assert!(refusal("/machine-config/cpu_template", json!("V1N1")).contains("for x86-64"));
    assert!(refusal("/machine-config/reboot", json!("stop")).contains("`restart`"));
    assert!(refusal("/console/rows", Value::Null).contains("go together"));
    assert!(refusal("/shares/0/tag", json!("x".repeat(37))).contains("1 to 36"));
    assert!(refusal("/shares/0/cache", json!("sometimes")).contains("`always`"));
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

#[test]
fn fields_are_there_once_also_where_any_field_can_be() {
    let metrics = |properties: &str| {
        let body = format!(r#"{{"metrics_path": "/m", "properties": {properties}}}"#);
        crate::Request::parse(crate::request::Method::Put, "/metrics", body.as_bytes())
    };
    assert!(metrics(r#"{"a": "1", "b": "1"}"#).is_ok());
    let twice = metrics(r#"{"a": "1", "b": "2", "a": "3"}"#).unwrap_err();
    assert!(twice.message.contains("duplicate field `a`"), "{twice}");

    for (json, field) in [
        (r#"{"a": 1, "a": 1}"#, "a"),
        (r#"{"a": {"b": [{"c": 1, "\u0063": null}]}}"#, "c"),
    ] {
        for method in [crate::request::Method::Put, crate::request::Method::Patch] {
            let fault = crate::Request::parse(method, "/mmds", json.as_bytes()).unwrap_err();
            assert!(
                fault
                    .message
                    .contains(&format!("duplicate field `{field}`")),
                "{fault}"
            );
        }
        assert!(crate::Metadata::read(json.as_bytes()).is_err());
    }
    let fine = br#"{"a": {"b": 1}, "b": [{"a": 1}, {"a": 1.5e300}], "": -1}"#;
    let read = crate::Metadata::read(fine).unwrap();
    assert_eq!(read, serde_json::from_slice::<Value>(fine).unwrap());
}

#[test]
fn there_are_places_for_so_many_devices() {
    let config = |drives: usize, shares: usize| {
        let drives: Vec<_> = (0..drives)
            .map(|n| serde_json::json!({ "drive_id": format!("d{n}"), "path_on_host": "/d", "is_root_device": false }))
            .collect();
        let shares: Vec<_> = (0..shares)
            .map(|n| serde_json::json!({ "tag": format!("s{n}"), "path": "/s" }))
            .collect();
        let config = serde_json::json!({
            "boot-source": { "kernel_image_path": "/k" },
            "drives": drives,
            "shares": shares,
            "vsock": { "guest_cid": 3, "uds_path": "/v" },
            "entropy": {},
        });
        VmConfig::parse(config.to_string().as_bytes())
    };
    assert!(config(12, 5).is_ok());
    let sentence = config(12, 6).unwrap_err().to_string();
    assert!(
        sentence.starts_with("there are 20 devices, and a microVM has places for 19"),
        "{sentence}"
    );
    let sentence = config(13, 0).unwrap_err().to_string();
    assert_eq!(sentence, "drives: there are 13; there can be at most 12");
}
