//! The host's side: the listening socket, handshakes of clients, and the epoll set that all sockets are in.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{RecvFlags, SocketFlags};
use rustix::rand::GetRandomFlags;

use super::config::VsockBackend;
use super::connection::{Connection, Key, Origin};
use super::dial::{DialOutcome, Dialer};
use super::mux::Mux;
use super::table::Index;
use crate::Progress;
use crate::timer::{Timer, now};

/// The longest line that a client may send: `CONNECT 4294967295\n` and a little.
const MAX_LINE: usize = 32;
/// The most clients that have not said which port they want. Others wait in the listening socket.
const MAX_HANDSHAKES: usize = 256;
/// How long a client keeps its place from others without saying it. While there are places, it may take as long as it likes.
const HANDSHAKE_TIME: Duration = Duration::from_secs(2);
/// Ports of the host's side of connections that come from the host begin here, beyond those that services use.
const FIRST_PORT: u32 = 1 << 30;
/// Events taken at a time.
const EVENTS: usize = 32;

/// What the numbers in the epoll set mean: three that are fixed, handshakes with their place, connections with theirs.
const LISTENER: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;
const TIMER: u64 = u64::MAX - 2;
const HANDSHAKE: u64 = 1 << 32;

/// Sockets, and who makes them.
#[derive(Debug)]
pub(super) struct Host {
    epoll: OwnedFd,
    backend: VsockBackend,
    pub(super) dialer: Dialer,
    handshakes: Vec<Option<Handshake>>,
    /// Goes off when a place can be taken from a client that says nothing.
    timer: Timer,
    /// Clients may be waiting in the listening socket although no event will tell.
    accept_again: bool,
    next_port: u32,
}

/// A client that has not said which port it wants.
#[derive(Debug)]
struct Handshake {
    client: UnixStream,
    since: Duration,
}

