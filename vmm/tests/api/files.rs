//! Files that are missing, locked, too short, empty or no files: said at the start, and the next start goes well.

use std::fs::{self, File};

use hull_vm_api::Stage;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::common::guest::Code;
use crate::common::{Vm, fifo, no_kvm};
use crate::{Raw, powers_off, waiting};

/// One thing that does not serve: what is put, and what the refusal of the start says.
struct Case {
    path: &'static str,
    body: Value,
    says: &'static str,
    /// Takes it back.
    undo: (&'static str, &'static str, Value),
}

fn drive(vm: &Vm, name: &str) -> Value {
    json!({ "drive_id": "d", "path_on_host": vm.path(name), "is_root_device": false })
}

fn pmem(vm: &Vm, name: &str) -> Value {
    json!({ "id": "p", "path_on_host": vm.path(name) })
}

fn cases(vm: &Vm) -> Vec<Case> {
    let case = |path, body, says, undo| Case {
        path,
        body,
        says,
        undo,
    };
    let disk = |name, says| {
        let undo = ("DELETE", "/drives/d", Value::Null);
        case("/drives/d", drive(vm, name), says, undo)
    };
    let memory = |name, says| {
        let undo = ("DELETE", "/pmem/p", Value::Null);
        case("/pmem/p", pmem(vm, name), says, undo)
    };
    let boot = |body, says| {
        let good = json!({ "kernel_image_path": vm.path("kernel") });
        case("/boot-source", body, says, ("PUT", "/boot-source", good))
    };
    let kernel = |name: &str, says| boot(json!({ "kernel_image_path": vm.path(name) }), says);
    let initrd = |name: &str, says| {
        let kernel = vm.path("kernel");
        boot(
            json!({ "kernel_image_path": kernel, "initrd_path": vm.path(name) }),
            says,
        )
    };
    let share = |name: &str, says| {
        let body = json!({ "tag": "s", "path": vm.path(name) });
        case(
            "/shares/s",
            body,
            says,
            ("DELETE", "/shares/s", Value::Null),
        )
    };
    vec![
        disk("missing", "missing"),
        disk("empty", "empty"),
        disk("short", "100 bytes"),
        disk("directory", "s a directory"),
        disk("pipe", "neither a file nor a disk"),
        disk("locked", "in use by another microVM"),
        memory("missing", "missing"),
        memory("empty", "is empty"),
        memory("short", "100 bytes"),
        memory("directory", "s a directory"),
        memory("pipe", "neither a file nor a disk"),
        memory("locked", "in use by another microVM"),
        kernel("missing", "missing"),
        kernel("empty", "is no kernel"),
        kernel("short", "is no kernel"),
        kernel("directory", "s a directory"),
        kernel("pipe", "neither a file nor a disk"),
        initrd("missing", "missing"),
        initrd("empty", "initramfs is empty"),
        initrd("directory", "s a directory"),
        initrd("pipe", "neither a file nor a disk"),
        share("missing", "missing"),
        share("short", "short"),
        share("pipe", "pipe"),
        case(
            "/console",
            json!({ "output_path": vm.path("no/such/folder") }),
            "no/such/folder",
            (
                "PUT",
                "/console",
                json!({ "output_path": vm.path("console") }),
            ),
        ),
        case(
            "/serial",
            json!({ "serial_out_path": vm.path("no/such/folder") }),
            "no/such/folder",
            (
                "PUT",
                "/serial",
                json!({ "serial_out_path": vm.path("serial") }),
            ),
        ),
        case(
            "/vsock",
            json!({ "guest_cid": 3, "uds_path": vm.path("no/such/folder") }),
            "no/such/folder",
            (
                "PUT",
                "/vsock",
                json!({ "guest_cid": 3, "uds_path": vm.path("vsock") }),
            ),
        ),
        case(
            "/vsock",
            json!({ "guest_cid": 3, "uds_path": vm.path("short") }),
            "short",
            (
                "PUT",
                "/vsock",
                json!({ "guest_cid": 3, "uds_path": vm.path("vsock") }),
            ),
        ),
    ]
}

#[test]
fn a_file_that_does_not_serve_is_named_and_another_is_taken() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    File::create(vm.path("empty")).unwrap();
    fs::write(vm.path("short"), [7; 100]).unwrap();
    fs::create_dir(vm.path("directory")).unwrap();
    // Nobody has its other end.
    drop(fifo(&vm, "pipe"));
    let locked = File::create(vm.path("locked")).unwrap();
    locked.set_len(8192).unwrap();
    flock(&locked, FlockOperation::NonBlockingLockExclusive).unwrap();

    let (running, client) = waiting(&vm);
    let mut raw = Raw::connect(&vm);
    for case in cases(&vm) {
        let Case {
            path,
            body,
            says,
            undo: (method, other, good),
        } = case;
        let put = raw.ask("PUT", path, &body.to_string());
        assert_eq!(put.status, 204, "{path} {body}: {put:?}");
        let start = raw.ask("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#);
        assert_eq!(start.status, 400, "{path} {body}: {start:?}");
        let sentence = start.message();
        assert!(
            sentence.starts_with("Start microvm error: ") && sentence.contains(says),
            "{path} {body}: {sentence}"
        );
        assert_eq!(client.instance().unwrap().state, Stage::NotStarted);
        let good = match good {
            Value::Null => String::new(),
            good => good.to_string(),
        };
        let undone = raw.ask(method, other, &good);
        assert_eq!(undone.status, 204, "{method} {other}: {undone:?}");
    }
    // The log is opened at once, and said at once.
    for (path, body) in [
        ("/logger", json!({ "log_path": vm.path("directory") })),
        (
            "/metrics",
            json!({ "metrics_path": vm.path("no/such/file") }),
        ),
    ] {
        let put = raw.ask("PUT", path, &body.to_string());
        assert_eq!(put.status, 400, "{put:?}");
    }
    client.start().unwrap();
    powers_off(running);
    assert!(!vm.path("vsock").exists() && vm.path("short").exists());
}
