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

/// The kernel's error as Go, and so runc, words it: `no such file or directory`.
pub(crate) fn words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}
