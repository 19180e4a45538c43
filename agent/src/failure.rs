//! Turning an error of the kernel into a sentence for a person.

use hull_agent_protocol::{Failure, FailureKind};
use rustix::io::Errno;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Adds what was attempted to an error of the kernel.
pub(crate) trait Explain<T> {
    /// `what` completes "cannot ...".
    fn explain(self, kind: FailureKind, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Explain<T> for rustix::io::Result<T> {
    fn explain(self, kind: FailureKind, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Failure::new(kind, format!("cannot {}: {}", what(), words(errno))))
    }
}

/// The most of a failure's message that is sent.
const MAX_MESSAGE: usize = 8 * 1024;

/// A failure whose message is no longer than that.
pub(crate) fn cut(mut failure: Failure) -> Failure {
    let mut end = failure.message.len().min(MAX_MESSAGE);
    while !failure.message.is_char_boundary(end) {
        end -= 1;
    }
    failure.message.truncate(end);
    failure
}

/// The kernel's error as Go, and so runc, words it: `no such file or directory`.
pub(crate) fn words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}
