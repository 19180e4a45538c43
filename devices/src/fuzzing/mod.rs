//! What `fuzz/` calls: one function for each kind of device. The fuzzer's bytes are a script of what a hostile guest and its
//! host do (`script.rs`), on the driver of the tests.

mod block;
mod fs;
mod input;
mod memory;
mod net;
mod registers;
mod script;
mod streams;
mod vsock;

use std::fs::File;

use input::Input;

/// Disks, by both engines.
pub fn block(bytes: &[u8]) {
    block::run(&mut Input::new(bytes));
}

/// A network interface with its metadata service.
pub fn net(bytes: &[u8]) {
    net::run(&mut Input::new(bytes));
}

/// Sockets. Call [`prepare_streams`] before.
pub fn vsock(bytes: &[u8]) {
    vsock::run(&mut Input::new(bytes));
}

/// A shared directory. Call [`prepare_fs`] before.
pub fn fs(bytes: &[u8]) {
    fs::run(&mut Input::new(bytes));
}

/// Gives this process a small file system of its own for shared directories.
pub fn prepare_fs() {
    fs::prepare();
}

/// Persistent memory, the balloon and memory that can be plugged.
pub fn memory(bytes: &[u8]) {
    memory::run(&mut Input::new(bytes));
}

/// Has writes to what nobody reads fail, as in every program of Rust: a fuzzer's `main` is none.
#[allow(unsafe_code)]
pub fn prepare_streams() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The console, the random number device and the serial port. Call [`prepare_streams`] before.
pub fn streams(bytes: &[u8]) {
    streams::run(&mut Input::new(bytes));
}

/// The registers of the transport, without a driver that sets anything up.
pub fn registers(bytes: &[u8]) {
    registers::run(&mut Input::new(bytes));
}

/// A file without a name.
fn file(size: u64) -> File {
    let fd = rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let file = File::from(fd);
    file.set_len(size).unwrap();
    file
}
