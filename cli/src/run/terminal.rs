//! The person's own terminal: how large it is, and how it is handed to the program and back.

use std::io::IsTerminal;

use anyhow::bail;
use rustix::stdio;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::args::Args;

/// Refuses `-it` where nobody can type.
pub(crate) fn check(args: &Args) -> anyhow::Result<()> {
    if args.tty && args.interactive && !std::io::stdin().is_terminal() {
        bail!("the input device is not a TTY: leave -t away, or run this on a terminal");
    }
    Ok(())
}

/// Rows and columns of the terminal, if there is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let of = |stream| {
        tcgetwinsize(stream)
            .ok()
            .filter(|size| size.ws_row > 0 && size.ws_col > 0)
    };
    let size = of(stdio::stdout()).or_else(|| of(stdio::stdin()))?;
    Some((size.ws_row, size.ws_col))
}

/// What the terminal was like; put right when this is dropped, also by a panic.
#[derive(Debug)]
struct Before(Termios);

impl Drop for Before {
    fn drop(&mut self) {
        // Output that is still on its way was meant for the mode that ends here.
        let _ = tcsetattr(stdio::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// The terminal does not show what is typed, and still turns Ctrl-C into a signal.
#[derive(Debug)]
pub(crate) struct Quiet(Before);

/// Every key goes to the program as it is.
#[derive(Debug)]
pub(crate) struct Raw {
    _before: Before,
}

/// Makes the terminal quiet.
pub(crate) fn quiet() -> anyhow::Result<Quiet> {
    let before = Before(tcgetattr(stdio::stdin())?);
    let mut modes = before.0.clone();
    modes.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON);
    tcsetattr(stdio::stdin(), OptionalActions::Now, &modes)?;
    Ok(Quiet(before))
}

impl Quiet {
    /// Gives all keys to the program.
    pub(crate) fn raw(self) -> anyhow::Result<Raw> {
        let mut modes = self.0.0.clone();
        modes.make_raw();
        tcsetattr(stdio::stdin(), OptionalActions::Now, &modes)?;
        Ok(Raw { _before: self.0 })
    }
}
