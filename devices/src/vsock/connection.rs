//! One connection: a stream on the host's side, packets on the guest's, and what is owed in either direction.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::net::{SendFlags, Shutdown};

use super::dial::{DialOutcome, OnOutcome};
use super::packet::{NO_RECEIVE, NO_SEND, Op};
use crate::iov::{Scatter, Span};

/// The most data in one packet, in bytes.
const MAX_DATA: u64 = 64 << 10;
/// A drained backlog keeps no more memory than this, in bytes.
const KEEP: usize = 4 << 10;

/// The two ports that name a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) host_port: u32,
    pub(super) guest_port: u32,
}

/// How a connection came to be, and so who must be told how it began.
pub(super) enum Origin {
    /// The guest asked for it.
    Guest,
    /// A client asked in its stream and waits for the answer there.
    Client,
    /// The VMM asked.
    Dialled(OnOutcome),
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The guest has not answered yet.
    Requested,
    /// Data may flow.
    Open,
    /// The guest has forgotten it; only what it sent before still goes to the host.
    Draining,
}

/// The guest broke a rule; the connection must be reset.
#[derive(Debug, thiserror::Error)]
#[error("the guest {0}")]
pub(super) struct Violation(pub(super) &'static str);

/// What the guest is owed besides data.
#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    request: bool,
    response: bool,
    shutdown: bool,
    credit_update: bool,
    reset: bool,
}

/// A packet for the guest: what, with which flags, and how many bytes of data are already in the guest's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) op: Op,
    pub(super) flags: u32,
    pub(super) len: u32,
}

pub(super) struct Connection {
    pub(super) key: Key,
    phase: Phase,
    origin: Origin,
    /// None once both directions have ended on the host's side.
    stream: Option<UnixStream>,
    owed: Owed,
    /// What the guest sent and the host has not taken yet.
    backlog: VecDeque<u8>,
    /// Whether the epoll set tells when the host's side has room again.
    pub(super) watches_output: bool,
    /// What the guest may send before the host's side has taken it, in bytes.
    buffer: u32,
    /// Bytes that the host has taken, ever (modulo 2^32), and what the guest knows of it.
    forwarded: u32,
    told_forwarded: u32,
    /// Bytes sent to the guest, ever, and its own account of its buffer.
    sent: u32,
    peer_alloc: u32,
    peer_forwarded: u32,
    asked_for_credit: bool,
    /// Reading did not come up empty since the last event.
    readable: bool,
    hung_up: bool,
    /// Directions that have ended, as SHUTDOWN flags: what the guest said, and what the host's side means to say.
    guest_ended: u32,
    host_ended: u32,
    /// What the stream was already told of what the guest said.
    carried_out: u32,
}

impl Connection {
    pub(super) fn requested(key: Key, stream: UnixStream, origin: Origin, buffer: u32) -> Self {
        let mut connection = Self::new(key, stream, origin, Phase::Requested, buffer);
        connection.owed.request = true;
        connection
    }

    pub(super) fn accepted(key: Key, stream: UnixStream, buffer: u32) -> Self {
        let mut connection = Self::new(key, stream, Origin::Guest, Phase::Open, buffer);
        connection.owed.response = true;
        connection
    }

    fn new(key: Key, stream: UnixStream, origin: Origin, phase: Phase, buffer: u32) -> Self {
        Self {
            key,
            phase,
            origin,
            stream: Some(stream),
            owed: Owed::default(),
            backlog: VecDeque::new(),
            watches_output: false,
            buffer,
            forwarded: 0,
            told_forwarded: 0,
            sent: 0,
            peer_alloc: 0,
            peer_forwarded: 0,
            asked_for_credit: false,
            readable: true,
            hung_up: false,
            guest_ended: 0,
            host_ended: 0,
            carried_out: 0,
        }
    }

    pub(super) fn stream(&self) -> Option<&UnixStream> {
        self.stream.as_ref()
    }

    /// Whether something waits for the host's side to take it.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// What goes into the header of every packet: the room and the count.
    pub(super) fn credit_fields(&mut self) -> (u32, u32) {
        self.told_forwarded = self.forwarded;
        self.owed.credit_update = false;
        (self.buffer, self.forwarded)
    }

    /// What came in the header of every packet.
    pub(super) fn set_peer_credit(&mut self, alloc: u32, forwarded: u32) {
        (self.peer_alloc, self.peer_forwarded) = (alloc, forwarded);
        if self.credit() > 0 {
            self.asked_for_credit = false;
        }
    }

    /// Bytes that the guest has room for. A count that can't be is no room.
    fn credit(&self) -> u32 {
        let unread = self.sent.wrapping_sub(self.peer_forwarded);
        self.peer_alloc.saturating_sub(unread)
    }

