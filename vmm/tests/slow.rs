//! Backends that do not answer for a while: only the queue that uses one waits. Other devices, the API and pause go on, and in the
//! end every request is done.

mod common;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use common::fuse::{QUICK, SLOW, SlowFiles};
use common::guest::{Code, Driven, WINDOW};
use common::{Configured, Running, Vm, fifo, no_kvm};
use hull_vm_api::config::{DriveUpdate, HostPath};
use hull_vm_api::{Client, ExitCause, Stage};
use serde_json::{Value, json};

const REGISTERS: u64 = 0xd000_0000;
/// Where the guests of these tests keep their requests.
const REQUESTS: u32 = 0x30_0000;
const DATA: u32 = 0x40_0000;

fn drive(id: &str, path: &Path, engine: &str) -> Value {
    json!({ "drive_id": id, "path_on_host": path, "is_root_device": false, "io_engine": engine, "queues": 2 })
}

/// Reads a page of a disk. What comes back is there when `await_request` is over.
fn read(code: Code, disk: &mut Driven, at: u32) -> Code {
    let (header, status, data) = (REQUESTS + at, REQUESTS + at + 0x80, DATA + at * 0x10);
    let code = code.store(status, 0xee);
    disk.request(
        code,
        0,
        &[(header, 16, false), (data, 4096, true), (status, 1, true)],
    )
}

/// A guest with two disks: it reads the slow one, and then does something with the other meanwhile.
fn two_disks(then: impl FnOnce(Code, &mut Driven) -> Code) -> Vec<u8> {
    let (mut slow, mut other) = (Driven::new(0, 0x20_0000), Driven::new(1, 0x21_0000));
    let code = slow.start(Code::new().window(REGISTERS), 1);
    let code = other.start(code, 1);
    let code = read(code, &mut slow, 0);
    let code = read(code, &mut other, 0x100);
    let code = other.await_all(code, 0).await_byte(DATA + 0x1000, b'o');
    then(code.print("other\n"), &mut slow).power_off()
}

fn with_disks(files: &SlowFiles, guest: &[u8], engine: &str) -> Vm {
    let vm = Vm::of(guest).serial();
    let other = vm.path("other");
    std::fs::write(&other, vec![b'o'; 1 << 20]).unwrap();
    vm.set(
        "/drives",
        json!([
            drive("slow", &files.slow(), engine),
            drive("other", &other, engine)
        ]),
    )
}

/// Pauses and resumes while a request is in flight; leaves the machine paused.
fn pause_again_and_again(client: &Client) {
    for _ in 0..3 {
        client.pause().unwrap();
        assert_eq!(client.instance().unwrap().state, Stage::Paused);
        client.resume().unwrap();
        assert_eq!(client.instance().unwrap().state, Stage::Running);
    }
    client.pause().unwrap();
}

fn ends_well(running: Running) {
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
}

/// Runs a guest whose slow request gets its answer while the machine is paused, or after that.
fn others_go_on(files: &SlowFiles, vm: &Vm, meanwhile: impl Fn(&Client)) {
    for release_first in [true, false] {
        files.hold();
        let (mut running, client) = vm.serve(Configured::ByFile);
        running.await_output("other\n");
        files.await_held();
        meanwhile(&client);
        pause_again_and_again(&client);
        if release_first {
            files.release();
            client.resume().unwrap();
        } else {
            client.resume().unwrap();
            files.release();
        }
        ends_well(running);
    }
}

#[test]
fn a_disk_that_does_not_answer_stalls_nobody_else() {
    let Some(files) = (!no_kvm()).then(SlowFiles::mount).flatten() else {
        return;
    };
    let guest = two_disks(|code, slow| slow.await_all(code, 0).await_byte(REQUESTS + 0x80, 0));
    for engine in ["Sync", "Async"] {
        let vm = with_disks(&files, &guest, engine);
        let update = |id: &str, name: &str| {
            let path = vm.path(name);
            File::create(&path).unwrap().set_len(2 << 20).unwrap();
            DriveUpdate {
                drive_id: id.to_owned(),
                path_on_host: Some(HostPath::try_from(path.as_path()).unwrap()),
                rate_limiter: None,
            }
        };
        others_go_on(&files, &vm, |client| {
            // The other disk can be changed, and the slow one as far as its requests in flight allow.
            client.patch_drive(&update("other", "third")).unwrap();
            let patched = client.patch_drive(&update("slow", "fourth"));
            match engine {
                "Sync" => patched.unwrap(),
                _ => {
                    let sentence = patched.unwrap_err().to_string();
                    assert!(sentence.contains("nothing was changed"), "{sentence}");
                    assert!(
                        client.config().unwrap().drives[0].path_on_host
                            == Some(HostPath::try_from(files.slow().as_path()).unwrap())
                    );
                }
            }
        });
    }
}