impl Host {
    pub(super) fn new(backend: VsockBackend) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let dialer = Dialer::new()?;
        let timer = Timer::new()?;
        let edge = EventFlags::IN | EventFlags::ET;
        // The dialler's eventfd lives as long as the dialler, which is part of this.
        epoll::add(
            &epoll,
            borrow(dialer.bell()),
            EventData::new_u64(BELL),
            edge,
        )?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), edge)?;
        if let Some(listener) = &backend.listener {
            listener.set_nonblocking(true)?;
            epoll::add(&epoll, listener, EventData::new_u64(LISTENER), edge)?;
        }
        Ok(Self {
            epoll,
            backend,
            dialer,
            handshakes: Vec::new(),
            timer,
            accept_again: false,
            next_port: some_port(),
        })
    }

    pub(super) fn poll_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    pub(super) fn first_connection(&mut self) {
        if let Some(tell) = self.backend.on_first_connection.take() {
            tell();
        }
    }

    pub(super) fn connect(&mut self, port: u32) -> io::Result<UnixStream> {
        self.backend.connector.connect(port)
    }

    pub(super) fn watch(&self, connection: &Connection, index: Index) -> io::Result<()> {
        let Some(stream) = connection.stream() else {
            return Ok(());
        };
        epoll::add(
            &self.epoll,
            stream,
            EventData::new_u64(index.into()),
            input(),
        )?;
        Ok(())
    }

    /// Waits for room to write, or no longer does, as the connection says.
    pub(super) fn watch_output(&self, connection: &Connection, index: Index) {
        let Some(stream) = connection.stream() else {
            return;
        };
        let output = if connection.watches_output {
            EventFlags::OUT
        } else {
            EventFlags::empty()
        };
        let data = EventData::new_u64(index.into());
        if let Err(error) = epoll::modify(&self.epoll, stream, data, input() | output) {
            tracing::debug!(%error, "a vsock connection can't be waited for");
        }
    }

    /// A descriptor or a place became free.
    pub(super) fn retry_accept(&mut self) {
        self.accept_again = true;
    }

    fn take_events(&self, events: &mut [Event; EVENTS]) -> usize {
        // An interrupted wait comes again, for the set stays readable.
        epoll::wait(&self.epoll, &mut events[..], Some(&Timespec::default())).unwrap_or(0)
    }

    /// Takes clients from the listening socket while there is place for them.
    fn accept(&mut self) {
        self.accept_again = false;
        for _ in 0..MAX_HANDSHAKES {
            let Some(listener) = &self.backend.listener else {
                return;
            };
            let now = now();
            let Some(place) = place_for_one(&mut self.handshakes, now) else {
                let oldest = self.handshakes.iter().flatten().map(|h| h.since).min();
                self.timer.set(oldest.unwrap_or(now) + HANDSHAKE_TIME);
                return;
            };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let client = match rustix::net::accept_with(listener, flags) {
                Ok(client) => UnixStream::from(client),
                Err(rustix::io::Errno::AGAIN) => return,
                Err(error) => {
                    tracing::debug!(%error, "a client of the vsock socket can't be accepted");
                    return;
                }
            };
            let number = HANDSHAKE | u64::try_from(place).unwrap_or(0);
            if epoll::add(&self.epoll, &client, EventData::new_u64(number), input()).is_ok()
                && let Some(slot) = self.handshakes.get_mut(place)
            {
                // Who was there before is closed by this, and out of the set.
                *slot = Some(Handshake { client, since: now });
            }
        }
        // There may be more, which no event will tell of.
        self.accept_again = true;
    }

    /// Takes clients that had to wait for a place; whether there may be more.
    pub(super) fn accept_waiting(&mut self) -> Progress {
        if self.accept_again {
            self.accept();
        }
        if self.accept_again {
            Progress::More
        } else {
            Progress::Done
        }
    }

    /// Goes on with a handshake; the client and the port that it wants, when it has said it.
    fn handshake(&mut self, place: usize) -> Option<(UnixStream, u32)> {
        let slot = self.handshakes.get_mut(place)?;
        let line = read_line(&slot.as_ref()?.client);
        if matches!(line, Line::Incomplete) {
            return None;
        }
        let Handshake { client, .. } = slot.take()?;
        self.accept_again = true;
        // It goes back into the set as a connection, or is closed.
        let _ = epoll::delete(&self.epoll, &client);
        match line {
            Line::Connect(port) => Some((client, port)),
            _ => None,
        }
    }

    fn next_port(&mut self) -> u32 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
        port
    }
}

/// Where ports begin, which is somewhere else for each device: Linux keeps a connection that it has closed until it hears that its peer
/// has closed it, too. A guest that was saved in between keeps it for eight seconds of its new life, and would refuse another
/// one with the same ports.
fn some_port() -> u32 {
    let mut bytes = [0; 4];
    // Without chance there is no less than a fixed beginning.
    let _ = rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty());
    FIRST_PORT + u32::from_ne_bytes(bytes) % FIRST_PORT
}

/// A place for one more client: a free one, or that of the client that has said nothing for the longest time, if that is long
/// enough. None if there is no such.
fn place_for_one(handshakes: &mut Vec<Option<Handshake>>, now: Duration) -> Option<usize> {
    if let Some(free) = handshakes.iter().position(Option::is_none) {
        return Some(free);
    }
    if handshakes.len() < MAX_HANDSHAKES {
        handshakes.push(None);
        return Some(handshakes.len() - 1);
    }
    let since = |handshake: &Option<Handshake>| handshake.as_ref().map(|h| h.since);
    let places = handshakes.iter().enumerate();
    let (oldest, since) = places
        .filter_map(|(place, handshake)| Some((place, since(handshake)?)))
        .min_by_key(|(_, since)| *since)?;
    (now.saturating_sub(since) >= HANDSHAKE_TIME).then_some(oldest)
}

