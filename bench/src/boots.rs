//! From the start of a process to what its guest does first.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::contestants::{Contestants, Kind, MEMORY, rounds};
use crate::guests;
use crate::measure::{Process, milliseconds, to_the_end, until_printed};
use crate::report::Report;

/// From the start of the process to its end, with a kernel that stops at its first instruction.
pub(crate) fn first_instruction(
    contestants: &Contestants,
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let machine = contestants.stopping();
    let all = contestants.all();
    let costs = rounds(&all, count, |contestant| {
        let (cost, status) = to_the_end(&mut contestants.command(contestant, &machine)?)?;
        // The guest resets the machine: that it did shows in how the process ends.
        let reset: &[i32] = match contestant.kind {
            Kind::Hull => &[HULL_RESET],
            Kind::Qemu => &[0],
            // Its vCPU may meet the fault behind the reset before another thread has seen the reset.
            Kind::Firecracker => &[0, 1],
        };
        if !status.code().is_some_and(|code| reset.contains(&code)) {
            bail!("it ended with {status}: the guest did not run");
        }
        Ok(cost)
    })?;
    for (contestant, samples) in all.iter().zip(costs) {
        let mut add = |name: &str, figure: fn(&crate::measure::Cost) -> Duration| {
            let figures = samples.iter().map(|cost| milliseconds(figure(cost)));
            report.add(name, contestant.name, "ms", figures.collect());
        };
        add("first instruction, whole process", |cost| cost.wall);
        add("first instruction, CPU time", |cost| {
            cost.user + cost.system
        });
        add("first instruction, CPU time of the kernel", |cost| {
            cost.system
        });
    }
    Ok(())
}

/// `hull-vmm`'s exit status when its guest reset the machine.
const HULL_RESET: i32 = 16;

/// From the start of the process to a line printed by init, with Hull's kernel and one initramfs.
pub(crate) fn kernel(contestants: &Contestants, count: usize, report: &mut Report) -> Result<()> {
    let machine = contestants.linux();
    let all = contestants.all();
    let times = rounds(&all, count, |contestant| {
        let mut command = contestants.command(contestant, &machine)?;
        Ok(milliseconds(until_printed(&mut command, guests::READY)?))
    })?;
    for (contestant, samples) in all.iter().zip(times) {
        report.add("kernel boot to init", contestant.name, "ms", samples);
    }
    Ok(())
}

/// Hull's own boot, as `hull run` does it, with one vCPU and 256 MiB: from the guest's first instruction until its agent calls the
/// host, and what came out to user space meanwhile.
pub(crate) fn agent(contestants: &Contestants, count: usize, report: &mut Report) -> Result<()> {
    let hull = contestants.of(&[Kind::Hull]);
    let samples = rounds(&hull, count, |contestant| {
        let linux = contestants.linux();
        let metrics = contestants.file("metrics");
        let _ = fs::remove_file(&metrics);
        let args = linux.args.replace("console=ttyS0", "console=hvc0");
        let config = json!({
            "boot-source": {
                "kernel_image_path": contestants.hull.kernel, "initrd_path": contestants.hull.agent,
                "boot_args": format!("{args} 8250.nr_uarts=0"),
            },
            "machine-config": { "vcpu_count": 1, "mem_size_mib": MEMORY },
            "drives": [],
            "entropy": {},
            "vsock": { "guest_cid": 3, "uds_path": contestants.file("agent.vsock") },
            "metrics": { "metrics_path": metrics },
        });
        let file = contestants.file("agent.json");
        fs::write(&file, serde_json::to_vec(&config)?)?;
        let mut command = contestants.command(contestant, &linux)?;
        command = {
            let mut own = std::process::Command::new(command.get_program());
            own.args(["--no-api", "--boot-timer", "--config-file"])
                .arg(file);
            own
        };
        let mut process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::piped()))?;
        let said = process.child.stderr.take().context("no standard error")?;
        let mut lines = BufReader::new(said).lines();
        loop {
            let line = lines
                .next()
                .context("it ended before its agent was ready")??;
            if line.contains("agent ready") {
                break;
            }
        }
        // At the end it writes what it counted.
        process.interrupt()?;
        let written = fs::read_to_string(&metrics)?;
        let last = written.lines().last().context("no metrics were written")?;
        let last: Value = serde_json::from_str(last)?;
        let stage = |name: &str| last["timeline_ms"][name].as_f64();
        let entered = stage("first_vcpu_entry").context("no first entry")?;
        let ready = stage("agent_ready").context("no agent")?;
        let exits = last["exits"].as_object().context("no exits")?;
        let exits = exits.values().filter_map(Value::as_f64).sum::<f64>();
        Ok((ready - entered, exits))
    })?;
    for (contestant, samples) in hull.iter().zip(samples) {
        let (times, exits) = samples.into_iter().unzip();
        let name = "kernel start to agent ready";
        report.add(name, contestant.name, "ms", times);
        let name = "exits to user space until the agent is ready";
        report.add(name, contestant.name, "exits", exits);
    }
    Ok(())
}
