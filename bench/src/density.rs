//! Clones of one template, all alive at once: when they are, what Hull itself works for it, and what they have of the host's memory.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hull_engine::{Paths, Programs};
use hull_tests::herd::{Breed, Group, Herd, Memory, Usage};
use tokio::runtime::Runtime;

use crate::contestants::Hull;
use crate::measure::milliseconds;
use crate::report::Report;

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Clones that are alive at once for "density"
    #[arg(long, default_value_t = 24)]
    clones: usize,

    /// The limit of memory of each, in MiB
    #[arg(long, default_value_t = 64)]
    clone_memory: u64,
}

pub(crate) fn measure(hull: &Hull, args: &Args, report: &mut Report) -> Result<()> {
    ensure!(args.clones > 0, "--clones must be 1 or more");
    let home = tempfile::Builder::new().prefix("hull-bench-").tempdir()?;
    let (root, run) = (home.path().join("root"), home.path().join("run"));
    let loaded = Command::new(&hull.hull)
        .args(["image", "load", "--quiet", "-i"])
        .arg(hull.images.join("busybox"))
        .env("HULL_NETWORK", "none")
        .env("HULL_ROOT", &root)
        .status()?;
    ensure!(loaded.success(), "hull image load failed: {loaded}");
    let parts = Programs {
        vmm: hull.vmm.clone(),
        kernel: hull.kernel.clone(),
        initramfs: hull.agent.clone(),
    };
    let breed = Breed {
        image: "busybox".to_owned(),
        memory: Some(args.clone_memory << 20),
    };
    let group = Group::enter();
    if group.is_none() {
        eprintln!("no control group counts memory here");
    }
    let usage = || group.as_ref().map(Group::usage).transpose();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        // Makes the template, and what one process has only once.
        let first = start(&root, &run, &parts, &breed, 1).await?;
        first.end().await?;
        let before = usage()?;
        let mut herd = start(&root, &run, &parts, &breed, args.clones).await?;
        herd.check_distinct()?;
        herd.ask().await?;
        add(&herd, &herd.memory()?, report);
        if let (Some(before), Some(after)) = (before, usage()?) {
            add_usage(args.clones, before, after, report);
        }
        herd.end().await
    })?;
    drop(runtime);
    let mut left = std::fs::read_dir(&run)?.filter_map(Result::ok);
    let left = left.find(|entry| entry.file_name() != "turns");
    ensure!(left.is_none(), "left in {}: {left:?}", run.display());
    Ok(())
}

async fn start(
    root: &std::path::Path,
    run: &std::path::Path,
    parts: &Programs,
    breed: &Breed,
    count: usize,
) -> Result<Herd> {
    let herd = Herd::start(Paths::new(root, run), parts.clone(), breed, count).await;
    herd.with_context(|| format!("{count} clones"))
}

fn add(herd: &Herd, memory: &Memory, report: &mut Report) {
    let count = memory.keepers.len();
    let mut one = |what: &str, unit, samples: Vec<f64>| {
        report.add(
            &format!("density, {count} clones: {what}"),
            "hull",
            unit,
            samples,
        );
    };
    let times = |times: &[Duration]| times.iter().copied().map(milliseconds).collect();
    let each = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    one("until all had answered", "s", vec![herd.took.as_secs_f64()]);
    one(
        "CPU of the owner, for each",
        "ms",
        vec![milliseconds(herd.cost.owner) / each],
    );
    one("CPU of the keeper", "ms", times(&herd.cost.keepers));
    one(
        "CPU of the machine's process without vCPUs",
        "ms",
        times(&herd.cost.machines),
    );
    one("CPU of the vCPU", "ms", times(&herd.cost.guests));
    one(
        "Hull's own work alone allows",
        "starts/s of one CPU",
        vec![1.0 / herd.cost.own().as_secs_f64()],
    );
    one(
        "PSS of the owner, for each",
        "KiB",
        vec![kib(memory.owner) / each],
    );
    one(
        "PSS of the keeper",
        "KiB",
        memory.keepers.iter().copied().map(kib).collect(),
    );
    one(
        "PSS of the machine's process",
        "KiB",
        memory.machines.iter().copied().map(kib).collect(),
    );
}

fn add_usage(count: usize, before: Usage, after: Usage, report: &mut Report) {
    let each = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let mut one = |what: &str, before: u64, after: u64| {
        let name = format!("density, {count} clones: control group, {what}, for each");
        report.add(
            &name,
            "hull",
            "KiB",
            vec![(kib(after) - kib(before)) / each],
        );
    };
    one("all", before.total, after.total);
    one("the host's kernel", before.kernel, after.kernel);
    one("files", before.files, after.files);
}

#[allow(clippy::cast_precision_loss)]
fn kib(count: u64) -> f64 {
    count as f64
}
