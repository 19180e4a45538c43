//! From the TAP, or whoever answers without one, to the guest (virtio 1.2, section 5.1.6.4).
//!
//! Buffers are taken out of the queue ahead of frames, for nobody knows how long the next frame will be, and kept until one
//! fills them; those that are left go back into the queue when the device is stopped. A frame of a TAP is read straight into them.
//! What they have no room for ends up in a buffer of the host, and the frame is held until there is room.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use super::counters::Direction;
use super::dhcp::Dhcp;
use super::frame::{HEADER, MAX_FRAME, NUM_BUFFERS};
use super::mmds::Responder;
use super::port::Port;
use super::stream::Stream;
use crate::iov::{Scatter, Span};
use crate::queue::total_len;
use crate::rate::RateLimiter;
use crate::worker::Running;
use crate::{Chain, GuestMemory, Progress, QueueError, Virtqueue};

/// Frames of one turn, before others have theirs.
const BUDGET: usize = 64;
/// Buffers that are looked at in one step.
const TRIES: usize = 256;
/// Pieces of buffers that are taken at most. One more buffer, which has as many at most, still fits into one system call.
const MAX_SEGMENTS: usize = 500;
/// A frame of any size, with virtio's header.
const ANY: usize = HEADER + MAX_FRAME;

/// What all queues have in common.
pub(super) struct Source<'a> {
    pub(super) limit: &'a mut RateLimiter,
    pub(super) counters: &'a Direction,
    pub(super) scatter: &'a mut Scatter,
    /// At least one byte longer than any frame.
    pub(super) spill: &'a mut [u8],
    pub(super) link_up: bool,
    /// VIRTIO_NET_F_MRG_RXBUF: a frame may take several buffers.
    pub(super) mergeable: bool,
    pub(super) mmds: Option<&'a mut Responder>,
    pub(super) dhcp: Option<&'a mut Dhcp>,
}

/// One receive queue.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    held: VecDeque<Chain>,
    /// Emptied chains, kept for what they have allocated.
    spare: Vec<Chain>,
    segments: usize,
    /// A frame that had no room yet.
    pending: Option<Vec<u8>>,
    /// Whether the TAP may have frames.
    pub(super) readable: bool,
    /// Something was given back to the driver.
    used: bool,
}

/// The length of a buffer that is not there needs none.
enum Supply {
    /// There are enough buffers for any frame, or as many as there will be.
    Enough,
    /// There are no more; the driver kicks when there are.
    Short,
    /// The driver offered so many that are unusable that others should have their turn.
    Busy,
}

enum Step {
    Moved,
    Idle,
    Busy,
}

/// What became of a frame that was to be copied to the guest.
enum Delivery {
    Done,
    NoRoom,
    /// There will never be room.
    TooLong,
    Busy,
}

impl Receiver {
    /// Whether there is anything to do for it.
    pub(super) fn has_work(&self) -> bool {
        self.readable || self.pending.is_some()
    }

    /// Moves frames while there are any, for a bounded time.
    pub(super) fn turn(
        &mut self,
        running: &mut Running<'_>,
        index: u16,
        port: &mut Port,
        source: &mut Source<'_>,
    ) -> Progress {
        let Some(queue) = running.queues.get_mut(usize::from(index)) else {
            return Progress::Done;
        };
        self.used = false;
        let done = self.fill(queue, running.memory, port, source);
        let progress = done.and_then(|progress| {
            if self.used && queue.wants_interrupt(running.memory)? {
                running.notifier.queue(index);
            }
            Ok(progress)
        });
        progress.unwrap_or_else(|error| running.give_up(index, &error))
    }

    /// Puts what was taken ahead back into the queue.
    pub(super) fn give_back(&mut self, queue: &mut Virtqueue) {
        for chain in self.held.drain(..) {
            queue.unpop();
            self.spare.push(chain);
        }
        self.segments = 0;
    }

    /// Forgets all that came for the driver that there was.
    pub(super) fn reset(&mut self) {
        *self = Self {
            spare: std::mem::take(&mut self.spare),
            readable: true,
            ..Self::default()
        };
    }

    fn fill(
        &mut self,
        queue: &mut Virtqueue,
        memory: &GuestMemory,
        port: &mut Port,
        source: &mut Source<'_>,
    ) -> Result<Progress, QueueError> {
        queue.silence(memory)?;
        for _ in 0..BUDGET {
            match self.step(queue, memory, port, source)? {
                Step::Moved => {}
                Step::Idle => return Ok(Progress::Done),
                Step::Busy => return Ok(Progress::More),
            }
        }
        Ok(Progress::More)
    }

