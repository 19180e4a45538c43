//! Questions to the person at the terminal.

use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// A line.
pub(super) async fn line(question: &str) -> anyhow::Result<String> {
    anstream::eprint!("{question}");
    io::stderr().flush()?;
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    // A terminal that does not echo must echo again, so that an interrupt is no sudden end.
    tokio::select! {
        line = read => Ok(line?.context("nobody answers")?.trim_end_matches(['\n', '\r']).to_owned()),
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}

/// A line that is not shown.
pub(super) async fn secret(question: &str) -> anyhow::Result<String> {
    let silent = Silent::new()?;
    let line = line(question).await;
    drop(silent);
    anstream::eprintln!();
    line
}

/// Standard input, a terminal, does not echo while this lives.
struct Silent(Termios);

impl Silent {
    fn new() -> anyhow::Result<Self> {
        let before = tcgetattr(io::stdin()).context("standard input is no terminal")?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
