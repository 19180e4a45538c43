//! What a guest and a person see of a console.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;

use super::{Console, ConsoleBackend, ConsoleSize, ConsoleState};
use crate::testing::{Driver, Fixture, desc, lifecycle_suite};
use crate::{DeviceState, VirtioDevice};

const DATA: u64 = 0x1_0000;

/// A console whose both ends are one socket.
struct Person {
    host: UnixStream,
    guest: UnixStream,
}

impl Person {
    fn backend(&self) -> ConsoleBackend {
        ConsoleBackend {
            output: self.guest.try_clone().unwrap().into(),
            input: Some(self.guest.try_clone().unwrap().into()),
        }
    }

    /// What can be read now.
    fn seen(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let count = self.host.read(&mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }
}

impl Fixture for Person {
    fn new() -> Self {
        let (host, guest) = UnixStream::pair().unwrap();
        host.set_nonblocking(true).unwrap();
        Self { host, guest }
    }

    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Console::new(self.backend()).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Console(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Console::restore(state, self.backend()).unwrap())
    }

    fn use_it(&mut self, driver: &mut Driver) {
        // A hostile ring may have printed, and taken input.
        while !self.seen().is_empty() {}
        driver.put(DATA, b"hello out there");
        driver.rings[1].used();
        assert_eq!(driver.request(1, &[desc(DATA, 15, false)]), Some(0));
        assert_eq!(self.seen(), b"hello out there");
        driver.rings[0].used();
        let head = driver.rings[0].add(&[desc(DATA, 64, true)]);
        driver.kick(0);
        self.host.write_all(b"hi").unwrap();
        driver.run();
        assert_eq!(driver.rings[0].used(), [(head, 2)]);
        assert_eq!(driver.get(DATA, 2), b"hi");
    }
}

lifecycle_suite!(lifecycle, Person);

#[test]
fn a_reader_that_stops_stops_the_guest_and_loses_nothing() {
    let mut person = Person::new();
    let mut driver = Driver::ready(person.device());
    let text: Vec<u8> = (0..0x10_0000_u32).map(|i| i.to_le_bytes()[1]).collect();
    driver.put(DATA, &text);
    driver.rings[1].add(&[desc(DATA, text.len(), false)]);
    driver.kick(1);
    assert_eq!(driver.rings[1].used(), [], "1 MiB fitted into a socket");
    let mut seen = Vec::new();
    while seen.len() < text.len() {
        let more = person.seen();
        assert!(
            !more.is_empty(),
            "the output stalls after {} bytes",
            seen.len()
        );
        seen.extend(more);
        driver.run();
    }
    assert!(seen == text);
    assert_eq!(driver.rings[1].used(), [(0, 0)]);
}

#[test]
fn half_written_output_survives_a_restore() {
    let mut person = Person::new();
    let mut driver = Driver::ready(person.device());
    let text: Vec<u8> = (0..0x10_0000_u32).map(|i| i.to_le_bytes()[1]).collect();
    driver.put(DATA, &text);
    driver.rings[1].add(&[desc(DATA, text.len(), false)]);
    driver.kick(1);
    let state = driver.transport.save();
    assert_ne!(state.device, DeviceState::Console(ConsoleState::default()));
    let device = person.restore(&state.device);
    let mut driver = driver.restored(&state, device);
    driver.transport.resume();
    let mut seen = Vec::new();
    while seen.len() < text.len() {
        driver.run();
        let more = person.seen();
        assert!(
            !more.is_empty(),
            "the output stalls after {} bytes",
            seen.len()
        );
        seen.extend(more);
    }
    assert!(seen == text);
}

#[test]
fn a_reader_that_is_gone_does_not_hold_up_the_guest() {
    let mut person = Person::new();
    let mut driver = Driver::ready(person.device());
    let (host, _) = UnixStream::pair().unwrap();
    person.host = host;
    driver.put(DATA, &[b'x'; 64]);
    for _ in 0..10 {
        assert_eq!(driver.request(1, &[desc(DATA, 64, false)]), Some(0));
    }
}

#[test]
fn input_waits_for_the_guests_buffers_and_ends_quietly() {
    let mut person = Person::new();
    let mut driver = Driver::ready(person.device());
    person.host.write_all(b"early").unwrap();
    driver.run();
    assert_eq!(driver.request(0, &[desc(DATA, 3, true)]), Some(3));
    assert_eq!(driver.request(0, &[desc(DATA + 3, 64, true)]), Some(2));
    assert_eq!(driver.get(DATA, 5), b"early");
    person.host.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(driver.request(0, &[desc(DATA, 64, true)]), None);
    driver.put(DATA, b"still");
    assert_eq!(driver.request(1, &[desc(DATA, 5, false)]), Some(0));
    assert_eq!(person.seen(), b"still");
}

#[test]
fn files_are_written_without_waiting() {
    let file = tempfile::tempfile().unwrap();
    let output = OwnedFd::from(file.try_clone().unwrap());
    let console = Console::new(ConsoleBackend {
        output,
        input: None,
    })
    .unwrap();
    let mut driver = Driver::ready(Box::new(console));
    driver.put(DATA, &[b'x'; 10_000]);
    assert_eq!(driver.request(1, &[desc(DATA, 10_000, false)]), Some(0));
    assert_eq!(file.metadata().unwrap().len(), 10_000);
}

#[test]
fn an_emergency_write_needs_no_queue() {
    let mut person = Person::new();
    let mut driver = Driver::new(person.device());
    assert!(driver.negotiate(u64::MAX));
    let _ = driver
        .transport
        .write(0x108, &u32::from(b'!').to_le_bytes());
    assert_eq!(person.seen(), b"!");
}

#[test]
fn the_guest_learns_of_the_terminals_size() {
    let mut person = Person::new();
    let driver = Driver::ready(person.device());
    assert_ne!(driver.offered() & 1, 0, "VIRTIO_CONSOLE_F_SIZE");
    assert_eq!(driver.read(0x100), 0);
    let interrupts = |driver: &Driver| driver.interrupts.config.load(Ordering::SeqCst);
    let before = interrupts(&driver);
    let size = ConsoleSize {
        columns: 132,
        rows: 43,
    };
    let resize = |driver: &Driver| {
        let resized = |console: &mut Console| console.set_size(size);
        driver.transport.with_device(resized).unwrap();
    };
    resize(&driver);
    assert_eq!(interrupts(&driver), before + 1);
    assert_eq!(driver.read(0x100), 43 << 16 | 132);
    resize(&driver);
    assert_eq!(interrupts(&driver), before + 1, "it was that size already");
    let state = driver.transport.save();
    let device = person.restore(&state.device);
    let driver = driver.restored(&state, device);
    assert_eq!(driver.read(0x100), 43 << 16 | 132);
}
