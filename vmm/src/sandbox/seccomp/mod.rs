//! seccomp (`seccomp(2)`): what each kind of thread may ask of the kernel, and with which arguments. Everything else ends the process.
//!
//! The lists are in files of their own, one for each kind of thread ([`lists`]), and compiled when this crate is;
//! `cargo xtask seccomp` tells which of the calls in them no test makes. A thread of the machine's process is under two filters:
//! that of the process's first thread while it makes the machine ([`Kind::Assembly`]), which all threads inherit, and its own.

mod lists;
mod programs;
mod violation;

use std::io;

use serde::Serialize;

pub(crate) use lists::Arg;
pub use lists::Kind;
pub(crate) use violation::watch;

/// How much is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing: there are no filters.
    None,
    /// The number of a call.
    Numbers,
    /// Its arguments as well.
    #[default]
    Arguments,
}

/// The kernel takes no filter.
#[derive(Debug, thiserror::Error)]
#[error("the kernel takes no seccomp filter")]
pub struct FilterError(#[from] seccompiler::Error);

/// Puts the filter of its kind on the calling thread, for ever.
///
/// # Errors
/// If the kernel does not take it.
pub(crate) fn put_on(kind: Kind, level: Level) -> Result<(), FilterError> {
    violation::this_is(kind);
    let Some(program) = programs::of(kind, level) else {
        return Ok(());
    };
    if kind == Kind::Assembly {
        seccompiler::apply_filter(programs::no_clone3())?;
    }
    Ok(seccompiler::apply_filter(program)?)
}

/// One line of [`all_lists`].
#[derive(Debug, Serialize)]
struct Told {
    call: &'static str,
    /// The ways in which it is allowed; with none, any is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    only: Vec<Vec<String>>,
}

/// All lists, as JSON.
#[must_use]
pub fn all_lists() -> serde_json::Value {
    let of = |kind: Kind| {
        let calls = kind.lists().iter().copied().flatten();
        let told = calls.map(|call| Told {
            call: call.name(),
            only: call
                .only
                .iter()
                .map(|way| way.iter().map(Arg::describe).collect())
                .collect(),
        });
        let told = serde_json::to_value(told.collect::<Vec<_>>());
        (kind.word().to_owned(), told.unwrap_or_default())
    };
    serde_json::Value::Object(Kind::ALL.map(of).into_iter().collect())
}

impl From<FilterError> for io::Error {
    fn from(error: FilterError) -> Self {
        Self::other(error)
    }
}

#[cfg(test)]
mod tests;
