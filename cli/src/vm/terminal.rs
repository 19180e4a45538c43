//! The person's terminal as a guest's console: keys as they are typed, and one that leaves.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use hull_engine::plain::{MicroVms, ScreenSize, VmName};
use tokio::sync::watch;

use crate::attach::terminal::{Raw, quiet, size};

/// Ctrl-].
const ESCAPE: u8 = 0x1d;
/// Bytes that are read at once.
const PIECE: usize = 4096;

/// Gives all keys to the guest, if standard input is a terminal; put right again when this is dropped.
pub(super) fn raw() -> anyhow::Result<Option<Raw>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    Ok(Some(quiet()?.raw()?))
}

/// How large the person's terminal is, if standard input is one.
pub(super) fn screen_size() -> Option<ScreenSize> {
    let (rows, columns) = size().filter(|_| io::stdin().is_terminal())?;
    Some(ScreenSize { rows, columns })
}

/// Tells a guest the sizes of the terminal, one after the other; of those that come while it is being told only the last.
#[derive(Debug)]
pub(super) struct Sizes(watch::Sender<Option<ScreenSize>>);

impl Sizes {
    /// For the guest of this name.
    pub(super) fn of(vms: &MicroVms, name: &VmName) -> Self {
        let (sender, mut sizes) = watch::channel(None);
        let (vms, name) = (vms.clone(), name.clone());
        tokio::spawn(async move {
            while sizes.changed().await.is_ok() {
                let Some(size) = *sizes.borrow_and_update() else {
                    continue;
                };
                let (vms, name) = (vms.clone(), name.clone());
                let told = tokio::task::spawn_blocking(move || vms.resize(&name, size));
                if let Ok(Err(error)) = told.await {
                    tracing::warn!(%error, "the guest does not know the size of the terminal");
                }
            }
        });
        Self(sender)
    }

    /// Tells how large the terminal is now.
    pub(super) fn tell(&self) {
        if let Some(size) = screen_size() {
            self.0.send_replace(Some(size));
        }
    }
}

/// Passes keys on until Ctrl-] is typed. Of an input that is no terminal all bytes are the guest's, and its end is no end of
/// anything: then this waits for ever.
pub(super) async fn pass_keys(input: mpsc::Sender<Vec<u8>>) {
    let person = io::stdin().is_terminal();
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; PIECE];
    while let Ok(length @ 1..) = stdin.read(&mut buffer).await {
        let bytes = buffer.get(..length).unwrap_or_default();
        let (keys, escaped) = if person {
            until_escape(bytes)
        } else {
            (bytes, false)
        };
        let passed = match person {
            // A guest that reads nothing loses keys, and never the one that leaves.
            true => !matches!(
                input.try_send(keys.to_vec()),
                Err(mpsc::error::TrySendError::Closed(_))
            ),
            false => input.send(keys.to_vec()).await.is_ok(),
        };
        if escaped {
            return;
        }
        if !passed {
            break;
        }
    }
    std::future::pending::<()>().await;
}

fn until_escape(bytes: &[u8]) -> (&[u8], bool) {
    match bytes.iter().position(|byte| *byte == ESCAPE) {
        Some(at) => (bytes.get(..at).unwrap_or_default(), true),
        None => (bytes, false),
    }
}

/// Shows what the guest prints until its console closes. A reader of ours that is gone ends nothing.
pub(super) async fn show(mut output: mpsc::Receiver<Arc<[u8]>>) {
    while let Some(piece) = output.recv().await {
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&piece)?;
            stdout.flush()
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_ends_what_is_passed_on() {
        assert_eq!(until_escape(b"ls\r"), (&b"ls\r"[..], false));
        assert_eq!(until_escape(b"ls\x1drm"), (&b"ls"[..], true));
        assert_eq!(until_escape(b"\x1d"), (&b""[..], true));
    }
}
