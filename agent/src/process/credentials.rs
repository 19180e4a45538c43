//! What a process may do: limits, capabilities, user and groups, in the order that runc found to be
//! the one that works.

use hull_agent_protocol::{Capabilities, CapabilitySet, Failure, FailureKind, Rlimit, Start};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{Resource, setrlimit};
use rustix::thread::{
    CapabilitySets, configure_capability_in_ambient_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_gid, set_thread_groups,
    set_thread_uid,
};

use crate::accounts::User;
use crate::failure::{Explain, Result};

type Set = rustix::thread::CapabilitySet;

/// Sets the limits that were asked for.
pub(super) fn limit(limits: &[Rlimit]) -> Result<()> {
    for limit in limits {
        let value = |value| (value != Rlimit::UNLIMITED).then_some(value);
        let new = rustix::process::Rlimit {
            current: value(limit.soft),
            maximum: value(limit.hard),
        };
        setrlimit(resource(limit.resource), new).explain(FailureKind::Invalid, || {
            format!(
                "limit {:?} to {}:{}",
                limit.resource, limit.soft, limit.hard
            )
        })?;
    }
    Ok(())
}

fn resource(resource: hull_agent_protocol::Resource) -> Resource {
    use hull_agent_protocol::Resource as R;
    match resource {
        R::Cpu => Resource::Cpu,
        R::FileSize => Resource::Fsize,
        R::Data => Resource::Data,
        R::Stack => Resource::Stack,
        R::Core => Resource::Core,
        R::Rss => Resource::Rss,
        R::Processes => Resource::Nproc,
        R::OpenFiles => Resource::Nofile,
        R::LockedMemory => Resource::Memlock,
        R::AddressSpace => Resource::As,
        R::Locks => Resource::Locks,
        R::PendingSignals => Resource::Sigpending,
        R::MessageQueues => Resource::Msgqueue,
        R::Nice => Resource::Nice,
        R::RealtimePriority => Resource::Rtprio,
        R::RealtimeTime => Resource::Rttime,
    }
}

/// Takes this process from the agent's rights to those of `user`.
pub(super) fn become_user(start: &Start, user: &User) -> Result<()> {
    let capabilities = &start.capabilities;
    drop_from_bounding(capabilities.bounding)
        .explain(FailureKind::System, || "drop capabilities".into())?;
    switch(user).explain(FailureKind::System, || {
        format!("become user {}:{}", user.uid, user.gid)
    })?;
    apply(capabilities).explain(FailureKind::Invalid, || "set capabilities".into())?;
    if start.no_new_privileges {
        set_no_new_privs(true).explain(FailureKind::System, || "give up new privileges".into())?;
    }
    Ok(())
}

fn drop_from_bounding(keep: CapabilitySet) -> std::result::Result<(), Errno> {
    for number in (0..CapabilitySet::COUNT).filter(|number| !keep.contains(*number)) {
        match remove_capability_from_bounding_set(Set::from_bits_retain(1 << number)) {
            // An older kernel has fewer.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The agent is root without supplementary groups; what stays so costs no call.
fn switch(user: &User) -> std::result::Result<(), Errno> {
    if !user.groups.is_empty() {
        let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups)?;
    }
    if user.gid != 0 {
        set_thread_gid(Gid::from_raw(user.gid))?;
    }
    if user.uid != 0 {
        set_keep_capabilities(true)?;
        set_thread_uid(Uid::from_raw(user.uid))?;
        set_keep_capabilities(false)?;
    }
    Ok(())
}

fn apply(capabilities: &Capabilities) -> std::result::Result<(), Errno> {
    let set = |set: CapabilitySet| Set::from_bits_retain(set.0 & CapabilitySet::ALL.0);
    let sets = CapabilitySets {
        effective: set(capabilities.effective),
        permitted: set(capabilities.permitted),
        inheritable: set(capabilities.inheritable),
    };
    set_capabilities(None, sets)?;
    let ambient = capabilities.ambient;
    for number in (0..CapabilitySet::COUNT).filter(|number| ambient.contains(*number)) {
        configure_capability_in_ambient_set(Set::from_bits_retain(1 << number), true)?;
    }
    Ok(())
}

/// A value outside of what Linux takes is refused before anything is done.
pub(super) fn check_oom_score(score: i16) -> Result<()> {
    if (-1000..=1000).contains(&score) {
        return Ok(());
    }
    let message = format!("oom_score_adj {score} is not between -1000 and 1000");
    Err(Failure::new(FailureKind::Invalid, message))
}
