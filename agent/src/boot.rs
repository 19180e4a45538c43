//! From the kernel's start of `/init` to the loop, and from the loop to the end of the machine.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use hull_agent_protocol::PORT;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountFlags, mount};

use crate::machine::power;
use crate::places::Places;
use crate::server::{Server, Times, Transport};
use crate::sys::{time, vsock};

/// The whole life of process 1. Returns only when the machine cannot be switched off.
#[must_use]
pub fn boot() -> c_int {
    let main_us = time::since_boot_us();
    // First, so that the engine learns of it while the rest is made.
    let control = vsock::connect_to_host(PORT);
    let times = Times {
        main_us,
        ready_us: time::since_boot_us(),
    };
    if let Err(error) = mount("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, None) {
        crate::log::warn(&format!("cannot mount /dev: {error}"));
    }
    occupy_standard_streams();
    match control {
        Ok(control) => run(control, times),
        Err(error) => {
            crate::log::warn(&format!(
                "cannot connect to the engine on port {PORT}: {error}"
            ));
        }
    }
    power::off();
    1
}

fn run(control: OwnedFd, times: Times) {
    let transport = Transport {
        listen: vsock::listen,
        accept: vsock::accept,
    };
    match Server::new(Places::below(Path::new("/")), control, transport) {
        Ok(mut server) => {
            server.booted(times);
            server.prepare();
            server.serve();
            server.unmount();
        }
        Err(error) => crate::log::warn(&format!("cannot take signals: {error}")),
    }
}

/// Descriptors 0, 1 and 2 are missing when the machine has no console. They must not become
/// something else that a child would take for its standard streams.
fn occupy_standard_streams() {
    while let Ok(null) = openat(
        CWD,
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        if null.as_raw_fd() > 2 {
            break;
        }
        std::mem::forget(null);
    }
}
