//! Resource limits (`getrlimit(2)`).

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Thousands of connections, and the files that guests know of shares.
const DESCRIPTORS: u64 = 1 << 20;

/// Gets as many descriptors as the process can get, the keeper and with it the machine.
pub(super) fn raise() {
    let now = getrlimit(Resource::Nofile);
    let more = Rlimit {
        current: Some(DESCRIPTORS),
        maximum: Some(DESCRIPTORS),
    };
    if now.maximum.is_some_and(|most| most < DESCRIPTORS)
        && setrlimit(Resource::Nofile, more).is_ok()
    {
        return;
    }
    let all = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    // Refused, the old one holds.
    let _ = setrlimit(Resource::Nofile, all);
}

/// No part of the guest's memory comes to lie in a file.
///
/// # Errors
/// The host's answer.
pub(super) fn lower() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    Ok(())
}
