//! Network namespaces of tests: nothing is made in the machine's own.

#![allow(unsafe_code)]

use std::process::Command;

use rustix::thread::UnshareFlags;

/// Moves the calling thread, and all that it starts from now on, into a network namespace of its own; false where it must not.
#[must_use]
pub fn enter_own_network() -> bool {
    // SAFETY: nothing in this thread depends on the network namespace that it had.
    let left = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
    if left.is_err() {
        println!("SKIPPED: no right to make a network namespace");
        return false;
    }
    // Whoever paces sends small frames, each of which costs an interpreted kernel as much as a large one.
    let _ = sh("ip link set lo up; sysctl -qw net.ipv4.tcp_congestion_control=reno");
    true
}

/// What a shell command prints, in the namespace of this thread.
///
/// # Panics
/// When it fails.
#[must_use]
pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output();
    let output = output.expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
