//! Drivers that lie: every device gets queues whose rings, descriptors and requests break the rules. The process goes on,
//! answers its API, can be paused, and ends when it is told to.

mod common;

use std::fs;

use common::guest::{Code, WINDOW, elf_with};
use common::{Configured, EVERY_DEVICE, Vm, no_kvm};
use hull_vm_api::{ExitCause, Stage};
use rustix::process::Signal;

/// Where the kernel is, and what it brings along: descriptors, the available ring, an indirect table, and what requests are
/// made of, a page each.
const PAGE: usize = 0x1000;
const KERNEL: u32 = 0x10_0000;
const TABLES: u32 = 0x18_0000;
const DESCRIPTORS: u64 = TABLES as u64;
const AVAILABLE: u64 = DESCRIPTORS + 0x1000;
const INDIRECT: u64 = DESCRIPTORS + 0x2000;
const REQUESTS: u64 = DESCRIPTORS + 0x3000;
/// Where each queue has a used ring of its own.
const USED: u32 = 0x40_0000;
/// Memory that is there to be written.
const ROOM: u64 = 32 << 20;

const SIZE: u16 = 64;
/// No device here has more queues.
const QUEUES: u32 = 6;

/// Flags of descriptors.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const TABLE: u16 = 4;

/// Registers (virtio 1.3, section 4.2.2).
mod register {
    pub(crate) const DEVICE_FEATURES: u32 = 0x10;
    pub(crate) const DEVICE_FEATURES_SELECT: u32 = 0x14;
    pub(crate) const DRIVER_FEATURES: u32 = 0x20;
    pub(crate) const DRIVER_FEATURES_SELECT: u32 = 0x24;
    pub(crate) const QUEUE_SELECT: u32 = 0x30;
    pub(crate) const QUEUE_SIZE: u32 = 0x38;
    pub(crate) const QUEUE_READY: u32 = 0x44;
    pub(crate) const NOTIFY: u32 = 0x50;
    pub(crate) const STATUS: u32 = 0x70;
    pub(crate) const DESCRIPTORS: u32 = 0x80;
    pub(crate) const AVAILABLE: u32 = 0x90;
    pub(crate) const USED: u32 = 0xa0;
}

/// Address, length, flags, next.
type Descriptor = (u64, u32, u16, u16);

/// What all queues of all devices share. By default it is valid: requests of 64 bytes that say nothing sensible.
struct Rings {
    descriptors: Vec<Descriptor>,
    indirect: Vec<Descriptor>,
    heads: Vec<u16>,
    index: u16,
    /// Where the driver says that descriptors and available ring are.
    places: [u64; 2],
}

impl Rings {
    fn of(descriptor: impl Fn(u16) -> Descriptor) -> Self {
        Self {
            descriptors: (0..SIZE).map(descriptor).collect(),
            indirect: vec![(REQUESTS, 64, 0, 0); SIZE.into()],
            heads: (0..SIZE).collect(),
            index: SIZE,
            places: [DESCRIPTORS, AVAILABLE],
        }
    }

    fn valid() -> Self {
        Self::of(|_| (REQUESTS, 64, 0, 0))
    }

    fn with_indirect(length: impl Fn(u16) -> u32, entry: impl Fn(u16) -> Descriptor) -> Self {
        let mut rings = Self::of(|i| (INDIRECT, length(i), TABLE | (i & NEXT), 0));
        rings.indirect = (0..SIZE).map(entry).collect();
        rings
    }

    /// As it is in the guest's memory from [`TABLES`] on.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = table(&self.descriptors);
        bytes.resize(PAGE, 0);
        for half in [&[0, self.index][..], &self.heads].concat() {
            bytes.extend(half.to_le_bytes());
        }
        bytes.resize(2 * PAGE, 0);
        bytes.extend(table(&self.indirect));
        bytes.resize(3 * PAGE, 0);
        // Types of requests, lengths and addresses of every kind.
        bytes.extend((0..0x1000_u32).map(|i| (i % 251).to_le_bytes()[0]));
        bytes
    }
}

