//! `hull ps`: which containers there are.

use std::process::ExitCode;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use hull_engine::{Engine, Listed, Status};
use jiff::Timestamp;
use serde_json::json;

use crate::context::Context;

/// List containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// How to print them; json is one object in a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(ctx.paths().clone())?;
    let mut containers = engine.list()?;
    containers.retain(|one| args.all || is_up(one));
    let now = Timestamp::now();
    if args.quiet {
        for one in &containers {
            anstream::println!("{}", id(one, args.no_trunc));
        }
    } else if args.format == Format::Json {
        for one in &containers {
            anstream::println!("{}", object(one, args.no_trunc, now));
        }
    } else {
        anstream::println!("{}", table(&containers, args.no_trunc, now));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(containers: &[Listed], full: bool, now: Timestamp) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "NAMES",
    ]);
    for one in containers {
        table.add_row([
            id(one, full),
            one.config.image.clone(),
            command(one, full),
            format!("{} ago", ago(one.state.created, now)),
            status(one, now),
            one.name.clone(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

/// The fields of `docker ps --format json` that Hull has something to say about.
fn object(one: &Listed, full: bool, now: Timestamp) -> serde_json::Value {
    let labels: Vec<String> = one
        .config
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    json!({
        "ID": id(one, full),
        "Image": one.config.image,
        "ImageID": one.image_id,
        "Command": command(one, full),
        "CreatedAt": one.state.created.to_string(),
        "RunningFor": format!("{} ago", ago(one.state.created, now)),
        "State": state(one),
        "Status": status(one, now),
        "Names": one.name,
        "Labels": labels.join(","),
        "ExitCode": one.state.exit_code,
        "Error": one.state.error,
    })
}

fn id(one: &Listed, full: bool) -> String {
    if full {
        one.id.to_string()
    } else {
        one.id.short().to_owned()
    }
}

fn command(one: &Listed, full: bool) -> String {
    let text = one.command.join(" ");
    // What an image says is not to steer the terminal.
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if full || text.chars().count() <= 20 {
        return format!("\"{text}\"");
    }
    let short: String = text.chars().take(19).collect();
    format!("\"{short}…\"")
}

fn is_up(one: &Listed) -> bool {
    matches!(one.state.status, Status::Running | Status::Paused)
}

fn state(one: &Listed) -> &'static str {
    match one.state.status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Suspended => "suspended",
        Status::Exited => "exited",
    }
}

fn status(one: &Listed, now: Timestamp) -> String {
    let since = |time: Option<Timestamp>| ago(time.unwrap_or(one.state.created), now);
    match one.state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}", since(one.state.started)),
        Status::Paused => format!("Up {} (Paused)", since(one.state.started)),
        Status::Suspended => format!("Suspended {} ago", since(one.state.finished)),
        Status::Exited => {
            let code = one.state.exit_code.unwrap_or_default();
            format!("Exited ({code}) {} ago", since(one.state.finished))
        }
    }
}

/// A duration as Docker says it: the largest unit is enough.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    let (count, unit) = match seconds {
        0 => return "Less than a second".to_owned(),
        1..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        172_800..1_209_600 => (seconds / 86_400, "day"),
        1_209_600..5_184_000 => (seconds / 604_800, "week"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    if count == 1 {
        format!("1 {unit}")
    } else {
        format!("{count} {unit}s")
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn durations_are_said_in_their_largest_unit() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 3000);
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (7200, "2 hours"),
            (172_800, "2 days"),
            (100_000_000, "3 years"),
            (-5, "Less than a second"),
        ] {
            assert_eq!(ago(now - SignedDuration::from_secs(seconds), now), text);
        }
    }
}
