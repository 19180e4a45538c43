//! A file at an address: what `import` and `ADD` fetch.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use reqwest::{Response, Url};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use super::config::{Config, is_loopback};
use super::error::{Error, cause};
use super::transport::http_client;

/// Pieces that may wait; each is at most what one read of the connection gives.
const QUEUE: usize = 16;

/// A file that comes in. Reading it blocks, so that has to happen on a thread of its own.
#[derive(Debug)]
pub struct Remote {
    /// How long it is, if the server says.
    pub length: Option<u64>,
    pieces: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Remote {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece
            .copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Asks for the file at an `http` or `https` address.
///
/// # Errors
/// When it is no such address, or the server cannot be reached or does not have it.
pub async fn remote(address: &str, config: &Config) -> Result<Remote, Error> {
    let url: Url = address
        .parse()
        .ok()
        .filter(|url: &Url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| Error::Address(address.chars().take(200).collect()))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let http = http_client(url.scheme() == "http", is_loopback(&host), config.stall)?;
    let broken = |error: reqwest::Error| Error::Remote {
        host: host.clone(),
        why: cause(&error.without_url()).0,
    };
    let response = match timeout(config.stall, http.get(url).send()).await {
        Err(_) => return Err(silent(&host, config.stall)),
        Ok(response) => response.map_err(broken)?,
    };
    if response.status() != StatusCode::OK {
        return Err(Error::Remote {
            why: format!("it answered {}", response.status()),
            host,
        });
    }
    let length = response.content_length();
    let (send, pieces) = channel(QUEUE);
    tokio::spawn(carry(response, config.stall, send));
    Ok(Remote {
        length,
        pieces,
        piece: Bytes::new(),
    })
}

/// Hands on what comes, each piece of which must come within `stall`, until the end, an error, or until nobody reads.
async fn carry(mut response: Response, stall: Duration, send: Sender<io::Result<Bytes>>) {
    loop {
        let piece = match timeout(stall, response.chunk()).await {
            Ok(Ok(None)) => return,
            Ok(Ok(Some(piece))) => Ok(piece),
            Ok(Err(e)) => Err(io::Error::other(cause(&e.without_url()).0)),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        let is_last = piece.is_err();
        if send.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

fn silent(host: &str, stall: Duration) -> Error {
    Error::Remote {
        host: host.to_owned(),
        why: format!("it sent nothing for {} seconds", stall.as_secs_f64()),
    }
}
