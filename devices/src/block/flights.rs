//! Requests that are in flight: given to the kernel, not yet answered.
//!
//! A request may take several operations, one after the other: a part of it may lie in the next file, and the kernel may do less
//! than it was asked to. Writes and flushes need no order among each other: a driver that wants its writes to be safe
//! flushes after they were reported as done, and then they are in the host's page cache or on the disk.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::disk::{Buffers, Disk, Piece};
use super::request::{Request, RequestError, source, target};
use super::ring::{self, Operation, Ring};
use crate::iov::{Scatter, Span};
use crate::{Chain, GuestMemory};

/// The most requests in flight. What comes besides waits in its queue.
const CAPACITY: u32 = 128;
/// Times that one operation is tried again without getting on.
const MAX_RETRIES: u8 = 8;
/// How long a disk that goes away waits for each of its requests.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

/// One request.
#[derive(Debug, Default)]
struct Flight {
    queue: u16,
    chain: Chain,
    request: Request,
    /// Whether a write must be safe before it is done.
    durable: bool,
    /// Bytes that are done.
    done: u64,
    retries: u8,
    began: Option<Instant>,
    /// Holds the array of the operation that is under way.
    scatter: Scatter,
}

/// All requests in flight.
#[derive(Debug)]
pub(super) struct Flights {
    ring: Ring,
    /// As many as there can be; their numbers are the tokens of their operations.
    flights: Vec<Flight>,
    free: Vec<usize>,
    /// The memory that the kernel may be writing to; there while something is in flight.
    memory: Option<GuestMemory>,
}

/// A request, whose it is, and what became of it.
pub(super) struct Landed<'a> {
    pub(super) memory: &'a GuestMemory,
    pub(super) queue: u16,
    pub(super) chain: &'a Chain,
    pub(super) request: Request,
    pub(super) result: Result<u64, RequestError>,
    /// How long it took.
    pub(super) time: Duration,
}

/// What comes next for a request.
enum Next {
    /// Its operation's completion.
    Completion,
    /// It is done, and so many bytes of its writable part are filled.
    Done(u64),
}

impl Flights {
    /// A ring for a disk.
    pub(super) fn new(disk: &Disk) -> io::Result<Self> {
        let count = usize::try_from(CAPACITY).unwrap_or(0);
        Ok(Self {
            ring: Ring::new(CAPACITY, &ring::numbers(disk.files()))?,
            flights: (0..count).map(|_| Flight::default()).collect(),
            free: (0..count).collect(),
            memory: None,
        })
    }

    /// Readable while [`Flights::reap`] has something to do.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.ring.fd()
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Requests in flight.
    pub(super) fn count(&self) -> usize {
        self.flights.len() - self.free.len()
    }

    /// Begins a request that reads, writes or flushes. If it is done at once, or failed, its result comes back.
    pub(super) fn begin(
        &mut self,
        disk: &Disk,
        buffers: &mut Buffers,
        memory: &GuestMemory,
        (queue, chain, request, began): (u16, &Chain, Request, Instant),
        durable: bool,
    ) -> Option<Result<u64, RequestError>> {
        let Some(index) = self.free.pop() else {
            return Some(Err(io::Error::from(io::ErrorKind::ResourceBusy).into()));
        };
        let Some(flight) = self.flights.get_mut(index) else {
            return Some(Err(io::Error::from(io::ErrorKind::InvalidData).into()));
        };
        flight.queue = queue;
        flight.chain.copy_from(chain);
        flight.request = request;
        flight.durable = durable;
        flight.done = 0;
        flight.retries = 0;
        flight.began = Some(began);
        let result = match step(&mut self.ring, disk, buffers, memory, (index, flight)) {
            Ok(Next::Completion) => {
                if self.memory.is_none() {
                    self.memory = Some(memory.clone());
                }
                return None;
            }
            Ok(Next::Done(filled)) => Ok(filled),
            Err(error) => Err(error),
        };
        self.free.push(index);
        Some(result)
    }

    /// Gives the kernel what was begun; false if it can't take all of it now, and this must be called again.
    pub(super) fn submit(&mut self) -> bool {
        self.ring.submit().unwrap_or_else(|error| {
            // They stay in the ring, and the next call tries again; at once it would only fail again.
            tracing::error!(%error, "a disk's io_uring does not take requests");
            true
        })
    }

