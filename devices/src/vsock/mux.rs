//! The guest's side: which connection a packet is for, and which packet comes next.

use std::collections::VecDeque;
use std::sync::Arc;

use super::connection::{Connection, Key};
use super::counters::VsockCounters;
use super::host::Host;
use super::packet::{HEADER, HOST_CID, Header, Op, STREAM};
use super::table::{Index, Table};
use crate::iov::{Scatter, Span};
use crate::queue::total_len;
use crate::worker::{self, Outcome};
use crate::{Chain, GuestMemory};

/// The most refusals that wait for room in the guest's queue; when there are more, the guest's own packets wait.
const MAX_REFUSALS: usize = 256;

/// Packets on one side, sockets on the other.
#[derive(Debug)]
pub(super) struct Mux {
    guest_cid: u64,
    pub(super) table: Table,
    pub(super) host: Host,
    /// Resets for packets that belong to no connection.
    refusals: VecDeque<Header>,
    scatter: Scatter,
    pub(super) counters: Arc<VsockCounters>,
}

impl Mux {
    pub(super) fn new(guest_cid: u64, host: Host) -> Self {
        Self {
            guest_cid,
            table: Table::default(),
            host,
            refusals: VecDeque::new(),
            scatter: Scatter::default(),
            counters: Arc::default(),
        }
    }

    pub(super) fn guest_cid(&self) -> u64 {
        self.guest_cid
    }

    /// Forgets all connections.
    pub(super) fn reset(&mut self) {
        self.counters.conns_removed.add(to_u64(self.table.len()));
        self.table.clear();
        self.count_connections();
        self.refusals.clear();
    }

    /// Whether the guest's packets may be taken: each may need an answer that has to wait somewhere.
    pub(super) fn may_take(&self) -> bool {
        self.refusals.len() < MAX_REFUSALS
    }

    /// Whether there may be packets for the guest.
    pub(super) fn has_packets(&self) -> bool {
        !self.refusals.is_empty() || self.table.has_turns()
    }

    /// Takes a packet from the guest.
    pub(super) fn take(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        if !self.may_take() {
            return Outcome::Later;
        }
        let packet = Span::all(memory, chain.readable());
        let mut bytes = [0; HEADER];
        if !matches!(packet.copy_out(&mut bytes), Ok(HEADER)) {
            tracing::debug!("the guest sent a packet without a header");
            self.counters.tx_queue_event_fails.count();
            return Outcome::Used(0);
        }
        let header = Header::from_bytes(&bytes);
        let available = total_len(chain.readable()) - to_u64(HEADER);
        if header.src_cid != self.guest_cid {
            tracing::debug!(
                cid = header.src_cid,
                "the guest sent a packet in another's name"
            );
            self.counters.tx_queue_event_fails.count();
            return Outcome::Used(0);
        }
        self.counters.tx_packets_count.count();
        if header.dst_cid != HOST_CID || header.kind != STREAM || u64::from(header.len) > available
        {
            self.refuse(&header);
            return Outcome::Used(0);
        }
        self.dispatch(&header, packet.part(to_u64(HEADER), header.len.into()));
        Outcome::Used(0)
    }

    fn dispatch(&mut self, header: &Header, data: Span<'_>) {
        let key = Key {
            host_port: header.dst_port,
            guest_port: header.src_port,
        };
        let op = Op::from_wire(header.op);
        let Some(index) = self.table.find(key) else {
            return match op {
                Some(Op::Request) => self.connect(key, header),
                Some(Op::Reset) => {}
                _ => self.refuse(header),
            };
        };
        let Some(connection) = self.table.get_mut(index) else {
            return;
        };
        connection.set_peer_credit(header.buf_alloc, header.fwd_cnt);
        let mut gone = false;
        let obeyed = match op {
            Some(Op::Response) => connection.accept(),
            Some(Op::Data) => {
                self.counters.tx_bytes_count.add(data.len);
                connection.forward(data, &mut self.scatter)
            }
            Some(Op::Shutdown) => {
                connection.guest_shutdown(header.flags);
                Ok(())
            }
            // What is needed comes in every header; a request is answered by any packet.
            Some(Op::CreditUpdate) => Ok(()),
            Some(Op::CreditRequest) => {
                connection.owe_credit();
                Ok(())
            }
            Some(Op::Reset) => {
                connection.forget_guest();
                gone = true;
                Ok(())
            }
            Some(Op::Request) | None => Err(super::connection::Violation(
                "used a connection in a wrong way",
            )),
        };
        if let Err(violation) = obeyed {
            tracing::debug!(?key, %violation, "a connection is reset");
            self.counters.conns_killed.count();
            connection.abort();
        }
        if gone {
            self.table.free_name(key, index);
        }
        self.after(index);
    }

