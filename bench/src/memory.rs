//! The memory of a VMM itself, without its guest's, by the devices that the guest has.

use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::contestants::{Contestants, Engine, Kind, MEMORY, Machine, rounds};
use crate::guests;
use crate::measure::{Process, contains, own_memory};
use crate::network::Taps;
use crate::report::Report;

/// Measures machines whose Linux has booted and sleeps.
pub(crate) fn measure(
    contestants: &Contestants,
    taps: Option<&Taps>,
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let plain = contestants.linux();
    let disk = contestants.file("memory.disk");
    std::fs::File::create(&disk)?.set_len(16 << 20)?;
    let with_disk = Machine {
        disk: Some((disk, Engine::Sync)),
        ..plain.clone()
    };
    sample(contestants, "no device", &plain, count, report)?;
    sample(contestants, "a disk", &with_disk, count, report)?;
    let with_vsock = Machine {
        vsock: Some(contestants.file("memory.vsock")),
        ..plain.clone()
    };
    sample(contestants, "a vsock", &with_vsock, count, report)?;
    if let Some(taps) = taps {
        let tap = Some(taps.first());
        let with_card = Machine { tap, ..plain };
        sample(contestants, "a network card", &with_card, count, report)?;
        let vsock = with_vsock.vsock;
        let with_all = Machine {
            tap,
            vsock,
            ..with_disk
        };
        let name = "a disk, a network card, a vsock";
        sample(contestants, name, &with_all, count, report)?;
    }
    Ok(())
}

fn sample(
    contestants: &Contestants,
    what: &str,
    machine: &Machine<'_>,
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let kinds: &[Kind] = match machine.vsock {
        Some(_) => &[Kind::Hull, Kind::Firecracker],
        None => &[Kind::Hull, Kind::Qemu, Kind::Firecracker],
    };
    let some = contestants.of(kinds);
    let samples = rounds(&some, count, |contestant| {
        if let Some(vsock) = &machine.vsock {
            let _ = std::fs::remove_file(vsock);
        }
        let mut command = contestants.command(contestant, machine)?;
        let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let stdout = process.child.stdout.take().context("no standard output")?;
        if !contains(stdout, guests::READY)? {
            bail!("it did not boot");
        }
        // Below 4 GiB a machine's memory is one mapping, or two where the VMM splits off the first megabyte.
        let kib = own_memory(process.child.id(), MEMORY * 1024 * 9 / 10)?;
        #[allow(clippy::cast_precision_loss)]
        Ok(kib as f64)
    })?;
    for (contestant, samples) in some.iter().zip(samples) {
        let name = format!("own memory (PSS), guest booted, {what}");
        report.add(&name, contestant.name, "KiB", samples);
    }
    Ok(())
}
