//! `GET /containers/{id}/top`: the container's processes as ps(1) shows them. There is no ps involved, whose options are many: what is
//! understood are `-ef`, `aux`, and lists of columns (`-o pid,comm`).

use axum::extract::{Path, State};
use axum::response::Response;
use hull_engine::inquiry::{ProcessInfo, Processes};
use hull_engine::{Error, Status};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use crate::error::ApiError;
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

/// The columns of `ps -ef` and of `ps aux`.
const FULL: &str = "uid,pid,ppid,c,stime,tty,time,cmd";
const BSD: &str = "user,pid,%cpu,%mem,vsz,rss,tty,stat,start,time,command";

#[derive(Clone, Copy, Debug)]
struct Column {
    /// As it is asked for.
    name: &'static str,
    title: &'static str,
    show: fn(&ProcessInfo, &Moment) -> String,
}

/// When processes were looked at, and on what machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    now: Timestamp,
    at_us: u64,
    /// Bytes of memory.
    memory: u64,
}

const COLUMNS: &[Column] = &[
    column("uid", "UID", |p, _| p.user.clone()),
    column("user", "USER", |p, _| p.user.clone()),
    column("euser", "EUSER", |p, _| p.user.clone()),
    column("euid", "EUID", |p, _| p.uid.to_string()),
    column("pid", "PID", |p, _| p.pid.to_string()),
    column("ppid", "PPID", |p, _| p.ppid.to_string()),
    column("c", "C", |p, m| (share(p, m) / 10).to_string()),
    column("%cpu", "%CPU", |p, m| tenths(share(p, m))),
    column("pcpu", "%CPU", |p, m| tenths(share(p, m))),
    column("%mem", "%MEM", |p, m| tenths(memory(p, m))),
    column("pmem", "%MEM", |p, m| tenths(memory(p, m))),
    column("vsz", "VSZ", |p, _| (p.vsz / 1024).to_string()),
    column("rss", "RSS", |p, _| (p.rss / 1024).to_string()),
    column("tty", "TTY", |p, _| p.tty.clone()),
    column("tt", "TT", |p, _| p.tty.clone()),
    column("stat", "STAT", |p, _| p.state.to_string()),
    column("s", "S", |p, _| p.state.to_string()),
    column("state", "S", |p, _| p.state.to_string()),
    column("ni", "NI", |p, _| p.nice.to_string()),
    column("nice", "NI", |p, _| p.nice.to_string()),
    column("nlwp", "NLWP", |p, _| p.threads.to_string()),
    column("stime", "STIME", started),
    column("start", "START", started),
    column("etime", "ELAPSED", |p, m| {
        clock(m.at_us.saturating_sub(p.started_us))
    }),
    column("time", "TIME", |p, _| clock(p.cpu_us)),
    column("comm", "COMMAND", |p, _| p.name.clone()),
    column("cmd", "CMD", |p, _| command(p)),
    column("args", "COMMAND", |p, _| command(p)),
    column("command", "COMMAND", |p, _| command(p)),
];

const fn column(
    name: &'static str,
    title: &'static str,
    show: fn(&ProcessInfo, &Moment) -> String,
) -> Column {
    Column { name, title, show }
}

pub(crate) async fn top(
    State(supervisor): State<Shared>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let container = supervisor.find(&id)?;
    let columns = columns(params.text("ps_args").unwrap_or("-ef"))?;
    match container.state().status {
        Status::Running => {}
        Status::Paused => return Err(Error::Paused(container.name(), "top").into()),
        _ => {
            let message = format!("container {} is not running", container.id());
            return Err(ApiError::conflict(message));
        }
    }
    let (_guest, mut inquiry) = container.guest().await?;
    let Processes { at_us, list, .. } = inquiry.processes().await.map_err(Error::from)?;
    let stats = inquiry.stats().await.map_err(Error::from)?;
    let moment = Moment {
        now: Timestamp::now(),
        at_us,
        memory: stats.memory.machine,
    };
    let row = |process: &ProcessInfo| -> Vec<String> {
        let cells = columns.iter().map(|column| (column.show)(process, &moment));
        cells.collect()
    };
    container.tell("top");
    Ok(lines::value(&json!({
        "Titles": columns.iter().map(|column| column.title).collect::<Vec<_>>(),
        "Processes": list.iter().map(row).collect::<Vec<_>>(),
    })))
}

