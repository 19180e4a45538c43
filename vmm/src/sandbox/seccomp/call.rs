//! How the lists are written: a system call, and which values of its arguments are allowed.

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// A system call that is allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// As in `unistd.h`.
    pub(super) number: libc::c_long,
    /// Its name, behind `SYS_`.
    pub(super) name: &'static str,
    /// Each is a way in which it is allowed; with none any is.
    pub(super) only: &'static [&'static [Arg]],
}

/// A condition: `argument & mask == value`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arg {
    index: u8,
    mask: u64,
    value: u64,
}

/// Writes a system call: `call!(SYS_read)`, or with the ways in which it is allowed, each a list of conditions.
macro_rules! call {
    ($name:ident) => {
        $crate::sandbox::seccomp::call::Call::new(libc::$name, stringify!($name), &[])
    };
    ($name:ident, $only:expr) => {
        $crate::sandbox::seccomp::call::Call::new(libc::$name, stringify!($name), $only)
    };
}
pub(super) use call;

impl Call {
    pub(super) const fn new(
        number: libc::c_long,
        name: &'static str,
        only: &'static [&'static [Arg]],
    ) -> Self {
        Self { number, name, only }
    }

    /// Its name, as in `strace`.
    pub(crate) fn name(&self) -> &'static str {
        self.name.strip_prefix("SYS_").unwrap_or(self.name)
    }

    /// What it comes to in a filter.
    pub(super) fn rules(&self, with_arguments: bool) -> Result<Vec<SeccompRule>, BackendError> {
        if !with_arguments {
            return Ok(Vec::new());
        }
        let rule = |args: &&[Arg]| {
            let conditions = args.iter().map(Arg::condition).collect::<Result<_, _>>()?;
            SeccompRule::new(conditions)
        };
        self.only.iter().map(rule).collect()
    }
}

impl Arg {
    fn condition(&self) -> Result<SeccompCondition, BackendError> {
        let compare = SeccompCmpOp::MaskedEq(self.mask);
        SeccompCondition::new(self.index, SeccompCmpArgLen::Qword, compare, self.value)
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        let Self { index, mask, value } = self;
        match *mask {
            ALL => format!("argument {index} is {value:#x}"),
            mask => format!("argument {index} & {mask:#x} is {value:#x}"),
        }
    }
}

/// An `int`: Linux does not look at the upper half.
const ALL: u64 = 0xffff_ffff;

/// The argument is this.
pub(super) const fn is(index: u8, value: u32) -> Arg {
    Arg {
        index,
        mask: ALL,
        value: value as u64,
    }
}

/// The argument, all 64 bits of it, is this: a pointer that is null.
pub(super) const fn null(index: u8) -> Arg {
    Arg {
        index,
        mask: u64::MAX,
        value: 0,
    }
}

/// The argument has none of these flags.
pub(super) const fn without(index: u8, flags: u32) -> Arg {
    Arg {
        index,
        mask: flags as u64,
        value: 0,
    }
}
