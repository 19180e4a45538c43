//! A daemon that knows many containers: its memory, how soon it is there again, and how fast it answers.

use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use crate::contestants::Hull;
use crate::daemon::Daemon;
use crate::http::{ask, connect, request};
use crate::measure::{Pss, milliseconds, run_time};
use crate::report::Report;

const MEMORY: &str = "daemon memory";
const API: &str = "daemon API";
/// How many containers there are, one time after the other.
const CROWDS: [usize; 3] = [0, 100, 1000];
/// How many of them run, for the memory of what runs.
const RUNNING: usize = 10;
/// What Docker's client sends for `docker create busybox true`: all of it is kept, to be shown.
const CREATE: &str = include_str!("create.json");
/// Clients that ask at once, each on a connection of its own, one question after the other.
const CLIENTS: [usize; 2] = [1, 8];
/// How long they ask for one sample.
const SAMPLE: Duration = Duration::from_secs(1);

pub(crate) fn measure(hull: &Hull, rounds: usize, report: &mut Report) -> Result<()> {
    if report.wants(MEMORY) {
        memory(hull, rounds.min(3), report)?;
        running(hull, report)?;
    }
    if report.wants(API) {
        api(hull, rounds, report)?;
    }
    Ok(())
}

/// Of a daemon that has only just been started, and made the containers; none of them has run.
fn memory(hull: &Hull, rounds: usize, report: &mut Report) -> Result<()> {
    let mut known: Vec<Vec<Pss>> = CROWDS.iter().map(|_| Vec::new()).collect();
    let (mut made, mut again, mut after) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut daemon = Daemon::start(hull, "busybox")?;
        let mut all = 0;
        for (crowd, known) in CROWDS.iter().zip(&mut known) {
            let begun = Instant::now();
            create(&daemon, crowd - all, &serde_json::from_str(CREATE)?)?;
            if *crowd > all {
                made.push(milliseconds(begun.elapsed()) / count(crowd - all));
            }
            all = *crowd;
            known.push(Pss::of(daemon.pid()?)?);
        }
        again.push(milliseconds(daemon.restart()?));
        after.push(Pss::of(daemon.pid()?)?);
    }
    for (crowd, known) in CROWDS.iter().zip(&known) {
        add_memory(&format!("{MEMORY}, {crowd} containers"), known, report);
    }
    let last = CROWDS.last().copied().unwrap_or_default();
    let name = format!("{MEMORY}, {last} containers, started again");
    add_memory(&name, &after, report);
    let name = format!("daemon, {last} containers: start to first connection");
    report.add(&name, "hull", "ms", again);
    report.add("daemon: create a container", "hull", "ms", made);
    Ok(())
}

/// Of a daemon whose containers run, and of their owners.
fn running(hull: &Hull, report: &mut Report) -> Result<()> {
    let daemon = Daemon::start(hull, "busybox")?;
    let body = json!({ "Image": "busybox", "Cmd": ["sleep", "infinity"] });
    let ids = create(&daemon, RUNNING, &body)?;
    let mut client = daemon.connect()?;
    for id in &ids {
        let path = format!("/containers/{id}/start");
        ask(&mut client, &request("POST", &path, None))?;
    }
    let own = [Pss::of(daemon.pid()?)?];
    add_memory(&format!("{MEMORY}, {RUNNING} containers run"), &own, report);
    let owners: Result<Vec<Pss>> = ids.iter().map(|id| Pss::of(owner(id)?)).collect();
    add_memory("memory of a container's owner", &owners?, report);
    Ok(())
}

fn add_memory(name: &str, samples: &[Pss], report: &mut Report) {
    let mut one = |what: &str, figure: fn(&Pss) -> u64| {
        let figures = samples.iter().map(|pss| kib(figure(pss)));
        report.add(&format!("{name}: {what}"), "hull", "KiB", figures.collect());
    };
    one("PSS", |pss| pss.all);
    one("of no file", |pss| pss.anonymous);
}

