//! Metadata: from a file, and changed while the guest runs.

use std::fs;

use hull_vm_api::{ExitCause, Stage};
use rustix::process::Signal;
use serde_json::json;

use crate::common::{Configured, Vm, no_kvm};
use crate::{counting, refusal};

#[test]
fn metadata_is_there_from_a_file_and_changes_while_the_guest_runs() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting());
    fs::write(vm.path("metadata"), r#"{"a": {"b": "c"}}"#).unwrap();
    let metadata = vm.path("metadata");
    let vm = vm
        .arg(&format!("--metadata={}", metadata.display()))
        .arg("--mmds-size-limit=40");
    for configured in [Configured::ByFile, Configured::ByApi] {
        let (running, client) = vm.serve(configured);
        assert_eq!(client.mmds().unwrap(), json!({"a": {"b": "c"}}));
        client.patch_mmds(&json!({"a": null, "d": 1})).unwrap();
        assert_eq!(client.mmds().unwrap(), json!({"d": 1}));
        let sentence = refusal(client.put_mmds(&json!({"x": "y".repeat(40)})));
        assert!(sentence.contains("the limit is 40"), "{sentence}");
        running.signal(Signal::INT);
        running.wait();
    }
    fs::write(vm.path("metadata"), "[1]").unwrap();
    let ended = vm.start().end();
    assert!(
        ended
            .refusal(ExitCause::BadConfig)
            .contains("--metadata is no JSON object")
    );
}

#[test]
fn a_body_may_be_as_long_as_the_command_line_says() {
    let vm = Vm::empty().arg("--http-api-max-payload-size=100");
    let (running, client) = vm.serve(Configured::ByApi);
    let sentence = refusal(client.put_mmds(&json!({"x": "y".repeat(100)})));
    assert!(sentence.contains("100"), "{sentence}");
    assert_eq!(client.instance().unwrap().state, Stage::NotStarted);
    running.signal(Signal::INT);
    running.wait();
}
