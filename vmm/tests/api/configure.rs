//! Everything that can be put, changed and deleted before the start, of a real process.

use std::fs::{self, File};

use hull_vm_api::config::{
    Balloon, Console, Drive, Entropy, MemoryHotplug, MmdsConfig, MmdsVersion, NetworkInterface,
    Pmem, PmemUpdate, RateLimiter, Serial, Share, ShareCache, TokenBucket, Vsock,
};
use hull_vm_api::{Client, Stage};
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Vm, no_kvm};
use crate::{Raw, path, powers_off, refusal, waiting};

fn file(vm: &Vm, name: &str, size: u64) {
    File::create(vm.path(name)).unwrap().set_len(size).unwrap();
}

fn pmem(vm: &Vm, id: &str, file: &str) -> Pmem {
    Pmem {
        id: id.to_owned(),
        path_on_host: Some(path(vm, file)),
        parts: Vec::new(),
        root_device: false,
        read_only: false,
        rate_limiter: None,
    }
}

fn share(vm: &Vm, tag: &str) -> Share {
    Share {
        tag: tag.to_owned(),
        path: path(vm, "shared"),
        read_only: true,
        cache: ShareCache::Auto,
        queues: 1,
    }
}

fn drive(vm: &Vm, id: &str, file: &str) -> Drive {
    Drive {
        path_on_host: Some(path(vm, file)),
        ..Drive::new(id)
    }
}

/// A machine with one device of each kind but those in `/cpu-config`.
fn one_of_each(vm: &Vm, client: &Client) {
    file(vm, "disk", 8192);
    file(vm, "pmem", 4096);
    fs::create_dir(vm.path("shared")).unwrap();
    client.put_drive(&drive(vm, "d", "disk")).unwrap();
    client.put_pmem(&pmem(vm, "p", "pmem")).unwrap();
    client
        .put_network_interface(&NetworkInterface::new("n", "hulltap0".into()))
        .unwrap();
    client.put_share(&share(vm, "s")).unwrap();
    client.put_vsock(&Vsock::new(3, path(vm, "vsock"))).unwrap();
    client.put_entropy(&Entropy::default()).unwrap();
    let serial = Serial {
        serial_out_path: Some(path(vm, "serial")),
        ..Serial::default()
    };
    client.put_serial(&serial).unwrap();
    client
        .put_console(&Console::new(path(vm, "console")))
        .unwrap();
    client
        .put_balloon(&Balloon {
            amount_mib: 1,
            deflate_on_oom: true,
            stats_polling_interval_s: 1,
            free_page_hinting: true,
            free_page_reporting: true,
        })
        .unwrap();
    client
        .put_memory_hotplug(&MemoryHotplug {
            total_size_mib: 256,
            slot_size_mib: 128,
            block_size_mib: 2,
        })
        .unwrap();
    client
        .put_mmds_config(&MmdsConfig {
            version: MmdsVersion::V2,
            network_interfaces: vec!["n".to_owned()],
            ipv4_address: None,
            imds_compat: false,
        })
        .unwrap();
}

#[test]
fn a_machine_has_every_device_that_was_put_and_none_that_was_deleted() {
    if no_kvm() {
        return;
    }
    let mut vm = Vm::of(&Code::new().print("up\n").power_off());
    vm.own_network = true;
    let (running, client) = waiting(&vm);
    one_of_each(&vm, &client);
    // Others, which go again.
    client
        .put_drive(&drive(&vm, "gone", "no/such/disk"))
        .unwrap();
    client.put_pmem(&pmem(&vm, "gone", "no/such/file")).unwrap();
    client
        .put_network_interface(&NetworkInterface::new("gone", "hulltap0".into()))
        .unwrap();
    client.put_share(&share(&vm, "gone")).unwrap();
    client.delete_drive("gone").unwrap();
    client.delete_pmem("gone").unwrap();
    client.delete_network_interface("gone").unwrap();
    client.delete_share("gone").unwrap();
    for sentence in [
        refusal(client.delete_drive("gone")),
        refusal(client.delete_pmem("gone")),
        refusal(client.delete_network_interface("gone")),
        refusal(client.delete_share("gone")),
    ] {
        assert!(
            sentence.contains("there is none with the") && sentence.contains("\"gone\""),
            "{sentence}"
        );
    }
    // The metadata service is reached through it.
    let used = refusal(client.delete_network_interface("n"));
    assert!(used.contains("mmds-config.network_interfaces"), "{used}");

    let config = client.config().unwrap();
    assert_eq!(
        (
            config.drives.len(),
            config.pmem.len(),
            config.network_interfaces.len(),
            config.shares.len()
        ),
        (1, 1, 1, 1)
    );
    assert_eq!(client.balloon().unwrap().amount_mib, 1);
    assert!(config.memory_hotplug.is_some() && config.mmds_config.is_some());
    client.put_mmds(&json!({ "a": 1 })).unwrap();
    client.start().unwrap();
    powers_off(running);
    assert_eq!(fs::read_to_string(vm.path("serial")).unwrap(), "up\n");
}

