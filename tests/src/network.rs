//! Network namespaces of tests: nothing is made in the machine's own.

#![allow(unsafe_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::UnshareFlags;

use crate::{Daemon, PATIENCE};

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

/// Ends a daemon of this namespace as [`Daemon::end`] does, and asserts that nothing of its networks is left in the kernel.
///
/// # Panics
/// When something is.
#[track_caller]
pub fn end(daemon: Daemon<'_>) {
    daemon.end();
    let taps = sh("ip -br link | grep -c hullt- || true");
    assert_eq!(taps.trim(), "0", "TAPs are left");
}

/// What a web server at a port of this host answers, its head and its body, as soon as that contains `expected`.
///
/// # Panics
/// When it never does.
#[track_caller]
pub fn fetch(port: u16, path: &str, expected: &str) -> String {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    talk(port, &request, |said| said.contains(expected))
}

/// What a server at a port of this host says to a request until it closes the connection, as soon as that is what is `expected`: the server
/// may be about to come up.
///
/// # Panics
/// When it never is.
#[track_caller]
pub fn talk(port: u16, request: &str, expected: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    loop {
        let answered = TcpStream::connect(at).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            Ok(said)
        });
        match answered {
            Ok(said) if expected(&said) => return said,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        // A listener that is not there yet tells nobody when it comes.
        thread::sleep(Duration::from_millis(100));
    }
}
