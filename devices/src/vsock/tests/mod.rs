//! What a guest and clients on the host see of a vsock device. The guest's packets are made by hand.

mod flow;
mod handshake;
mod hostile;
mod lifetime;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::packet::{HEADER, Header, NO_RECEIVE, NO_SEND, Op};
use super::{Connector, DialOutcome, UnixConnector, Vsock, VsockBackend, VsockConfig, VsockError};
use crate::testing::{Driver, Fixture, desc, lifecycle_suite};
use crate::{DeviceState, VirtioDevice};

const CID: u64 = 3;
const RX: usize = 0;
const TX: usize = 1;
const EVENT: usize = 2;
/// What each of the first connections may keep for a slow reader, in bytes.
const BUFFER: u32 = 256 << 10;
/// Where packets to and from the guest lie.
const TX_AT: u64 = 0x1_0000;
const RX_AT: u64 = 0x4_0000;
const RX_LEN: usize = 4096 + HEADER;
/// The port with a service on the host.
const SERVICE: u32 = 1024;

/// Services on the host: each connection's far end is kept here.
#[derive(Debug, Clone, Default)]
struct Services {
    accepted: Arc<Mutex<Vec<UnixStream>>>,
}

impl Connector for Services {
    fn connect(&mut self, port: u32) -> io::Result<UnixStream> {
        if port != SERVICE {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let (near, far) = UnixStream::pair()?;
        far.set_nonblocking(true)?;
        self.accepted.lock().unwrap().push(far);
        Ok(near)
    }
}

/// The host, and a guest port that is new for each use.
struct Host {
    services: Services,
    dir: tempfile::TempDir,
    next_port: u32,
    firsts: Arc<AtomicUsize>,
}

impl Host {
    fn backend(&mut self) -> VsockBackend {
        let path = self.dir.path().join("listener");
        let _ = std::fs::remove_file(&path);
        let firsts = Arc::clone(&self.firsts);
        VsockBackend {
            listener: Some(UnixListener::bind(path).unwrap()),
            connector: Box::new(self.services.clone()),
            on_first_connection: Some(Box::new(move || {
                firsts.fetch_add(1, Ordering::SeqCst);
            })),
        }
    }

    fn vsock(&mut self) -> Vsock {
        Vsock::new(VsockConfig { guest_cid: CID }, self.backend()).unwrap()
    }

    /// A client of the listening socket.
    fn client(&self) -> UnixStream {
        let client = UnixStream::connect(self.dir.path().join("listener")).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    }
}

impl Fixture for Host {
    fn new() -> Self {
        Self {
            services: Services::default(),
            dir: tempfile::tempdir().unwrap(),
            next_port: 5000,
            firsts: Arc::default(),
        }
    }

    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(self.vsock())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Vsock(state) = state else {
            panic!("{state:?}");
        };
        let backend = self.backend();
        Box::new(Vsock::restore(state, backend).unwrap())
    }

    fn use_it(&mut self, driver: &mut Driver) {
        self.next_port += 1;
        let port = self.next_port;
        receive(driver);
        let mut far = connect(driver, self, port);
        send(driver, port, SERVICE, Op::Data, 0, b"ping");
        assert_eq!(read(&mut far), b"ping");
        far.write_all(b"pong").unwrap();
        driver.run();
        let (header, data) = only(receive(driver));
        assert_eq!(
            (header.op, data.as_slice()),
            (Op::Data as u16, &b"pong"[..])
        );
        send(
            driver,
            port,
            SERVICE,
            Op::Shutdown,
            NO_SEND | NO_RECEIVE,
            b"",
        );
        assert_eq!(only(receive(driver)).0.op, Op::Reset as u16);
    }
}

lifecycle_suite!(lifecycle, Host);

fn only<T: std::fmt::Debug>(items: Vec<T>) -> T {
    assert_eq!(items.len(), 1, "{items:?}");
    items.into_iter().next().unwrap()
}

fn read(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let count = match stream.read(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        result => result.unwrap(),
    };
    bytes.truncate(count);
    bytes
}

/// Sends a packet of the guest, with all of its buffer as credit.
fn send(driver: &mut Driver, guest_port: u32, host_port: u32, op: Op, flags: u32, data: &[u8]) {
    let header = Header {
        src_cid: CID,
        dst_cid: 2,
        src_port: guest_port,
        dst_port: host_port,
        len: u32::try_from(data.len()).unwrap(),
        kind: 1,
        op: op as u16,
        flags,
        buf_alloc: u32::MAX,
        fwd_cnt: 0,
    };
    send_raw(driver, header, data);
}

fn send_raw(driver: &mut Driver, header: Header, data: &[u8]) {
    driver.rings[TX].used();
    driver.put(TX_AT, &header.to_bytes());
    driver.put(TX_AT + 0x100, data);
    let mut buffers = vec![desc(TX_AT, HEADER, false)];
    if !data.is_empty() {
        buffers.push(desc(TX_AT + 0x100, data.len(), false));
    }
    assert_eq!(
        driver.request(TX, &buffers),
        Some(0),
        "a packet was not taken"
    );
}

/// Offers buffers until nothing more comes, and takes what came.
fn receive(driver: &mut Driver) -> Vec<(Header, Vec<u8>)> {
    let mut packets = Vec::new();
    loop {
        let mut used = driver.rings[RX].used();
        // One buffer at a time, for all lie at the same place.
        if used.is_empty() && driver.rings[RX].outstanding() == 0 {
            driver.rings[RX].add(&[desc(RX_AT, RX_LEN, true)]);
            driver.kick(u32::try_from(RX).unwrap());
            used = driver.rings[RX].used();
        }
        if used.is_empty() {
            return packets;
        }
        for (_, len) in used {
            let bytes = driver.get(RX_AT, usize::try_from(len).unwrap());
            let (header, data) = bytes.split_first_chunk::<HEADER>().unwrap();
            packets.push((Header::from_bytes(header), data.to_vec()));
        }
    }
}

/// Connects from the guest to the service; the service's end.
fn connect(driver: &mut Driver, host: &Host, port: u32) -> UnixStream {
    send(driver, port, SERVICE, Op::Request, 0, b"");
    let (header, _) = only(receive(driver));
    assert_eq!(header.op, Op::Response as u16);
    assert_eq!((header.src_cid, header.dst_cid), (2, CID));
    assert_eq!((header.src_port, header.dst_port), (SERVICE, port));
    host.services.accepted.lock().unwrap().pop().unwrap()
}

/// Connects from the host to a port of the guest, which accepts; the client, and the host's port.
fn dial_in(driver: &mut Driver, host: &Host, port: u32) -> (UnixStream, u32) {
    let mut client = host.client();
    writeln!(client, "CONNECT {port}").unwrap();
    driver.run();
    let (request, _) = only(receive(driver));
    assert_eq!((request.op, request.dst_port), (Op::Request as u16, port));
    send(driver, port, request.src_port, Op::Response, 0, b"");
    let answer = String::from_utf8(read(&mut client)).unwrap();
    assert_eq!(answer, format!("OK {}\n", request.src_port));
    (client, request.src_port)
}

fn start() -> (Host, Driver) {
    let mut host = Host::new();
    let driver = Driver::ready(host.device());
    (host, driver)
}
