//! A guest's console between its pipes, its log and whoever is attached.
//!
//! What the guest prints goes into the log first, then to all who are attached; what any of them types goes to the guest. The
//! terminal of a foreground holds the guest up when it is slow, as a serial line does; one who attached by the socket
//! and does not read is cut off instead, so that nobody in the background can stop a guest.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::Screen;
use super::log::LogWriter;
use super::spec::ConsoleEnds;

/// Bytes that are moved at once.
const PIECE: usize = 4096;
/// Pieces that wait for one who is attached before that one is cut off.
const WAITING: usize = 256;
/// How long those who are attached may take to read the last words.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many can be attached by the socket.
const MOST: usize = 16;

type Piece = Arc<[u8]>;

/// One who is attached: what the guest prints, and what is typed to it.
#[derive(Debug)]
pub struct Terminal {
    /// Closed when the guest's console is.
    pub output: mpsc::Receiver<Piece>,
    /// Takes what is typed.
    pub input: mpsc::Sender<Vec<u8>>,
}

/// Everyone who is attached.
type Attached = Arc<Mutex<Vec<mpsc::Sender<Piece>>>>;

/// The console of a machine that is about to run.
#[derive(Debug)]
pub(crate) struct Relay {
    pump: JoinHandle<()>,
    server: JoinHandle<()>,
    over: oneshot::Sender<()>,
}

impl Relay {
    /// Begins to move bytes. The ends are the VMM's; nothing of them may stay open here, for their closing is the end. With
    /// a screen there is a terminal that is never cut off.
    pub(crate) fn start(
        log: &Path,
        socket: &Path,
        foreground: Option<Screen>,
    ) -> io::Result<(Self, ConsoleEnds, Option<Terminal>)> {
        let log = LogWriter::create(log)?;
        let listener = UnixListener::bind(socket)?;
        let (printed, output) = pipe_pair()?;
        let (input, typed) = pipe_pair()?;
        let printed = pipe::Receiver::from_file(File::from(printed))?;
        let typed = pipe::Sender::from_file(File::from(typed))?;

        let attached = Attached::default();
        let (sender, keys) = mpsc::channel(WAITING);
        let (screen, terminal) = match foreground {
            Some(_) => {
                let (screen, output) = mpsc::channel(WAITING);
                let input = sender.clone();
                (Some(screen), Some(Terminal { output, input }))
            }
            None => (None, None),
        };
        tokio::spawn(type_in(typed, keys));
        let (over, told) = oneshot::channel();
        let relay = Self {
            pump: tokio::spawn(pump(printed, log, screen, attached.clone())),
            server: tokio::spawn(serve(listener, sender, attached, told)),
            over,
        };
        let size = foreground.and_then(|screen| screen.size);
        let ends = ConsoleEnds {
            output,
            input,
            size,
        };
        Ok((relay, ends, terminal))
    }

    /// Waits until all that the guest printed is in the log and passed on; its machine has ended.
    pub(crate) async fn drain(self) {
        let Self { pump, server, over } = self;
        let _ = pump.await;
        let _ = over.send(());
        let _ = server.await;
    }
}

/// The two ends of a pipe, the reader first.
fn pipe_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// From the guest to the log, the terminal and everyone else.
async fn pump(
    mut printed: pipe::Receiver,
    mut log: LogWriter,
    mut screen: Option<mpsc::Sender<Piece>>,
    attached: Attached,
) {
    let mut buffer = [0; PIECE];
    let mut logs = true;
    while let Ok(length @ 1..) = printed.read(&mut buffer).await {
        let bytes = buffer.get(..length).unwrap_or_default();
        if logs && let Err(error) = log.append(bytes) {
            tracing::warn!(%error, "the console is no longer logged");
            logs = false;
        }
        let piece = Piece::from(bytes);
        if let Some(terminal) = &screen
            && terminal.send(piece.clone()).await.is_err()
        {
            screen = None;
        }
        lock(&attached).retain(|one| one.try_send(piece.clone()).is_ok());
    }
}

/// From whoever types to the guest.
async fn type_in(mut typed: pipe::Sender, mut keys: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = keys.recv().await {
        if typed.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Lets others attach by the socket, until it is over; what they still have to get they get.
async fn serve(
    listener: UnixListener,
    input: mpsc::Sender<Vec<u8>>,
    attached: Attached,
    mut over: oneshot::Receiver<()>,
) {
    let mut clients = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut over => break,
        };
        let Ok((stream, _)) = accepted else { break };
        while clients.try_join_next().is_some() {}
        if clients.len() < MOST {
            let (sender, output) = mpsc::channel(WAITING);
            lock(&attached).push(sender);
            clients.spawn(client(stream, output, input.clone()));
        }
    }
    lock(&attached).clear();
    drop((listener, input));
    let rest = async { while clients.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(PATIENCE, rest).await;
}

/// Ends when either side does.
async fn client(
    stream: UnixStream,
    mut output: mpsc::Receiver<Piece>,
    input: mpsc::Sender<Vec<u8>>,
) {
    let (mut keys, mut screen) = stream.into_split();
    let printing = async {
        while let Some(piece) = output.recv().await {
            if screen.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    let typing = async {
        let mut buffer = [0; PIECE];
        while let Ok(length @ 1..) = keys.read(&mut buffer).await {
            let bytes = buffer.get(..length).unwrap_or_default();
            if input.send(bytes.to_vec()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = printing => {}
        () = typing => {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
