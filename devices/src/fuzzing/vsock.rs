//! Sockets: packets of the guest, and clients and services on the host that write, read and go away.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use super::input::Input;
use super::script::{self, Host};
use crate::testing::Driver;
use crate::vsock::{Connector, Vsock, VsockBackend, VsockConfig};
use crate::{DeviceState, VirtioDevice};

const CID: u64 = 3;
/// The port with a service on the host.
const SERVICE: u32 = 1024;

#[derive(Debug, Clone, Default)]
struct Services(Arc<Mutex<Vec<UnixStream>>>);

impl Connector for Services {
    fn connect(&mut self, port: u32) -> io::Result<UnixStream> {
        if port != SERVICE {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = UnixStream::pair()?;
        far.set_nonblocking(true)?;
        self.0.lock().unwrap().push(far);
        Ok(near)
    }
}

/// The host's ends.
#[derive(Default)]
struct Ends {
    services: Services,
    clients: Vec<UnixStream>,
    /// Where the last device listens.
    listener: Option<SocketAddr>,
    listeners: u32,
}

impl Ends {
    /// A device that is replaced still has its listener.
    fn backend(&mut self) -> VsockBackend {
        self.listeners += 1;
        let name = format!("hull-fuzz-vsock-{}-{}", std::process::id(), self.listeners);
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        self.listener = Some(address);
        VsockBackend {
            listener: Some(listener),
            connector: Box::new(self.services.clone()),
            on_first_connection: None,
        }
    }

    fn connect(&mut self) {
        if let Some(address) = &self.listener
            && let Ok(client) = UnixStream::connect_addr(address)
        {
            client.set_nonblocking(true).unwrap();
            self.clients.push(client);
        }
    }
}

impl Host for Ends {
    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Vsock::new(VsockConfig { guest_cid: CID }, self.backend()).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Vsock(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Vsock::restore(state, self.backend()).unwrap())
    }

    fn request(&mut self, _queue: usize, input: &mut Input<'_>) -> Vec<u8> {
        let how = input.u8();
        let op = u16::from(how & 7);
        let (source, target) = if how & 8 == 0 {
            (CID, 2)
        } else {
            (input.number(), input.number())
        };
        let kind = if how & 16 == 0 {
            1
        } else {
            u16::from(input.u8())
        };
        let port = 5000 + u32::from(input.u8() % 4);
        // Services first, then what clients of the host were given.
        let peer = match input.u8() {
            0..=127 => SERVICE,
            peer => (1 << 30) + u32::from(peer - 128),
        };
        let payload = input.literal();
        let len = if how & 32 == 0 {
            payload.len() as u32
        } else {
            input.short_number()
        };
        let mut bytes = [source, target].map(u64::to_le_bytes).concat();
        bytes.extend([port, peer, len].map(u32::to_le_bytes).concat());
        bytes.extend([kind, op].map(u16::to_le_bytes).concat());
        let flags = if op == 4 { u32::from(input.u8()) } else { 0 };
        let credit = if how & 64 == 0 {
            1 << 16
        } else {
            input.short_number()
        };
        let consumed = if how & 128 == 0 {
            0
        } else {
            input.short_number()
        };
        bytes.extend([flags, credit, consumed].map(u32::to_le_bytes).concat());
        bytes.extend(payload);
        bytes
    }

    fn act(&mut self, _driver: &mut Driver, input: &mut Input<'_>) {
        let how = input.u8();
        if how % 8 == 0 {
            return self.connect();
        }
        let mut services = self.services.0.lock().unwrap();
        let ends = if how & 128 == 0 {
            &mut *services
        } else {
            &mut self.clients
        };
        if ends.is_empty() {
            return;
        }
        let index = input.below(ends.len());
        let end = &mut ends[index];
        match how % 8 {
            1 => {
                let _ = end.write(b"CONNECT 5000\n");
            }
            2 => {
                let _ = end.write(input.literal());
            }
            3 => {
                let _ = end.write(&vec![7; usize::from(input.u8()) << 9]);
            }
            4 => {
                let _ = end.read(&mut vec![0; usize::from(input.u8()) << 10]);
            }
            5 => {
                let how = [std::net::Shutdown::Read, std::net::Shutdown::Write];
                let _ = end.shutdown(input.pick(&how));
            }
            _ => drop(ends.swap_remove(index)),
        }
    }
}

pub(super) fn run(input: &mut Input<'_>) {
    script::run(&mut Ends::default(), input);
}
