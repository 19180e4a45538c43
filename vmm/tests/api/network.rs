//! TAPs that are missing, taken or none, in a network namespace of the test's own.

use std::process::{Command, Stdio};

use hull_vm_api::Client;
use hull_vm_api::config::{HostPath, NetworkInterface};

use crate::common::guest::Code;
use crate::common::{Running, Vm, no_kvm};
use crate::{boot, counting, interrupt, powers_off, refusal, waiting};

/// Another process in the network of one that runs.
fn beside(first: &Running, vm: &Vm) -> (Running, Client) {
    let pid = first.pid().as_raw_nonzero().get().to_string();
    let mut command = Command::new("nsenter");
    command.args(["--net", "--target", &pid]);
    command.arg(env!("CARGO_BIN_EXE_hull-vmm"));
    command.arg("--api-sock").arg(vm.path("api"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = Running::of(command.spawn().unwrap());
    running.await_log("serving the API at ");
    (running, Client::new(vm.path("api")))
}

fn interface(tap: &str) -> NetworkInterface {
    NetworkInterface::new("n", HostPath::from(tap))
}

#[test]
fn a_tap_that_cannot_be_had_is_named_and_another_is_taken() {
    if no_kvm() {
        return;
    }
    let mut vm = Vm::of(&counting());
    vm.own_network = true;
    let (first, client) = waiting(&vm);
    client
        .put_network_interface(&interface("hulltap0"))
        .unwrap();
    client.start().unwrap();

    let other = Vm::of(&Code::new().power_off());
    let (second, client) = beside(&first, &other);
    client.put_boot_source(&boot(&other, "kernel")).unwrap();
    for (tap, why) in [
        ("hulltap0", "busy"),
        ("lo", "is no TAP device"),
        ("hull-mistyped", "there is no TAP device"),
        ("fd:nothing", "no descriptor of that name was handed over"),
        ("a_name_that_is_too_long", "15"),
    ] {
        let put = client.put_network_interface(&interface(tap));
        let sentence = match put {
            Ok(()) => refusal(client.start()),
            Err(error) => error.to_string(),
        };
        assert!(
            sentence.to_lowercase().contains(&why.to_lowercase()),
            "{tap}: {sentence}"
        );
    }
    client
        .put_network_interface(&interface("hulltap1"))
        .unwrap();
    client.start().unwrap();
    powers_off(second);
    interrupt(first);
}
