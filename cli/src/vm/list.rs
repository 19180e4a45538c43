//! `hull vm ls`, `inspect` and `stats`.

use std::process::ExitCode;

use hull_engine::plain::{Listed, MicroVms, VmStatus};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::name;
use crate::format::table::{Format, table};
use crate::format::units::ago;
use crate::out;

/// List microVMs
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Show those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Show names only
    #[arg(short, long)]
    quiet: bool,
    /// How to print them; json is one object in a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Show all that is known of microVMs, as a JSON array
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Show what microVMs that run take of the host
#[derive(Debug, clap::Args)]
pub(crate) struct StatsArgs {
    /// How to print them; json is one object in a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Names; all that run if not given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

pub(super) fn ls(args: &LsArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let mut all = vms.list()?;
    all.retain(|one| args.all || one.state.status == VmStatus::Running);
    if args.quiet {
        for one in &all {
            out::line(&one.record.name.to_string())?;
        }
    } else if args.format == Format::Json {
        for one in &all {
            out::line(&object(one, vms).to_string())?;
        }
    } else {
        let now = Timestamp::now();
        let mut table = table(&["NAME", "STATUS", "CPUS", "MEMORY", "KERNEL", "CREATED"]);
        for one in &all {
            let spec = &one.record.spec;
            let kernel = spec.kernel.as_ref().map(|path| path.display().to_string());
            table.add_row([
                one.record.name.to_string(),
                status(one, vms, now),
                spec.cpus.to_string(),
                format!("{} MiB", spec.memory_mib),
                kernel.unwrap_or_else(|| "Hull's".to_owned()),
                format!("{} ago", ago(one.record.created, now)),
            ]);
        }
        out::line(&table.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn inspect(args: &InspectArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut found = Vec::new();
    for text in &args.names {
        match name(text).and_then(|name| vms.get(&name)) {
            Ok(one) => found.push(object(&one, vms)),
            Err(error) => code = crate::fail(&error.into()),
        }
    }
    out::line(&serde_json::to_string_pretty(&found)?)?;
    Ok(code)
}

pub(super) fn stats(args: &StatsArgs, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let chosen = if args.names.is_empty() {
        vms.list()?
    } else {
        let get = |text: &String| name(text).and_then(|name| vms.get(&name));
        args.names.iter().map(get).collect::<Result<_, _>>()?
    };
    let mut table = table(&["NAME", "CPU TIME", "MEMORY / SIZE", "THREADS"]);
    for one in &chosen {
        let Some(stats) = vms.stats(one)? else {
            continue;
        };
        let (name, size) = (&one.record.name, one.record.spec.memory_mib);
        if args.format == Format::Json {
            let object = json!({
                "name": name,
                "cpu_ms": stats.cpu_ms,
                "memory_bytes": stats.memory,
                "size_mib": size,
                "threads": stats.threads,
            });
            out::line(&object.to_string())?;
        }
        table.add_row([
            name.to_string(),
            format!("{}.{:02} s", stats.cpu_ms / 1000, stats.cpu_ms % 1000 / 10),
            format!("{} MiB / {size} MiB", stats.memory >> 20),
            stats.threads.to_string(),
        ]);
    }
    if args.format == Format::Table {
        out::line(&table.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All that is known of one.
pub(super) fn object(one: &Listed, vms: &MicroVms) -> Value {
    let runs = one.state.status == VmStatus::Running;
    json!({
        "name": one.record.name,
        "status": word(one, vms),
        "exit_code": one.state.exit_code,
        "reason": one.state.reason,
        "pid": one.state.vmm.map(|vmm| vmm.pid),
        "created": one.record.created,
        "started": one.state.started,
        "finished": one.state.finished,
        "auto_remove": one.record.auto_remove,
        "api_socket": runs.then(|| vms.api_socket(&one.record.name)),
        "networks": one.state.networks,
        "spec": one.record.spec,
    })
}

fn word(one: &Listed, vms: &MicroVms) -> &'static str {
    match one.state.status {
        VmStatus::Created => "created",
        VmStatus::Running if vms.is_paused(one) => "paused",
        VmStatus::Running => "running",
        VmStatus::Suspended => "suspended",
        VmStatus::Exited => "exited",
    }
}

fn status(one: &Listed, vms: &MicroVms, now: Timestamp) -> String {
    let since = |time: Option<Timestamp>| ago(time.unwrap_or(one.record.created), now);
    match word(one, vms) {
        "created" => "Created".to_owned(),
        "paused" => format!("Up {} (Paused)", since(one.state.started)),
        "running" => format!("Up {}", since(one.state.started)),
        "suspended" => format!("Suspended {} ago", since(one.state.finished)),
        _ => {
            let code = one.state.exit_code.unwrap_or_default();
            format!("Exited ({code}) {} ago", since(one.state.finished))
        }
    }
}
