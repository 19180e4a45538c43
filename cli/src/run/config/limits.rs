//! Memory, processors and other limits.

use anyhow::{Context as _, bail};
use bollard::models::{HostConfig, ResourcesUlimits};
use hull_engine::parse_cpus;

use super::files::size;
use crate::run::args::Limits;

pub(super) fn apply(args: &Limits, host: &mut HostConfig) -> anyhow::Result<()> {
    let cpus = args.cpus.as_deref().map(parse_cpus).transpose()?;
    host.nano_cpus = cpus.map(|cpus| i64::try_from(cpus).unwrap_or(i64::MAX));
    host.cpu_shares = args.cpu_shares;
    host.cpu_period = args.cpu_period;
    host.cpu_quota = args.cpu_quota;
    host.memory = args.memory.as_deref().map(size).transpose()?;
    host.memory_reservation = args.memory_reservation.as_deref().map(size).transpose()?;
    host.memory_swap = match args.memory_swap.as_deref() {
        // As much as there is.
        Some("-1") => Some(-1),
        other => other.map(size).transpose()?,
    };
    host.pids_limit = args.pids_limit;
    host.oom_score_adj = args.oom_score_adj;
    let ulimits: Vec<_> = args
        .ulimit
        .iter()
        .map(|text| ulimit(text).with_context(|| format!("invalid --ulimit {text:?}")))
        .collect::<Result<_, _>>()?;
    host.ulimits = Some(ulimits).filter(|all| !all.is_empty());
    Ok(())
}

/// `nofile=1024`, `nofile=1024:4096`, `core=unlimited`.
pub(crate) fn ulimit(text: &str) -> anyhow::Result<ResourcesUlimits> {
    let limit = |text: &str| match text {
        "unlimited" => Some(-1),
        _ => text.parse::<i64>().ok().filter(|limit| *limit >= -1),
    };
    let parse = || {
        let (name, limits) = text.split_once('=')?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        Some((name.to_owned(), limit(soft)?, limit(hard)?))
    };
    let (name, soft, hard) = parse().context("NAME=SOFT[:HARD] is expected")?;
    if hard != -1 && (soft == -1 || soft > hard) {
        bail!("the soft limit must not be above the hard limit");
    }
    Ok(ResourcesUlimits {
        name: Some(name),
        soft: Some(soft),
        hard: Some(hard),
    })
}
