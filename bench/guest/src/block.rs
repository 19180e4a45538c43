//! Reads and writes of a disk (virtio 1.2, section 5.2), one sector range behind the other.

use core::cell::UnsafeCell;

use crate::Failure;
use crate::device::Device;
use crate::job::{Job, Kind, MAX_DEPTH, MAX_SIZE};
use crate::queue::{Part, Place, Queue};
use crate::serial;

const ID: u32 = 2;
const SECTOR: usize = 512;
const IN: u32 = 0;
const OUT: u32 = 1;
/// Descriptors of one request: header, data, status.
const PARTS: usize = 3;

#[repr(C)]
struct Header {
    kind: u32,
    reserved: u32,
    sector: u64,
}

#[repr(C)]
struct Buffers {
    data: [[u8; MAX_SIZE]; MAX_DEPTH],
    headers: [Header; MAX_DEPTH],
    status: [u8; MAX_DEPTH],
}

struct Shared(UnsafeCell<Buffers>);

// SAFETY: there is one thread.
unsafe impl Sync for Shared {}

static QUEUE: Place = Place::new();
static BUFFERS: Shared = Shared(UnsafeCell::new(Buffers {
    data: [[0; MAX_SIZE]; MAX_DEPTH],
    headers: [const {
        Header {
            kind: 0,
            reserved: 0,
            sector: 0,
        }
    }; MAX_DEPTH],
    status: [0; MAX_DEPTH],
}));

pub fn run(job: &Job) -> Result<(), Failure> {
    let device = Device::find(ID, job)?;
    let mut queue = Queue::new(&QUEUE);
    device.set_up(0, &queue)?;
    let write = job.kind == Kind::BlockWrite;
    let buffers = BUFFERS.0.get();
    for slot in 0..job.depth {
        // SAFETY: addresses only, of elements that exist.
        let (header, data, status) = unsafe {
            (
                &raw const (*buffers).headers[slot],
                &raw const (*buffers).data[slot],
                &raw const (*buffers).status[slot],
            )
        };
        queue.describe(
            slot * PARTS,
            &[
                part(header as usize, size_of::<Header>(), false),
                part(data as usize, job.size, !write),
                part(status as usize, 1, true),
            ],
        );
    }
    device.start();
    let sectors = u64::from(device.config(0)) | u64::from(device.config(4)) << 32;
    let each = (job.size / SECTOR) as u64;
    if each == 0 || sectors < each {
        return Err("the disk is too small");
    }
    serial::say("go\n");
    let (mut done, mut sector) = (0, 0);
    while done < job.ops {
        for slot in 0..job.depth {
            let kind = if write { OUT } else { IN };
            let header = Header {
                kind,
                reserved: 0,
                sector,
            };
            // SAFETY: the slot exists, and the device has no request of it.
            unsafe {
                (&raw mut (*buffers).headers[slot]).write_volatile(header);
                (&raw mut (*buffers).status[slot]).write_volatile(0xff);
            }
            queue.offer(slot * PARTS);
            sector += each;
            if sector + each > sectors {
                sector = 0;
            }
        }
        queue.publish();
        device.notify(0);
        for _ in 0..job.depth {
            let slot = queue.wait() / PARTS;
            // SAFETY: a head is less than the queue's size, and the remainder a slot.
            let status =
                unsafe { (&raw const (*buffers).status[slot % MAX_DEPTH]).read_volatile() };
            if status != 0 {
                return Err("a request failed");
            }
        }
        done += job.depth as u32;
    }
    Ok(())
}

fn part(address: usize, length: usize, device_writes: bool) -> Part {
    Part {
        address,
        length,
        device_writes,
    }
}
