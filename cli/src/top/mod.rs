//! `hull top`: a live view of all microVMs; of one container, its processes.

mod machine;
mod rows;
mod view;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::sleep;

use crate::client::Daemon;
use crate::container;
use crate::context::Context;
use crate::format::List;
use machine::Machine;
use rows::{COLUMNS, Round, Sort};

/// Show what all microVMs use, live, or the processes of a container
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "hull top [OPTIONS]\n       hull top CONTAINER [PS OPTIONS]",
    after_help = "CPU is of one processor of the host, VMM included. OWN is memory that a microVM has written,\n\
    SHARED what it may have in common with others, such as its template and the programs in it, LIMIT\n\
    the most that it can have. On a terminal c, m, n and u sort by CPU, memory, name and uptime, and\n\
    q quits.\n\n\
    Examples:\n  \
    hull top\n  \
    hull top --no-stream --sort memory\n  \
    hull top --no-stream --format '{{.Name}} {{.CPUPerc}} {{.Own}}'\n  \
    hull top web                              the processes of a container\n  \
    hull top web -o pid,rss,comm"
)]
pub(crate) struct Args {
    /// Show it once
    #[arg(long)]
    no_stream: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = interval)]
    interval: f64,
    /// What comes first
    #[arg(long, value_enum, value_name = "FIELD", default_value_t = Sort::Cpu)]
    sort: Sort,
    /// table, json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// A container, and options of ps(1)
    #[arg(value_name = "CONTAINER", add = crate::complete::containers(), trailing_var_arg = true,
        allow_hyphen_values = true, num_args = 0..)]
    container_and_options: Vec<String>,
}

/// The first look has nothing to compare with, so another one follows soon.
const FIRST: Duration = Duration::from_secs(1);

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    if !args.container_and_options.is_empty() {
        let container_and_options = args.container_and_options;
        let args = container::top::Args {
            container_and_options,
        };
        return container::top::run(args, ctx).await;
    }
    let list = List::new(&COLUMNS, args.format.as_deref(), false)?;
    let interval = Duration::from_secs_f64(args.interval);
    let daemon = Daemon::connect(ctx).await?;
    let live = !args.no_stream && args.format.is_none() && std::io::stdout().is_terminal();
    if live {
        return view::run(&daemon, &list, args.sort, interval).await;
    }
    let mut last = look(&daemon).await?;
    let mut wait = FIRST;
    loop {
        sleep(wait).await;
        wait = interval;
        let now = look(&daemon).await?;
        let mut round = Round::new(&last, &now);
        round.sort(args.sort);
        list.print(&round.rows())?;
        if args.no_stream {
            return Ok(ExitCode::SUCCESS);
        }
        last = now;
    }
}

/// All microVMs that run now.
async fn look(daemon: &Daemon) -> anyhow::Result<Vec<Machine>> {
    daemon.get("/hull/stats?guest=true").await
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok();
    let sensible = seconds.filter(|seconds| (0.1..=3600.0).contains(seconds));
    sensible.ok_or_else(|| "a number from 0.1 to 3600 is expected".to_owned())
}
