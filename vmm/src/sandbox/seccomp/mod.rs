//! seccomp (`seccomp(2)`): what each kind of thread may ask of the kernel, and with which arguments. Everything else ends the process.
//!
//! The lists are in files of their own, one for each kind of thread; `cargo xtask seccomp` tells which of the calls in them no test makes. A
//! thread of the machine's process is under two filters: that of the process's first thread while it makes the machine
//! ([`Kind::Assembly`]), which all threads inherit, and its own.

mod api;
mod assembly;
mod call;
mod common;
mod devices;
mod events;
mod keeper;
mod lane;
mod share;
mod vcpu;
mod violation;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use serde::Serialize;

pub(crate) use call::Call;
pub(crate) use violation::watch;

/// What kind of thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The keeper's own thread.
    Keeper,
    /// The thread that reads HTTP.
    Api,
    /// The first thread of the machine's process, until there is a machine.
    Assembly,
    /// The same when there is: the event loop.
    Events,
    /// A device with a thread of its own.
    Lane,
    /// The same of a share.
    Share,
    /// A vCPU.
    Vcpu,
}

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

/// There is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A list that makes no sense.
    #[error("the list of system calls is wrong")]
    List(#[from] seccompiler::BackendError),
    /// The kernel does not take it.
    #[error("the kernel takes no seccomp filter")]
    Apply(#[from] seccompiler::Error),
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Keeper,
        Self::Api,
        Self::Assembly,
        Self::Events,
        Self::Lane,
        Self::Share,
        Self::Vcpu,
    ];

    /// Whose thread it is, in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keeper => "the keeper's thread",
            Self::Api => "the API's thread",
            Self::Assembly => "the thread that makes the machine",
            Self::Events => "the event loop's thread",
            Self::Lane => "a device's thread",
            Self::Share => "a share's thread",
            Self::Vcpu => "a vCPU's thread",
        }
    }

    /// What it may call.
    fn lists(self) -> &'static [&'static [Call]] {
        match self {
            Self::Keeper => keeper::CALLS,
            Self::Api => api::CALLS,
            Self::Assembly => assembly::CALLS,
            Self::Events => events::CALLS,
            Self::Lane => lane::CALLS,
            Self::Share => share::CALLS,
            Self::Vcpu => vcpu::CALLS,
        }
    }

    /// The list as a program for the kernel.
    fn program(self, level: Level) -> Result<BpfProgram, FilterError> {
        let mut rules: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for call in self.lists().iter().copied().flatten() {
            let ways = call.rules(level == Level::Arguments)?;
            match rules.entry(call.number) {
                Entry::Vacant(entry) => drop(entry.insert(ways)),
                // Without conditions any way is allowed.
                Entry::Occupied(mut entry) if entry.get().is_empty() || ways.is_empty() => {
                    entry.get_mut().clear();
                }
                Entry::Occupied(mut entry) => entry.get_mut().extend(ways),
            }
        }
        program(rules, SeccompAction::Trap, SeccompAction::Allow)
    }
}

fn program(
    rules: BTreeMap<i64, Vec<seccompiler::SeccompRule>>,
    otherwise: SeccompAction,
    then: SeccompAction,
) -> Result<BpfProgram, FilterError> {
    let filter = SeccompFilter::new(rules, otherwise, then, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}

/// The filters of a process, ready to be put on.
#[derive(Debug)]
pub(crate) struct Filters {
    level: Level,
    programs: Vec<(Kind, BpfProgram)>,
}

impl Filters {
    /// Those of these kinds of threads.
    ///
    /// # Errors
    /// If a list makes no sense.
    pub(crate) fn new(level: Level, kinds: &[Kind]) -> Result<Self, FilterError> {
        let mut programs = Vec::new();
        if level > Level::None {
            for kind in kinds {
                programs.push((*kind, kind.program(level)?));
            }
        }
        Ok(Self { level, programs })
    }

    /// Puts the filter of its kind on the calling thread, for ever.
    ///
    /// # Errors
    /// If the kernel does not take it.
    pub(crate) fn put_on(&self, kind: Kind) -> Result<(), FilterError> {
        violation::this_is(kind);
        if self.level == Level::None {
            return Ok(());
        }
        if kind == Kind::Assembly {
            // Its arguments are in memory, where no filter sees them; libc makes threads by clone(2) then.
            let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
            let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
            let program = program(clone3, SeccompAction::Allow, missing)?;
            seccompiler::apply_filter(&program)?;
        }
        let program = self.programs.iter().find(|(of, _)| *of == kind);
        let (_, program) = program.ok_or(seccompiler::Error::EmptyFilter)?;
        seccompiler::apply_filter(program)?;
        Ok(())
    }
}

/// One line of [`lists`].
#[derive(Debug, Serialize)]
struct Told {
    call: &'static str,
    /// The ways in which it is allowed; with none, any is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    only: Vec<Vec<String>>,
}

/// All lists, as JSON.
#[must_use]
pub fn lists() -> serde_json::Value {
    let of = |kind: Kind| {
        let calls = kind.lists().iter().copied().flatten();
        let told = calls.map(|call| Told {
            call: call.name(),
            only: call
                .only
                .iter()
                .map(|way| way.iter().map(call::Arg::describe).collect())
                .collect(),
        });
        let name = serde_json::to_value(kind).unwrap_or_default();
        let name = name.as_str().unwrap_or_default().to_owned();
        let told = serde_json::to_value(told.collect::<Vec<_>>());
        (name, told.unwrap_or_default())
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
