//! A compressed layer on its way: the file that keeps it, so that an interrupted download goes on where it stopped,
//! also in a later process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::growing::{End, Growth};
use crate::digest::{Digest, Hasher};
use crate::store::lock::{FileLock, Mode};

/// Pieces that may wait between the network and the disk; each is at most what one read of the
/// connection gives.
const QUEUE: usize = 16;
const BUFFER: usize = 256 << 10;

/// The partial file, locked so that nobody else writes it.
#[derive(Debug)]
pub(crate) struct Part {
    lock: FileLock,
    path: PathBuf,
    length: u64,
}

impl Part {
    /// Opens the file at `path`, waiting for whoever writes it. What is there counts if it is not longer
    /// than `size`.
    pub(crate) async fn open(path: PathBuf, size: u64) -> io::Result<Self> {
        let lock = FileLock::acquire(&path, Mode::Exclusive, || ()).await?;
        let mut length = lock.file().metadata()?.len();
        if length > size {
            lock.file().set_len(0)?;
            length = 0;
        }
        Ok(Self { lock, path, length })
    }

    /// Bytes that are there already.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Forgets what is there.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.length = 0;
        self.lock.file().set_len(0)
    }

    /// A second handle, to read with.
    pub(crate) fn reader(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file.
    pub(crate) fn remove(self) -> io::Result<()> {
        self.lock.remove()
    }

    /// Starts the thread that hashes what is there, then appends and hashes what is sent to it. It owns the file and its
    /// lock until it ends, so that a download that was called off cannot meet its successor in there.
    pub(crate) fn append(self, size: u64, growth: Arc<Growth>) -> Appender {
        let (pieces, queue) = mpsc::channel(QUEUE);
        let task = tokio::task::spawn_blocking(move || self.write(queue, size, &growth));
        Appender { pieces, task }
    }

    fn write(
        mut self,
        mut queue: mpsc::Receiver<Bytes>,
        size: u64,
        growth: &Growth,
    ) -> (Self, io::Result<Option<Digest>>) {
        let result = self.write_all(&mut queue, size, growth);
        growth.end(match result {
            Ok(Some(_)) => End::Complete,
            _ => End::Interrupted,
        });
        (self, result)
    }

    fn write_all(
        &mut self,
        queue: &mut mpsc::Receiver<Bytes>,
        size: u64,
        growth: &Growth,
    ) -> io::Result<Option<Digest>> {
        let mut hasher = Hasher::default();
        let mut file = self.lock.file();
        file.seek(SeekFrom::Start(0))?;
        let mut present = file.take(self.length);
        let mut buffer = vec![0; BUFFER];
        let mut hashed = 0;
        loop {
            let count = present.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
            hashed += u64::try_from(count).unwrap_or(0);
            growth.grown_to(hashed);
        }
        let mut file = self.lock.file();
        file.seek(SeekFrom::Start(self.length))?;
        while let Some(piece) = queue.blocking_recv() {
            file.write_all(&piece)?;
            hasher.update(&piece);
            self.length += u64::try_from(piece.len()).unwrap_or(0);
            growth.grown_to(self.length);
        }
        Ok((self.length == size).then(|| hasher.finish()))
    }
}

/// The writing end of a partial file.
#[derive(Debug)]
pub(crate) struct Appender {
    pieces: mpsc::Sender<Bytes>,
    task: tokio::task::JoinHandle<(Part, io::Result<Option<Digest>>)>,
}

impl Appender {
    /// Hands over the next bytes; waits when the disk is slower. False when the file cannot be written any more.
    pub(crate) async fn push(&self, piece: Bytes) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// Waits for the thread: the file, and the digest of its content if it is complete.
    pub(crate) async fn finish(self) -> io::Result<(Part, io::Result<Option<Digest>>)> {
        drop(self.pieces);
        self.task.await.map_err(io::Error::other)
    }
}
