//! Devices that are about bytes: the console, random numbers, and the serial port's registers.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::block::rate;
use super::input::Input;
use super::script::{self, Host};
use crate::console::{Console, ConsoleBackend, ConsoleSize};
use crate::rng::{Rng, RngConfig};
use crate::serial::{SerialBackend, SerialPort};
use crate::testing::Driver;
use crate::{DeviceState, VirtioDevice};

/// Whoever sits at the console.
struct Person {
    far: UnixStream,
    near: UnixStream,
}

impl Person {
    fn new() -> Self {
        let (far, near) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        near.set_nonblocking(true).unwrap();
        Self { far, near }
    }

    fn backend(&self) -> ConsoleBackend {
        ConsoleBackend {
            output: self.near.try_clone().unwrap().into(),
            input: Some(self.near.try_clone().unwrap().into()),
        }
    }
}

impl Host for Person {
    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Console::new(self.backend()).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Console(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Console::restore(state, self.backend()).unwrap())
    }

    fn request(&mut self, _queue: usize, input: &mut Input<'_>) -> Vec<u8> {
        vec![b'x'; usize::from(input.u8()) * 300]
    }

    fn act(&mut self, driver: &mut Driver, input: &mut Input<'_>) {
        match input.u8() % 8 {
            0..=2 => {
                let _ = self.far.write(input.literal());
            }
            3 => {
                let _ = self.far.write(&vec![b'y'; usize::from(input.u8()) * 300]);
            }
            4 | 5 => {
                let _ = self.far.read(&mut vec![0; usize::from(input.u8()) * 300]);
            }
            6 => {
                let size = ConsoleSize {
                    columns: input.u16(),
                    rows: input.u16(),
                };
                driver
                    .transport
                    .with_device(|console: &mut Console| console.set_size(size));
            }
            _ => {
                let how = [std::net::Shutdown::Read, std::net::Shutdown::Write];
                let _ = self.far.shutdown(input.pick(&how));
            }
        }
    }
}

/// Where random numbers come from.
struct Entropy(RngConfig);

impl Host for Entropy {
    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Rng::new(&self.0).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Rng(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Rng::restore(state).unwrap())
    }

    fn request(&mut self, _queue: usize, _input: &mut Input<'_>) -> Vec<u8> {
        Vec::new()
    }

    fn act(&mut self, driver: &mut Driver, input: &mut Input<'_>) {
        let limit = rate(input);
        driver
            .transport
            .with_device(|rng: &mut Rng| rng.rate_control().change(&limit));
    }
}

/// Accesses to the serial port.
fn serial(input: &mut Input<'_>) {
    let event = || EventFd::new(libc::EFD_NONBLOCK).unwrap();
    let backend = SerialBackend {
        out: Box::new(io::sink()),
        room: input.flip().then(event),
        rate: rate(input),
        counters: Arc::default(),
    };
    let mut port = SerialPort::new(event(), backend);
    while !input.is_empty() {
        let how = input.u8();
        let offset = if how & 8 == 0 {
            u64::from(how & 7)
        } else {
            input.number()
        };
        let size = input.pick(&[1, 2, 4, 8]);
        let mut data = [0; 8];
        if how & 32 != 0 {
            let typed = port.room().min(size);
            port.receive(&data[..typed]);
        } else if how & 16 == 0 {
            port.read(offset, &mut data[..size]);
        } else {
            data.fill(input.u8());
            port.write(offset, &data[..size]);
        }
    }
    port.flush();
}

pub(super) fn run(input: &mut Input<'_>) {
    match input.u8() % 3 {
        0 => serial(input),
        1 => {
            let config = RngConfig { rate: rate(input) };
            script::run(&mut Entropy(config), input);
        }
        _ => script::run(&mut Person::new(), input),
    }
}