    /// Whether there is a packet for the guest, or may be one.
    pub(super) fn wants_turn(&self) -> bool {
        let owed = self.owed;
        owed.request
            || owed.response
            || owed.shutdown
            || owed.credit_update
            || owed.reset
            || (self.may_read() && (self.credit() > 0 || !self.asked_for_credit))
    }

    fn may_read(&self) -> bool {
        self.phase == Phase::Open
            && self.readable
            && self.guest_ended & NO_RECEIVE == 0
            && self.host_ended & NO_SEND == 0
    }

    /// Whether nothing is left to do for it, so that it can be forgotten.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Draining && self.backlog.is_empty()
    }

    /// The next packet for the guest; its data goes to the beginning of `room`, which is not empty. After a reset the
    /// connection is to be forgotten.
    pub(super) fn next_packet(
        &mut self,
        room: Span<'_>,
        scatter: &mut Scatter,
    ) -> io::Result<Option<Packet>> {
        let packet = |op, flags| Ok(Some(Packet { op, flags, len: 0 }));
        let take = std::mem::take::<bool>;
        if take(&mut self.owed.reset) {
            return packet(Op::Reset, 0);
        }
        if take(&mut self.owed.request) {
            return packet(Op::Request, 0);
        }
        if take(&mut self.owed.response) {
            return packet(Op::Response, 0);
        }
        if self.may_read() {
            let credit = self.credit();
            if credit == 0 && !self.asked_for_credit {
                self.asked_for_credit = true;
                return packet(Op::CreditRequest, 0);
            }
            if credit > 0 {
                let len = self.receive(room.part(0, MAX_DATA.min(credit.into())), scatter)?;
                if len > 0 {
                    return Ok(Some(Packet {
                        op: Op::Data,
                        flags: 0,
                        len,
                    }));
                }
            }
        }
        if take(&mut self.owed.shutdown) {
            return packet(Op::Shutdown, self.host_ended);
        }
        if take(&mut self.owed.credit_update) {
            return packet(Op::CreditUpdate, 0);
        }
        Ok(None)
    }

    /// Reads from the host's side into the guest; 0 if there is nothing now or any more.
    fn receive(&mut self, room: Span<'_>, scatter: &mut Scatter) -> io::Result<u32> {
        let Some(stream) = &self.stream else {
            self.readable = false;
            return Ok(0);
        };
        match scatter.receive(room, stream.as_fd()) {
            Ok(0) => {
                let all = if self.hung_up { NO_RECEIVE } else { 0 };
                self.end_host(NO_SEND | all);
            }
            Ok(count) => {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                self.sent = self.sent.wrapping_add(count);
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            // The guest's buffer is bad; the stream is as it was.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error),
            Err(_) => self.end_host(NO_SEND | NO_RECEIVE),
        }
        Ok(0)
    }

    /// Takes data from the guest.
    pub(super) fn forward(
        &mut self,
        data: Span<'_>,
        scatter: &mut Scatter,
    ) -> Result<(), Violation> {
        if self.phase != Phase::Open || self.guest_ended & NO_SEND != 0 {
            return Err(Violation(
                "sent data on a connection that is not open for it",
            ));
        }
        let len = usize::try_from(data.len).map_err(|_| Violation("sent too much"))?;
        let room = usize::try_from(self.buffer)
            .unwrap_or(0)
            .saturating_sub(self.backlog.len());
        if len > room {
            return Err(Violation("sent more than its credit"));
        }
        let mut done = 0;
        if self.backlog.is_empty() {
            done = self.send_now(data, scatter)?;
        }
        if done < len && self.host_ended & NO_RECEIVE == 0 {
            let start = self.backlog.len();
            self.backlog.resize(start + len - done, 0);
            let slice = self.backlog.make_contiguous();
            let rest = data.part(u64::try_from(done).unwrap_or(u64::MAX), u64::MAX);
            rest.copy_out(&mut slice[start..])
                .map_err(|_| Violation("sent data from outside of its memory"))?;
        } else {
            done = len;
        }
        self.count_forwarded(done);
        Ok(())
    }

    /// Sends straight from guest memory what the socket takes. To a reader that is gone, everything goes.
    fn send_now(&mut self, data: Span<'_>, scatter: &mut Scatter) -> Result<usize, Violation> {
        let Some(stream) = &self.stream else {
            return Ok(0);
        };
        if data.len == 0 {
            return Ok(0);
        }
        match scatter.send(data, stream.as_fd()) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Err(Violation("sent data from outside of its memory"))
            }
            Err(_) => {
                self.end_host(NO_RECEIVE);
                Ok(0)
            }
        }
    }

    /// Sends what was kept, as far as the host's side takes it.
    pub(super) fn flush(&mut self) {
        while let Some(stream) = &self.stream
            && !self.backlog.is_empty()
        {
            let (front, _) = self.backlog.as_slices();
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(stream, front, flags) {
                Ok(count) => {
                    self.backlog.drain(..count);
                    self.count_forwarded(count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => self.end_host(NO_RECEIVE),
            }
        }
        if self.backlog.capacity() > KEEP {
            self.backlog = VecDeque::new();
        }
        self.settle();
    }

    fn count_forwarded(&mut self, count: usize) {
        // At most a buffer at a time, so it fits.
        let count = u32::try_from(count).unwrap_or(0);
        self.forwarded = self.forwarded.wrapping_add(count);
        let lag = self.forwarded.wrapping_sub(self.told_forwarded);
        if lag >= self.buffer / 4 && self.phase == Phase::Open {
            self.owed.credit_update = true;
        }
    }

    /// The guest answered the request.
    pub(super) fn accept(&mut self) -> Result<(), Violation> {
        if self.phase != Phase::Requested || self.owed.request {
            return Err(Violation("accepted a connection that was not asked for"));
        }
        self.phase = Phase::Open;
        match std::mem::replace(&mut self.origin, Origin::Guest) {
            Origin::Guest => {}
            Origin::Dialled(on_outcome) => on_outcome(DialOutcome::Accepted),
            Origin::Client => {
                let answer = format!("OK {}\n", self.key.host_port);
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                let sent = self
                    .stream
                    .as_ref()
                    .map(|stream| rustix::net::send(stream, answer.as_bytes(), flags));
                // The socket is fresh, so it has room, or else its client is gone.
                if !matches!(sent, Some(Ok(count)) if count == answer.len()) {
                    self.end_host(NO_SEND | NO_RECEIVE);
                }
            }
        }
        Ok(())
    }

    /// The guest asks how much it may send.
    pub(super) fn owe_credit(&mut self) {
        self.owed.credit_update = self.phase == Phase::Open;
    }

    /// The guest ends one direction or both.
    pub(super) fn guest_shutdown(&mut self, flags: u32) {
        self.guest_ended |= flags & (NO_RECEIVE | NO_SEND);
        self.settle();
    }

    /// Carries out on the stream what the guest has ended, once what it sent before is through.
    fn settle(&mut self) {
        if let Some(stream) = &self.stream {
            // Once each, for the kernel makes an event of every time, and an event brings this here again. A peer that is
            // gone needs no telling.
            let mut due = self.guest_ended & !self.carried_out;
            if !self.backlog.is_empty() {
                due &= !NO_SEND;
            }
            self.carried_out |= due;
            if due & NO_RECEIVE != 0 {
                let _ = rustix::net::shutdown(stream, Shutdown::Read);
            }
            if due & NO_SEND != 0 {
                let _ = rustix::net::shutdown(stream, Shutdown::Write);
            }
        }
        let closed = self.guest_ended == NO_RECEIVE | NO_SEND;
        if closed && self.backlog.is_empty() && self.phase == Phase::Open {
            self.owed.reset = true;
        }
    }

    /// The host's side has ended one direction or both.
    fn end_host(&mut self, flags: u32) {
        if self.host_ended | flags != self.host_ended {
            self.host_ended |= flags;
            self.owed.shutdown = self.phase == Phase::Open;
        }
        if self.host_ended & NO_RECEIVE != 0 {
            let lost = self.backlog.len();
            self.backlog = VecDeque::new();
            self.count_forwarded(lost);
        }
        if self.host_ended == NO_RECEIVE | NO_SEND {
            self.stream = None;
            self.readable = false;
        }
    }

    /// The epoll set has news of the stream.
    pub(super) fn on_event(&mut self, hung_up: bool) {
        self.readable = true;
        self.hung_up |= hung_up;
        if !self.hung_up {
            return;
        }
        if self.phase == Phase::Requested {
            // The client did not wait for the answer.
            self.owed.reset = true;
        } else if self.host_ended & NO_SEND != 0 || self.guest_ended & NO_RECEIVE != 0 {
            self.end_host(NO_SEND | NO_RECEIVE);
        }
        // Otherwise there may be data to read first; the end comes behind it.
    }

    /// Owes the guest a reset, and nothing else any more.
    pub(super) fn abort(&mut self) {
        self.end_host(NO_SEND | NO_RECEIVE);
        self.owed = Owed {
            reset: true,
            ..Owed::default()
        };
    }

    /// The guest knows nothing of this connection any more. What it sent before is still delivered.
    pub(super) fn forget_guest(&mut self) {
        self.phase = Phase::Draining;
        self.owed = Owed::default();
        self.guest_ended = NO_RECEIVE | NO_SEND;
        if self.host_ended & NO_RECEIVE == 0 {
            self.flush();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Origin::Dialled(on_outcome) = std::mem::replace(&mut self.origin, Origin::Guest) {
            on_outcome(DialOutcome::Refused);
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("key", &self.key)
            .field("phase", &self.phase)
            .field("owed", &self.owed)
            .field("backlog", &self.backlog.len())
            .field("guest_ended", &self.guest_ended)
            .field("host_ended", &self.host_ended)
            .finish_non_exhaustive()
    }
}
