//! Standard output, whose reader may have heard enough.

use std::io::{self, ErrorKind, Write as _};

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

/// Writes bytes.
pub(crate) fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Unheard.into()),
        written => Ok(written?),
    }
}
