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

/// Connects to a socket at which a process that was just started will listen.
pub(crate) fn connect(socket: &Path, start: Instant) -> Result<UnixStream> {
    while start.elapsed() < PATIENCE {
        if let Ok(client) = UnixStream::connect(socket) {
            return Ok(client);
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    bail!("nothing listens at {} after {PATIENCE:?}", socket.display());
}

/// One request that is answered with something.
fn ask(client: &mut UnixStream) -> Result<()> {
    match exchange(client, REQUEST)? {
        (200, _) => Ok(()),
        (status, answer) => bail!("the API answers {status}: {answer}"),
    }
}

/// Sends a request; its whole answer, as a status and a body.
pub(crate) fn exchange(client: &mut UnixStream, request: &[u8]) -> Result<(u16, String)> {
    client.write_all(request)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let got = client.read(&mut buffer)?;
        if got == 0 {
            bail!("the API hung up");
        }
        answer.extend_from_slice(&buffer[..got]);
        if let Some(whole) = parse(&answer)? {
            return Ok(whole);
        }
    }
}

/// An answer, if all of it is there.
fn parse(answer: &[u8]) -> Result<Option<(u16, String)>> {
    let text = std::str::from_utf8(answer)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>())
    });
    // An answer without content has no length either.
    let length = length.transpose()?.unwrap_or_default();
    Ok((body.len() >= length).then(|| (status, body.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_answer_is_whole_with_its_body_or_has_none() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(
            parse(whole.as_bytes()).unwrap(),
            Some((200, "{}".to_owned()))
        );
        assert_eq!(parse(&whole.as_bytes()[..whole.len() - 1]).unwrap(), None);
        let empty = b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n";
        assert_eq!(parse(empty).unwrap(), Some((204, String::new())));
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }
}
