//! Why a machine ended: its exit status, and the last words of its log.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hull_vm_api::ExitCause;

use crate::error::Error;
use crate::programs::Programs;
use crate::session::SessionError;
use crate::vm::{Ended, Machine};

/// A machine that dies closes its connections a moment before it is gone: then its end is the error.
pub(super) async fn explain(
    error: Error,
    machine: &Machine,
    log: &Path,
    programs: &Programs,
) -> Error {
    let Error::Session(SessionError::Lost(_)) = error else {
        return error;
    };
    match tokio::time::timeout(Duration::from_secs(2), machine.ended()).await {
        Ok(ended) => unbooted(&ended, log, programs),
        Err(_) => error,
    }
}

/// The end of a machine that never came up. The VMM knows its files by descriptor only, so the
/// kernel's name is added here.
pub(super) fn unbooted(ended: &Ended, log: &Path, programs: &Programs) -> Error {
    let mut text = epitaph(ended, log);
    let code = ended
        .as_ref()
        .as_ref()
        .ok()
        .and_then(|status| status.code());
    if code.and_then(ExitCause::from_code) == Some(ExitCause::BadKernel) {
        let (kernel, initramfs) = (programs.kernel.display(), programs.initramfs.display());
        text = format!("{text} (kernel: {kernel}, initramfs: {initramfs})");
    }
    Error::MachineEnded(text)
}

/// Why a machine ended, as far as one can see: its exit status and its last words.
pub(crate) fn epitaph(ended: &Ended, log: &Path) -> String {
    let status = match ended.as_ref() {
        Ok(status) => status,
        Err(error) => return format!("hull-vmm ended ({error})"),
    };
    let Some(cause) = status.code().and_then(ExitCause::from_code) else {
        // A signal, or a panic: what it logged before is another story.
        return format!("hull-vmm ended with {status}");
    };
    let cause = cause.to_string();
    match last_line(log) {
        Some(line) if line.contains(&cause) => line,
        Some(line) => format!("{cause}: {line}"),
        None => cause,
    }
}

/// The last line of a log that has anything in it, cut to what one can read at a glance.
pub(super) fn last_line(log: &Path) -> Option<String> {
    let bytes = fs::read(log).ok()?;
    let tail = bytes.get(bytes.len().saturating_sub(16 * 1024)..)?;
    let text = String::from_utf8_lossy(tail);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let line = line.strip_prefix("hull-vmm: ").unwrap_or(line);
    Some(line.chars().filter(|c| !c.is_control()).take(500).collect())
}
