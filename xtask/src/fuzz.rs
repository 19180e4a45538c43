//! Coverage-guided fuzzing with libFuzzer: `cargo xtask fuzz`.
//!
//! The programs are in `fuzz/`, a workspace of its own. Inputs worth keeping are committed below `fuzz/corpus`; what a run
//! finds on top of them goes to `target/fuzz/corpus`, and an input that fails to `target/fuzz/failures`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::{paths, process};

/// Instrumentation for libFuzzer: which branches an input takes, and what it is compared with.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// The most inputs of one target that are kept: the smallest ones, which are the beginnings of all others.
const MOST_KEPT: usize = 60;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u32,

    /// Instead of running, put what runs have found into the inputs that are kept, as few as reach the same code
    #[arg(long)]
    keep: bool,

    /// The targets to run; without any, all
    targets: Vec<String>,
}

/// What became of the targets that ran.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) passed: Vec<String>,
    /// The target, and the end of what it printed.
    pub(crate) failed: Vec<(String, String)>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.keep {
        return keep(&args.targets);
    }
    let outcome = fuzz(args.seconds, &args.targets)?;
    match outcome.failed.first() {
        None => Ok(()),
        Some((name, output)) => bail!("{name} failed:\n{output}"),
    }
}

/// Builds the targets and runs those of `wanted`, or all, as many at once as there are CPUs.
pub(crate) fn fuzz(seconds: u32, wanted: &[String]) -> Result<Outcome> {
    let names = chosen(wanted)?;
    let programs = build()?;
    println!("Fuzzing {} targets for {seconds} s each", names.len());
    let waiting = Mutex::new(names.into_iter());
    let outcome = Mutex::new(Outcome::default());
    let next = || waiting.lock().ok()?.next();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(name) = next() {
                    let result = run_target(&programs, &name, seconds);
                    let Ok(mut outcome) = outcome.lock() else {
                        return;
                    };
                    match result {
                        Ok(None) => outcome.passed.push(name),
                        Ok(Some(output)) => outcome.failed.push((name, output)),
                        Err(error) => outcome.failed.push((name, format!("{error:#}"))),
                    }
                }
            });
        }
    });
    outcome
        .into_inner()
        .map_err(|_| anyhow::anyhow!("a thread that ran a fuzz target panicked"))
}

/// The targets of these names, or all.
fn chosen(wanted: &[String]) -> Result<Vec<String>> {
    let known = targets()?;
    for name in wanted {
        ensure!(
            known.contains(name),
            "there is no fuzz target {name}; there are: {}",
            known.join(", ")
        );
    }
    Ok(if wanted.is_empty() {
        known
    } else {
        wanted.to_vec()
    })
}

/// Takes over what was found. How often code was run does not count, or there would be hundreds of inputs.
fn keep(wanted: &[String]) -> Result<()> {
    let names = chosen(wanted)?;
    let programs = build()?;
    for name in names {
        let found = paths::target().join("fuzz/corpus").join(&name);
        let kept = paths::root().join("fuzz/corpus").join(&name);
        let merged = tempfile::tempdir_in(paths::target())?;
        fs::create_dir_all(&kept)?;
        fs::create_dir_all(&found)?;
        let mut merge = Command::new(programs.join(&name));
        merge.args(["-set_cover_merge=1", "-use_counters=0"]);
        process::output(merge.arg(merged.path()).args([&kept, &found]))?;
        fs::remove_dir_all(&kept)?;
        fs::create_dir_all(&kept)?;
        let mut inputs = Vec::new();
        for entry in fs::read_dir(merged.path())? {
            let entry = entry?;
            inputs.push((entry.metadata()?.len(), entry.file_name()));
        }
        inputs.sort();
        inputs.truncate(MOST_KEPT);
        for (_, input) in &inputs {
            fs::copy(merged.path().join(input), kept.join(input))?;
        }
        println!("  {name}: {} inputs", inputs.len());
    }
    Ok(())
}

/// The names of the targets: the files in `fuzz/targets`.
fn targets() -> Result<Vec<String>> {
    let folder = paths::root().join("fuzz/targets");
    let mut names = Vec::new();
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        names.extend(
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned()),
        );
    }
    names.sort();
    Ok(names)
}

/// Builds all targets and returns where they are.
fn build() -> Result<PathBuf> {
    let directory = paths::target().join("fuzz/build");
    let manifest = paths::root().join("fuzz/Cargo.toml");
    process::run(
        Command::new("cargo")
            .args([
                "build",
                "--quiet",
                "--release",
                "--locked",
                "--target",
                "x86_64-unknown-linux-gnu",
            ])
            .arg("--manifest-path")
            .arg(manifest)
            .env("CARGO_TARGET_DIR", &directory)
            .env("RUSTFLAGS", INSTRUMENTATION),
    )?;
    Ok(directory.join("x86_64-unknown-linux-gnu/release"))
}

/// Runs one target; the end of its output if it failed.
fn run_target(programs: &Path, name: &str, seconds: u32) -> Result<Option<String>> {
    let found = paths::target().join("fuzz/corpus").join(name);
    let failures = paths::target().join("fuzz/failures").join(name);
    for folder in [&found, &failures] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let kept = paths::root().join("fuzz/corpus").join(name);
    let output = Command::new(programs.join(name))
        .arg(format!("-max_total_time={seconds}"))
        // Scripts for devices reach more when they are long.
        .args([
            "-len_control=10",
            "-timeout=20",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ])
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .arg(&found)
        // A new target has none yet.
        .args(kept.is_dir().then_some(kept))
        .output()
        .with_context(|| format!("cannot start the fuzz target {name}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let runs = text
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    println!("  {name}: {} inputs", runs.unwrap_or(" no").trim());
    if output.status.success() {
        return Ok(None);
    }
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.len().saturating_sub(40);
    Ok(Some(lines.get(end..).unwrap_or_default().join("\n")))
}
