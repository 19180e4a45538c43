//! What happens in the child, from its first instruction to its program's.

use hull_agent_protocol::{Failure, FailureKind, FromAgent, Place, encode};
use rustix::fs::{Gid, Mode, Uid, fchown};
use rustix::io::Errno;
use rustix::process::{chdir, ioctl_tiocsctty, setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::system::{setdomainname, sethostname};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::spawn::{Plan, Report};
use super::{credentials, init, mounts};
use crate::failure::{Explain, Result, words};
use crate::sys::signal;

/// The status of a child that fails before it executes its program; nobody sees it.
const FAILED: i32 = 127;

/// The child. Returns only if it fails, or when the container's init has ended.
pub(super) fn main(plan: &Plan<'_>) -> i32 {
    let result = match plan.start.place {
        Place::NewContainer { init: true } => prepare(plan).and_then(|()| init::run(plan)),
        _ => prepare(plan).map(|()| execute(plan)).and_then(Err),
    };
    match result {
        Ok(status) => status,
        Err(failure) => {
            report(&plan.report, failure);
            FAILED
        }
    }
}

/// Everything that an init and its program have in common.
fn prepare(plan: &Plan<'_>) -> Result<()> {
    let start = plan.start;
    setsid().explain(FailureKind::System, || "make a session".into())?;
    match plan.container.first {
        Some(first) => {
            let namespaces = ThreadNameSpaceType::MOUNT
                | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
                | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
                | ThreadNameSpaceType::CONTROL_GROUP;
            move_into_thread_name_spaces(first, namespaces)
                .explain(FailureKind::System, || "enter the container".into())?;
        }
        None => {
            sethostname(plan.container.hostname.as_bytes())
                .explain(FailureKind::Invalid, || {
                    format!("set the host name {:?}", plan.container.hostname)
                })?;
            let domainname = plan.container.domainname;
            if !domainname.is_empty() {
                setdomainname(domainname.as_bytes()).explain(FailureKind::Invalid, || {
                    format!("set the domain name {domainname:?}")
                })?;
            }
            mounts::enter(plan.container, plan.stdio.terminal.as_deref())?;
        }
    }
    attach_streams(plan).explain(FailureKind::System, || "attach the streams".into())?;
    umask(Mode::from_raw_mode(0o022));
    if start.oom_score_adj != 0 {
        mounts::write("/proc/self/oom_score_adj", &start.oom_score_adj.to_string())
            .explain(FailureKind::System, || "set oom_score_adj".into())?;
    }
    credentials::limit(&start.rlimits)
}

/// The last steps, as the process's user. Returns what failed.
pub(super) fn execute(plan: &Plan<'_>) -> Failure {
    // As root first: the user may not be able to get there, as with a shell that was started there.
    let entered = chdir(plan.cwd.as_c_str());
    if let Err(failure) = credentials::become_user(plan.start, &plan.user) {
        return failure;
    }
    if let Err(error) = entered.or_else(|_| chdir(plan.cwd.as_c_str())) {
        let message = format!(
            "chdir to cwd ({:?}) set in config.json failed: {}",
            plan.cwd.to_string_lossy(),
            words(error)
        );
        return Failure::new(FailureKind::WorkingDirectory, message);
    }
    signal::unblock_all();
    plan.program.execute()
}

fn attach_streams(plan: &Plan<'_>) -> std::result::Result<(), Errno> {
    let [stdin, stdout, stderr] = plan.stdio.fds();
    dup2_stdin(stdin)?;
    dup2_stdout(stdout)?;
    dup2_stderr(stderr)?;
    if plan.stdio.terminal.is_some() {
        ioctl_tiocsctty(stdin)?;
    }
    if plan.user.uid != 0 {
        // So that a user may open `/dev/stdout`, which leads to the pipe.
        let (uid, gid) = (Uid::from_raw(plan.user.uid), None::<Gid>);
        let streams = if plan.stdio.terminal.is_some() { 1 } else { 3 };
        for stream in plan.stdio.fds().into_iter().take(streams) {
            match fchown(stream, Some(uid), gid) {
                // `/dev/null` may be on a file system that cannot be written.
                Ok(()) | Err(Errno::ROFS | Errno::PERM) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

pub(super) fn report(report: &Report, failure: Failure) {
    match report {
        Report::Shared(place) => *place.borrow_mut() = Some(failure),
        Report::Pipe(pipe) => {
            let mut bytes = Vec::new();
            if encode(&FromAgent::Failed(failure), &mut bytes).is_ok() {
                let _ = rustix::io::write(pipe, &bytes);
            }
        }
    }
}