/// The host's events, and what follows from them for the guest.
impl Mux {
    /// Takes some events; if there are more, the epoll set says so again. Without a driver nothing can be dialled.
    pub(super) fn take_events(&mut self, has_driver: bool) {
        let none = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [none; EVENTS];
        let count = self.host.take_events(&mut events);
        for event in events.iter().take(count) {
            let (number, flags) = (event.data.u64(), event.flags);
            match number {
                LISTENER | TIMER => self.host.accept(),
                BELL => self.dial(has_driver),
                number if number & HANDSHAKE != 0 => self.client(number),
                number => self.stream_event(number, flags),
            }
        }
    }

    fn client(&mut self, number: u64) {
        let place = usize::try_from(number & (HANDSHAKE - 1)).unwrap_or(usize::MAX);
        if let Some((client, port)) = self.host.handshake(place) {
            self.request(client, port, Origin::Client);
        }
    }

    fn dial(&mut self, has_driver: bool) {
        for wish in self.host.dialer.take() {
            if has_driver {
                self.request(wish.stream, wish.port, Origin::Dialled(wish.on_outcome));
            } else {
                (wish.on_outcome)(DialOutcome::Refused);
            }
        }
    }

    /// Asks the guest for a connection. Where there is no place, the client sees its stream closed.
    fn request(&mut self, stream: UnixStream, guest_port: u32, origin: Origin) {
        // A free port is soon found: there are more ports than connections.
        for _ in 0..=super::table::MAX_CONNECTIONS {
            let key = Key {
                host_port: self.host.next_port(),
                guest_port,
            };
            if self.table.find(key).is_none() {
                let buffer = self.table.next_buffer();
                self.add(Connection::requested(key, stream, origin, buffer));
                return;
            }
        }
    }

    fn stream_event(&mut self, number: u64, flags: EventFlags) {
        let Ok(index) = Index::try_from(number) else {
            return;
        };
        let Some(connection) = self.table.get_mut(index) else {
            return;
        };
        if flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR) {
            connection.flush();
        }
        connection.on_event(flags.intersects(EventFlags::HUP | EventFlags::ERR));
        self.after(index);
    }
}

/// What a client has said so far.
enum Line {
    Incomplete,
    Connect(u32),
    Nonsense,
}

/// Reads `CONNECT <port>\n` and not one byte more: what follows is already for the guest.
fn read_line(client: &UnixStream) -> Line {
    let mut line = [0; MAX_LINE];
    let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let seen = match rustix::net::recv(client, &mut line[..], peek) {
        Ok((0, _)) => return Line::Nonsense,
        Ok((count, _)) => count.min(MAX_LINE),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Line::Incomplete,
        Err(_) => return Line::Nonsense,
    };
    let seen = &line[..seen];
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return if seen.len() < MAX_LINE {
            Line::Incomplete
        } else {
            Line::Nonsense
        };
    };
    let port = parse(&seen[..end]);
    let mut taken = [0; MAX_LINE];
    let taken = rustix::net::recv(client, &mut taken[..=end], RecvFlags::DONTWAIT);
    match (port, taken) {
        (Some(port), Ok((count, _))) if count == end + 1 => Line::Connect(port),
        _ => Line::Nonsense,
    }
}

/// The port in `CONNECT <port>`, in any case, as Firecracker's clients write it.
fn parse(line: &[u8]) -> Option<u32> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (verb, port) = (words.next()?, words.next()?);
    let complete = words.next().is_none() && verb.eq_ignore_ascii_case("connect");
    complete.then(|| port.parse().ok()).flatten()
}

fn input() -> EventFlags {
    EventFlags::IN | EventFlags::RDHUP | EventFlags::ET
}

fn borrow(bell: &vmm_sys_util::eventfd::EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is open as long as the eventfd is borrowed.
    #[allow(unsafe_code)]
    unsafe {
        BorrowedFd::borrow_raw(bell.as_raw_fd())
    }
}
