//! Between a client and the daemon: passes on what they say, and notes when they say it.
//!
//! A client's questions are read off the bytes alone: on one connection each waits for the answer to the one before, so a
//! question begins where a piece from the client starts with a method, and what comes back until the next one is its answer.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::Result;

const METHODS: [&[u8]; 5] = [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE "];
/// The status of an answer after which the connection is a stream, whose end is a part of it.
const UPGRADED: &[u8] = b"HTTP/1.1 101 ";

/// A question and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// The first line of the question.
    pub(crate) line: String,
    pub(crate) asked: Instant,
    /// When the first byte of the answer came, and the last that came so far.
    pub(crate) answered: Option<Instant>,
    pub(crate) ended: Option<Instant>,
    pub(crate) is_stream: bool,
}

impl Turn {
    /// The question that a client's piece begins with, if it does.
    fn begins(piece: &[u8]) -> Option<Self> {
        let begins = METHODS.iter().any(|method| piece.starts_with(method));
        let line = piece.split(|byte| *byte == b'\r').next();
        begins.then(|| Self {
            line: String::from_utf8_lossy(line.unwrap_or_default()).into_owned(),
            asked: Instant::now(),
            answered: None,
            ended: None,
            is_stream: false,
        })
    }

    /// A piece of its answer; an empty one is the end of the connection.
    fn note(&mut self, piece: &[u8]) {
        if piece.is_empty() && !self.is_stream {
            return;
        }
        if self.answered.is_none() {
            self.answered = Some(Instant::now());
            self.is_stream = piece.starts_with(UPGRADED);
        }
        self.ended = Some(Instant::now());
    }
}

type Noted = Arc<Mutex<Turn>>;

/// Listens in a runtime directory of its own, where clients take it for the daemon.
#[derive(Debug)]
pub(crate) struct Relay {
    directory: PathBuf,
    turns: Arc<Mutex<Vec<Noted>>>,
    is_over: Arc<AtomicBool>,
}

impl Relay {
    /// Makes the directory; `daemon` is where the daemon listens.
    pub(crate) fn start(directory: PathBuf, daemon: PathBuf) -> Result<Self> {
        fs::create_dir(&directory)?;
        let relay = Self {
            directory,
            turns: Arc::default(),
            is_over: Arc::default(),
        };
        let listener = UnixListener::bind(relay.socket())?;
        let (turns, is_over) = (Arc::clone(&relay.turns), Arc::clone(&relay.is_over));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // Without a daemon the client is hung up on.
                let Ok(server) = UnixStream::connect(&daemon) else {
                    continue;
                };
                let _ = join(client, server, &turns);
            }
        });
        Ok(relay)
    }

    /// The directory, for `HULL_RUN`.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The socket in it.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("hull.sock")
    }

    /// What was asked since the last time, in order.
    pub(crate) fn take(&self) -> Vec<Turn> {
        let turns = std::mem::take(&mut *lock(&self.turns));
        turns.iter().map(|turn| lock(turn).clone()).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the one who waits for clients.
        let _ = UnixStream::connect(self.socket());
    }
}

/// Passes on what two have to say to each other, until both have ended.
fn join(client: UnixStream, server: UnixStream, turns: &Arc<Mutex<Vec<Noted>>>) -> Result<()> {
    let (client_too, server_too) = (client.try_clone()?, server.try_clone()?);
    let turns = Arc::clone(turns);
    let asked: Arc<Mutex<Option<Noted>>> = Arc::default();
    let answered = Arc::clone(&asked);
    thread::spawn(move || {
        pass(client, server, |piece| {
            if let Some(turn) = Turn::begins(piece) {
                let turn = Arc::new(Mutex::new(turn));
                lock(&turns).push(Arc::clone(&turn));
                *lock(&asked) = Some(turn);
            }
        });
    });
    thread::spawn(move || {
        pass(server_too, client_too, |piece| {
            if let Some(turn) = &*lock(&answered) {
                lock(turn).note(piece);
            }
        });
    });
    Ok(())
}

/// Passes on one direction. Pieces are noted before they are passed on, and the end as an empty one.
fn pass(mut from: UnixStream, mut to: UnixStream, mut note: impl FnMut(&[u8])) {
    let mut buffer = [0; 65536];
    loop {
        let piece = match from.read(&mut buffer) {
            Ok(got) => &buffer[..got],
            Err(_) => &[],
        };
        note(piece);
        if piece.is_empty() || to.write_all(piece).is_err() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_begins_with_a_method_and_only_a_stream_ends_with_its_connection() {
        assert!(Turn::begins(b"{\"Image\":\"x\"}").is_none());
        let mut turn =
            Turn::begins(b"POST /containers/x/start HTTP/1.1\r\nHost: y\r\n\r\n").unwrap();
        assert_eq!(turn.line, "POST /containers/x/start HTTP/1.1");
        turn.note(b"HTTP/1.1 204 No Content\r\n\r\n");
        let ended = turn.ended;
        assert!(ended.is_some() && ended >= turn.answered);
        turn.note(b"");
        assert_eq!(turn.ended, ended);

        let mut turn = Turn::begins(b"POST /exec/x/start HTTP/1.1\r\n\r\n").unwrap();
        turn.note(b"HTTP/1.1 101 UPGRADED\r\n\r\n");
        let ended = turn.ended;
        turn.note(b"");
        assert!(turn.ended > ended);
    }

    #[test]
    fn what_is_said_passes_through_and_is_noted() {
        let home = tempfile::tempdir().unwrap();
        let daemon = home.path().join("daemon.sock");
        let listener = UnixListener::bind(&daemon).unwrap();
        let relay = Relay::start(home.path().join("relay"), daemon).unwrap();
        let served = thread::spawn(move || {
            let (mut server, _) = listener.accept().unwrap();
            let mut asked = [0; 7];
            server.read_exact(&mut asked).unwrap();
            server.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            asked
        });
        let mut client = UnixStream::connect(relay.socket()).unwrap();
        client.write_all(b"GET /\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(&served.join().unwrap(), b"GET /\r\n");
        let turns = relay.take();
        assert_eq!(turns.len(), 1);
        assert_eq!(turns[0].line, "GET /");
        assert!(turns[0].ended.is_some());
        assert!(relay.take().is_empty());
    }
}
