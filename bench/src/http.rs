//! HTTP on Unix sockets, as little of it as measurements need: a request, and its whole answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A process that takes longer than this to answer is given up.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, body: Option<&Value>) -> Vec<u8> {
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n");
    match body.map(Value::to_string) {
        None => format!("{head}\r\n").into_bytes(),
        Some(body) => format!(
            "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    }
}

/// Sends a request that is to succeed; the body of its answer.
pub(crate) fn ask(client: &mut UnixStream, request: &[u8]) -> Result<Vec<u8>> {
    let (status, answer) = exchange(client, request)?;
    if !(200..300).contains(&status) {
        let line = request.split(|byte| *byte == b'\r').next();
        let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        bail!("{line} is answered with {status}: {answer}");
    }
    Ok(answer)
}

/// Sends a request; its whole answer, as a status and a body.
fn exchange(client: &mut UnixStream, request: &[u8]) -> Result<(u16, Vec<u8>)> {
    client.write_all(request)?;
    let (mut answer, mut head) = (Vec::new(), None);
    let mut buffer = [0; 65536];
    loop {
        let got = client.read(&mut buffer)?;
        if got == 0 {
            bail!("the API hung up");
        }
        answer.extend_from_slice(&buffer[..got]);
        if head.is_none() {
            head = Head::parse(&answer)?;
        }
        match &head {
            Some(head) if answer.len() >= head.begins + head.length => {
                return Ok((head.status, answer.split_off(head.begins)));
            }
            _ => {}
        }
    }
}

/// Asks on a connection of its own, for an answer of any form that has an end; its body.
pub(crate) fn fetch(socket: &Path, path: &str) -> Result<String> {
    let mut client = UnixStream::connect(socket)?;
    // Of version 1.0 the end of the connection is the end of the answer.
    client.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    let head = Head::parse(answer.as_bytes())?.context("an answer without an end of its head")?;
    let body = answer.split_off(head.begins);
    match head.status {
        200 => Ok(body),
        status => bail!("GET {path} is answered with {status}: {body}"),
    }
}

/// What the first lines of an answer say.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Where the body begins, and its length.
    begins: usize,
    length: usize,
}

impl Head {
    /// Of an answer, if all of it is there.
    fn parse(answer: &[u8]) -> Result<Option<Self>> {
        const END: &[u8] = b"\r\n\r\n";
        let Some(end) = answer.windows(END.len()).position(|bytes| bytes == END) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&answer[..end])?;
        let status = text.split(' ').nth(1).context("no status")?.parse()?;
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>())
        });
        Ok(Some(Self {
            status,
            begins: end + END.len(),
            // An answer without content has no length either.
            length: length.transpose()?.unwrap_or_default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_the_length_of_a_body_or_there_is_none() {
        let head = |answer: &[u8]| Head::parse(answer);
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let known = head(whole).unwrap().unwrap();
        assert_eq!((known.status, known.length), (200, 2));
        assert_eq!(&whole[known.begins..], b"{}");
        assert_eq!(head(&whole[..30]).unwrap(), None);
        let empty = b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n";
        let known = head(empty).unwrap().unwrap();
        assert_eq!(
            (known.status, known.begins, known.length),
            (204, empty.len(), 0)
        );
        assert!(head(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_has_the_length_of_its_body() {
        let body = serde_json::json!({ "a": 1 });
        let sent = String::from_utf8(request("POST", "/x", Some(&body))).unwrap();
        assert!(sent.starts_with("POST /x HTTP/1.1\r\n"), "{sent}");
        assert!(sent.contains("\r\nContent-Length: 7\r\n"), "{sent}");
        assert!(sent.ends_with("\r\n\r\n{\"a\":1}"), "{sent}");
    }
}