    /// Takes completions, and calls back for each request that has landed. What is left over makes the ring's descriptor
    /// readable again.
    pub(super) fn reap(
        &mut self,
        disk: &Disk,
        buffers: &mut Buffers,
        mut landed: impl FnMut(Landed<'_>),
    ) {
        let Some(memory) = self.memory.take() else {
            return;
        };
        for _ in 0..CAPACITY {
            let Some((token, result)) = self.ring.pop() else {
                break;
            };
            let Ok(index) = usize::try_from(token) else {
                continue;
            };
            let Some(flight) = self.flights.get_mut(index) else {
                continue;
            };
            let next = flight
                .take(&memory, result)
                .and_then(|()| step(&mut self.ring, disk, buffers, &memory, (index, flight)));
            let result = match next {
                Ok(Next::Completion) => continue,
                Ok(Next::Done(filled)) => Ok(filled),
                Err(error) => Err(error),
            };
            landed(Landed {
                memory: &memory,
                queue: flight.queue,
                chain: &flight.chain,
                request: flight.request,
                result,
                time: flight.began.map_or(Duration::ZERO, |began| began.elapsed()),
            });
            self.free.push(index);
        }
        if !self.is_empty() {
            self.memory = Some(memory);
        }
    }

    /// Waits until nothing is in flight.
    pub(super) fn drain(
        &mut self,
        disk: &Disk,
        buffers: &mut Buffers,
        mut landed: impl FnMut(Landed<'_>),
    ) {
        while !self.is_empty() {
            if let Err(error) = self.ring.wait() {
                tracing::error!(%error, "a disk's requests can't be waited for");
                return;
            }
            self.reap(disk, buffers, &mut landed);
        }
    }

    /// The disk's files are others now. Nothing may be in flight.
    pub(super) fn set_files(&mut self, disk: &Disk) -> io::Result<()> {
        self.ring.set_files(&ring::numbers(disk.files()))
    }
}

impl Flight {
    /// Takes the result of an operation.
    fn take(&mut self, memory: &GuestMemory, result: i32) -> Result<(), RequestError> {
        let count = match u32::try_from(result) {
            Ok(count) => u64::from(count),
            Err(_) => return self.try_again(result.saturating_neg()),
        };
        self.retries = 0;
        match self.request {
            // The file has shrunk since it was opened.
            Request::Read { .. } if count == 0 => {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            Request::Write { .. } if count == 0 => {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            Request::Read { .. } => {
                let written = usize::try_from(count).unwrap_or(usize::MAX);
                let target = target(memory, &self.chain);
                target.part(self.done, count).mark_dirty(written);
                self.done += count;
            }
            Request::Write { .. } => self.done += count,
            // Done with one operation; the next step sees it.
            _ => self.done = 1,
        }
        Ok(())
    }

    fn try_again(&mut self, errno: i32) -> Result<(), RequestError> {
        let may_pass = matches!(errno, libc::EINTR | libc::EAGAIN);
        if may_pass && self.retries < MAX_RETRIES {
            self.retries += 1;
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(errno).into())
    }
}

/// Gets a request on: by its next operation, or, where no operation is needed, to its end.
#[allow(unsafe_code)]
fn step(
    ring: &mut Ring,
    disk: &Disk,
    buffers: &mut Buffers,
    memory: &GuestMemory,
    (index, flight): (usize, &mut Flight),
) -> Result<Next, RequestError> {
    let operation = match flight.request {
        Request::Read { offset, len } => {
            let span = target(memory, &flight.chain);
            match read(
                disk,
                buffers,
                (span, offset),
                (&mut flight.done, len),
                &mut flight.scatter,
            )? {
                Some(operation) => operation,
                None => return Ok(Next::Done(len)),
            }
        }
        Request::Write { offset, len } => {
            if flight.done >= len {
                return Ok(Next::Done(0));
            }
            let rest = source(memory, &flight.chain).part(flight.done, u64::MAX);
            let offset = offset.saturating_add(flight.done);
            if disk.must_bounce(rest, offset)? {
                disk.write(buffers, rest, offset)?;
                if flight.durable {
                    disk.flush()?;
                }
                return Ok(Next::Done(0));
            }
            Operation::Write {
                file: 0,
                offset,
                held: flight.scatter.hold(rest)?,
                durable: flight.durable,
            }
        }
        Request::Flush if flight.done == 0 => Operation::Sync { file: 0 },
        _ => return Ok(Next::Done(0)),
    };
    let token = u64::try_from(index).unwrap_or(u64::MAX);
    // SAFETY: the array is the flight's, which is not touched, and stays in its place, until the completion was taken: it is
    // not free, and all of them are kept when the ring goes (see `drop`). The guest's memory is held by `Flights::memory` as
    // long as something is in flight; before it is there the caller holds it, and puts it there.
    unsafe { ring.push(operation, token, disk.is_local())? };
    Ok(Next::Completion)
}

/// The next operation of a read, after the zeros between two files; none if all is done.
fn read(
    disk: &Disk,
    buffers: &mut Buffers,
    (span, offset): (Span<'_>, u64),
    (done, len): (&mut u64, u64),
    scatter: &mut Scatter,
) -> Result<Option<Operation>, RequestError> {
    while *done < len {
        let piece = disk
            .locate(offset.saturating_add(*done), len - *done)
            .ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        match piece {
            Piece::Padding { len } => {
                span.part(*done, len).zero()?;
                *done += len;
            }
            Piece::File {
                part,
                offset: at,
                len: count,
            } => {
                let piece = span.part(*done, count);
                if disk.must_bounce(piece, at)? {
                    disk.read(buffers, piece, offset.saturating_add(*done))?;
                    *done += count;
                    continue;
                }
                return Ok(Some(Operation::Read {
                    file: part,
                    offset: at,
                    held: scatter.hold(piece)?,
                }));
            }
        }
    }
    Ok(None)
}

/// What can't be waited for, because the host's file does not answer, is never freed: the kernel may still write there.
impl Drop for Flights {
    fn drop(&mut self) {
        while !self.is_empty() {
            if !self.ring.wait_for(LAST_MOMENTS) {
                std::mem::forget(std::mem::take(&mut self.flights));
                std::mem::forget(self.memory.take());
                return;
            }
            while let Some((token, _)) = self.ring.pop() {
                self.free.extend(usize::try_from(token).ok());
            }
        }
        self.ring.let_go();
    }
}
