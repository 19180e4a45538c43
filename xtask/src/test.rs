//! Runs every test and counts what passed, failed and was skipped.
//!
//! A test that cannot run on this host prints `SKIPPED: reason` and returns; libtest counts it as passed,
//! so the lines are read here and such tests are counted as what they are.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{agent, clients, fuzz, images, kernel, paths, process};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also run the tests that are too slow for every change (those marked `#[ignore]`)
    #[arg(long)]
    full: bool,

    /// Passed on to the test programs: part of a test's name. Nothing is fuzzed then
    filter: Option<String>,
}

/// How long each fuzz target runs, in seconds.
const FUZZ_SECONDS: u32 = 30;
/// The same with `--full`.
const FUZZ_SECONDS_FULL: u32 = 600;

#[derive(Debug, Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    /// Takes `test result: ok. 3 passed; 0 failed; 1 ignored; ...` into account.
    fn add(&mut self, line: &str) {
        for part in line.split([';', '.']) {
            let mut words = part.split_whitespace();
            if let (Some(Ok(count)), Some(kind)) =
                (words.next().map(str::parse::<u64>), words.next())
            {
                match kind {
                    "passed" => self.passed += count,
                    "failed" => self.failed += count,
                    _ => {}
                }
            }
        }
    }

    fn skip(&mut self) {
        self.skipped += 1;
        self.passed = self.passed.saturating_sub(1);
    }
}

/// What failed tests said, to be told once more at the end: their own output is long past then.
#[derive(Debug, Default)]
struct Recap {
    lines: Vec<String>,
    inside: bool,
}

impl Recap {
    /// Takes one line that is shown.
    fn take(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            self.inside = true;
        } else if line == "stack backtrace:"
            || line == "failures:"
            || line.starts_with("test result:")
        {
            self.inside = false;
        }
        let failed = line.starts_with("test ") && line.ends_with(" ... FAILED");
        if self.inside || failed {
            self.lines.push(line.to_owned());
        }
    }

    fn print(&self) {
        if !self.lines.is_empty() {
            println!("what failed, once more:");
        }
        for line in &self.lines {
            println!("{line}");
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    kernel::run(&kernel::Args::default())?;
    agent::run(&agent::Args::default())?;
    images::run(&images::Args::for_tests(args.full))?;
    clients::run(&clients::Args::default())?;
    process::run(Command::new("cargo").args([
        "build",
        "--package",
        "hull",
        "--package",
        "hull-vmm",
    ]))?;

    let mut counts = Counts::default();
    let mut recap = Recap::default();
    let ok = cargo_test(args, &mut counts, &mut recap)?;
    if !ok && counts.failed == 0 {
        counts.failed = 1; // a test program did not build, or died without a result
    }
    if args.filter.is_none() {
        fuzz_all(args, &mut counts)?;
    }

    let summary = format!(
        "{} passed, {} failed, {} skipped",
        counts.passed, counts.failed, counts.skipped
    );
    let file = paths::root().join("target/test-summary");
    fs::create_dir_all(paths::root().join("target"))?;
    fs::write(&file, format!("{summary}\n"))
        .with_context(|| format!("cannot write {}", file.display()))?;
    recap.print();
    println!("{summary}");
    if counts.failed > 0 {
        bail!("{} failed", counts.failed);
    }
    Ok(())
}

/// Runs `cargo test`, shows what a person wants to see of its output, and counts.
fn cargo_test(args: &Args, counts: &mut Counts, recap: &mut Recap) -> Result<bool> {
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--no-fail-fast", "--quiet", "--"]);
    command.args(["--show-output", "--format=pretty"]);
    if args.full {
        command.arg("--include-ignored");
    }
    command.args(&args.filter);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let stdout = child
        .stdout
        .take()
        .context("cargo test has no standard output")?;

    let mut hidden = false; // inside the output of tests that passed
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if line == "successes:" {
            hidden = true;
        } else if line == "failures:" || line.starts_with("test result:") {
            hidden = false;
        }
        let skipped = line.trim_start().starts_with("SKIPPED:");
        if skipped {
            counts.skip();
        }
        if line.starts_with("test result:") {
            counts.add(&line);
        }
        if (!hidden || skipped) && !line.is_empty() {
            println!("{line}");
            recap.take(&line);
        }
    }
    Ok(child.wait()?.success())
}

/// Runs every fuzz target for a while; each counts as a test.
fn fuzz_all(args: &Args, counts: &mut Counts) -> Result<()> {
    let seconds = if args.full {
        FUZZ_SECONDS_FULL
    } else {
        FUZZ_SECONDS
    };
    let outcome = fuzz::fuzz(seconds, &[])?;
    counts.passed += u64::try_from(outcome.passed.len())?;
    counts.failed += u64::try_from(outcome.failed.len())?;
    for (name, output) in outcome.failed {
        println!("fuzz target {name} failed:\n{output}");
    }
    Ok(())
}
