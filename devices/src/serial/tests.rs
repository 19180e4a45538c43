//! What a driver and a reader see of a serial port.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::SerialPort;

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
    let interrupt = EventFd::new(EFD_NONBLOCK).unwrap();
    let port = SerialPort::new(interrupt.try_clone().unwrap(), Box::new(seen.clone()));
    (port, seen, interrupt)
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
