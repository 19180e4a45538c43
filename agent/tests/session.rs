//! The agent's handling of processes, without a microVM: the server runs in namespaces of its own on
//! this machine, as a child of the test, and the test is its engine. Needs root and a static busybox.
//!
//! There is no libtest here: the agent is this same program, started again, and must have no threads.

mod cases;
mod common;
mod sandbox;

use std::panic::catch_unwind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|argument| argument == sandbox::AGENT)
    {
        return sandbox::agent();
    }
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in cases::ALL {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if let Some(reason) = sandbox::missing() {
        // As with libtest: what is skipped has passed, and says that it was skipped.
        for (name, _) in cases::ALL {
            println!("SKIPPED: {name}: {reason}");
        }
        let count = cases::ALL.len();
        println!("\ntest result: ok. {count} passed; 0 failed; 0 ignored;");
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let chosen = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(*f));
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in cases::ALL.iter().filter(|(name, _)| chosen(name)) {
        let ok = catch_unwind(case).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        *if ok { &mut passed } else { &mut failed } += 1;
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored;");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
