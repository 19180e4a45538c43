//! What the guest of a container sends, as the body of an answer or as something to be read.

use std::io::{self, Read};

use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use hull_engine::SessionError;
use hull_engine::inquiry::Reading;
use hull_engine::supervisor::Guest;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::error::sentence;

/// What archives are called.
pub(crate) const TAR: &str = "application/x-tar";

/// Something that comes from a guest, of which the first piece is here: what cannot be read at all is known by then.
#[derive(Debug)]
pub(crate) struct Taken {
    first: Option<Vec<u8>>,
    reading: Reading,
    /// The machine stays for as long.
    _guest: Guest,
}

impl Taken {
    /// Waits for the first piece.
    pub(crate) async fn begin(guest: Guest, mut reading: Reading) -> Result<Self, SessionError> {
        Ok(Self {
            first: reading.next().await?,
            reading,
            _guest: guest,
        })
    }

    /// The body of an answer, which breaks off where the guest does.
    pub(crate) fn into_body(self) -> Body {
        Body::from_stream(self.into_stream())
    }

    /// The same to be read by a thread that may block.
    pub(crate) fn into_read(self) -> impl Read + Send + 'static {
        SyncIoBridge::new(StreamReader::new(Box::pin(self.into_stream())))
    }

    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        unfold(Some(self), |taken| async move {
            let mut taken = taken?;
            let piece = match taken.first.take() {
                Some(piece) => Ok(Some(piece)),
                None => taken.reading.next().await,
            };
            match piece {
                Ok(piece) => Some((Ok(Bytes::from(piece?)), Some(taken))),
                Err(error) => Some((Err(io::Error::other(sentence(&error))), None)),
            }
        })
    }
}
