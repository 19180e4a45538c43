//! Frames out of and into a network card (virtio 1.2, section 5.1), without offloads: a header of twelve zero bytes and the frame.

use core::cell::UnsafeCell;

use crate::Failure;
use crate::device::Device;
use crate::job::{Job, MAX_DEPTH, MAX_SIZE};
use crate::queue::{Part, Place, Queue};
use crate::serial;

const ID: u32 = 1;
const HEADER: usize = 12;
const RECEIVE: u32 = 0;
const TRANSMIT: u32 = 1;
/// Broadcast, from an address of a test, of a type that nobody takes (the first for experiments, IEEE 802).
const ETHERNET: [u8; 14] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 1, 0x88, 0xb5,
];

#[repr(align(64))]
struct Buffers(UnsafeCell<[[u8; MAX_SIZE]; MAX_DEPTH]>);

// SAFETY: there is one thread.
unsafe impl Sync for Buffers {}

static QUEUES: [Place; 2] = [const { Place::new() }; 2];
static BUFFERS: Buffers = Buffers(UnsafeCell::new([[0; MAX_SIZE]; MAX_DEPTH]));

/// Sends frames of the job's size.
pub fn transmit(job: &Job) -> Result<(), Failure> {
    let (device, [_, mut queue]) = open(job)?;
    for slot in 0..job.depth {
        let buffer = buffer(slot);
        for (at, byte) in (HEADER..).zip(ETHERNET) {
            // SAFETY: the header and fourteen bytes are less than a buffer.
            unsafe { buffer.add(at).write_volatile(byte) };
        }
        queue.describe(slot, &[part(buffer, HEADER + job.size, false)]);
    }
    device.start();
    serial::say("go\n");
    let mut done = 0;
    while done < job.ops {
        for slot in 0..job.depth {
            queue.offer(slot);
        }
        queue.publish();
        device.notify(TRANSMIT);
        for _ in 0..job.depth {
            queue.wait();
        }
        done += job.depth as u32;
    }
    Ok(())
}

/// Takes so many frames, whatever they are.
pub fn receive(job: &Job) -> Result<(), Failure> {
    let (device, [mut queue, _]) = open(job)?;
    for slot in 0..job.depth {
        queue.describe(slot, &[part(buffer(slot), HEADER + job.size, true)]);
        queue.offer(slot);
    }
    queue.publish();
    device.start();
    device.notify(RECEIVE);
    // The first one tells that the host has begun.
    let first = queue.wait();
    serial::say("go\n");
    queue.offer(first);
    let (mut done, mut back) = (0, 1);
    while done < job.ops {
        let head = queue.wait();
        queue.offer(head);
        done += 1;
        back += 1;
        // Several at once, as drivers do it, but before a device whose frames may have 64 KiB takes the rest for too little.
        if back * 4 >= job.depth {
            queue.publish();
            device.notify(RECEIVE);
            back = 0;
        }
    }
    Ok(())
}

fn open(job: &Job) -> Result<(Device, [Queue; 2]), Failure> {
    if job.size < ETHERNET.len() || job.size + HEADER > MAX_SIZE {
        return Err("no size for a frame");
    }
    let device = Device::find(ID, job)?;
    let queues = [Queue::new(&QUEUES[0]), Queue::new(&QUEUES[1])];
    device.set_up(RECEIVE, &queues[0])?;
    device.set_up(TRANSMIT, &queues[1])?;
    Ok((device, queues))
}

fn buffer(slot: usize) -> *mut u8 {
    // SAFETY: an address only; the slot is less than the job's depth.
    unsafe { (&raw mut (*BUFFERS.0.get())[slot]).cast() }
}

fn part(buffer: *mut u8, length: usize, device_writes: bool) -> Part {
    Part {
        address: buffer as usize,
        length,
        device_writes,
    }
}
