//! `--init`: a process 1 that reaps what is orphaned and passes signals on, with the program as its
//! child. It is the agent's own code in the agent's copied memory; nothing is executed for it.

use hull_agent_protocol::{Failure, FailureKind};
use rustix::process::{Pid, WaitOptions, setpgid, wait};
use rustix::termios::tcsetpgrp;

use super::child;
use super::spawn::{Plan, Report};
use crate::failure::{Explain, Result};
use crate::sys::clone::{self, Clone, Memory};
use crate::sys::{exec, signal};

/// Starts the program and waits for it. Returns the status to exit with.
pub(super) fn run(plan: &Plan<'_>) -> Result<i32> {
    let program = Program {
        plan,
        report: Report::Shared(None.into()),
    };
    let how = Clone {
        memory: Memory::Borrowed,
        namespaces: 0,
        cgroup: None,
    };
    let pid = clone::spawn(&how, main, &program)
        .explain(FailureKind::System, || "start the program".into())?;
    if let Report::Shared(failure) = program.report
        && let Some(failure) = failure.into_inner()
    {
        return Err(failure);
    }
    // The agent waits for the end of the report: it comes now. Nothing else of it is needed here.
    exec::close_from(3);
    Ok(wait_for(pid))
}

struct Program<'a> {
    plan: &'a Plan<'a>,
    report: Report,
}

fn main(program: &Program<'_>) -> i32 {
    let failure = prepare(program.plan)
        .err()
        .unwrap_or_else(|| child::execute(program.plan));
    child::report(&program.report, failure);
    127
}

/// The program is a process group of its own, in the terminal's foreground.
fn prepare(plan: &Plan<'_>) -> std::result::Result<(), Failure> {
    setpgid(None, None).explain(FailureKind::System, || "make a process group".into())?;
    if plan.stdio.terminal.is_some() {
        let own = rustix::process::getpid();
        tcsetpgrp(rustix::stdio::stdin(), own)
            .explain(FailureKind::System, || "get the terminal".into())?;
    }
    Ok(())
}

/// Reaps and passes signals on until the program ends.
fn wait_for(program: Pid) -> i32 {
    loop {
        let number = signal::wait_any();
        if number != libc::SIGCHLD {
            if let Ok(number) = u8::try_from(number) {
                let _ = signal::send(program, number);
            }
            continue;
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == program {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                return signal.or(status.exit_status()).unwrap_or_default();
            }
        }
    }
}
