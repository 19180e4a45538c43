//! A connection to a server that breaks when a test says so.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// Passes connections on; it ends with this value.
pub(crate) struct Proxy {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// To `host`. The first `cuts` connections that a client has sent more than `after` bytes on break there.
    pub(crate) fn start(host: String, cuts: usize, after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let cuts = Arc::new(AtomicUsize::new(cuts));
        let thread = {
            let (over, cuts) = (Arc::clone(&over), Arc::clone(&cuts));
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    let (client, server) = (client.unwrap(), TcpStream::connect(&host).unwrap());
                    let (back, front) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    let cuts = Arc::clone(&cuts);
                    std::thread::spawn(move || carry(client, server, Some((&cuts, after))));
                    std::thread::spawn(move || carry(back, front, None));
                }
            })
        };
        Self {
            address,
            over,
            cuts,
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// How many connections are still to be broken.
    pub(crate) fn cuts_left(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Carries bytes one way until it ends, or until it is to be cut.
fn carry(mut from: TcpStream, mut to: TcpStream, cut: Option<(&AtomicUsize, usize)>) {
    let mut carried = 0;
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        carried += count;
        let is_cut = cut.is_some_and(|(cuts, after)| {
            carried > after
                && cuts
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok()
        });
        if is_cut || to.write_all(&buffer[..count]).is_err() {
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = to.shutdown(if cut.is_some() {
        Shutdown::Both
    } else {
        Shutdown::Write
    });
}
