//! A client's connection to a process's streams.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{
    AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadBuf, duplex,
};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use super::link::Answered;
use crate::owner::wire::{DETACH, END_OF_INPUT, LONGEST_PIECE};

/// Bytes before each piece of output.
const HEADER: usize = 8;

/// What is done before a client sees the end of the output.
pub(super) type Gate = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A process's streams. What is read is Docker's multiplexed stream, whether or not the process has a terminal; what is written
/// is its standard input, whose end is a shutdown.
pub struct Streams {
    output: Output,
    input: DuplexStream,
    detach: Option<Detach>,
}

/// Lets a client leave without the end of standard input.
#[derive(Debug)]
pub struct Detach(oneshot::Sender<()>);

impl Detach {
    /// The client leaves.
    pub fn detach(self) {
        // Who does not listen any more has left.
        let _ = self.0.send(());
    }
}

/// A process's output, in frames.
struct Output {
    read: BufReader<OwnedReadHalf>,
    gate: Option<Gate>,
    /// Gone with this.
    _client: oneshot::Sender<()>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Streams {
    /// Takes over a connection of which the streams follow. The client sees the end of the output when `gate` is through.
    pub(super) fn new(answered: Answered, gate: Gate) -> Self {
        let Answered { read, write, .. } = answered;
        let (input, theirs) = duplex(LONGEST_PIECE);
        let (detach, detached) = oneshot::channel();
        let (client, gone) = oneshot::channel();
        tokio::spawn(async move {
            // The other end is gone when it fails, and so is whoever would hear of it.
            let _ = pass_input(theirs, write, detached, gone).await;
        });
        Self {
            output: Output {
                read,
                gate: Some(gate),
                _client: client,
            },
            input,
            detach: Some(Detach(detach)),
        }
    }

    /// What lets the client leave; the second call gives nothing.
    pub fn detach(&mut self) -> Option<Detach> {
        self.detach.take()
    }

    /// Output in frames, and input.
    pub fn into_split(self) -> (impl AsyncRead + Send + Unpin, DuplexStream) {
        (self.output, self.input)
    }

    /// Output without frames, as a terminal has it, and input.
    pub fn unframed(self) -> (impl AsyncRead + Send + Unpin, DuplexStream) {
        let plain = Unframed {
            output: self.output,
            header: Vec::with_capacity(HEADER),
            left: 0,
        };
        (plain, self.input)
    }
}

async fn pass_input(
    mut input: DuplexStream,
    mut write: OwnedWriteHalf,
    detached: oneshot::Receiver<()>,
    gone: oneshot::Receiver<()>,
) -> io::Result<()> {
    let mut piece = vec![0; LONGEST_PIECE];
    let mut detached = std::pin::pin!(detached);
    let mut may_detach = true;
    loop {
        tokio::select! {
            left = &mut detached, if may_detach => {
                if left.is_ok() {
                    return write.write_u32(DETACH).await;
                }
                may_detach = false;
            }
            count = input.read(&mut piece) => {
                let count = count?;
                if count == 0 {
                    write.write_u32(END_OF_INPUT).await?;
                    // The end of the connection would be that of the client, who may still read.
                    let _ = gone.await;
                    return Ok(());
                }
                let data = piece.get(..count).unwrap_or_default();
                write.write_u32(u32::try_from(count).unwrap_or(END_OF_INPUT)).await?;
                write.write_all(data).await?;
            }
        }
    }
}

impl Output {
    /// What there is to read; nothing at the end, which comes after the gate, however the connection ends: an owner that is through
    /// resets it where input came that it did not read.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<&[u8]> {
        let Some(gate) = &mut self.gate else {
            return Poll::Ready(&[]);
        };
        let filled = ready!(Pin::new(&mut self.read).poll_fill_buf(cx));
        if filled.is_ok_and(|data| !data.is_empty()) {
            return Poll::Ready(self.read.buffer());
        }
        ready!(gate.as_mut().poll(cx));
        self.gate = None;
        Poll::Ready(&[])
    }

    fn consume(&mut self, count: usize) {
        Pin::new(&mut self.read).consume(count);
    }
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let data = ready!(self.poll_fill(cx));
        let count = data.len().min(buffer.remaining());
        buffer.put_slice(data.get(..count).unwrap_or_default());
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

/// The bytes of a stream of frames.
struct Unframed {
    output: Output,
    header: Vec<u8>,
    left: usize,
}

impl AsyncRead for Unframed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.left == 0 {
            let data = ready!(this.output.poll_fill(cx));
            if data.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let count = data.len().min(HEADER - this.header.len());
            this.header
                .extend_from_slice(data.get(..count).unwrap_or_default());
            this.output.consume(count);
            if let Ok(&[_, _, _, _, a, b, c, d]) = <&[u8; HEADER]>::try_from(this.header.as_slice())
            {
                let length = u32::from_be_bytes([a, b, c, d]);
                this.left = usize::try_from(length).unwrap_or(usize::MAX);
                this.header.clear();
            }
        }
        let data = ready!(this.output.poll_fill(cx));
        let count = data.len().min(buffer.remaining()).min(this.left);
        buffer.put_slice(data.get(..count).unwrap_or_default());
        this.output.consume(count);
        this.left -= count;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
