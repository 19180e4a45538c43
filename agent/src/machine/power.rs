//! The end of the machine: everything on disk, nothing mounted, power off.

use rustix::fs::sync;
use rustix::mount::{UnmountFlags, unmount};
use rustix::system::{RebootCommand, reboot};

use crate::places::Places;

/// Takes the container's file systems down so that the writable disk is clean.
pub(crate) fn unmount_all(places: &Places) {
    // What is mounted inside the container goes with its root; a disk that is still in use after
    // that is at least synchronised.
    let _ = unmount(places.container(), UnmountFlags::DETACH);
    let clean = unmount(places.disk(), UnmountFlags::empty()).is_ok();
    if !clean {
        sync();
    }
}

/// Switches the machine off. Does not return unless the kernel cannot do that.
pub(crate) fn off() {
    let _ = reboot(RebootCommand::PowerOff);
}
