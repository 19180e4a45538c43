//! The sockets of a network's server of names, and its limits: so many questions at a time of all guests and of one, each with a time.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::answer::{self, Verdict};
use super::book::Book;
use crate::network::{Network, NetworkDirectory, NetworkId, random_bytes};

const PORT: u16 = 53;
/// The largest question that is read by UDP, and the largest message that there is.
const QUESTION: usize = 4096;
const MESSAGE: usize = 65535;
/// Questions that others are asked, and connections: of all guests, and of one.
const AT_ONCE: usize = 256;
const AT_ONCE_OF_ONE: usize = 32;
/// How long another server may take, and a guest between two questions by TCP.
const PATIENCE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(10);
/// How long what was read is believed. A container takes longer to start.
const FRESH: Duration = Duration::from_millis(100);
/// How long to wait for an address or a port that somebody else has.
const AGAIN: Duration = Duration::from_secs(1);

/// The server of one network.
#[derive(Clone, Debug)]
pub(super) struct Server(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: NetworkDirectory,
    network: NetworkId,
    name: String,
    address: IpAddr,
    known: Mutex<Option<(Instant, Arc<Book>)>>,
    busy: Mutex<HashMap<IpAddr, usize>>,
}

/// One of the things that are done at once for a guest.
#[derive(Debug)]
struct Busy(Server, IpAddr);

#[derive(Clone, Copy, Debug)]
enum By {
    Udp,
    Tcp,
}

impl Server {
    pub(super) fn new(directory: NetworkDirectory, network: &Network, address: IpAddr) -> Self {
        Self(Arc::new(Shared {
            directory,
            network: network.id().clone(),
            name: network.name().to_owned(),
            address,
            known: Mutex::default(),
            busy: Mutex::default(),
        }))
    }

    /// Answers for as long as it may. The lock is its right to.
    pub(super) async fn serve(self, lock: File) {
        let _lock = lock;
        let at = SocketAddr::new(self.0.address, PORT);
        let mut said = false;
        let (udp, tcp) = loop {
            let bound = async { Ok((UdpSocket::bind(at).await?, TcpListener::bind(at).await?)) };
            let bound: io::Result<(UdpSocket, TcpListener)> = bound.await;
            match bound {
                Ok(bound) => break bound,
                Err(error) if !said => {
                    tracing::warn!(network = self.0.name, %at, %error, "names cannot be answered for yet");
                    said = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN).await;
        };
        tracing::debug!(network = self.0.name, %at, "answering for names");
        tokio::join!(self.datagrams(Arc::new(udp)), self.connections(tcp));
    }

    async fn datagrams(&self, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; QUESTION];
        loop {
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // Such as that somebody who asked before is not there any more.
                    tracing::debug!(%error, "a question was lost");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let question = buffer.get(..length).unwrap_or_default();
            match self.judge(question, from.ip(), By::Udp) {
                Verdict::Reply(answer) => {
                    let _ = socket.try_send_to(&answer, from);
                }
                Verdict::Forward(servers) => {
                    let Some(busy) = self.begin(from.ip()) else {
                        continue;
                    };
                    let (socket, question) = (Arc::clone(&socket), question.to_vec());
                    tokio::spawn(async move {
                        let answer = forwarded(&question, &at(&servers), By::Udp).await;
                        let _ = socket.try_send_to(&answer, from);
                        drop(busy);
                    });
                }
                Verdict::Ignore => {}
            }
        }
    }

