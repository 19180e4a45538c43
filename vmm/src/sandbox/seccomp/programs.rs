//! The lists as programs for the kernel, as `build.rs` made them.

use seccompiler::{BpfProgramRef, sock_filter};

use super::{Kind, Level};

include!(concat!(env!("OUT_DIR"), "/programs.rs"));

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The filter of a kind of thread, if there is to be one.
pub(super) fn of(kind: Kind, level: Level) -> Option<BpfProgramRef<'static>> {
    let (numbers, arguments): (BpfProgramRef<'_>, BpfProgramRef<'_>) = match kind {
        Kind::Keeper => (&KEEPER_NUMBERS, &KEEPER_ARGUMENTS),
        Kind::Api => (&API_NUMBERS, &API_ARGUMENTS),
        Kind::Assembly => (&ASSEMBLY_NUMBERS, &ASSEMBLY_ARGUMENTS),
        Kind::Events => (&EVENTS_NUMBERS, &EVENTS_ARGUMENTS),
        Kind::Lane => (&LANE_NUMBERS, &LANE_ARGUMENTS),
        Kind::Share => (&SHARE_NUMBERS, &SHARE_ARGUMENTS),
        Kind::Memory => (&MEMORY_NUMBERS, &MEMORY_ARGUMENTS),
        Kind::Snapshot => (&SNAPSHOT_NUMBERS, &SNAPSHOT_ARGUMENTS),
        Kind::Vcpu => (&VCPU_NUMBERS, &VCPU_ARGUMENTS),
    };
    match level {
        Level::None => None,
        Level::Numbers => Some(numbers),
        Level::Arguments => Some(arguments),
    }
}

/// A filter under which clone3 is missing.
pub(super) fn no_clone3() -> BpfProgramRef<'static> {
    &NO_CLONE3
}
