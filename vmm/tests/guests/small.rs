//! The serial port, the console, the random number generator and an NMI, on a machine with ACPI.

use std::fs;

use hull_vm_api::config::ConsoleUpdate;
use hull_vm_api::request::Action;
use serde_json::json;

use crate::common::no_kvm;
use crate::shell::{Machine, await_that};

#[test]
fn with_acpi_there_are_a_serial_port_a_console_random_numbers_and_an_nmi() {
    if no_kvm() {
        return;
    }
    // The shell itself is on the serial port: without an interrupt of its own its output would be lost.
    let machine = Machine::with(1, 128, "", &[]);
    let output = machine.path("console");
    let console = json!({ "output_path": output, "rows": 24, "columns": 80 });
    let machine = machine.set("/console", console).set("/entropy", json!({}));
    let mut guest = machine.boot();
    let line = "0123456789".repeat(100);
    let script = format!("for i in 1 2 3 4 5; do echo {line}; done");
    assert_eq!(guest.sh(&script), format!("{line}\n").repeat(5));
    let interrupts = guest.sh("grep -w ttyS0 /proc/interrupts");
    assert!(interrupts.contains(" 4-edge "), "{interrupts}");
    guest.sh("[ -e /sys/bus/pnp/drivers/serial/00:00 ]");

    assert_eq!(guest.sh("stty -F /dev/hvc0 size"), "24 80\n");
    let (rows, columns) = (50, 132);
    let update = ConsoleUpdate { rows, columns };
    guest.client.patch_console(&update).unwrap();
    guest.sh("until [ \"$(stty -F /dev/hvc0 size)\" = '50 132' ]; do :; done");
    guest.sh("echo to the console >/dev/hvc0");
    await_that("the console's output", || {
        fs::read_to_string(&output).is_ok_and(|text| text == "to the console\r\n")
    });

    let current = guest.sh("cat /sys/class/misc/hw_random/rng_current");
    assert_eq!(current, "virtio_rng.0\n");
    let random = guest.sh("
        head -c 512 /dev/hwrng >/tmp/one; head -c 512 /dev/hwrng >/tmp/two
        wc -c </tmp/one; cmp -s /tmp/one /tmp/two && echo the same || true
        ");
    assert_eq!(random, "512\n");

    // What the kernel says of it comes between the lines of the script.
    guest.client.action(Action::SendNmi).unwrap();
    guest.begin("until dmesg | grep -q 'NMI received'; do :; done; echo it came");
    guest.await_line("it came");
    guest.status();
    guest.power_off();
}
