//! The API of a real process, over a real socket, with guests of a few instructions.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod configure;
mod figures;
mod files;
mod lifecycle;
mod metadata;
mod network;
mod restart;
mod stages;
mod wire;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use common::guest::Code;
use common::{Configured, Running, Vm};
use hull_vm_api::client::ClientError;
use hull_vm_api::config::{BootSource, HostPath};
use hull_vm_api::{Client, ExitCause};
use rustix::process::Signal;
use serde_json::Value;

/// Comes out to the process again and again: `out 0x80, al; jmp` to itself.
fn counting() -> Vec<u8> {
    Code::new().bytes(&[0xe6, 0x80, 0xeb, 0xfc]).0
}

fn path(vm: &Vm, name: &str) -> HostPath {
    HostPath::try_from(vm.path(name).as_path()).unwrap()
}

fn boot(vm: &Vm, kernel: &str) -> BootSource {
    BootSource {
        kernel_image_path: path(vm, kernel),
        initrd_path: None,
        boot_args: None,
    }
}

/// A process that waits for its configuration, with the boot source said already.
fn waiting(vm: &Vm) -> (Running, Client) {
    let (running, client) = vm.serve(Configured::ByApi);
    let source = boot(vm, "kernel");
    client.put_boot_source(&source).unwrap();
    (running, client)
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.unwrap_err().to_string()
}

/// The last line of the metrics.
fn last_line(vm: &Vm) -> Value {
    let lines = fs::read_to_string(vm.path("metrics")).unwrap();
    serde_json::from_str(lines.lines().last().unwrap()).unwrap()
}

fn interrupt(running: Running) {
    running.signal(Signal::INT);
    assert_eq!(running.end().cause(), ExitCause::Terminated);
}

fn powers_off(running: Running) {
    let ended = running.end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
}

/// An answer as it came: its status, and its body or `Null`.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn message(&self) -> &str {
        self.body["fault_message"].as_str().unwrap_or_default()
    }
}

/// A connection for bytes that the client would not send.
struct Raw(UnixStream);

impl Raw {
    fn connect(vm: &Vm) -> Self {
        Self(UnixStream::connect(vm.path("api")).unwrap())
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    }

    /// Asks for something, and reads the answer.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
        self.send(&Self::request(method, path, body));
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            let count = self.0.read(&mut byte).unwrap();
            let so_far = String::from_utf8_lossy(&head);
            assert_eq!(count, 1, "the connection ended with {so_far:?}");
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        let body = match &body[..] {
            [] => Value::Null,
            body => serde_json::from_slice(body).unwrap(),
        };
        Answer { status, body }
    }

    /// Whether the other end closes the connection without another word.
    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}
