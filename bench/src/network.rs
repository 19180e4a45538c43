//! A network of the measurement's own: a namespace with TAP devices, and a host that sends frames into one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketType, socket_with};

/// The TAP device.
const TAP: &str = "hullbench0";

/// TAP devices in a network namespace that this process and those that it starts are in.
#[derive(Debug)]
pub(crate) struct Taps(());

impl Taps {
    /// Leaves the machine's own network for one of this process. There must be no other thread.
    ///
    /// # Errors
    /// If the host does not permit that.
    #[allow(unsafe_code)]
    pub(crate) fn make() -> Result<Self> {
        // SAFETY: the call has no memory arguments; there is no other thread that could be surprised.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error()).context("a network namespace");
        }
        ip(&["tuntap", "add", "dev", TAP, "mode", "tap"])?;
        // No frames but those that are measured.
        ip(&["link", "set", TAP, "addrgenmode", "none"])?;
        ip(&["link", "set", TAP, "up"])?;
        Ok(Self(()))
    }

    /// The name of the TAP device.
    pub(crate) fn first(&self) -> &'static str {
        TAP
    }

    /// Sends frames of `size` bytes to the guest until this is dropped.
    pub(crate) fn flood(&self, size: usize) -> Result<Flood> {
        let index = index_of(TAP)?;
        let socket = socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .context("a packet socket")?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let stop = stop.clone();
            let mut frame = vec![0; size.max(60)];
            // Broadcast, from an address of a test, of a type for experiments (IEEE 802).
            frame[..14].copy_from_slice(&[
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5,
            ]);
            std::thread::spawn(move || send(&socket, index, &frame, &stop))
        };
        Ok(Flood {
            stop,
            thread: Some(thread),
        })
    }
}

/// A host that sends.
#[derive(Debug)]
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[allow(unsafe_code)]
fn send(socket: &OwnedFd, index: i32, frame: &[u8], stop: &AtomicBool) {
    // SAFETY: all zeroes are a value of this plain C structure.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
    to.sll_ifindex = index;
    to.sll_halen = 6;
    to.sll_addr = [0xff; 8];
    let length = libc::socklen_t::try_from(size_of_val(&to)).unwrap_or_default();
    while !stop.load(Ordering::Relaxed) {
        // Frames for which the card has no room are lost, as everywhere.
        // SAFETY: both buffers live through the call, which only reads them.
        unsafe {
            libc::sendto(
                socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                length,
            );
        }
    }
}

#[allow(unsafe_code)]
fn index_of(name: &str) -> Result<i32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: the name ends with a zero.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()).context("the TAP device"),
        index => Ok(i32::try_from(index)?),
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output();
    let output = output.context("cannot start ip, of the package iproute2")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", args.join(" "), said.trim());
    }
    Ok(())
}
