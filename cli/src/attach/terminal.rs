//! The person's own terminal: how large it is, and how it is handed to the program and back.

use std::io::IsTerminal;

use anyhow::bail;
use rustix::process::getpgrp;
use rustix::stdio;
use rustix::termios::{
    LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};

/// Refuses `-it` where nobody can type.
pub(crate) fn check(tty: bool, interactive: bool) -> anyhow::Result<()> {
    if tty && interactive && !std::io::stdin().is_terminal() {
        bail!("the input device is not a TTY: leave -t away, or run this on a terminal");
    }
    Ok(())
}

/// Whether somebody may type.
pub(crate) fn is_stdin() -> bool {
    std::io::stdin().is_terminal()
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

/// The terminal in a mode of ours; put right when this is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Held {
    before: Termios,
    mode: Termios,
}

/// A terminal all of whose keys go to the program.
pub(crate) type Raw = Held;

/// Makes the terminal quiet: it does not show what is typed, and still turns Ctrl-C into a signal.
pub(crate) fn quiet() -> anyhow::Result<Held> {
    let before = tcgetattr(stdio::stdin())?;
    let mut mode = before.clone();
    mode.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON);
    let held = Held { before, mode };
    tcsetattr(stdio::stdin(), OptionalActions::Now, &held.mode)?;
    Ok(held)
}

impl Held {
    /// Gives all keys to the program, as they are.
    pub(crate) fn raw(mut self) -> anyhow::Result<Raw> {
        self.mode = self.before.clone();
        self.mode.make_raw();
        tcsetattr(stdio::stdin(), OptionalActions::Now, &self.mode)?;
        Ok(self)
    }

    /// Puts the terminal right for whoever uses it while this process is stopped.
    pub(crate) fn lend(&self) {
        if !used_by_others() {
            // Output that is still on its way was meant for the mode that ends here.
            let _ = tcsetattr(stdio::stdin(), OptionalActions::Drain, &self.before);
        }
    }

    /// Takes the terminal again, unless others use it: then this process goes on in the background.
    pub(crate) fn take_back(&self) {
        if !used_by_others() {
            let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &self.mode);
        }
    }
}

/// Whether this is a job in the background.
fn used_by_others() -> bool {
    tcgetpgrp(stdio::stdin()).is_ok_and(|group| group != getpgrp())
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lend();
    }
}
