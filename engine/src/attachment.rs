//! What connects a client to a container's streams.
//!
//! Output is queued here until the client took it; the agent's windows bound how much that can be, so
//! a slow client slows its container down and nobody else.

use hull_agent_protocol::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Standard input is passed on in pieces; one may wait.
const INPUT_PIECES: usize = 1;

/// A piece of standard output or error.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    /// Which of the two; a terminal has only standard output.
    pub stream: OutputStream,
    /// At least one byte.
    pub data: Vec<u8>,
}

/// Where output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a client reports back about output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// So many bytes were passed on.
    Taken(OutputStream, usize),
    /// Nobody reads this stream any more.
    Closed(OutputStream),
}

/// The client's side of a container's output.
#[derive(Debug)]
pub struct OutputReader {
    output: mpsc::UnboundedReceiver<Output>,
    receipts: mpsc::UnboundedSender<Receipt>,
    last: Option<(OutputStream, usize)>,
}

/// The client's side of standard input. Dropping it is end of file.
#[derive(Debug)]
pub struct InputWriter(mpsc::Sender<Vec<u8>>);

/// Both sides of one container's streams.
#[derive(Debug)]
pub struct Attachment {
    /// What the process writes.
    pub output: OutputReader,
    /// What it reads.
    pub input: InputWriter,
}

/// The container's side.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) output: mpsc::UnboundedSender<Output>,
    pub(crate) receipts: mpsc::UnboundedReceiver<Receipt>,
    pub(crate) input: mpsc::Receiver<Vec<u8>>,
}

/// A new pair of sides.
pub(crate) fn pair() -> (Attachment, Attached) {
    let (output, from_container) = mpsc::unbounded_channel();
    let (receipts, from_client) = mpsc::unbounded_channel();
    let (input, to_container) = mpsc::channel(INPUT_PIECES);
    let reader = OutputReader {
        output: from_container,
        receipts,
        last: None,
    };
    let attachment = Attachment {
        output: reader,
        input: InputWriter(input),
    };
    (
        attachment,
        Attached {
            output,
            receipts: from_client,
            input: to_container,
        },
    )
}

impl OutputReader {
    /// The next piece, in the order in which the process wrote; `None` at the end. Asking for it
    /// says that the piece before was passed on.
    pub async fn next(&mut self) -> Option<Output> {
        if let Some((stream, length)) = self.last.take() {
            let _ = self.receipts.send(Receipt::Taken(stream, length));
        }
        let output = self.output.recv().await?;
        self.last = Some((output.stream, output.data.len()));
        Some(output)
    }

    /// Says that nobody reads this stream any more: its writer gets `EPIPE`.
    pub fn close(&mut self, stream: OutputStream) {
        let _ = self.receipts.send(Receipt::Closed(stream));
    }
}

impl InputWriter {
    /// Passes input on; waits while the process does not read. False when nobody will.
    pub async fn write(&self, data: Vec<u8>) -> bool {
        self.0.send(data).await.is_ok()
    }
}

impl From<OutputStream> for Stream {
    fn from(stream: OutputStream) -> Self {
        match stream {
            OutputStream::Stdout => Stream::Stdout,
            OutputStream::Stderr => Stream::Stderr,
        }
    }
}