#[test]
fn limits_of_persistent_memory_and_the_pace_of_statistics_change() {
    if no_kvm() {
        return;
    }
    let mut vm = Vm::of(&Code::new().print("up\n").spin());
    vm.own_network = true;
    let (running, client) = waiting(&vm);
    one_of_each(&vm, &client);
    client.start().unwrap();
    let limit = Some(RateLimiter {
        bandwidth: None,
        ops: Some(TokenBucket {
            size: 7,
            one_time_burst: None,
            refill_time: 100,
        }),
    });
    let update = |id: &str| PmemUpdate {
        id: id.to_owned(),
        rate_limiter: limit,
    };
    client.patch_pmem(&update("p")).unwrap();
    assert_eq!(client.config().unwrap().pmem[0].rate_limiter, limit);
    let missing = refusal(client.patch_pmem(&update("q")));
    assert!(missing.contains("\"q\""), "{missing}");

    let pace = |seconds| {
        client.patch_balloon_statistics(&hull_vm_api::config::BalloonStatsUpdate {
            stats_polling_interval_s: seconds,
        })
    };
    pace(7).unwrap();
    assert_eq!(client.balloon().unwrap().stats_polling_interval_s, 7);
    // Whether there are statistics is said to the driver once.
    refusal(pace(0));
    assert_eq!(client.balloon().unwrap().stats_polling_interval_s, 7);
    assert_eq!(client.instance().unwrap().state, Stage::Running);
    crate::interrupt(running);
}

#[test]
fn what_is_put_is_started_with_or_was_refused_where_it_was_put() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    let limited = json!({
        "serial_out_path": vm.path("serial"),
        "rate_limiter": { "size": 1000, "refill_time": 100 },
    });
    let machine = |field: &str, value: serde_json::Value| json!({ "vcpu_count": 1, "mem_size_mib": 64, field: value });
    for (path, body) in [
        ("/cpu-config", json!({})),
        ("/serial", limited),
        ("/machine-config", machine("prefault", json!(true))),
        ("/machine-config", machine("cpu_affinity", json!([[0]]))),
        ("/machine-config", machine("reboot", json!("exit"))),
    ] {
        let (running, client) = waiting(&vm);
        let before = client.config().unwrap();
        let put = Raw::connect(&vm).ask("PUT", path, &body.to_string());
        if put.status == 400 {
            assert!(put.message().contains("is not supported"), "{put:?}");
            assert_eq!(client.config().unwrap(), before);
        } else {
            assert_eq!(put.status, 204, "{put:?}");
        }
        client.start().unwrap();
        powers_off(running);
    }
}

#[test]
fn one_device_too_many_is_refused_when_it_is_put() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    let (running, client) = waiting(&vm);
    file(&vm, "disk", 8192);
    fs::create_dir(vm.path("shared")).unwrap();
    let read_only = |id: String| Drive {
        is_read_only: true,
        ..drive(&vm, &id, "disk")
    };
    for number in 0..12 {
        client.put_drive(&read_only(format!("d{number}"))).unwrap();
    }
    for number in 0..7 {
        client
            .put_share(&share(&vm, &format!("s{number}")))
            .unwrap();
    }
    let many = refusal(client.put_entropy(&Entropy::default()));
    assert!(many.contains("places for 19"), "{many}");
    let many = refusal(client.put_drive(&read_only("d12".to_owned())));
    assert!(many.contains("at most 12"), "{many}");
    // All that were taken can be had.
    client.start().unwrap();
    powers_off(running);
}
