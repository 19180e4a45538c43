//! The way of a layer's bytes: one thread reads (and so decompresses) and hashes them, the other takes them apart.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::Error;
use crate::digest::Digest;

/// Bytes that are handed over at once.
const PIECE: usize = 1 << 20;
/// Pieces that may wait. They are reused, so this bounds the memory of an import.
const WAITING: usize = 4;

type Piece = io::Result<Vec<u8>>;

/// Feeds `parse` with `reader`, to its end if `parse` succeeds. Returns what `parse` returned, and the digest and length
/// of everything that was read.
pub(super) fn hashed<R: Read + Send, T>(
    mut reader: R,
    parse: impl FnOnce(&mut Source) -> Result<T, Error>,
) -> Result<(T, Digest, u64), Error> {
    let (full_tx, full) = sync_channel(WAITING);
    let (empty, empty_rx) = channel();
    thread::scope(|scope| {
        let pump = thread::Builder::new()
            .name("layer".to_owned())
            .spawn_scoped(scope, move || pump(&mut reader, &full_tx, &empty_rx))
            .map_err(Error::Read)?;
        let mut source = Source {
            full,
            empty,
            piece: Vec::new(),
            position: 0,
        };
        let parsed = parse(&mut source).and_then(|parsed| {
            source.drain().map_err(Error::Read)?;
            Ok(parsed)
        });
        // Without a receiver the other thread ends after its present piece.
        drop(source);
        let (digest, length) = match pump.join() {
            Ok(hashed) => hashed,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok((parsed?, digest, length))
    })
}

/// Reads, hashes and hands on until the end, an error, or until nobody listens.
fn pump(
    reader: &mut impl Read,
    full: &SyncSender<Piece>,
    empty: &Receiver<Vec<u8>>,
) -> (Digest, u64) {
    let mut hash = Sha256::new();
    let mut length = 0;
    loop {
        let mut piece = empty.try_recv().unwrap_or_default();
        let (at_end, error) = fill(reader, &mut piece);
        hash.update(&piece);
        length += u64::try_from(piece.len()).unwrap_or(0);
        let unheard = !piece.is_empty() && full.send(Ok(piece)).is_err();
        if let Some(error) = error {
            // Nobody may listen any more, for a reason that is then told instead.
            let _ = full.send(Err(error));
        }
        if at_end || unheard {
            return (Digest::from_bytes(hash.finalize().into()), length);
        }
    }
}

/// Fills `piece`. Tells whether there is no more, and why if it is not the end.
fn fill(reader: &mut impl Read, piece: &mut Vec<u8>) -> (bool, Option<io::Error>) {
    piece.resize(PIECE, 0);
    let mut filled = 0;
    let outcome = loop {
        let Some(space) = piece.get_mut(filled..).filter(|space| !space.is_empty()) else {
            break (false, None);
        };
        match reader.read(space) {
            Ok(0) => break (true, None),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break (true, Some(error)),
        }
    };
    piece.truncate(filled);
    outcome
}

/// The receiving end.
#[derive(Debug)]
pub(super) struct Source {
    full: Receiver<Piece>,
    empty: Sender<Vec<u8>>,
    piece: Vec<u8>,
    position: usize,
}

impl Source {
    fn drain(&mut self) -> io::Result<()> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position >= self.piece.len()
            && let Ok(next) = self.full.recv()
        {
            let old = std::mem::replace(&mut self.piece, next?);
            self.position = 0;
            if !old.is_empty() {
                // At the end nobody fills it again.
                let _ = self.empty.send(old);
            }
        }
        Ok(self.piece.get(self.position..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount;
    }
}
