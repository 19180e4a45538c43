//! `hull update`: other limits for containers that are there.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use hull_engine::{parse_cpus, parse_size};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::each::each;
use crate::client::Daemon;
use crate::complete;
use crate::context::Context;

/// Change limits of containers, and what happens after their end
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull update --memory 256m --cpus 0.5 web\n  \
    hull update --restart unless-stopped web database")]
pub(crate) struct Args {
    /// The weight of its disks
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// How many microseconds a period has in which its processor time is counted
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<i64>,
    /// How many microseconds of a period it may use
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Its weight where processors are scarce
    #[arg(short, long, value_name = "WEIGHT")]
    cpu_shares: Option<i64>,
    /// How much processor time: 2, or 0.5
    #[arg(long, value_name = "N")]
    cpus: Option<String>,
    /// The host's processors that it may use
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// The host's memory nodes that it may use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// The limit of memory: 512m, 1g
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// Where its memory begins to be taken back when it is scarce
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// The limit of memory and swap together, -1 for none
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    memory_swap: Option<String>,
    /// How many processes it may have, -1 for any number
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// What happens after its end: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    containers: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Updated {
    warnings: Option<Vec<String>>,
}

pub(super) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let body = body(&args)?;
    let daemon = Daemon::connect(ctx).await?;
    each(args.containers, |name| {
        let (daemon, body) = (daemon.clone(), body.clone());
        async move {
            let path = format!("/containers/{name}/update");
            let updated: Updated = daemon.post(&path, &body).await?;
            for warning in updated.warnings.unwrap_or_default() {
                anstream::eprintln!("hull: {warning}");
            }
            Ok(())
        }
    })
    .await
}

fn body(args: &Args) -> anyhow::Result<Value> {
    let size = |text: &String| parse_size(text).map(|size| json!(size));
    let swap = |text: &String| match text.as_str() {
        "-1" => Ok(json!(-1)),
        _ => size(text),
    };
    let number = |number: Option<i64>| number.map(|number| json!(number));
    let fields = [
        ("BlkioWeight", args.blkio_weight.map(|weight| json!(weight))),
        ("CpuPeriod", number(args.cpu_period)),
        ("CpuQuota", number(args.cpu_quota)),
        ("CpuShares", number(args.cpu_shares)),
        (
            "NanoCpus",
            args.cpus
                .as_deref()
                .map(|text| parse_cpus(text).map(|cpus| json!(cpus)))
                .transpose()?,
        ),
        (
            "CpusetCpus",
            args.cpuset_cpus.as_ref().map(|list| json!(list)),
        ),
        (
            "CpusetMems",
            args.cpuset_mems.as_ref().map(|list| json!(list)),
        ),
        ("Memory", args.memory.as_ref().map(size).transpose()?),
        (
            "MemoryReservation",
            args.memory_reservation.as_ref().map(size).transpose()?,
        ),
        (
            "MemorySwap",
            args.memory_swap.as_ref().map(swap).transpose()?,
        ),
        ("PidsLimit", number(args.pids_limit)),
        (
            "RestartPolicy",
            args.restart.as_deref().map(policy).transpose()?,
        ),
    ];
    let body: Map<String, Value> = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    if body.is_empty() {
        bail!("you must provide one or more flags when using this command");
    }
    Ok(Value::Object(body))
}

/// Reads `on-failure:3`.
fn policy(text: &str) -> anyhow::Result<Value> {
    let (name, times) = match text.split_once(':') {
        Some((name, times)) => (name, Some(times)),
        None => (text, None),
    };
    let times = times.map(str::parse::<u32>).transpose();
    let times = times.with_context(|| {
        format!("invalid --restart {text:?}: a number of times is expected behind the colon")
    })?;
    Ok(json!({ "Name": name, "MaximumRetryCount": times.unwrap_or(0) }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn of(line: &[&str]) -> anyhow::Result<Value> {
        let line = [&["update"], line, &["web"]].concat();
        body(&Line::try_parse_from(line)?.args)
    }

    #[test]
    fn only_what_was_said_is_sent() {
        assert_eq!(
            of(&["--memory", "1g", "--cpus", "1.5", "--pids-limit", "-1"]).unwrap(),
            json!({ "Memory": 1 << 30, "NanoCpus": 1_500_000_000, "PidsLimit": -1 })
        );
        assert_eq!(
            of(&["--memory-swap", "-1", "--restart", "on-failure:3"]).unwrap(),
            json!({ "MemorySwap": -1, "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 3 } })
        );
        for bad in [
            &[][..],
            &["--memory", "much"],
            &["--restart", "on-failure:x"],
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
