//! How a microVM ends: each way has an exit status and a sentence of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why the process of a microVM ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// The guest switched itself off: all is well.
    PowerOff,
    /// The VMM itself failed while the guest ran.
    Failure,
    /// The command line or the configuration is wrong.
    BadConfig,
    /// There is no KVM here, or no permission, or not what Hull needs.
    NoKvm,
    /// The kernel or the initramfs is missing, damaged, of the wrong kind or too large for the memory.
    BadKernel,
    /// The host did not give a file, a socket or the memory that the configuration names.
    NoResource,
    /// The guest asked for a reboot. Whoever wants one starts a new process.
    Reboot,
    /// The guest's kernel said that it panicked.
    Panic,
    /// A vCPU faulted three times over, which resets a PC.
    TripleFault,
    /// KVM could not go on with the guest, such as at an instruction that it cannot emulate.
    KvmFailure,
    /// SIGTERM twice, or SIGINT: the process was told to end at once.
    Terminated,
    /// The other end of the lifeline closed: whoever started this process is gone.
    ParentGone,
    /// The VMM tried what its sandbox forbids: a mistake in it, or a guest that has broken into it.
    Violation,
    /// The machine's process was killed from outside, or crashed.
    Killed,
}

/// Every cause, its exit status and its sentence.
const CAUSES: [(ExitCause, u8, &str); 14] = [
    (ExitCause::PowerOff, 0, "the guest powered off"),
    (ExitCause::Failure, 1, "the VMM failed"),
    (ExitCause::BadConfig, 2, "the configuration is wrong"),
    (ExitCause::NoKvm, 3, "KVM cannot be used"),
    (ExitCause::BadKernel, 4, "the kernel cannot be booted"),
    (
        ExitCause::NoResource,
        5,
        "the host lacks what the machine needs",
    ),
    (ExitCause::Reboot, 16, "the guest rebooted"),
    (ExitCause::Panic, 17, "the guest's kernel panicked"),
    (
        ExitCause::TripleFault,
        18,
        "the guest crashed with a triple fault",
    ),
    (
        ExitCause::KvmFailure,
        19,
        "KVM could not run the guest any further",
    ),
    (
        ExitCause::Terminated,
        20,
        "ended by a signal before the guest was",
    ),
    (
        ExitCause::ParentGone,
        21,
        "ended because the process that started it is gone",
    ),
    (
        ExitCause::Violation,
        22,
        "stopped at something that its sandbox forbids",
    ),
    (ExitCause::Killed, 23, "the machine's process was killed"),
];

impl ExitCause {
    /// The exit status of the process.
    #[must_use]
    pub fn code(self) -> u8 {
        self.row().1
    }

    /// The cause that a process's exit status stands for.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        let row = CAUSES
            .iter()
            .find(|(_, known, _)| i32::from(*known) == code)?;
        Some(row.0)
    }

    /// The guest ended by itself; nothing was wrong with the host or with what it was told.
    #[must_use]
    pub fn is_of_guest(self) -> bool {
        matches!(
            self,
            Self::PowerOff | Self::Reboot | Self::Panic | Self::TripleFault
        )
    }

    fn row(self) -> &'static (Self, u8, &'static str) {
        let row = CAUSES.iter().find(|(cause, ..)| *cause == self);
        row.unwrap_or(&(Self::Failure, 1, "the VMM failed"))
    }
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().2)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_status_stands_for_one_cause() {
        let codes: BTreeSet<_> = CAUSES.iter().map(|(_, code, _)| code).collect();
        assert_eq!(codes.len(), CAUSES.len());
        for (cause, code, sentence) in CAUSES {
            assert_eq!(ExitCause::from_code(code.into()), Some(cause));
            assert_eq!(cause.code(), code);
            assert_eq!(cause.to_string(), sentence);
        }
        assert_eq!(ExitCause::from_code(99), None);
    }
}