/// What ps(1) would show with these options.
fn columns(options: &str) -> Result<Vec<Column>, ApiError> {
    let refused = |what: &str| {
        ApiError::invalid(format!(
            "the ps options {what:?} are not supported: there are -ef, aux, and -o with the columns {}",
            COLUMNS
                .iter()
                .map(|column| column.name)
                .collect::<Vec<_>>()
                .join(",")
        ))
    };
    let mut lists = Vec::new();
    let mut preset = None;
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            // All there are belong to the container, so that all of these are the same.
            "-e" | "-A" | "-a" | "-x" | "a" | "x" | "ax" => {}
            "-ef" | "-f" | "-fe" | "-Af" => preset = Some(FULL),
            "aux" | "-aux" | "u" | "axu" | "ux" | "au" => preset = Some(BSD),
            "-o" | "-eo" | "-Ao" | "o" | "axo" | "-axo" | "--format" | "-O" => {
                lists.push(words.next().ok_or_else(|| refused(options))?);
            }
            _ => match word
                .strip_prefix("-eo")
                .or_else(|| word.strip_prefix("-o"))
                .or_else(|| word.strip_prefix("--format="))
            {
                Some(list) if !list.is_empty() => lists.push(list),
                _ => return Err(refused(options)),
            },
        }
    }
    let names = match lists.is_empty() {
        true => preset.unwrap_or("pid,tty,time,comm").to_owned(),
        false => lists.join(","),
    };
    let find = |name: &str| {
        let mut known = COLUMNS.iter();
        let found = known.find(|column| column.name.eq_ignore_ascii_case(name));
        found.copied().ok_or_else(|| refused(options))
    };
    names.split(',').map(|name| find(name.trim())).collect()
}

/// Its time on the CPUs, in thousandths of the time since it started.
fn share(process: &ProcessInfo, moment: &Moment) -> u64 {
    let lived = moment.at_us.saturating_sub(process.started_us);
    let used = process.cpu_us.saturating_mul(1000);
    used.checked_div(lived).unwrap_or_default()
}

/// Its memory, in thousandths of the machine's.
fn memory(process: &ProcessInfo, moment: &Moment) -> u64 {
    let used = process.rss.saturating_mul(1000);
    used.checked_div(moment.memory).unwrap_or_default()
}

fn tenths(thousandths: u64) -> String {
    format!("{}.{}", thousandths / 10, thousandths % 10)
}

/// `00:01:02`, as ps has it.
fn clock(us: u64) -> String {
    let seconds = us / 1_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

/// The time of day, or the day if that is another one.
fn started(process: &ProcessInfo, moment: &Moment) -> String {
    let ago = moment.at_us.saturating_sub(process.started_us);
    let ago = std::time::Duration::from_micros(ago);
    let Ok(then) = moment.now.checked_sub(ago) else {
        return "?".to_owned();
    };
    let (then, now) = (
        then.to_zoned(TimeZone::UTC),
        moment.now.to_zoned(TimeZone::UTC),
    );
    let format = match then.date() == now.date() {
        true => "%H:%M",
        false => "%b%d",
    };
    then.strftime(format).to_string()
}

/// The command line; of one that has none, its name in brackets.
fn command(process: &ProcessInfo) -> String {
    match process.arguments.is_empty() {
        true => format!("[{}]", process.name),
        false => process.arguments.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_ps_are_understood_or_refused() {
        let titles = |options: &str| -> Vec<&str> {
            columns(options)
                .unwrap()
                .iter()
                .map(|column| column.title)
                .collect()
        };
        assert_eq!(
            titles("-ef"),
            ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        );
        assert_eq!(titles("aux")[..4], ["USER", "PID", "%CPU", "%MEM"]);
        assert_eq!(titles("-eo pid,comm"), ["PID", "COMMAND"]);
        assert_eq!(titles("-o pid -o args"), ["PID", "COMMAND"]);
        for wrong in ["-Z", "-o", "-o nothing", "-ef; rm"] {
            let error = columns(wrong).unwrap_err();
            assert!(error.message.contains(wrong), "{}", error.message);
        }
    }

    #[test]
    fn times_and_shares_are_those_of_ps() {
        let process = ProcessInfo {
            started_us: 1_000_000,
            cpu_us: 3_723_000_000,
            rss: 25,
            arguments: vec!["sleep".to_owned(), "9".to_owned()],
            ..ProcessInfo::default()
        };
        let moment = Moment {
            now: "2024-05-01T10:30:00Z".parse().unwrap(),
            at_us: 7_447_000_000,
            memory: 1000,
        };
        assert_eq!(clock(process.cpu_us), "01:02:03");
        assert_eq!(tenths(share(&process, &moment)), "50.0");
        assert_eq!(tenths(memory(&process, &moment)), "2.5");
        assert_eq!(started(&process, &moment), "08:25");
        assert_eq!(command(&process), "sleep 9");
    }
}