fn table(descriptors: &[Descriptor]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (address, length, flags, next) in descriptors {
        bytes.extend(address.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
    }
    bytes
}

/// All the lies.
fn lies() -> Vec<(&'static str, Rings)> {
    let mut jumped = Rings::valid();
    jumped.index = 0x8000;
    let mut heads = Rings::valid();
    heads.heads = (0..SIZE)
        .map(|i| [i + SIZE, u16::MAX][usize::from(i % 2)])
        .collect();
    let mut same = Rings::valid();
    same.heads = vec![5; SIZE.into()];
    let mut outside = Rings::valid();
    outside.places = [u64::MAX - 0xfff, 1 << 62];
    let mut odd = Rings::valid();
    odd.places = [DESCRIPTORS + 1, AVAILABLE + 1];
    let mut halves = Rings::of(|i| match i % 2 {
        0 => (REQUESTS + u64::from(i), u32::from(i), NEXT, i + 1),
        _ => (ROOM, u32::from(i), WRITE, 0),
    });
    halves.heads.retain(|i| i % 2 == 0);
    halves.heads.resize(SIZE.into(), 0);
    let loops = |i| (REQUESTS, 64, NEXT, i);
    vec![
        ("requests that say nothing sensible", Rings::valid()),
        ("one request many times", same),
        ("an index that jumps", jumped),
        ("heads that are not there", heads),
        ("rings outside of memory", outside),
        ("rings at odd addresses", odd),
        (
            "chains without an end",
            Rings::of(|i| (REQUESTS, 64, NEXT, (i + 1) % SIZE)),
        ),
        ("chains of one without an end", Rings::of(loops)),
        (
            "chains that leave the table",
            Rings::of(|_| (REQUESTS, 64, NEXT, u16::MAX)),
        ),
        ("requests cut short", halves),
        (
            "nothing in a buffer",
            Rings::of(|i| (REQUESTS, 0, i & WRITE, 0)),
        ),
        (
            "buffers outside of memory",
            Rings::of(|i| (u64::from(i + 1) << 56, u32::MAX, i & WRITE, 0)),
        ),
        (
            "buffers that wrap",
            Rings::of(|i| {
                (
                    u64::MAX - 0xfff,
                    0x2000,
                    NEXT | (i & WRITE),
                    (i + 1).min(SIZE - 1) % SIZE,
                )
            }),
        ),
        (
            "buffers of all memory",
            Rings::of(|i| {
                (
                    ROOM,
                    16 << 20,
                    if i < SIZE - 1 { NEXT | WRITE } else { WRITE },
                    i + 1,
                )
            }),
        ),
        ("what is to be read behind what is to be written", {
            Rings::of(|i| (ROOM, 64, if i % 2 == 0 { NEXT | WRITE } else { 0 }, i | 1))
        }),
        (
            "tables in tables",
            Rings::with_indirect(|_| 64 * 16, |_| (INDIRECT, 64 * 16, TABLE, 0)),
        ),
        (
            "tables that end in an entry",
            Rings::with_indirect(|i| u32::from(i) * 3, loops),
        ),
        (
            "tables without an end",
            Rings::with_indirect(|_| 64 * 16, |i| (REQUESTS, 64, NEXT, (i + 1) % SIZE)),
        ),
        (
            "tables larger than memory",
            Rings::with_indirect(|_| 0xffff_fff0, |i| (REQUESTS, 64, NEXT, i + 1)),
        ),
    ]
}

/// Sets up every queue of a device and announces it.
fn drive(code: Code, device: u32, rings: &Rings) -> Code {
    let at = |register| WINDOW + 0x1000 * device + register;
    let mut code = code;
    for status in [0, 1, 3] {
        code = code.store32(at(register::STATUS), status);
    }
    for half in [0, 1] {
        code = code
            .store32(at(register::DEVICE_FEATURES_SELECT), half)
            .store32(at(register::DRIVER_FEATURES_SELECT), half)
            .copy32(at(register::DEVICE_FEATURES), at(register::DRIVER_FEATURES));
    }
    code = code.store32(at(register::STATUS), 0xb);
    for queue in 0..QUEUES {
        code = code
            .store32(at(register::QUEUE_SELECT), queue)
            .store32(at(register::QUEUE_SIZE), SIZE.into());
        let used = USED + 0x1000 * (device * QUEUES + queue);
        let places = [
            (register::DESCRIPTORS, rings.places[0]),
            (register::AVAILABLE, rings.places[1]),
            (register::USED, used.into()),
        ];
        for (register, address) in places {
            code = code
                .store32(at(register), (address & 0xffff_ffff) as u32)
                .store32(at(register + 4), (address >> 32) as u32);
        }
        code = code.store32(at(register::QUEUE_READY), 1);
    }
    code = code
        .store32(at(register::STATUS), 0xf)
        // It has taken the driver, or wants to be reset.
        .await_bits(at(register::STATUS), 0x4 | 0x40);
    for queue in 0..QUEUES {
        code = code.store32(at(register::NOTIFY), queue);
    }
    code
}

#[test]
fn lies_of_a_driver_harm_no_device_and_not_the_machine() {
    if no_kvm() {
        return;
    }
    for (lie, rings) in lies() {
        // The last one is the one at which it hangs.
        println!("{lie}");
        let mut code = Code::new().window(0xd000_0000);
        for device in 0..EVERY_DEVICE {
            code = drive(code, device, &rings);
        }
        let code = code.print("told\n").spin();
        let vm = Vm::of(&[]).every_device().serial();
        let kernel = elf_with(KERNEL, &code, TABLES, &rings.bytes());
        fs::write(vm.path("kernel"), kernel).unwrap();
        let (mut running, client) = vm.serve(Configured::ByFile);
        running.await_output("told\n");
        let answers = || {
            client.config()?;
            client.metrics()?;
            client.instance()
        };
        assert_eq!(answers().unwrap().state, Stage::Running, "{lie}");
        client
            .pause()
            .unwrap_or_else(|error| panic!("{lie}: {error}"));
        assert_eq!(answers().unwrap().state, Stage::Paused, "{lie}");
        client.resume().unwrap();
        assert_eq!(answers().unwrap().state, Stage::Running, "{lie}");
        running.signal(Signal::TERM);
        running.await_log("asking the guest");
        running.signal(Signal::TERM);
        let ended = running.end();
        assert_eq!(ended.cause(), ExitCause::Terminated, "{lie}: {ended:?}");
        vm.assert_clean();
    }
}
