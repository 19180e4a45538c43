//! One process's streams and those who are attached to them.
//!
//! Output goes to the log first, then to all who are attached. One who does not read holds the program up, after some pieces, as a
//! pipe would; one who is gone does not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::wire::Attach;
use crate::attachment::{InputWriter, OutputReader, OutputStream};
use crate::log::LogWriter;

/// So many pieces of output wait for one client.
const AHEAD: usize = 16;

/// A piece of output as it goes over the wire; all clients get the same.
pub(super) type Piece = Arc<[u8]>;

#[derive(Debug)]
pub(super) struct Hub {
    clients: Mutex<Clients>,
    input: Mutex<Option<Arc<InputWriter>>>,
    /// Input ends when a client that could type is gone.
    once: bool,
}

#[derive(Debug)]
enum Clients {
    Attached(Vec<Client>),
    /// The process has written all that it will.
    Over,
}

#[derive(Clone, Debug)]
struct Client {
    what: Attach,
    pieces: mpsc::Sender<Piece>,
}

impl Client {
    fn wants(&self, stream: OutputStream) -> bool {
        match stream {
            OutputStream::Stdout => self.what.stdout,
            OutputStream::Stderr => self.what.stderr,
        }
    }
}

impl Hub {
    pub(super) fn new(input: Option<InputWriter>, once: bool) -> Self {
        Self {
            clients: Mutex::new(Clients::Attached(Vec::new())),
            input: Mutex::new(input.map(Arc::new)),
            once,
        }
    }

    /// One more who is attached. The end of the pieces is the end of the output.
    pub(super) fn attach(&self, what: Attach) -> mpsc::Receiver<Piece> {
        let (pieces, receiver) = mpsc::channel(AHEAD);
        if let Clients::Attached(clients) = &mut *lock(&self.clients) {
            clients.push(Client { what, pieces });
        }
        receiver
    }

    /// Passes output on until its end.
    pub(super) async fn pump(self: Arc<Self>, mut output: OutputReader, log: Option<LogWriter>) {
        let mut log = log;
        while let Some(piece) = output.next().await {
            if let Some(log) = &mut log {
                log.write(piece.stream, &piece.data);
            }
            let framed = frame(piece.stream, &piece.data);
            for client in self.clients() {
                if client.wants(piece.stream) {
                    // One who is gone is left out below.
                    let _ = client.pieces.send(Arc::clone(&framed)).await;
                }
            }
            if let Clients::Attached(clients) = &mut *lock(&self.clients) {
                clients.retain(|client| !client.pieces.is_closed());
            }
        }
        if let Some(log) = log {
            log.finish();
        }
        *lock(&self.clients) = Clients::Over;
    }

    fn clients(&self) -> Vec<Client> {
        match &*lock(&self.clients) {
            Clients::Attached(clients) => clients.clone(),
            Clients::Over => Vec::new(),
        }
    }

    /// Passes input on; waits while the process does not read.
    pub(super) async fn write(&self, data: Vec<u8>) {
        let input = lock(&self.input).clone();
        if let Some(input) = input {
            input.write(data).await;
        }
    }

    /// A client types no more.
    pub(super) fn end_input(&self) {
        if self.once {
            *lock(&self.input) = None;
        }
    }
}

fn frame(stream: OutputStream, data: &[u8]) -> Piece {
    let number = match stream {
        OutputStream::Stdout => 1,
        OutputStream::Stderr => 2,
    };
    // A piece is a frame of the agent's, 64 KiB at most.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut framed = Vec::with_capacity(8 + data.len());
    framed.extend_from_slice(&[number, 0, 0, 0]);
    framed.extend_from_slice(&length);
    framed.extend_from_slice(data);
    framed.into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
