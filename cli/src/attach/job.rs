//! Ctrl-Z, as a shell with job control expects it.

use std::io;

/// Stops this process as SIGTSTP does where nobody handles it; returns when it was continued, or at once where no
/// shell could continue it (the kernel ignores the signal then).
#[allow(unsafe_code)]
pub(crate) fn stop() {
    // SAFETY: all zeroes is a `sigaction` of the default action, with no flags and an empty mask.
    let (default, mut handler): (libc::sigaction, libc::sigaction) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: both point to values that outlive the call.
    let changed = unsafe { libc::sigaction(libc::SIGTSTP, &raw const default, &raw mut handler) };
    if changed != 0 {
        let error = io::Error::last_os_error();
        tracing::warn!(%error, "this process cannot be stopped");
        return;
    }
    // To this thread, so that it is delivered before the call returns.
    // SAFETY: takes no memory.
    unsafe { libc::raise(libc::SIGTSTP) };
    // SAFETY: puts back what was there before.
    unsafe { libc::sigaction(libc::SIGTSTP, &raw const handler, std::ptr::null_mut()) };
}
