//! Sockets of processes that live, and of those that do not.

use std::os::unix::net::UnixListener;

use hull_vm_api::{ExitCause, Stage};
use rustix::process::Signal;

use crate::common::guest::Code;
use crate::common::{Configured, Vm, no_kvm};
use crate::{counting, powers_off};

#[test]
fn sockets_of_the_dead_are_replaced_and_those_of_the_living_are_not() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    drop(UnixListener::bind(vm.path("api")).unwrap());
    let (running, client) = vm.serve(Configured::ByApi);
    assert_eq!(client.instance().unwrap().state, Stage::NotStarted);
    let second = vm.command_with(&["--api-sock", &vm.path("api").to_string_lossy()]);
    let refusal = second.refusal(ExitCause::NoResource);
    assert!(
        refusal.contains("another process listens at") && refusal.contains("--api-sock"),
        "{refusal}"
    );
    assert_eq!(client.instance().unwrap().state, Stage::NotStarted);
    running.signal(Signal::TERM);
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::Terminated);
    assert!(ended.sentence().contains("not been started"), "{ended:?}");
    assert!(!vm.path("api").exists());
}

#[test]
fn what_a_killed_process_left_does_not_keep_another_from_the_same_paths() {
    if no_kvm() {
        return;
    }
    let mut vm = Vm::of(&counting());
    let (running, client) = vm.serve(Configured::ByFile);
    assert_eq!(client.instance().unwrap().state, Stage::Running);
    let (api, vsock) = (vm.path("api"), vm.path("vsock"));
    running.signal(Signal::KILL);
    running.wait();
    // Nothing of a killed process runs on, but nobody could take its sockets away.
    assert!(api.exists() && vsock.exists());
    assert!(client.instance().is_err());

    std::fs::copy(vm.path("kernel"), vm.path("before")).unwrap();
    let next = Vm::of(&Code::new().power_off());
    std::fs::copy(next.path("kernel"), vm.path("kernel")).unwrap();
    vm.args.clear();
    let (running, client) = vm.serve(Configured::ByApi);
    let config = serde_json::from_value(vm.config["vsock"].clone()).unwrap();
    client.put_vsock(&config).unwrap();
    client.put_boot_source(&crate::boot(&vm, "kernel")).unwrap();
    client.start().unwrap();
    powers_off(running);
    assert!(!api.exists() && !vsock.exists());
}
