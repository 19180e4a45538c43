//! A guest that is nothing but a virtio driver: it sends a device so many requests as fast as it takes them, and says on the
//! serial port when it begins and when it is done. It runs in user mode, so that every host executes it at full speed, and
//! every VMM boots it by PVH: what is measured is the device.
//!
//! Its command line: `job=block-read|block-write|net-tx|net-rx ops=N size=BYTES depth=N base=ADDRESS step=BYTES count=N`,
//! where the last three say where virtio-mmio devices are looked for.

#![no_std]
#![no_main]

mod block;
mod device;
mod job;
mod libc;
mod net;
mod queue;
mod serial;

use core::arch::global_asm;
use core::ffi::CStr;
use core::panic::PanicInfo;

use job::{Job, Kind};

global_asm!(include_str!("entry.s"), options(att_syntax));

/// Why there are no figures.
type Failure = &'static str;

#[unsafe(no_mangle)]
extern "C" fn user_main(start_info: *const u8) -> ! {
    // SAFETY: the loader passes `hvm_start_info`, whose field at 24 is the address of the command line (Xen's
    // `arch-x86/hvm/start_info.h`), below 4 GiB and mapped one to one.
    let line = unsafe {
        let line = start_info.add(24).cast::<u64>().read_unaligned();
        CStr::from_ptr(line as *const _)
    };
    match line.to_str().map_err(|_| "no text").and_then(run) {
        Ok(()) => serial::say("done\n"),
        Err(why) => {
            serial::say("failed: ");
            serial::say(why);
            serial::say("\n");
        }
    }
    stop()
}

fn run(line: &str) -> Result<(), Failure> {
    let job = Job::parse(line)?;
    match job.kind {
        Kind::BlockRead | Kind::BlockWrite => block::run(&job),
        Kind::NetTransmit => net::transmit(&job),
        Kind::NetReceive => net::receive(&job),
    }
}

/// Waits to be killed.
fn stop() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    serial::say("failed: panic\n");
    stop()
}
