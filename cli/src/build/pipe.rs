//! The body of a build's request: it is made while it is sent, and a file that cannot be read breaks it off.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::TryStreamExt as _;
use futures_util::stream::poll_fn;
use http_body_util::StreamBody;
use hyper::body::{Body, Frame};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::context::{Context, Kind};
use super::{Args, archive};
use crate::format::units;
use crate::out;

/// Bytes that are sent at once.
const PIECE: usize = 64 << 10;
/// Pieces that wait for the daemon.
const AHEAD: usize = 4;

/// A context on its way.
pub(super) struct Sending<B> {
    pub(super) body: B,
    /// How it went: how many bytes there were.
    pub(super) done: JoinHandle<anyhow::Result<u64>>,
}

/// Begins to send it.
pub(super) fn send(
    context: Context,
    args: &Args,
) -> Sending<impl Body<Data = Bytes, Error = io::Error> + Send + 'static + use<>> {
    let (to, mut from) = mpsc::channel(AHEAD);
    let (quiet, compress) = (args.quiet, args.compress);
    let done = tokio::task::spawn_blocking(move || {
        let bar = match quiet {
            true => ProgressBar::hidden(),
            false => bar(),
        };
        let mut pipe = Pipe {
            to: to.clone(),
            piece: Vec::with_capacity(PIECE),
            sent: 0,
            bar,
        };
        let written = match compress {
            false => write(context, &mut pipe),
            true => compressed(context, &mut pipe),
        };
        let sent = pipe.sent;
        pipe.bar.finish_and_clear();
        match written {
            Ok(()) => {
                if !quiet && sent > 0 {
                    let size = units::size(sent);
                    out::line(&format!("Sending build context to Docker daemon  {size}"))?;
                }
                Ok(sent)
            }
            // The daemon wants no more, and will say why.
            Err(error) if error.is::<Unwanted>() => Ok(sent),
            Err(error) => {
                // What was sent is not all, which only an error tells.
                let _ = to.blocking_send(Err(io::Error::other("the context is incomplete")));
                Err(error)
            }
        }
    });
    let pieces = poll_fn(move |cx| from.poll_recv(cx));
    Sending {
        body: StreamBody::new(pieces.map_ok(Frame::data)),
        done,
    }
}

fn write(context: Context, mut to: impl Write) -> anyhow::Result<()> {
    let written = match context.kind {
        Kind::Remote(_) => Ok(()),
        Kind::Directory(from) => archive::directory(&from, &context.dockerfile, &mut to),
        Kind::Dockerfile(text) => archive::dockerfile(&context.dockerfile, &text, &mut to),
        Kind::Archive(mut from) => io::copy(&mut from, &mut to)
            .and_then(|_| to.flush())
            .context("cannot send standard input"),
    };
    // Whoever writes wraps what it was told.
    written.map_err(|error| match error.chain().any(is_unwanted) {
        true => Unwanted.into(),
        false => error,
    })
}

fn compressed(context: Context, to: &mut Pipe) -> anyhow::Result<()> {
    // An archive from somewhere else may be compressed already.
    if matches!(context.kind, Kind::Archive(_) | Kind::Remote(_)) {
        return write(context, to);
    }
    let mut encoder = GzEncoder::new(to, Compression::fast());
    write(context, &mut encoder)?;
    encoder.finish()?.flush()?;
    Ok(())
}

/// The daemon does not read on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the daemon does not read on")]
struct Unwanted;

fn is_unwanted(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    error.is::<Unwanted>() || inner.is_some_and(|inner| inner.is::<Unwanted>())
}

/// Where the context is written to.
struct Pipe {
    to: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
    sent: u64,
    bar: ProgressBar,
}

impl Pipe {
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sent += u64::try_from(piece.len()).unwrap_or_default();
        let sent = self.to.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::Error::other(Unwanted))?;
        self.bar.set_position(self.sent);
        Ok(())
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE.saturating_sub(self.piece.len()).max(1);
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.piece.extend_from_slice(taken);
        if self.piece.len() >= PIECE {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// How much was sent so far, on a terminal.
fn bar() -> ProgressBar {
    let template = "{spinner} Sending build context to Docker daemon  {decimal_bytes}";
    let style = ProgressStyle::with_template(template);
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
