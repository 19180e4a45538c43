//! The program `nft`: a script in, or a listing as JSON out (`man libnftables-json`).

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::super::{Error, program};

/// How much of what it says is shown.
const SAID: usize = 400;

/// Runs a script as one transaction.
pub(super) fn apply(script: &str) -> Result<(), Error> {
    let output = run(&["-f", "-"], script)?;
    if output.status.success() {
        return Ok(());
    }
    Err(refused(&output))
}

/// Lists an object; nothing if it is not there.
pub(super) fn list(object: &[&str]) -> Result<Option<Value>, Error> {
    let mut arguments = vec!["-j", "list"];
    arguments.extend_from_slice(object);
    let output = run(&arguments, "")?;
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).ok());
    }
    match String::from_utf8_lossy(&output.stderr).contains("No such file or directory") {
        true => Ok(None),
        false => Err(refused(&output)),
    }
}

/// All objects of one kind in a listing.
pub(super) fn objects<'a>(listing: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = listing.get("nftables").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(move |object| object.get(kind))
}

/// The packets that a counter of Hull's table has counted.
pub(super) fn counter(family: &str, name: &str) -> Result<u64, Error> {
    let listing = list(&["counter", family, "hull", name])?;
    let packets = listing.as_ref().and_then(|listing| {
        objects(listing, "counter").find_map(|counter| counter.get("packets")?.as_u64())
    });
    packets.ok_or_else(|| Error::Rules {
        said: format!("there is no counter {name} in table {family} hull"),
    })
}

fn run(arguments: &[&str], script: &str) -> Result<Output, Error> {
    let failed = |source| Error::Start {
        program: "nft",
        source,
    };
    let mut command = Command::new(program::find("nft").ok_or(Error::NoNft)?);
    let mut child = command
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // It reads all of its input before it says anything; if it ends before, its status says why.
        match stdin.write_all(script.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed(error)),
            _ => {}
        }
    }
    child.wait_with_output().map_err(failed)
}

fn refused(output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("Operation not permitted") {
        return Error::Privilege("set packet filter rules".to_owned());
    }
    // The lines that repeat the script are of no use to whom did not write it.
    let lines = said.lines().filter(|line| line.contains("rror"));
    let said: String = lines
        .take(3)
        .collect::<Vec<_>>()
        .join("; ")
        .chars()
        .take(SAID)
        .collect();
    Error::Rules { said }
}
