//! `GET /hull/stats`: what all microVMs that run cost the host, at one moment.
//!
//! Host-side figures alone, so that one may ask often however many there are. With `?guest=true` the guests are asked how many
//! processes they have, too.

use axum::extract::State;
use axum::response::Response;
use futures_util::StreamExt as _;
use futures_util::stream;
use hull_engine::supervisor::{MachineKind, MachineUsage, RunningMachine};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::{ApiError, blocking};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

/// So many are looked at at once.
const AT_ONCE: usize = 16;

pub(super) async fn stats(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    let guest = params.flag("guest");
    let machines = blocking(move || Ok::<_, ApiError>(supervisor.machines())).await?;
    let all = stream::iter(machines).map(|machine| sample(machine, guest));
    let all: Vec<Option<Value>> = all.buffered(AT_ONCE).collect().await;
    // One that has ended meanwhile is in none of the answers.
    let all: Vec<Value> = all.into_iter().flatten().collect();
    Ok(lines::value(&Value::Array(all)))
}

async fn sample(machine: RunningMachine, guest: bool) -> Option<Value> {
    let asked = machine.clone();
    let usage = blocking(move || Ok::<_, ApiError>((asked.usage(), Timestamp::now())));
    let (usage, at) = usage.await.ok()?;
    let processes = match guest {
        true => machine.processes().await,
        false => None,
    };
    Some(shown(&machine, usage?, at, processes))
}

fn shown(
    machine: &RunningMachine,
    usage: MachineUsage,
    at: Timestamp,
    processes: Option<u64>,
) -> Value {
    let MachineUsage {
        stats,
        traffic,
        memory_limit,
        cpus,
    } = usage;
    json!({
        "kind": match machine.kind {
            MachineKind::Container => "container",
            MachineKind::Vm => "vm",
        },
        "id": machine.id,
        "name": machine.name,
        "image": machine.image,
        "paused": machine.paused,
        "started": machine.started,
        "read": at,
        "cpu_ms": stats.cpu_ms,
        "cpus": cpus,
        "memory": {
            "own": stats.own,
            "shared": stats.shared,
            "proportional": stats.memory,
            "limit": memory_limit,
        },
        "disk": traffic.map(|traffic| json!({ "read": traffic.disk_read, "written": traffic.disk_written })),
        "network": traffic.map(|traffic| json!({ "received": traffic.received, "sent": traffic.sent })),
        "processes": processes,
        "threads": stats.threads,
    })
}