#[test]
fn a_file_that_does_not_open_stalls_no_other_request() {
    let Some(files) = (!no_kvm()).then(SlowFiles::mount).flatten() else {
        return;
    };
    let vm = Vm::of(&Code::new().print("ready\n").spin()).serial();
    let disk = vm.path("disk");
    std::fs::write(&disk, vec![b'o'; 1 << 20]).unwrap();
    let vm = vm.set("/drives", json!([drive("d", &disk, "Sync")]));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    let patch = |path: &Path| {
        client.patch_drive(&DriveUpdate {
            drive_id: "d".to_owned(),
            path_on_host: Some(HostPath::try_from(path).unwrap()),
            rate_limiter: None,
        })
    };
    files.hold_opens();
    for _ in 0..2 {
        let sentence = patch(&files.slow()).unwrap_err().to_string();
        assert!(sentence.contains("does not answer"), "{sentence}");
    }
    files.await_held();
    pause_again_and_again(&client);
    client.resume().unwrap();
    // As soon as it does answer, files can be opened again.
    files.release();
    while let Err(error) = patch(&files.slow()) {
        let sentence = error.to_string();
        assert!(sentence.contains("does not answer"), "{sentence}");
    }
    patch(&disk).unwrap();
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.end().cause(), ExitCause::Terminated);
}

#[test]
fn a_vcpu_that_resets_a_disk_which_does_not_answer_can_be_paused() {
    let Some(files) = (!no_kvm()).then(SlowFiles::mount).flatten() else {
        return;
    };
    // Whoever resets it has its buffers back, so the guest waits until the disk is done with them. What the disk has not begun
    // by then is never done: so the guest waits before that, too.
    let guest = two_disks(|code, slow| {
        let code = slow.reset(code.await_key());
        code.await_byte(WINDOW + 0x70, 0)
    });
    for engine in ["Sync", "Async"] {
        let vm = with_disks(&files, &guest, engine);
        let keys = fifo(&vm, "keys");
        let path = vm.path("keys");
        let vm = vm.set("/serial/serial_in_path", json!(path));
        others_go_on(&files, &vm, |_| (&keys).write_all(b"r").unwrap());
    }
}

#[test]
fn persistent_memory_that_can_not_be_flushed_stalls_nobody_else() {
    let Some(files) = (!no_kvm()).then(SlowFiles::mount).flatten() else {
        return;
    };
    let (mut pmem, mut entropy) = (Driven::new(0, 0x20_0000), Driven::new(2, 0x21_0000));
    let code = pmem.start(Code::new().window(REGISTERS), 1);
    let code = entropy.start(code, 1);
    let code = code.store(REQUESTS + 0x80, 0xee);
    let flush = [(REQUESTS, 4, false), (REQUESTS + 0x80, 4, true)];
    let code = pmem.request(code, 0, &flush);
    let code = entropy.request(code, 0, &[(DATA, 64, true)]);
    let code = entropy.await_all(code, 0).print("other\n");
    let code = pmem.await_all(code, 0).await_byte(REQUESTS + 0x80, 0);
    let vm = Vm::of(&code.power_off()).serial();
    let vm = vm
        .set(
            "/pmem",
            json!([{ "id": "p", "path_on_host": files.slow() }]),
        )
        .set("/entropy", json!({}));
    others_go_on(&files, &vm, |_| {});
}

/// A FUSE request with its header.
fn fuse(opcode: u32, node: u64, args: &[u8]) -> Vec<u8> {
    let mut request = u32::try_from(40 + args.len())
        .unwrap()
        .to_le_bytes()
        .to_vec();
    request.extend(opcode.to_le_bytes());
    request.extend(u64::from(opcode).to_le_bytes());
    request.extend(node.to_le_bytes());
    request.extend([0; 16]);
    request.extend(args);
    request
}

#[test]
fn a_file_of_a_share_that_does_not_answer_stalls_no_other_file() {
    let Some(files) = (!no_kvm()).then(SlowFiles::mount).flatten() else {
        return;
    };
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect::<Vec<_>>()
    };
    let name = |name: &str| [name.as_bytes(), &[0]].concat();
    // The server counts nodes from 2 and handles from 1.
    let read_of = |handle: u32| words(&[handle, 0, 0, 0, 4096, 0, 0, 0, 0, 0]);
    let before = [
        fuse(26, 0, &words(&[7, 31, 4096, 0])),
        fuse(1, 1, &name(SLOW)),
        fuse(1, 1, &name(QUICK)),
        fuse(14, 2, &words(&[0, 0])),
        fuse(14, 3, &words(&[0, 0])),
    ];
    let mut share = Driven::new(1, 0x20_0000);
    let mut code = share.start(Code::new().window(REGISTERS), 2);
    let mut at = REQUESTS;
    let mut send = |code: Code, share: &mut Driven, request: &[u8], reply: u32| {
        let length = u32::try_from(request.len()).unwrap();
        let code = code.data(at, request).store(reply, 0xee_0000_0000);
        let buffers = [(at, length, false), (reply, 4096 + 16, true)];
        at += 0x100;
        share.request(code, 1, &buffers)
    };
    for request in before {
        code = send(code, &mut share, &request, DATA);
        code = share.await_all(code, 1).await_byte(DATA + 4, 0);
    }
    let (slow, quick) = (DATA + 0x1_0000, DATA + 0x2_0000);
    code = send(code, &mut share, &fuse(15, 2, &read_of(1)), slow);
    code = send(code, &mut share, &fuse(15, 3, &read_of(2)), quick);
    code = code.await_byte(quick + 16, b'q').print("other\n");
    code = code.await_byte(slow + 16, b's');
    let vm = Vm::of(&share.await_all(code, 1).power_off()).serial();
    let vm = vm.set("/shares", json!([{ "tag": "stuff", "path": files.dir() }]));
    others_go_on(&files, &vm, |_| {});
}
