//! The balloon: what the guest has no use for goes back to the host, and comes again when it is wanted.

use hull_vm_api::config::{BalloonUpdate, HintingStart};
use serde_json::json;

use crate::common::no_kvm;
use crate::shell::{Guest, Machine, await_that};

/// The guest's memory in MiB.
const MEMORY: u32 = 256;
/// How much of it the guest writes to.
const DIRTY: u32 = 64;
/// How much it writes to when the balloon leaves it some 40 MiB: each page more is looked for everywhere before the balloon gives it back,
/// which takes an emulated kernel some 6 s per MiB.
const MORE: u32 = 48;
/// The ends of a run of hinting, by the host and by the guest (virtio 1.2, section 5.5.6.4).
const DONE: u32 = 1;
const STOP: u32 = 0;
/// What a machine's process and a guest that does nothing hold, in MiB, with room for what differs from host to host.
const IDLE: u64 = 56;

/// A program writes to so many MiB of memory, and ends.
fn dirty(guest: &mut Guest, mib: u32) {
    guest.sh(&format!("dd if=/dev/zero of=/dev/null bs={mib}M count=1"));
}

fn balloon(hinting: bool, reporting: bool) -> Machine {
    Machine::new(1, MEMORY).set(
        "/balloon",
        json!({
            "amount_mib": 0, "deflate_on_oom": true, "stats_polling_interval_s": 1,
            "free_page_hinting": hinting, "free_page_reporting": reporting,
        }),
    )
}

#[test]
fn a_balloon_takes_memory_and_gives_it_back_and_pages_are_hinted() {
    if no_kvm() {
        return;
    }
    let mut guest = balloon(true, false).boot();
    dirty(&mut guest, DIRTY);
    let full = guest.resident();
    assert!(full > u64::from(DIRTY), "{full} MiB");
    hinted(&mut guest, full);

    dirty(&mut guest, DIRTY);
    let before = guest.resident();
    assert!(before > u64::from(DIRTY), "{before} MiB");
    inflate(&guest, MEMORY - 64);
    let after = guest.resident();
    // What is left is what the balloon has not, and the process itself.
    assert!(after < 64 + 24, "{after} MiB of {before} MiB");
    statistics(&mut guest);

    inflate(&guest, 0);
    dirty(&mut guest, DIRTY);
    let again = guest.resident();
    assert!(again > u64::from(DIRTY), "{again} MiB");
    out_of_memory(&mut guest);
    guest.power_off();
}

/// The host asks what is free and takes it; the guest has it back afterwards.
fn hinted(guest: &mut Guest, full: u64) {
    guest
        .client
        .start_hinting(&HintingStart::default())
        .unwrap();
    await_that("free pages are hinted", || {
        guest.resident() + u64::from(DIRTY) * 3 / 4 < full
    });
    await_that("hinting is over", || {
        let status = guest.client.hinting_status().unwrap();
        (status.host_cmd, status.guest_cmd) == (DONE, Some(STOP))
    });
}

/// Sets the balloon's size, and waits until it has it.
fn inflate(guest: &Guest, amount_mib: u32) {
    let update = BalloonUpdate { amount_mib };
    guest.client.patch_balloon(&update).unwrap();
    await_that("the balloon has its size", || {
        let statistics = guest.client.balloon_statistics().unwrap();
        assert_eq!(statistics.target_mib, u64::from(amount_mib));
        statistics.actual_mib == u64::from(amount_mib)
    });
}

/// What the guest says of its memory is what its own programs see.
fn statistics(guest: &mut Guest) {
    let total = guest.sh("awk '/MemTotal/ { print $2 }' /proc/meminfo");
    let total: u64 = total.trim().parse().unwrap();
    await_that("statistics come", || {
        let statistics = guest.client.balloon_statistics().unwrap();
        statistics.total_memory == Some(total << 10)
    });
    let statistics = guest.client.balloon_statistics().unwrap();
    let (free, available) = (statistics.free_memory, statistics.available_memory);
    assert!(free > Some(0) && free < Some(total << 10), "{free:?}");
    assert!(available > Some(0), "{available:?}");
    assert!(statistics.minor_faults > Some(0));
}

/// A guest that needs more than the balloon left it gets it, and nothing is killed.
fn out_of_memory(guest: &mut Guest) {
    inflate(guest, MEMORY - 64);
    dirty(guest, MORE);
    let statistics = guest.client.balloon_statistics().unwrap();
    assert!(statistics.actual_mib < u64::from(MEMORY - 64));
}

#[test]
fn free_pages_are_reported_and_the_host_has_them_back() {
    if no_kvm() {
        return;
    }
    let mut guest = balloon(false, true).boot();
    guest.begin(&format!(
        "dd if=/dev/zero of=/dev/null bs={DIRTY}M count=1; echo done"
    ));
    // It grows, although pages go back as soon as they are free.
    await_that("memory is used", || guest.resident() > u64::from(DIRTY));
    guest.await_line("done");
    guest.status();
    await_that("free pages are reported", || guest.resident() < IDLE);
    let before = guest.client.metrics().unwrap();
    assert!(reported(&before) > 0, "{before}");
    guest.power_off();
}

/// How many bytes were reported.
fn reported(metrics: &str) -> u64 {
    let name = "hull_balloon_free_page_report_freed_total";
    let line = metrics.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.rsplit(' ').next()?.parse().ok()
    });
    line.unwrap_or_else(|| panic!("{metrics}"))
}
