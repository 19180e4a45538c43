//! What is asked of a registry: a request that can be made more than once.

use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::Method;
use http::header::HeaderMap;
use reqwest::Url;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::time::{Instant, sleep_until};
use tokio_util::io::ReaderStream;

/// Bytes that are read from a file at once.
const PIECE: usize = 128 << 10;

/// A request.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// How long nothing may move, if not as long as usual.
    pub(super) patience: Option<Duration>,
}

/// What a request carries.
#[derive(Debug)]
pub(super) enum Body {
    Empty,
    Bytes(Bytes),
    File(FilePart),
}

/// A part of a file, from `offset` to its end.
#[derive(Debug)]
pub(super) struct FilePart {
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) moved: Moved,
}

/// How much of a file is on its way, and since when.
#[derive(Clone)]
pub(crate) struct Moved {
    last: Arc<Mutex<Instant>>,
    report: Arc<dyn Fn(u64) + Send + Sync>,
}

impl std::fmt::Debug for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moved")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Ask {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
            patience: None,
        }
    }

    pub(super) fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers, ..self }
    }
}

impl FilePart {
    /// Its bytes, as they are asked for.
    pub(super) async fn open(&self) -> io::Result<reqwest::Body> {
        let mut file = File::open(&self.path).await?;
        file.seek(SeekFrom::Start(self.offset)).await?;
        let moved = self.moved.clone();
        moved.to(self.offset);
        let mut position = self.offset;
        let pieces = ReaderStream::with_capacity(file.take(self.length), PIECE);
        let pieces = pieces.inspect_ok(move |piece| {
            position += u64::try_from(piece.len()).unwrap_or(0);
            moved.to(position);
        });
        Ok(reqwest::Body::wrap_stream(pieces))
    }
}

impl Moved {
    /// `report` is called often, with the bytes of the whole file that are on their way; it must not block.
    pub(crate) fn new(report: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self {
            last: Arc::new(Mutex::new(Instant::now())),
            report: Arc::new(report),
        }
    }

    fn to(&self, position: u64) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        (self.report)(position);
    }

    /// Waits for `sending` while bytes move; `None` if none did for so long.
    pub(super) async fn while_moving<T>(
        &self,
        patience: Duration,
        sending: impl Future<Output = T>,
    ) -> Option<T> {
        let last = || *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        tokio::pin!(sending);
        loop {
            let end = last() + patience;
            tokio::select! {
                done = &mut sending => return Some(done),
                () = sleep_until(end) => {
                    if last() + patience <= Instant::now() {
                        return None;
                    }
                }
            }
        }
    }
}