/// The process that owns a container.
fn owner(id: &str) -> Result<u32> {
    let wanted = format!("\0own\0--container\0{id}\0");
    let pids =
        fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let owns = |pid: &u32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(&wanted)
    };
    pids.into_iter()
        .find(owns)
        .with_context(|| format!("the container {id} has no owner"))
}

/// Makes containers; their ids.
fn create(daemon: &Daemon, count: usize, body: &Value) -> Result<Vec<String>> {
    let mut client = daemon.connect()?;
    let order = request("POST", "/containers/create", Some(body));
    let one = |_| {
        let made: Value = serde_json::from_slice(&ask(&mut client, &order)?)?;
        let id = made["Id"].as_str().context("a container without an id")?;
        Ok(id.to_owned())
    };
    (0..count).map(one).collect()
}

/// Calls a second, of several kinds.
fn api(hull: &Hull, rounds: usize, report: &mut Report) -> Result<()> {
    let daemon = Daemon::start(hull, "busybox")?;
    let mut ids = Vec::new();
    for crowd in CROWDS {
        let body = serde_json::from_str(CREATE)?;
        ids.extend(create(&daemon, crowd - ids.len(), &body)?);
        let Some(id) = ids.get(ids.len() / 2) else {
            calls(&daemon, "/_ping", "/_ping", rounds, report)?;
            continue;
        };
        for (path, shown) in [
            (
                "/containers/json?all=1".to_owned(),
                "/containers/json?all=1",
            ),
            (format!("/containers/{id}/json"), "/containers/ID/json"),
        ] {
            let shown = format!("{shown}, {crowd} containers");
            calls(&daemon, &path, &shown, rounds, report)?;
        }
    }
    Ok(())
}

/// One kind of call, by one client and by several.
fn calls(
    daemon: &Daemon,
    path: &str,
    shown: &str,
    rounds: usize,
    report: &mut Report,
) -> Result<()> {
    let question = request("GET", path, None);
    for clients in CLIENTS {
        let (mut speeds, mut costs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let before = run_time(daemon.pid()?)?;
            let (answers, took) = load(&daemon.socket(), &question, clients)?;
            let used = run_time(daemon.pid()?)?.saturating_sub(before);
            speeds.push(count(answers) / took.as_secs_f64());
            costs.push(milliseconds(used) * 1e3 / count(answers));
        }
        let name = format!("{API}, GET {shown}, clients: {clients}");
        report.add(&name, "hull", "calls/s", speeds);
        report.add(
            &format!("{name}, CPU of the daemon"),
            "hull",
            "us/call",
            costs,
        );
    }
    Ok(())
}

/// Has clients ask for a while: how many answers they got, and in what time.
fn load(socket: &Path, question: &[u8], clients: usize) -> Result<(usize, Duration)> {
    let ready = Barrier::new(clients + 1);
    let client = || -> Result<usize> {
        // Whatever comes of it, the others wait for this one.
        let connected = connect(socket, Instant::now());
        let connected = connected.and_then(|mut client| {
            ask(&mut client, question)?;
            Ok(client)
        });
        ready.wait();
        let (mut client, begun, mut answers) = (connected?, Instant::now(), 0);
        while begun.elapsed() < SAMPLE {
            ask(&mut client, question)?;
            answers += 1;
        }
        Ok(answers)
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        ready.wait();
        let begun = Instant::now();
        let answers = all.into_iter().map(|one| {
            let ended = one.join().map_err(|_| anyhow!("a client panicked"));
            ended?
        });
        let answers: Result<usize> = answers.sum();
        Ok((answers?, begun.elapsed()))
    })
}

#[allow(clippy::cast_precision_loss)]
fn kib(size: u64) -> f64 {
    size as f64
}

#[allow(clippy::cast_precision_loss)]
fn count(number: usize) -> f64 {
    number as f64
}
