//! Standard output, whose reader may have heard enough.

use std::io::{self, ErrorKind, Write};

use anyhow::Context as _;
use thiserror::Error;

/// Nobody reads what this command prints: it ends as programs do that do not handle SIGPIPE, without a word.
#[derive(Debug, Error)]
#[error("nobody reads standard output")]
pub(crate) struct Unheard;

/// Prints a text as it is.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    write(text.as_bytes())
}

/// Prints a line.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Prints a text with styles, which are taken out where there is no terminal.
pub(crate) fn styled(text: &str) -> anyhow::Result<()> {
    to(anstream::stdout().lock(), text.as_bytes())
}

/// Writes bytes.
pub(crate) fn write(bytes: &[u8]) -> anyhow::Result<()> {
    to(io::stdout().lock(), bytes)
}

fn to(mut stdout: impl Write, bytes: &[u8]) -> anyhow::Result<()> {
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Unheard.into()),
        written => written.context("standard output cannot be written to"),
    }
}
