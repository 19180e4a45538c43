//! How the lists are written: a system call, and which values of its arguments are allowed.

/// A system call that is allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// As in `unistd.h`. Only the compiler of the lists and their tests look at it.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) number: libc::c_long,
    /// Its name, behind `SYS_`.
    pub(super) name: &'static str,
    /// Each is a way in which it is allowed; with none any is.
    pub(crate) only: &'static [&'static [Arg]],
}

/// A condition: `argument & mask == value`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arg {
    pub(crate) index: u8,
    pub(crate) mask: u64,
    pub(crate) value: u64,
}

/// Writes a system call: `call!(SYS_read)`, or with the ways in which it is allowed, each a list of conditions.
macro_rules! call {
    ($name:ident) => {
        Call::new(libc::$name, stringify!($name), &[])
    };
    ($name:ident, $only:expr) => {
        Call::new(libc::$name, stringify!($name), $only)
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
}

impl Arg {
    /// In words.
    pub(crate) fn describe(&self) -> String {
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