    /// Moves one frame.
    fn step(
        &mut self,
        queue: &mut Virtqueue,
        memory: &GuestMemory,
        port: &mut Port,
        source: &mut Source<'_>,
    ) -> Result<Step, QueueError> {
        if let Some(frame) = self.pending.take() {
            let delivery = self.deliver(queue, memory, &frame, source.mergeable)?;
            match delivery {
                Delivery::Done => source.counters.packet(to_u64(frame.len() - HEADER)),
                Delivery::TooLong => source.counters.drop(),
                Delivery::NoRoom | Delivery::Busy => self.pending = Some(frame),
            }
            return Ok(delivery.into());
        }
        if let Some(mmds) = &mut source.mmds
            && let Some(frame) = mmds.front()
        {
            let delivery = self.deliver(queue, memory, frame, source.mergeable)?;
            match delivery {
                Delivery::Done => source.counters.mmds_packet(),
                Delivery::TooLong => source.counters.drop(),
                Delivery::NoRoom | Delivery::Busy => return Ok(delivery.into()),
            }
            mmds.sent();
            return Ok(Step::Moved);
        }
        if let Some(dhcp) = &mut source.dhcp
            && let Some(frame) = dhcp.front()
        {
            let delivery = self.deliver(queue, memory, frame, source.mergeable)?;
            if matches!(delivery, Delivery::NoRoom | Delivery::Busy) {
                return Ok(delivery.into());
            }
            dhcp.sent();
            return Ok(Step::Moved);
        }
        if !self.readable {
            return Ok(Step::Idle);
        }
        if !source.link_up {
            return Ok(self.discard(port, source));
        }
        if !source.limit.admits(1, 1) {
            source.counters.throttled();
            return Ok(Step::Idle);
        }
        let wanted = if source.mergeable { ANY } else { HEADER };
        if matches!(self.supply(queue, memory, wanted)?, Supply::Busy) {
            return Ok(Step::Busy);
        }
        if self.held.is_empty() {
            return Ok(Step::Idle);
        }
        match port {
            Port::Tap(tap) => self.read(queue, memory, tap.as_fd(), source),
            Port::Stream(stream) => Ok(self.take(stream, source)),
        }
    }

    /// Takes a frame out of a stream, to be copied in the next step.
    fn take(&mut self, stream: &mut Stream, source: &mut Source<'_>) -> Step {
        match stream.next() {
            Ok(frame) => {
                source.limit.charge(to_u64(frame.len() - HEADER), 1);
                self.pending = Some(frame);
                Step::Moved
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Step::Idle
            }
            Err(_) => self.ended(source.counters),
        }
    }

    /// Reads a frame into the buffers that there are.
    fn read(
        &mut self,
        queue: &mut Virtqueue,
        memory: &GuestMemory,
        tap: BorrowedFd<'_>,
        source: &mut Source<'_>,
    ) -> Result<Step, QueueError> {
        let count = if source.mergeable { self.held.len() } else { 1 };
        let buffers = self.held.iter().take(count);
        let room: u64 = buffers.clone().map(room).sum();
        let spans = buffers.map(|chain| Span::all(memory, chain.writable()));
        let len = match source.scatter.read_frame(spans.clone(), source.spill, tap) {
            Ok(len) => len,
            Err(error) => return self.failed(queue, memory, &error, source.counters),
        };
        if len < HEADER {
            return Ok(self.ended(source.counters));
        }
        let frame = to_u64(len - HEADER);
        source.limit.charge(frame, 1);
        if to_u64(len) <= room {
            self.commit(queue, memory, len)?;
            source.counters.packet(frame);
            return Ok(Step::Moved);
        }
        let spilled = usize::try_from(to_u64(len) - room).unwrap_or(usize::MAX);
        match source.spill.get(..spilled) {
            // A spill that is full to the last byte holds only the beginning of a frame that is too long.
            Some(rest) if source.mergeable && spilled < source.spill.len() => {
                let mut whole = vec![0; len];
                let mut done = 0;
                for span in spans {
                    let target = whole.get_mut(done..).unwrap_or_default();
                    done += span.copy_out(target).unwrap_or(0);
                }
                if let Some(target) = whole.get_mut(len - spilled..) {
                    target.copy_from_slice(rest);
                }
                self.pending = Some(whole);
            }
            _ => source.counters.drop(),
        }
        Ok(Step::Moved)
    }

    /// Reads a frame for nobody.
    fn discard(&mut self, port: &mut Port, source: &mut Source<'_>) -> Step {
        match port.discard(source.spill) {
            Ok(false) => self.ended(source.counters),
            Ok(true) => {
                source.counters.drop();
                Step::Moved
            }
            Err(_) => {
                self.readable = false;
                Step::Idle
            }
        }
    }

