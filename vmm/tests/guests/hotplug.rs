//! Memory that is plugged in and out while the guest runs (virtio-mem).

use hull_vm_api::config::MemoryHotplugUpdate;
use serde_json::json;

use crate::common::no_kvm;
use crate::shell::{Guest, Machine, await_that};

/// How much is plugged in, in MiB.
const MORE: u32 = 128;

fn total(guest: &mut Guest) -> u64 {
    let total = guest.sh("awk '/MemTotal/ { print $2 }' /proc/meminfo");
    total.trim().parse::<u64>().unwrap() >> 10
}

/// Waits until the guest has at least so much for its programs: it tells the device first, and its own tables later.
fn await_total(guest: &mut Guest, mib: u64) {
    guest.sh(&format!(
        "until [ $(awk '/MemTotal/ {{ print $2 }}' /proc/meminfo) -ge {} ]; do :; done",
        mib << 10
    ));
}

/// Asks for so much, and waits until the device has given or taken it.
fn request(guest: &Guest, requested_size_mib: u32) {
    let update = MemoryHotplugUpdate { requested_size_mib };
    guest.client.patch_memory_hotplug(&update).unwrap();
    await_that("memory is plugged", || {
        let status = guest.client.memory_hotplug().unwrap();
        status.plugged_size_mib == u64::from(requested_size_mib)
    });
}

#[test]
fn memory_is_plugged_in_used_and_taken_out_again() {
    if no_kvm() {
        return;
    }
    let machine = Machine::new(1, 128).set("/memory-hotplug", json!({ "total_size_mib": 256 }));
    let mut guest = machine.boot();
    let before = total(&mut guest);
    request(&guest, MORE);
    // A little of it is for the guest's own tables.
    await_total(&mut guest, before + u64::from(MORE) * 9 / 10);
    // More than there was without it.
    guest.sh("dd if=/dev/zero of=/dev/null bs=100M count=1");
    let full = guest.resident();
    assert!(full > 110, "{full} MiB");
    request(&guest, 0);
    let after = total(&mut guest);
    assert!(after <= before, "{before} {after}");
    let left = guest.resident();
    assert!(left < full - 40, "{left} MiB of {full} MiB");
    // And once more, another size.
    request(&guest, MORE / 2);
    await_total(&mut guest, before + u64::from(MORE) / 2 * 9 / 10);
    guest.power_off();
}
