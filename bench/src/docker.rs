//! `docker run` and `docker exec`, from the command to its exit, and whose time that is. Beside Docker's client Hull's own does the same.
//!
//! Both speak to the daemon through a relay, which notes what they ask and when they are answered.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::contestants::Hull;
use crate::daemon::Daemon;
use crate::http::fetch;
use crate::measure::{Cost, milliseconds, run_time, to_the_end};
use crate::relay::{Relay, Turn};
use crate::report::Report;
use crate::split::{self, Clock, Part, Span, Steps};

const RUN: &str = "docker run --rm busybox true";
const EXEC: &str = "docker exec CONTAINER true";
/// The container in which processes are started.
const CONTAINER: &str = "bench";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Hull,
    Docker,
}

impl Client {
    fn name(self) -> &'static str {
        match self {
            Self::Hull => "hull",
            Self::Docker => "docker client",
        }
    }

    /// Those that are installed.
    fn all() -> Vec<Self> {
        if Command::new("docker").arg("--version").output().is_ok() {
            return vec![Self::Hull, Self::Docker];
        }
        eprintln!("docker is not installed: Docker's client does not take part");
        vec![Self::Hull]
    }
}

/// What one command took.
#[derive(Debug)]
struct Sample {
    client: Cost,
    daemon: Duration,
    parts: Vec<Part>,
}

/// A command that has ended, and what is known of it.
struct Told {
    cost: Cost,
    daemon: Duration,
    span: Span,
    turns: Vec<Turn>,
    clock: Clock,
    events: String,
}

/// A command to be measured.
struct Measured {
    name: &'static str,
    rounds: usize,
    /// Runs it once.
    one: fn(&Bench, Client) -> Result<Sample>,
}

struct Bench {
    daemon: Daemon,
    relay: Relay,
}

pub(crate) fn measure(hull: &Hull, rounds: usize, report: &mut Report) -> Result<()> {
    let [runs, execs] = [RUN, EXEC].map(|name| report.wants(name));
    if !(runs || execs) {
        return Ok(());
    }
    let daemon = Daemon::start(hull, "busybox")?;
    let relay = Relay::start(daemon.home().join("relay"), daemon.socket())?;
    let bench = Bench { daemon, relay };
    let clients = Client::all();
    // The first one boots, and makes the template of those that are measured.
    bench.run(Client::Hull)?;
    if runs {
        let command = Measured {
            name: RUN,
            rounds,
            one: Bench::run_clone,
        };
        bench.rounds(&clients, &command, report)?;
    }
    if execs {
        let args = [
            "run", "-d", "--name", CONTAINER, "busybox", "sleep", "infinity",
        ];
        to_success(&mut bench.daemon.hull(&args))?;
        let command = Measured {
            name: EXEC,
            rounds: rounds * 3,
            one: Bench::exec,
        };
        bench.rounds(&clients, &command, report)?;
    }
    Ok(())
}

impl Bench {
    /// Lets the clients take turns.
    fn rounds(&self, clients: &[Client], command: &Measured, report: &mut Report) -> Result<()> {
        let mut samples: Vec<Vec<Sample>> = clients.iter().map(|_| Vec::new()).collect();
        for _ in 0..command.rounds {
            for (client, samples) in clients.iter().zip(&mut samples) {
                samples.push((command.one)(self, *client).with_context(|| client.name())?);
            }
        }
        for (client, samples) in clients.iter().zip(&samples) {
            add(command.name, client.name(), samples, report);
        }
        Ok(())
    }

    /// A `run` whose machine is a clone.
    fn run_clone(&self, client: Client) -> Result<Sample> {
        let before = self.steps()?;
        let sample = self.run(client)?;
        ensure!(!self.steps()?.booted(&before), "the machine was no clone");
        Ok(sample)
    }

    fn run(&self, client: Client) -> Result<Sample> {
        let before = self.steps()?;
        let told = self.tell(client, &["run", "--rm", "busybox", "true"])?;
        let after = self.steps()?;
        let died = told.clock.of_event(&told.events, "die")?;
        let parts = split::run(told.span, &told.turns, (&before, &after), died)?;
        Ok(told.sample(parts))
    }

    fn exec(&self, client: Client) -> Result<Sample> {
        let told = self.tell(client, &["exec", CONTAINER, "true"])?;
        let event = |action| told.clock.of_event(&told.events, action);
        let (began, died) = (event("exec_start")?, event("exec_die")?);
        let parts = split::exec(told.span, &told.turns, began, died)?;
        Ok(told.sample(parts))
    }

    /// Has a client do something, and gathers what is known of it.
    fn tell(&self, client: Client, args: &[&str]) -> Result<Told> {
        let mut command = match client {
            Client::Hull => self.daemon.hull(args),
            Client::Docker => self.daemon.docker(args),
        };
        let socket = self.relay.socket();
        command.env("HULL_RUN", self.relay.directory());
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        self.relay.take();
        let used = run_time(self.daemon.pid()?)?;
        let (clock, begun) = (Clock::now()?, Instant::now());
        let cost = to_success(&mut command)?;
        let span = Span {
            begun,
            exited: begun + cost.wall,
        };
        let daemon = run_time(self.daemon.pid()?)?.saturating_sub(used);
        let (since, until) = (clock.unix(), Clock::now()?.unix());
        let path = format!("/events?since={since}&until={until}");
        Ok(Told {
            cost,
            daemon,
            span,
            turns: self.relay.take(),
            clock,
            events: fetch(&self.daemon.socket(), &path)?,
        })
    }

    fn steps(&self) -> Result<Steps> {
        let metrics = fetch(&self.daemon.socket(), "/metrics")?;
        Ok(Steps::read(&metrics))
    }
}

impl Told {
    fn sample(self, parts: Vec<Part>) -> Sample {
        Sample {
            client: self.cost,
            daemon: self.daemon,
            parts,
        }
    }
}

fn to_success(command: &mut Command) -> Result<Cost> {
    let (cost, status) = to_the_end(command)?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(cost)
}

fn add(name: &str, client: &str, samples: &[Sample], report: &mut Report) {
    let mut one = |what: &str, figure: &dyn Fn(&Sample) -> Duration| {
        let figures = samples.iter().map(|sample| milliseconds(figure(sample)));
        report.add(&format!("{name}: {what}"), client, "ms", figures.collect());
    };
    one("command to exit", &|sample| sample.client.wall);
    let names = samples.first().map_or(&[][..], |sample| &sample.parts);
    for (place, (part, _)) in names.iter().enumerate() {
        one(part, &|sample| {
            sample
                .parts
                .get(place)
                .map_or(Duration::ZERO, |part| part.1)
        });
    }
    one("CPU of the client", &|sample| {
        sample.client.user + sample.client.system
    });
    one("CPU of the daemon", &|sample| sample.daemon);
}
