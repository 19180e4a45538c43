//! Device models under load: a guest that drives a device's queue by itself, from user mode, where every host executes it at full
//! speed. The same program boots on all contestants.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::contestants::{Contestant, Contestants, Engine, Machine, rounds};
use crate::measure::{Process, Threads};
use crate::network::Taps;
use crate::report::Report;

/// Contents of the disk, in bytes: what the host keeps in its page cache, so that devices are measured and not storage.
const DISK: u64 = 64 << 20;

/// One thing to measure.
struct Load {
    name: &'static str,
    job: &'static str,
    ops: u32,
    size: usize,
    depth: usize,
    engine: Option<Engine>,
    flood: bool,
}

const LOADS: &[Load] = &[
    disk("block read 4 KiB, sync", "block-read", Engine::Sync, 32),
    disk("block write 4 KiB, sync", "block-write", Engine::Sync, 32),
    disk(
        "block read 4 KiB, one by one",
        "block-read",
        Engine::Sync,
        1,
    ),
    disk(
        "block read 4 KiB, io_uring",
        "block-read",
        Engine::Async,
        32,
    ),
    disk(
        "block write 4 KiB, io_uring",
        "block-write",
        Engine::Async,
        32,
    ),
    frames("net send 1514 bytes", "net-tx", false),
    frames("net receive 1514 bytes", "net-rx", true),
];

const fn disk(name: &'static str, job: &'static str, engine: Engine, depth: usize) -> Load {
    Load {
        name,
        job,
        ops: if depth == 1 { 10_000 } else { 100_000 },
        size: 4096,
        depth,
        engine: Some(engine),
        flood: false,
    }
}

const fn frames(name: &'static str, job: &'static str, flood: bool) -> Load {
    Load {
        name,
        job,
        ops: 100_000,
        size: 1514,
        depth: 64,
        engine: None,
        flood,
    }
}

/// What a load took.
struct Sample {
    per_second: f64,
    user: f64,
    system: f64,
}

pub(crate) fn measure(
    contestants: &Contestants,
    taps: Option<&Taps>,
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let file = contestants.file("disk");
    // Written once, so that no contestant meets holes.
    std::fs::write(&file, vec![1; usize::try_from(DISK)?])?;
    let all = contestants.all();
    for load in LOADS {
        if load.engine.is_none() && taps.is_none() {
            continue;
        }
        if !report.wants(load.name) {
            continue;
        }
        let samples = rounds(&all, count, |contestant| {
            run(contestants, contestant, load, taps)
        })?;
        for (contestant, samples) in all.iter().zip(samples) {
            let mut add = |what: &str, unit, figure: fn(&Sample) -> f64| {
                let figures = samples.iter().map(figure).collect();
                let name = format!("{}: {what}", load.name);
                report.add(&name, contestant.name, unit, figures);
            };
            add("throughput", "ops/s", |sample| sample.per_second);
            add("CPU, user", "us/op", |sample| sample.user);
            add("CPU, kernel", "us/op", |sample| sample.system);
        }
    }
    Ok(())
}

fn run(
    contestants: &Contestants,
    contestant: &Contestant,
    load: &Load,
    taps: Option<&Taps>,
) -> Result<Sample> {
    let job = format!(
        "job={} ops={} size={} depth={}",
        load.job, load.ops, load.size, load.depth
    );
    let machine = Machine {
        disk: load.engine.map(|engine| (contestants.file("disk"), engine)),
        tap: taps.filter(|_| load.engine.is_none()).map(Taps::first),
        ..contestants.driver(contestant, &job)
    };
    let mut command = contestants.command(contestant, &machine)?;
    let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::null()))?;
    let stdout = process.child.stdout.take().context("no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let _flood = match taps.filter(|_| load.flood) {
        Some(taps) => Some(taps.flood(load.size)?),
        None => None,
    };
    let mut await_line = |wanted: &str| -> Result<()> {
        loop {
            let line = lines.next().context("it ended too early")??;
            if line.contains("failed") {
                bail!("the guest says: {line}");
            }
            if line.contains(wanted) {
                return Ok(());
            }
        }
    };
    await_line("go")?;
    let start = Instant::now();
    let before = Threads::of(process.child.id())?;
    await_line("done")?;
    let wall = start.elapsed().as_secs_f64();
    let used = Threads::of(process.child.id())?.since(&before);
    let ops = f64::from(load.ops);
    Ok(Sample {
        per_second: ops / wall,
        user: used.user * 1e6 / ops,
        system: used.system * 1e6 / ops,
    })
}