    /// Sees to a connection after anything happened to it.
    pub(super) fn after(&mut self, index: Index) {
        let Some(connection) = self.table.get_mut(index) else {
            return;
        };
        if connection.watches_output != connection.has_backlog() {
            connection.watches_output = connection.has_backlog();
            self.host.watch_output(connection, index);
        }
        if connection.is_over() {
            self.forget(index);
        } else if connection.wants_turn() {
            self.table.enqueue(index);
        }
    }

    /// The guest asks for a connection.
    fn connect(&mut self, key: Key, header: &Header) {
        self.host.first_connection();
        if self.table.is_full() {
            tracing::debug!("the guest has too many vsock connections; another is refused");
            return self.refuse(header);
        }
        match self.host.connect(key.host_port) {
            Ok(stream) => {
                let mut connection = Connection::accepted(key, stream, self.table.next_buffer());
                connection.set_peer_credit(header.buf_alloc, header.fwd_cnt);
                if self.add(connection).is_none() {
                    self.refuse(header);
                }
            }
            Err(error) => {
                tracing::debug!(port = key.host_port, %error, "a connection of the guest is refused");
                self.refuse(header);
            }
        }
    }

    /// Takes a connection up and watches its stream; none if that is not possible, and then it is gone.
    pub(super) fn add(&mut self, connection: Connection) -> Option<Index> {
        let index = self.table.insert(connection)?;
        let connection = self.table.get_mut(index)?;
        if let Err(error) = self.host.watch(connection, index) {
            tracing::debug!(%error, "a vsock connection can't be waited for");
            self.table.remove(index);
            return None;
        }
        self.table.enqueue(index);
        self.counters.conns_added.count();
        self.count_connections();
        Some(index)
    }

    /// A connection is over.
    fn forget(&mut self, index: Index) {
        if self.table.remove(index).is_some() {
            self.counters.conns_removed.count();
        }
        self.count_connections();
        self.host.retry_accept();
    }

    fn count_connections(&self) {
        self.counters.connections.set(to_u64(self.table.len()));
    }

    /// Answers a packet that belongs to no connection with a reset.
    fn refuse(&mut self, header: &Header) {
        if header.op == Op::Reset as u16 {
            return;
        }
        self.counters.refused_count.count();
        self.refusals.push_back(Header {
            src_cid: header.dst_cid,
            dst_cid: self.guest_cid,
            src_port: header.dst_port,
            dst_port: header.src_port,
            kind: header.kind,
            op: Op::Reset as u16,
            ..Header::default()
        });
    }

    /// Fills a buffer of the guest with its next packet.
    pub(super) fn give(&mut self, memory: &GuestMemory, chain: &Chain) -> Outcome {
        let buffer = Span::all(memory, chain.writable());
        let room = total_len(chain.writable()).saturating_sub(to_u64(HEADER));
        // Not even one byte of data would fit, or the header has no place. Drivers don't do that.
        if room == 0 || buffer.copy_in(&[0; HEADER]).is_err() {
            self.counters.rx_queue_event_fails.count();
            return Outcome::Used(0);
        }
        let header = match self.refusals.pop_front() {
            Some(refusal) => refusal,
            None => match self.next_packet(buffer.part(to_u64(HEADER), room)) {
                Ok(Some(header)) => header,
                Ok(None) => return Outcome::Later,
                Err(error) => {
                    tracing::debug!(%error, "a buffer for packets can't be used");
                    self.counters.rx_queue_event_fails.count();
                    return Outcome::Used(0);
                }
            },
        };
        // It could be written before, so it can be now.
        let _ = buffer.copy_in(&header.to_bytes());
        self.counters.rx_packets_count.count();
        self.counters.rx_bytes_count.add(header.len.into());
        Outcome::Used(header.len.saturating_add(worker::written(HEADER)))
    }

    /// The next packet in turn.
    fn next_packet(&mut self, room: Span<'_>) -> std::io::Result<Option<Header>> {
        while let Some(index) = self.table.dequeue() {
            let Some(connection) = self.table.get_mut(index) else {
                continue;
            };
            let packet = connection.next_packet(room, &mut self.scatter);
            let Some(packet) = packet.transpose() else {
                self.after(index);
                continue;
            };
            let packet = match packet {
                Ok(packet) => packet,
                Err(error) => {
                    self.after(index);
                    return Err(error);
                }
            };
            let key = connection.key;
            let (buf_alloc, fwd_cnt) = connection.credit_fields();
            if packet.op == Op::Reset {
                self.forget(index);
            } else {
                self.after(index);
            }
            return Ok(Some(Header {
                src_cid: HOST_CID,
                dst_cid: self.guest_cid,
                src_port: key.host_port,
                dst_port: key.guest_port,
                len: packet.len,
                kind: STREAM,
                op: packet.op as u16,
                flags: packet.flags,
                buf_alloc,
                fwd_cnt,
            }));
        }
        Ok(None)
    }
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
