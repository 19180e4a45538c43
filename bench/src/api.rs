//! The API of one microVM: how soon it answers after the start of its process, and how fast.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::contestants::{Contestants, Kind, rounds};
use crate::measure::{Process, Threads, milliseconds};
use crate::report::Report;

/// Requests of one sample.
const REQUESTS: u32 = 2000;
/// A process that takes longer than this to answer is given up.
const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST: &[u8] =
    b"GET /machine-config HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n";

pub(crate) fn measure(contestants: &Contestants, count: usize, report: &mut Report) -> Result<()> {
    let some = contestants.of(&[Kind::Hull, Kind::Firecracker]);
    let samples = rounds(&some, count, |contestant| {
        let socket = contestants.file("api.sock");
        let _ = std::fs::remove_file(&socket);
        let command = contestants.idle(contestant, &socket);
        let mut command = command.context("it has no API")?;
        let start = Instant::now();
        let process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let mut client = connect(&socket, start)?;
        ask(&mut client)?;
        let ready = start.elapsed();
        let before = Threads::of(process.child.id())?;
        let start = Instant::now();
        for _ in 0..REQUESTS {
            ask(&mut client)?;
        }
        let each = start.elapsed() / REQUESTS;
        let used = Threads::of(process.child.id())?.since(&before);
        let cpu = (used.user + used.system) * 1e6 / f64::from(REQUESTS);
        Ok((milliseconds(ready), milliseconds(each) * 1e3, cpu))
    })?;
    for (contestant, samples) in some.iter().zip(samples) {
        let mut add = |what: &str, unit, figure: fn(&(f64, f64, f64)) -> f64| {
            report.add(
                what,
                contestant.name,
                unit,
                samples.iter().map(figure).collect(),
            );
        };
        add("start to API ready", "ms", |sample| sample.0);
        add("API request", "us", |sample| sample.1);
        add("API request, CPU time", "us", |sample| sample.2);
    }
    Ok(())
}

fn connect(socket: &Path, start: Instant) -> Result<UnixStream> {
    while start.elapsed() < PATIENCE {
        if let Ok(client) = UnixStream::connect(socket) {
            return Ok(client);
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    bail!("nothing listens at {} after {PATIENCE:?}", socket.display());
}

/// One request and its whole answer.
fn ask(client: &mut UnixStream) -> Result<()> {
    client.write_all(REQUEST)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let got = client.read(&mut buffer)?;
        if got == 0 {
            bail!("the API hung up");
        }
        answer.extend_from_slice(&buffer[..got]);
        if is_whole(&answer)? {
            return Ok(());
        }
    }
}

fn is_whole(answer: &[u8]) -> Result<bool> {
    let text = std::str::from_utf8(answer)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(false);
    };
    if !head.starts_with("HTTP/1.1 200") {
        bail!("the API answers {head}");
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>())
    });
    Ok(body.len() >= length.context("no length")??)
}
