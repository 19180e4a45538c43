//! Which of the system calls that `hull-vmm` allows itself are never made in any test: runs tests with every `hull-vmm` traced by
//! `strace`, and compares with the lists that `hull-vmm seccomp` prints.
//!
//! A call that is listed here is either unneeded or untested. Threads are told apart by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{paths, process};

/// What a kind of thread calls or may call.
type Calls = BTreeMap<String, BTreeSet<String>>;

/// A process has one tracer, and these tests are it.
const TRACERS: [&str; 4] = [
    "code_in_any_thread",
    "a_shares_thread_finds",
    "a_violation_ends",
    "a_user_without_rights",
];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tests of `hull-vmm` that are run, such as `devices`; all if none is named
    tests: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    process::run(Command::new("cargo").args(["build", "--package", "hull-vmm"]))?;
    let program = paths::root().join("target/debug/hull-vmm");
    let traces = paths::root().join("target/seccomp");
    let _ = fs::remove_dir_all(&traces);
    fs::create_dir_all(&traces)?;
    let wrapper = traces.join("hull-vmm");
    // The tracer is a child, so that the process that was started is the program.
    let script = format!(
        "#!/bin/sh\nexec strace -D -f -ff -qq -e signal=none -o {}/trace.$$ {} \"$@\"\n",
        traces.display(),
        program.display(),
    );
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    let mut tests = Command::new("cargo");
    tests.args(["test", "--package", "hull-vmm", "--quiet", "--no-fail-fast"]);
    for test in &args.tests {
        tests.args(["--test", test]);
    }
    tests.arg("--");
    for test in TRACERS {
        tests.args(["--skip", test]);
    }
    let ended = tests.env("HULL_VMM_WRAPPER", &wrapper).status();
    if !ended.context("cannot start cargo test")?.success() {
        println!("Some tests fail under strace: what they alone call is among the unused");
    }

    let allowed = lists(&program)?;
    let made = read(&traces)?;
    for (kind, calls) in &allowed {
        let none = BTreeSet::new();
        let unused: Vec<_> = calls
            .difference(made.get(kind).unwrap_or(&none))
            .map(String::as_str)
            .collect();
        println!(
            "{kind}: {} of {} unused: {}",
            unused.len(),
            calls.len(),
            unused.join(" ")
        );
    }
    Ok(())
}

/// What each kind of thread may call.
fn lists(program: &Path) -> Result<Calls> {
    let output = Command::new(program).arg("seccomp").output()?;
    let lists: BTreeMap<String, Vec<serde_json::Value>> = serde_json::from_slice(&output.stdout)?;
    let names = |calls: Vec<serde_json::Value>| {
        let names = calls.iter().filter_map(|call| call["call"].as_str());
        names.map(str::to_owned).collect()
    };
    Ok(lists
        .into_iter()
        .map(|(kind, calls)| (kind, names(calls)))
        .collect())
}

/// What each kind of thread called, from a file for each thread.
fn read(traces: &Path) -> Result<Calls> {
    let mut made = Calls::new();
    for entry in fs::read_dir(traces)? {
        let path = entry?.path();
        if path.extension().is_none() {
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        for (kind, call) in calls(&text) {
            made.entry(kind.to_owned())
                .or_default()
                .insert(call.to_owned());
        }
    }
    if made.is_empty() {
        bail!("nothing was traced: strace may not trace here");
    }
    Ok(made)
}

/// The calls of one thread, each with the kind of thread whose filter it was under.
fn calls(trace: &str) -> Vec<(&'static str, &str)> {
    let named = |line: &str| {
        let name = line.strip_prefix("prctl(PR_SET_NAME, \"")?;
        Some(match name {
            _ if name.starts_with("vcpu") => "vcpu",
            _ if name.starts_with("share ") => "share",
            _ if name.starts_with("api\"") => "api",
            _ if name.starts_with("opener\"") => "keeper",
            _ if name.starts_with("memory\"") => "memory",
            _ if name.starts_with("snapshot\"") => "snapshot",
            _ => "lane",
        })
    };
    let own = match trace.lines().take(64).find_map(named) {
        Some(kind) => kind,
        None if trace.starts_with("execve(") => "keeper",
        None => "first",
    };
    let mut filters = 0;
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((call, _)) = line.split_once('(') else {
            continue;
        };
        let under = match (own, filters) {
            ("keeper" | "api", 0) | ("first", 0 | 1) => None,
            // All other threads are made under that of the first.
            ("first", 2) => Some("assembly"),
            ("first", _) => Some("events"),
            ("keeper" | "api", _) => Some(own),
            (_, 0) => Some("assembly"),
            _ => Some(own),
        };
        calls.extend(under.map(|kind| (kind, call)));
        if line.starts_with("seccomp(SECCOMP_SET_MODE_FILTER") {
            filters += 1;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILTER: &str = "seccomp(SECCOMP_SET_MODE_FILTER, 0, {len=9}) = 0";

    #[test]
    fn a_call_belongs_to_the_filter_that_it_was_under() {
        let keeper = format!("execve(\"x\") = 0\nopenat(1) = 3\n{FILTER}\nread(3) = 0\n");
        assert_eq!(calls(&keeper), [("keeper", "read")]);
        let first =
            format!("unshare(1) = 0\n{FILTER}\n{FILTER}\nioctl(1) = 0\n{FILTER}\nread(1) = 0");
        let expected = [
            ("assembly", "ioctl"),
            ("assembly", "seccomp"),
            ("events", "read"),
        ];
        assert_eq!(calls(&first), expected);
        let vcpu = format!("prctl(PR_SET_NAME, \"vcpu0\") = 0\n{FILTER}\nioctl(1) = 0");
        let expected = [
            ("assembly", "prctl"),
            ("assembly", "seccomp"),
            ("vcpu", "ioctl"),
        ];
        assert_eq!(calls(&vcpu), expected);
    }
}
