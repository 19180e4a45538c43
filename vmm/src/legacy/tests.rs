use std::sync::{Arc, Mutex};

use hull_vm_api::ExitCause;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;
use crate::bus::Registers;
use crate::ending::Ending;

fn keyboard() -> (Mutex<I8042>, Arc<Ending>, EventFd) {
    let ending = Arc::new(Ending::new().unwrap());
    let line = EventFd::new(EFD_NONBLOCK).unwrap();
    let irq = IrqLine(line.try_clone().unwrap());
    (Mutex::new(I8042::new(ending.clone(), irq)), ending, line)
}

/// Reads until the status says that there is nothing more.
fn drain(keyboard: &Mutex<I8042>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        keyboard.read(4, &mut byte);
        if byte[0] & 1 == 0 {
            return bytes;
        }
        keyboard.read(0, &mut byte);
        bytes.push(byte[0]);
    }
}

#[test]
fn a_reset_command_reboots() {
    let (keyboard, ending, _) = keyboard();
    keyboard.write(4, &[0xff]);
    assert_eq!(ending.get(), None);
    keyboard.write(4, &[0xfe]);
    assert_eq!(ending.get().unwrap().cause, ExitCause::Reboot);
}

#[test]
fn ctrl_alt_del_interrupts_and_is_read_to_its_end() {
    let (keyboard, _, line) = keyboard();
    keyboard.lock().unwrap().press_ctrl_alt_del();
    assert_eq!(line.read().unwrap(), 1);
    let keys = drain(&keyboard);
    assert_eq!(&keys[..4], [0x14, 0x11, 0xe0, 0x71]);
    assert_eq!(keys.len(), 11);
}

#[test]
fn a_masked_keyboard_does_not_interrupt() {
    let (keyboard, _, line) = keyboard();
    keyboard.write(4, &[0x60]);
    keyboard.write(0, &[0x00]);
    keyboard.write(0, &[0xf2]);
    assert!(line.read().is_err());
    assert_eq!(drain(&keyboard), [0xfa, 0xab, 0x83]);
}

#[test]
fn a_guest_that_only_asks_gets_a_bounded_answer() {
    let (keyboard, ..) = keyboard();
    for _ in 0..1000 {
        keyboard.write(0, &[0xf2]);
        keyboard.write(4, &[0x20]);
    }
    assert!(drain(&keyboard).len() <= 64);
    for size in 2..=8 {
        keyboard.write(4, &[0xfe; 8][..size]);
        keyboard.read(0, &mut [0; 8][..size]);
    }
}

#[test]
fn the_panic_port_tells_panic_from_power_off() {
    for (value, cause) in [
        (1, ExitCause::Panic),
        (4, ExitCause::PowerOff),
        (5, ExitCause::Panic),
    ] {
        let ending = Arc::new(Ending::new().unwrap());
        let port = PanicPort::new(ending.clone());
        let mut can = [0];
        port.read(0, &mut can);
        assert_eq!(can, [5]);
        port.write(0, &[2]);
        assert_eq!(ending.get(), None);
        port.write(0, &[value]);
        assert_eq!(ending.get().unwrap().cause, cause);
    }
}

#[test]
fn a_restored_keyboard_goes_on_where_it_was() {
    let (keyboard, ..) = keyboard();
    keyboard.lock().unwrap().press_ctrl_alt_del();
    let mut byte = [0];
    keyboard.read(0, &mut byte);
    keyboard.write(4, &[0xd2]);
    let state = keyboard.lock().unwrap().save();

    let (restored, _, line) = self::keyboard();
    restored.lock().unwrap().restore(&state);
    assert_eq!(line.read().unwrap(), 1);
    assert_eq!(restored.lock().unwrap().save(), state);
    // The byte is the parameter of the command.
    restored.write(0, &[0x77]);
    let keys = drain(&restored);
    assert_eq!((keys.len(), keys[0], keys[10]), (11, 0x11, 0x77));
    let long = vec![0; 1000];
    restored
        .lock()
        .unwrap()
        .restore(&crate::snapshot::format::v1::KeyboardState {
            output: long,
            ..state
        });
    assert_eq!(drain(&restored).len(), 64);
}
