//! `PUT /snapshot/load`: how long a process that has nothing but its API takes until the guest of a snapshot runs in it.
//!
//! Each contestant loads what it saved itself, of the same guest, which sleeps. Its processes have been waiting for a moment when they are asked.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::contestants::{Contestant, Contestants, Kind, rounds};
use crate::guests;
use crate::http::{self, connect, request};
use crate::measure::{Process, milliseconds, run_time};
use crate::report::Report;

/// The guests' memory, in MiB.
const SIZES: [u64; 2] = [128, 8192];
/// How long a process waits before it is asked: whoever has some at hand asks one that is at rest.
const REST: Duration = Duration::from_millis(100);

/// How a process is started that is to load a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Nothing of what it is to load.
    Nothing,
    /// How much memory it will have, which Hull can be.
    Memory,
}

/// A snapshot in its files.
#[derive(Debug)]
struct Saved {
    state: PathBuf,
    memory: PathBuf,
}

pub(crate) fn measure(contestants: &Contestants, count: usize, report: &mut Report) -> Result<()> {
    fs::write(contestants.file("sleep"), guests::sleeping_kernel())?;
    let some = contestants.of(&[Kind::Hull, Kind::Firecracker]);
    for size in SIZES {
        let saved = rounds(&some, 1, |contestant| save(contestants, contestant, size))?;
        let saved: Vec<Saved> = saved.into_iter().flatten().collect();
        let find = |contestant: &Contestant| {
            let at = some.iter().position(|one| one.name == contestant.name);
            at.and_then(|at| saved.get(at))
                .context("it has no snapshot")
        };
        let hull = contestants.of(&[Kind::Hull]);
        for (told, who) in [(Told::Nothing, &some), (Told::Memory, &hull)] {
            let samples = rounds(who, count, |contestant| {
                load(contestants, contestant, (find(contestant)?, size), told)
            })?;
            for (contestant, samples) in who.iter().zip(samples) {
                let name = match told {
                    Told::Nothing => contestant.name.to_owned(),
                    Told::Memory => format!("{}, --expect-mem", contestant.name),
                };
                let (wall, cpu) = samples.into_iter().unzip();
                let what = format!("snapshot load, {size} MiB");
                report.add(&what, &name, "ms", wall);
                report.add(&format!("{what}, CPU time"), &name, "ms", cpu);
            }
        }
        for saved in saved {
            fs::remove_file(saved.state)?;
            fs::remove_file(saved.memory)?;
        }
    }
    Ok(())
}

/// A process with an API, and a connection to that.
fn start(
    contestants: &Contestants,
    contestant: &Contestant,
    arguments: &[String],
) -> Result<(Process, UnixStream)> {
    let socket = contestants.file("load.sock");
    let _ = fs::remove_file(&socket);
    let command = contestants.idle(contestant, &socket);
    let mut command = command.context("it has no API")?;
    command.args(arguments);
    let begun = Instant::now();
    let process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let client = connect(&socket, begun)?;
    Ok((process, client))
}

/// Sends a request with a body; how long its answer took.
fn ask(client: &mut UnixStream, method: &str, path: &str, body: &Value) -> Result<Duration> {
    let request = request(method, path, Some(body));
    let begun = Instant::now();
    http::ask(client, &request)?;
    Ok(begun.elapsed())
}

/// Saves a guest that sleeps.
fn save(contestants: &Contestants, contestant: &Contestant, size: u64) -> Result<Saved> {
    let (_process, mut client) = start(contestants, contestant, &[])?;
    let file = |what: &str| contestants.file(&format!("{}.{size}.{what}", contestant.name));
    let (state, memory) = (file("state"), file("memory"));
    let is_peer = contestant.kind == Kind::Firecracker;
    let mut put = |path, body| ask(&mut client, "PUT", path, &body);
    put(
        "/machine-config",
        json!({ "vcpu_count": 1, "mem_size_mib": size, "track_dirty_pages": is_peer }),
    )?;
    let kernel = contestants.file("sleep");
    put(
        "/boot-source",
        json!({ "kernel_image_path": kernel, "boot_args": "" }),
    )?;
    put("/actions", json!({ "action_type": "InstanceStart" }))?;
    ask(&mut client, "PATCH", "/vm", &json!({ "state": "Paused" }))?;
    // What Firecracker calls a full one has all pages of zeros in it: gigabytes, which would then be in the host's page cache.
    let kind = if is_peer { "Diff" } else { "Full" };
    let create = json!({
        "snapshot_type": kind, "snapshot_path": state, "mem_file_path": memory,
    });
    ask(&mut client, "PUT", "/snapshot/create", &create)?;
    Ok(Saved { state, memory })
}

/// Loads a snapshot in a new process: how long the answer took, and how much processor time, in milliseconds.
fn load(
    contestants: &Contestants,
    contestant: &Contestant,
    (saved, size): (&Saved, u64),
    told: Told,
) -> Result<(f64, f64)> {
    let arguments = match told {
        Told::Nothing => Vec::new(),
        Told::Memory => vec!["--expect-mem".to_owned(), size.to_string()],
    };
    let (process, mut client) = start(contestants, contestant, &arguments)?;
    thread::sleep(REST);
    let before = run_time(process.child.id())?;
    let load = json!({
        "snapshot_path": saved.state,
        "mem_backend": { "backend_type": "File", "backend_path": saved.memory },
        "resume_vm": true,
    });
    let took = ask(&mut client, "PUT", "/snapshot/load", &load)?;
    let used = run_time(process.child.id())?.saturating_sub(before);
    Ok((milliseconds(took), milliseconds(used)))
}
