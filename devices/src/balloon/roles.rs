//! Which queue is which.
//!
//! The specification numbers the queues, those of features that were not negotiated included (section 5.5.2). Linux leaves no
//! gaps: without statistics, its reporting queue is number 2. Both are understood: a driver that leaves no gaps
//! sets up no queue behind its last one.

use super::config;

/// What goes through a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Inflate,
    Deflate,
    Statistics,
    Hinting,
    Reporting,
}

pub(super) const QUEUES: usize = 5;
const ALWAYS: [Role; 2] = [Role::Inflate, Role::Deflate];
const BY_FEATURE: [Role; 3] = [Role::Statistics, Role::Hinting, Role::Reporting];

/// The role of each queue, in the order of their numbers; none for those that have nothing to do.
pub(super) fn roles(features: u64, ready: [bool; QUEUES]) -> [Option<Role>; QUEUES] {
    let optional = || {
        BY_FEATURE
            .into_iter()
            .zip(config::negotiated(features))
            .map(|(role, is_there)| is_there.then_some(role))
    };
    let count = ALWAYS.len() + optional().flatten().count();
    let has_gaps = ready.iter().skip(count).any(|ready| *ready);
    let mut roles = [None; QUEUES];
    let always = ALWAYS.into_iter().map(Some);
    let rest: Box<dyn Iterator<Item = Option<Role>>> = if has_gaps {
        Box::new(optional())
    } else {
        Box::new(optional().flatten().map(Some))
    };
    for (place, role) in roles.iter_mut().zip(always.chain(rest)) {
        *place = role;
    }
    roles
}