    fn failed(
        &mut self,
        queue: &mut Virtqueue,
        memory: &GuestMemory,
        error: &io::Error,
        counters: &Direction,
    ) -> Result<Step, QueueError> {
        if error.kind() == ErrorKind::WouldBlock {
            self.readable = false;
            return Ok(Step::Idle);
        }
        if error.raw_os_error().is_some() {
            tracing::debug!(%error, "a TAP can't be read");
            return Ok(self.ended(counters));
        }
        // The buffers are in more pieces than one system call takes. No driver does that for a reason.
        counters.error();
        while let Some(chain) = self.held.pop_front() {
            queue.push(memory, &chain, 0)?;
            self.spare.push(chain);
        }
        self.segments = 0;
        self.used = true;
        Ok(Step::Moved)
    }

    /// The TAP is gone, or its interface is down. It is tried again when it says that something changed.
    fn ended(&mut self, counters: &Direction) -> Step {
        counters.error();
        self.readable = false;
        Step::Idle
    }

    /// Copies a frame to the guest, with virtio's header.
    fn deliver(
        &mut self,
        queue: &mut Virtqueue,
        memory: &GuestMemory,
        frame: &[u8],
        mergeable: bool,
    ) -> Result<Delivery, QueueError> {
        let wanted = if mergeable { frame.len() } else { HEADER };
        let supply = self.supply(queue, memory, wanted)?;
        let count = if mergeable { self.held.len() } else { 1 };
        let buffers = self.held.iter().take(count);
        if buffers.clone().map(room).sum::<u64>() < to_u64(frame.len()) {
            return Ok(match supply {
                Supply::Busy => Delivery::Busy,
                _ if self.held.is_empty() => Delivery::NoRoom,
                Supply::Short if mergeable => Delivery::NoRoom,
                _ => Delivery::TooLong,
            });
        }
        let mut done = 0;
        for chain in buffers {
            let rest = frame.get(done..).unwrap_or_default();
            // What is held was checked to be in memory.
            done += Span::all(memory, chain.writable())
                .copy_in(rest)
                .unwrap_or(0);
        }
        self.commit(queue, memory, frame.len())?;
        Ok(Delivery::Done)
    }

    /// Gives the buffers that a frame of `len` bytes filled to the driver, all at once.
    fn commit(
        &mut self,
        queue: &mut Virtqueue,
        memory: &GuestMemory,
        len: usize,
    ) -> Result<(), QueueError> {
        let mut left = to_u64(len);
        let mut count = 0;
        for chain in &self.held {
            count += 1;
            left = left.saturating_sub(room(chain));
            if left == 0 {
                break;
            }
        }
        if let Some(first) = self.held.front() {
            let number = u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
            // It is in memory, and long enough for the header.
            let _ = Span::all(memory, first.writable())
                .part(NUM_BUFFERS, 2)
                .copy_in(&number);
        }
        let mut left = to_u64(len);
        let filled = self.held.iter().take(count).map(|chain| {
            let part = left.min(room(chain));
            left -= part;
            (chain, u32::try_from(part).unwrap_or(u32::MAX))
        });
        queue.push_together(memory, filled)?;
        for chain in self.held.drain(..count) {
            self.segments -= chain.writable().len();
            self.spare.push(chain);
        }
        self.used = true;
        Ok(())
    }

    /// Takes buffers out of the queue until a frame of `wanted` bytes fits in them.
    fn supply(
        &mut self,
        queue: &mut Virtqueue,
        memory: &GuestMemory,
        wanted: usize,
    ) -> Result<Supply, QueueError> {
        let mut there: u64 = self.held.iter().map(room).sum();
        for _ in 0..TRIES {
            if there >= to_u64(wanted)
                || self.segments >= MAX_SEGMENTS
                || self.held.len() >= usize::from(queue.size())
            {
                return Ok(Supply::Enough);
            }
            let mut chain = self.spare.pop().unwrap_or_default();
            if !queue.pop(memory, &mut chain)? {
                self.spare.push(chain);
                // What came meanwhile must not wait for the next kick.
                if !queue.listen(memory)? {
                    return Ok(Supply::Short);
                }
                continue;
            }
            let pieces = chain.writable().len();
            match Span::all(memory, chain.writable()).checked_len() {
                Ok(len) if len >= to_u64(HEADER) && pieces <= MAX_SEGMENTS => {
                    there += len;
                    self.segments += pieces;
                    self.held.push_back(chain);
                }
                _ => {
                    queue.push(memory, &chain, 0)?;
                    self.used = true;
                    self.spare.push(chain);
                }
            }
        }
        Ok(Supply::Busy)
    }
}

impl From<Delivery> for Step {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Done | Delivery::TooLong => Self::Moved,
            Delivery::NoRoom => Self::Idle,
            Delivery::Busy => Self::Busy,
        }
    }
}

fn room(chain: &Chain) -> u64 {
    total_len(chain.writable())
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
