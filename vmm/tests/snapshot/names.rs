//! What is found by a snapshot's names while, or after, another one was to take its place.

use std::fs;
use std::io::Write;

use serde_json::json;

use crate::common::{Configured, Vm, fifo, no_kvm};
use crate::kills::fill;
use crate::{Clone, refusal, snapshot};

#[test]
fn one_of_two_snapshots_is_there_whenever_the_second_was_interrupted() {
    if no_kvm() {
        return;
    }
    // A guest that says how often a key was pressed.
    let code = fill()
        .print("ready\n")
        .await_key()
        .print("once\n")
        .await_key();
    let vm = Vm::of(&code.print("twice\n").power_off()).serial();
    let mut keys = fifo(&vm, "keys");
    let path = vm.path("keys");
    let vm = vm
        .set("/serial/serial_in_path", json!(path))
        .set("/vsock", json!(null));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let take = |name| {
        client.pause().unwrap();
        let pair = snapshot(&client, &vm, name);
        client.resume().unwrap();
        pair
    };
    let old = take("old");
    keys.write_all(b"x").unwrap();
    running.await_output("once\n");
    let new = take("new");
    drop(running);
    let goes_on_with = |said: &str| {
        let mut clone = Clone::load(&old.load());
        clone.press("x");
        clone.running.await_output(said);
    };
    let refused = || {
        let clone = Clone::new(Vm::empty(), true);
        refusal(clone.client.load_snapshot(&old.load()))
    };
    let pending = vm.path("old.state.pending");
    // The new state is there, and its memory is not in its place.
    fs::copy(&new.state, &pending).unwrap();
    goes_on_with("once\n");
    // Now it is, and the state is not.
    fs::rename(&new.memory, &old.memory).unwrap();
    goes_on_with("twice\n");
    // So it is where there was none before.
    fs::rename(&old.state, vm.path("away")).unwrap();
    goes_on_with("twice\n");
    // What is no state does not count, and what was named is told of.
    fs::write(&pending, "none").unwrap();
    assert!(refused().contains("old.state"), "{}", refused());
    fs::rename(vm.path("away"), &old.state).unwrap();
    assert!(refused().contains("another snapshot"), "{}", refused());
    fs::rename(&new.state, &old.state).unwrap();
    goes_on_with("twice\n");
}
