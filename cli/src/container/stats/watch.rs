//! The table that goes on.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use bollard::query_parameters::{EventsOptionsBuilder, StatsOptionsBuilder};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::{Args, Figures};
use crate::client::{Daemon, escaped, said};
use crate::format::List;
use crate::out;

/// Between two tables.
const PERIOD: Duration = Duration::from_millis(500);
/// How many samples wait for the next table.
const WAITING: usize = 64;

/// What became of a container.
#[derive(Debug)]
enum News {
    Sample(Figures),
    /// It was made, or started.
    There(String),
    /// It does not run any more, or is gone.
    Ended(String),
}

/// Containers that are watched.
struct Watched {
    daemon: Daemon,
    news: mpsc::Sender<anyhow::Result<News>>,
    tasks: JoinSet<()>,
    rows: Vec<(Figures, AbortHandle)>,
}

/// Shows a table again and again, until nothing is left to show of those that were named.
pub(super) async fn watch(
    daemon: &Daemon,
    names: Vec<String>,
    follows: bool,
    list: &List,
    args: &Args,
) -> anyhow::Result<()> {
    let (news, mut came) = mpsc::channel(WAITING);
    let mut watched = Watched {
        daemon: daemon.clone(),
        news,
        tasks: JoinSet::new(),
        rows: Vec::new(),
    };
    for name in names {
        watched.add(name);
    }
    if follows {
        watched.follow(args.all);
    }
    let is_terminal = std::io::stdout().is_terminal();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first table is shown when there is something in it.
    ticks.tick().await;
    loop {
        tokio::select! {
            came = came.recv() => match came {
                None => return Ok(()),
                Some(news) => watched.take(news?),
            },
            _ = ticks.tick() => {
                let rows: Vec<_> = watched.rows.iter().map(|(one, _)| one.row(!args.no_trunc)).collect();
                show(&list.render(&rows)?, is_terminal)?;
                if rows.is_empty() && !follows {
                    return Ok(());
                }
            }
        }
    }
}

/// Draws over the last table on a terminal.
fn show(text: &str, is_terminal: bool) -> anyhow::Result<()> {
    if !is_terminal {
        return out::print(text);
    }
    // To the upper left; each line up to its end; then all below.
    let lines = text.lines().map(|line| format!("{line}\x1b[K\n"));
    out::print(&format!("\x1b[H{}\x1b[J", lines.collect::<String>()))
}

impl Watched {
    fn take(&mut self, news: News) {
        match news {
            News::Sample(sample) => {
                let known = self.rows.iter_mut();
                let mut known = known.filter(|(one, _)| one.container == sample.container);
                if let Some((row, _)) = known.next() {
                    *row = sample;
                }
            }
            News::There(id) => self.add(id),
            News::Ended(id) => {
                self.rows.retain(|(one, task)| {
                    let stays = one.container != id;
                    if !stays {
                        task.abort();
                    }
                    stays
                });
            }
        }
    }

    fn add(&mut self, name: String) {
        if self.rows.iter().any(|(one, _)| one.container == name) {
            return;
        }
        let (daemon, news) = (self.daemon.clone(), self.news.clone());
        let figures = Figures::unknown(&name);
        let task = self.tasks.spawn(async move {
            let how = StatsOptionsBuilder::new().stream(true).build();
            let mut samples = daemon.docker().stats(&escaped(&name), Some(how)).boxed();
            loop {
                let told = match samples.try_next().await {
                    Ok(Some(sample)) => Ok(News::Sample(Figures::of(&name, &sample))),
                    Ok(None) => Ok(News::Ended(name.clone())),
                    Err(error) => Err(said(error)),
                };
                let is_last = !matches!(told, Ok(News::Sample(_)));
                if news.send(told).await.is_err() || is_last {
                    return;
                }
            }
        });
        self.rows.push((figures, task));
    }

    /// Has those added that are made or started, and taken away that end.
    fn follow(&mut self, all: bool) {
        let (daemon, news) = (self.daemon.clone(), self.news.clone());
        self.tasks.spawn(async move {
            let filters = HashMap::from([("type", vec!["container"])]);
            let which = EventsOptionsBuilder::new().filters(&filters).build();
            let mut events = std::pin::pin!(daemon.docker().events(Some(which)));
            while let Some(event) = events.next().await {
                let told = match event {
                    Err(error) => Err(said(error)),
                    Ok(event) => {
                        let id = event.actor.and_then(|actor| actor.id).unwrap_or_default();
                        match event.action.as_deref() {
                            Some("create") if all => Ok(News::There(id)),
                            Some("start") => Ok(News::There(id)),
                            Some("die") if !all => Ok(News::Ended(id)),
                            Some("destroy") => Ok(News::Ended(id)),
                            _ => continue,
                        }
                    }
                };
                if news.send(told).await.is_err() {
                    return;
                }
            }
        });
    }
}
