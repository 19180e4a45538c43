//! What a driver and a reader see of a serial port.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{SerialBackend, SerialCounters, SerialPort};
use crate::rate::{BucketConfig, RateConfig};

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u8>>>);

impl Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn port() -> (SerialPort, Seen, EventFd) {
    let seen = Seen::default();
    let (port, interrupt, _) = port_to(Box::new(seen.clone()), RateConfig::default());
    (port, seen, interrupt)
}

fn port_to(
    out: Box<dyn Write + Send>,
    rate: RateConfig,
) -> (SerialPort, EventFd, Arc<SerialCounters>) {
    let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
    let counters = Arc::new(SerialCounters::default());
    let backend = SerialBackend {
        out,
        room: None,
        rate,
        counters: counters.clone(),
    };
    let port = SerialPort::new(interrupt.try_clone().unwrap(), backend);
    (port, interrupt, counters)
}

fn type_out(port: &mut SerialPort, text: &str) {
    for byte in text.bytes() {
        port.write(0, &[byte]);
    }
}

#[test]
fn lines_are_written_when_they_end_or_the_port_goes_away() {
    let (mut port, seen, _interrupt) = port();
    for byte in b"one\ntwo" {
        port.write(0, &[*byte]);
    }
    assert_eq!(*seen.0.lock().unwrap(), b"one\n");
    drop(port);
    assert_eq!(*seen.0.lock().unwrap(), b"one\ntwo");
}

#[test]
fn a_driver_is_interrupted_when_it_asked_for_it() {
    let (mut port, _seen, interrupt) = port();
    port.write(0, b"x");
    assert!(interrupt.read().is_err());
    port.write(1, &[2]);
    assert_eq!(interrupt.read().unwrap(), 1);
}

#[test]
fn the_transmitter_is_always_empty() {
    let (mut port, _seen, _interrupt) = port();
    let mut status = [0; 4];
    port.read(5, &mut status);
    assert_eq!(status, [0x60, 0xff, 0xff, 0xff]);
}

#[test]
fn a_prompt_is_seen_when_its_driver_or_who_polls_has_sent_all_of_it() {
    let (mut port, seen, _interrupt) = port();
    type_out(&mut port, "login: ");
    assert_eq!(*seen.0.lock().unwrap(), b"");
    // The driver wants no more interrupts of the transmitter.
    port.write(1, &[0]);
    assert_eq!(*seen.0.lock().unwrap(), b"login: ");
    let mut status = [0];
    for byte in b"> " {
        port.read(5, &mut status);
        port.write(0, &[*byte]);
    }
    assert_eq!(*seen.0.lock().unwrap(), b"login: ");
    port.read(5, &mut status);
    port.read(5, &mut status);
    assert_eq!(*seen.0.lock().unwrap(), b"login: > ");
}

/// Takes a number of lines, and then none.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_not_taken_at_once_is_dropped_and_counted() {
    let (mut port, _interrupt, counters) = port_to(Box::new(Full(2)), RateConfig::default());
    type_out(&mut port, "one\ntwo\nthree\nfour\n");
    assert_eq!(
        (counters.written_bytes.get(), counters.dropped_bytes.get()),
        (8, 11)
    );
    assert_eq!(counters.rate_limiter_dropped_bytes.get(), 0);
}

#[test]
fn bytes_beyond_the_rate_are_dropped_and_counted() {
    let bucket = BucketConfig {
        size: 10,
        one_time_burst: 5,
        // Nothing comes back while the test runs.
        refill_time: 1_000_000_000,
    };
    let rate = RateConfig {
        bandwidth: Some(bucket),
        ops: None,
    };
    let seen = Seen::default();
    let (mut port, _interrupt, counters) = port_to(Box::new(seen.clone()), rate);
    type_out(&mut port, "0123456\n0123456\n012345\n");
    assert_eq!(*seen.0.lock().unwrap(), b"0123456\n012345\n");
    assert_eq!(
        (
            counters.written_bytes.get(),
            counters.rate_limiter_dropped_bytes.get()
        ),
        (15, 8)
    );
    assert_eq!(counters.dropped_bytes.get(), 0);
}

#[test]
fn what_somebody_types_is_read_by_the_guest() {
    let room = EventFd::new(EFD_NONBLOCK).unwrap();
    let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
    let backend = SerialBackend {
        out: Box::new(io::sink()),
        room: Some(room.try_clone().unwrap()),
        rate: RateConfig::default(),
        counters: Arc::default(),
    };
    let mut port = SerialPort::new(interrupt.try_clone().unwrap(), backend);
    port.write(1, &[1]);
    let all = port.room();
    port.receive(b"ls\n");
    assert_eq!(port.room(), all - 3);
    assert_eq!(interrupt.read().unwrap(), 1);
    let mut read = Vec::new();
    let (mut status, mut byte) = ([0], [0]);
    loop {
        port.read(5, &mut status);
        if status[0] & 1 == 0 {
            break;
        }
        assert!(room.read().is_err(), "there was more to read");
        port.read(0, &mut byte);
        read.extend(byte);
    }
    assert_eq!(read, b"ls\n");
    assert_eq!(room.read().unwrap(), 1);
    // More than fits is lost, and nothing else happens.
    port.receive(&vec![b'x'; all + 10]);
    port.receive(b"y");
    assert_eq!(port.room(), 0);
}

proptest! {
    #[test]
    fn any_access_is_harmless(accesses in prop::collection::vec((any::<u64>(), 0_usize..9, any::<[u8; 8]>(), any::<bool>()), 0..200)) {
        let (mut port, _seen, _interrupt) = port();
        for (offset, size, mut data, write) in accesses {
            for offset in [offset, offset % 8] {
                if write {
                    port.write(offset, &data[..size]);
                } else {
                    port.read(offset, &mut data[..size]);
                }
            }
        }
    }
}

#[test]
fn a_restored_port_has_its_registers_and_what_was_typed() {
    let (mut port, seen, _interrupt) = port();
    port.write(1, &[0x01]);
    port.write(7, &[0x5a]);
    port.receive(b"ab");
    type_out(&mut port, "half a line");
    let state = port.save();
    assert_eq!(*seen.0.lock().unwrap(), b"half a line");
    drop(port);

    let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
    let backend = || SerialBackend {
        out: Box::new(seen.clone()),
        room: None,
        rate: RateConfig::default(),
        counters: Arc::default(),
    };
    let line = || interrupt.try_clone().unwrap();
    let mut port = SerialPort::restore(&state, line(), backend()).unwrap();
    // What is there to read is told once more.
    assert_eq!(interrupt.read().unwrap(), 1);
    let mut byte = [0];
    let mut read = |offset| {
        port.read(offset, &mut byte);
        byte[0]
    };
    assert_eq!([read(7), read(1), read(0), read(0)], [0x5a, 1, b'a', b'b']);
    assert_eq!(port.save().input, b"");

    let mut full = state;
    full.input = vec![0; 65];
    let refused = SerialPort::restore(&full, line(), backend()).unwrap_err();
    assert!(refused.to_string().contains("65 bytes"), "{refused}");
}
