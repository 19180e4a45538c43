//! Memory that another process fills, as Firecracker's clients do it.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use hull_vm_api::Stage;
use hull_vm_api::request::{MemoryBackendType, SnapshotCreate, SnapshotType};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use crate::common::guest::Code;
use crate::common::{Configured, Vm, no_kvm};
use crate::{Clone, Pair, host, refusal, snapshot};

const PAGE: u64 = 4096;
const PAGES: usize = MEMORY / 4096;
const MEMORY: usize = 64 << 20;
/// `UFFDIO_COPY`.
const COPY: libc::Ioctl = 0xc028_aa03;
/// `UFFD_EVENT_PAGEFAULT`.
const FAULT: u8 = 0x12;

/// Answers the faults of one machine with the pages of a memory file, until the machine is gone; how many there were.
fn handler(socket: &Path, memory: File) -> (JoinHandle<()>, Arc<AtomicUsize>) {
    let listener = UnixListener::bind(socket).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (faults, parts) = hand_over(&stream);
        let place = |address: u64| {
            let number = |part: &Value, field: &str| part[field].as_u64().unwrap();
            let mut parts = parts.iter();
            parts.find_map(|part| {
                let start = number(part, "base_host_virt_addr");
                let offset = address.checked_sub(start)?;
                (offset < number(part, "size")).then(|| number(part, "offset") + offset)
            })
        };
        loop {
            let mut fds = [
                PollFd::new(&faults, PollFlags::IN),
                PollFd::new(&stream, PollFlags::IN),
            ];
            poll(&mut fds, None).unwrap();
            let gone = !fds[1].revents().is_empty();
            let mut message = [0; 32];
            match rustix::io::read(&faults, &mut message) {
                Ok(32) if message[0] == FAULT => {
                    let address = u64::from_ne_bytes(message[16..24].try_into().unwrap());
                    let address = address & !(PAGE - 1);
                    let mut page = [0_u8; 4096];
                    let from = place(address).expect("an address of the guest");
                    memory.read_exact_at(&mut page, from).unwrap();
                    fill(&faults, address, &page);
                    seen.fetch_add(1, Ordering::Relaxed);
                }
                _ if gone && stream.read(&mut [0]).unwrap_or(0) == 0 => return,
                _ => {}
            }
        }
    });
    (thread, count)
}

/// The descriptor of the faults, and what is where.
fn hand_over(stream: &std::os::unix::net::UnixStream) -> (OwnedFd, Vec<Value>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut json = vec![0; 64 << 10];
    let mut into = [IoSliceMut::new(&mut json)];
    let got = recvmsg(stream, &mut into, &mut rights, RecvFlags::CMSG_CLOEXEC).unwrap();
    let fd = rights.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (
        fd.unwrap(),
        serde_json::from_slice(&json[..got.bytes]).unwrap(),
    )
}

fn fill(faults: &OwnedFd, address: u64, page: &[u8]) {
    let mut copy = [address, page.as_ptr() as u64, PAGE, 0, 0_u64];
    // SAFETY: the structure is what this ioctl reads and writes, and its source is a page of this process.
    unsafe { libc::ioctl(faults.as_raw_fd(), COPY, copy.as_mut_ptr()) };
}

#[test]
fn another_process_fills_the_memory_page_by_page() {
    if no_kvm() {
        return;
    }
    if File::open("/dev/userfaultfd").is_err() {
        println!("SKIPPED: no usable /dev/userfaultfd");
        return;
    }
    let code = Code::new()
        .store(0x30_0000, 0x1122_3344)
        .print("ready\n")
        .await_key()
        .await_byte(0x30_0000, 0x44)
        .print("there\n")
        .await_key()
        .power_off();
    let vm = Vm::of(&code).serial().set("/vsock", json!(null));
    let (mut running, client) = vm.serve(Configured::ByFile);
    running.await_output("ready\n");
    client.pause().unwrap();
    let pair = snapshot(&client, &vm, "one");
    drop(running);

    let clone = Clone::new(Vm::empty(), true);
    let socket = clone.vm.path("handler");
    let (thread, count) = handler(&socket, File::open(&pair.memory).unwrap());
    let mut load = pair.load();
    load.mem_backend.backend_type = MemoryBackendType::Uffd;
    load.mem_backend.backend_path = host(&socket);
    let mut clone = clone;
    clone.client.load_snapshot(&load).unwrap();
    clone.press("x");
    clone.running.await_output("there\n");
    let touched = count.load(Ordering::Relaxed);
    assert!((1..1000).contains(&touched), "{touched} pages");
    // A copy of the process would find zeros where nothing is yet.
    let again = Pair::of(&vm, "again");
    let refused = refusal(
        clone
            .client
            .create_snapshot(&again.create(SnapshotType::Full)),
    );
    assert!(refused.contains("pause it first"), "{refused}");
    // A snapshot has all of it, also what nobody has touched here.
    clone.client.pause().unwrap();
    let create = SnapshotCreate {
        resume_vm: true,
        ..again.create(SnapshotType::Full)
    };
    clone.client.create_snapshot(&create).unwrap();
    assert_eq!(clone.client.instance().unwrap().state, Stage::Running);
    assert_eq!(count.load(Ordering::Relaxed), PAGES);
    let bytes = |path: &Path| fs::read(path).unwrap()[..MEMORY].to_vec();
    let differs = bytes(&again.memory)
        .chunks(4096)
        .zip(bytes(&pair.memory).chunks(4096))
        .filter(|(a, b)| a != b)
        .count();
    assert!(differs < 20, "{differs} pages");
    clone.press("x");
    clone.power_off();
    thread.join().unwrap();
    let mut last = Clone::load(&again.load());
    last.press("x");
    last.power_off();
}