    async fn connections(&self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    if let Some(busy) = self.begin(from.ip()) {
                        let server = self.clone();
                        tokio::spawn(async move {
                            let talked = server.talk(stream, from.ip()).await;
                            if let Err(error) = talked {
                                tracing::debug!(%error, "a connection of one who asks for names ended");
                            }
                            drop(busy);
                        });
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection of one who asks for names was lost");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn talk(&self, mut stream: TcpStream, from: IpAddr) -> io::Result<()> {
        while let Some(question) = timeout(IDLE, read(&mut stream)).await?? {
            let answer = match self.judge(&question, from, By::Tcp) {
                Verdict::Reply(answer) => answer,
                Verdict::Forward(servers) => forwarded(&question, &at(&servers), By::Tcp).await,
                Verdict::Ignore => return Ok(()),
            };
            timeout(IDLE, write(&mut stream, &answer)).await??;
        }
        Ok(())
    }

    fn judge(&self, question: &[u8], from: IpAddr, by: By) -> Verdict {
        let Some(book) = self.book() else {
            return answer::refused(question, ResponseCode::ServFail);
        };
        // Whoever is no endpoint of the network is none of its guests.
        let Some(view) = book.view(from) else {
            return Verdict::Ignore;
        };
        let room = match by {
            By::Udp => answer::room(question),
            By::Tcp => MESSAGE,
        };
        answer::judge(question, &view, room)
    }

    /// What is known; read again when it is old.
    fn book(&self) -> Option<Arc<Book>> {
        let mut known = lock(&self.0.known);
        if let Some((read, book)) = known.as_ref()
            && read.elapsed() < FRESH
        {
            return Some(Arc::clone(book));
        }
        match Book::read(&self.0.directory, &self.0.network) {
            Ok(book) => {
                let book = Arc::new(book);
                *known = Some((Instant::now(), Arc::clone(&book)));
                Some(book)
            }
            Err(error) => {
                tracing::warn!(%error, "the names of containers cannot be read");
                None
            }
        }
    }

    fn begin(&self, guest: IpAddr) -> Option<Busy> {
        let mut busy = lock(&self.0.busy);
        let all: usize = busy.values().sum();
        if all >= AT_ONCE || busy.get(&guest).is_some_and(|own| *own >= AT_ONCE_OF_ONE) {
            return None;
        }
        *busy.entry(guest).or_default() += 1;
        drop(busy);
        Some(Busy(self.clone(), guest))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = lock(&self.0.0.busy);
        match busy.get_mut(&self.1) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                busy.remove(&self.1);
            }
        }
    }
}

fn at(servers: &[IpAddr]) -> Vec<SocketAddr> {
    let at = |server: &IpAddr| SocketAddr::new(*server, PORT);
    servers.iter().map(at).collect()
}

/// What the first server says that says anything, or that none did.
async fn forwarded(question: &[u8], servers: &[SocketAddr], by: By) -> Vec<u8> {
    for server in servers {
        let asked = timeout(PATIENCE, ask(question, *server, by)).await;
        match asked.map_err(io::Error::from).and_then(|answer| answer) {
            Ok(answer) => return answer,
            Err(error) => tracing::debug!(%server, %error, "a server of names does not answer"),
        }
    }
    match answer::refused(question, ResponseCode::ServFail) {
        Verdict::Reply(answer) => answer,
        Verdict::Forward(_) | Verdict::Ignore => Vec::new(),
    }
}

/// Asks under a number of our own: the guest's is known to it, and whoever guesses it could answer in the server's place.
async fn ask(question: &[u8], at: SocketAddr, by: By) -> io::Result<Vec<u8>> {
    let own = random_bytes()?;
    let (mut ours, theirs) = (question.to_vec(), question.get(..2).unwrap_or_default());
    let number = own.get(..2).unwrap_or_default();
    ours.splice(..theirs.len().min(ours.len()), number.iter().copied());
    let mut answer = match by {
        By::Udp => datagram(&ours, at, number).await?,
        By::Tcp => {
            let mut stream = TcpStream::connect(at).await?;
            write(&mut stream, &ours).await?;
            let answer = read(&mut stream).await?;
            let answer = answer.filter(|answer| answer.starts_with(number));
            answer.ok_or(io::ErrorKind::InvalidData)?
        }
    };
    answer.splice(..theirs.len(), theirs.iter().copied());
    Ok(answer)
}

async fn datagram(question: &[u8], at: SocketAddr, number: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match at {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of the kernel's choice.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(at).await?;
    socket.send(question).await?;
    let mut answer = vec![0; MESSAGE];
    loop {
        let length = socket.recv(&mut answer).await?;
        let received = answer.get(..length).unwrap_or_default();
        if length > number.len() && received.starts_with(number) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

/// One message of a connection (RFC 1035, section 4.2.2); nothing at its end.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await
}

/// Nothing that holds these locks can leave a value half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
