//! A file of persistent memory that somebody makes shorter while it is mapped: whoever touches what is gone, the machine ends with a
//! sentence that names the file.

mod common;

use std::fs::{self, File};

use common::guest::{Code, Driven, WINDOW};
use common::{Configured, Vm, no_kvm};
use hull_vm_api::ExitCause;
use hull_vm_api::request::Action;
use serde_json::json;

/// Where the first file lies, for a machine with less memory than this.
const PMEM: u64 = 4 << 30;
const REGISTERS: u64 = 0xd000_0000;
const QUEUE: u32 = 0x20_0000;

/// Waits until somebody presses a key.
fn await_key(code: Code) -> Code {
    code.print("ready\n")
        .bytes(&[0xe4, 0x64, 0xa8, 0x01, 0x74, 0xfa]) // again: in al, 0x64; test al, 1; jz again
}

/// What is said when the file is shortened before a key is pressed.
fn shortened(code: &[u8]) -> String {
    let vm = Vm::of(code).serial();
    fs::write(vm.path("disk"), vec![0; 1 << 20]).unwrap();
    fs::write(vm.path("file"), vec![1; 2 << 20]).unwrap();
    let (disk, file) = (vm.path("disk"), vm.path("file"));
    let drive = json!({ "drive_id": "d", "path_on_host": disk, "is_root_device": false });
    let vm = vm
        .set("/drives", json!([drive]))
        .set("/pmem", json!([{ "id": "table", "path_on_host": file }]));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    File::options()
        .write(true)
        .open(&file)
        .and_then(|file| file.set_len(0))
        .unwrap();
    // The machine may end before it answers.
    let _ = client.action(Action::SendCtrlAltDel);
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::NoResource, "{ended:?}");
    vm.assert_clean();
    ended.sentence().to_owned()
}

#[test]
fn a_vcpu_that_finds_no_memory_says_whose_it_was() {
    if no_kvm() {
        return;
    }
    let code = await_key(Code::new().window(PMEM));
    let sentence = shortened(&code.copy32(WINDOW, QUEUE).power_off());
    assert!(sentence.contains("pmem table"), "{sentence}");
}

#[test]
fn a_device_that_finds_no_memory_says_whose_it_was() {
    if no_kvm() {
        return;
    }
    let disk = Driven::new(0, QUEUE);
    let code = disk.start(Code::new().window(REGISTERS), 1);
    // A read whose header is in the file.
    let buffers = [
        (PMEM, 16, 1 | 1 << 16),
        (0x30_0000, 512, 3 | 2 << 16),
        (0x31_0000, 1, 2),
    ];
    let describe = |code: Code, (at, (address, length, rest)): (u32, (u64, u64, u64))| {
        code.store(at, address).store(at + 8, length | rest << 32)
    };
    let code = (QUEUE..).step_by(16).zip(buffers).fold(code, describe);
    // Offered only then: a device looks at its queue also when it starts.
    let code = await_key(code).store16(QUEUE + 0x402, 1);
    let sentence = shortened(&code.store32(WINDOW + 0x50, 0).spin());
    let expected = "the host lacks what the machine needs: the file of pmem table was made shorter while it was mapped";
    assert!(sentence.ends_with(expected), "{sentence}");
}
