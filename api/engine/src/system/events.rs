//! `GET /events`.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use hull_engine::supervisor::{Event, EventKind, Supervisor};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::filters::Filters;
use crate::lines;
use crate::params::Params;
use crate::router::Shared;
use crate::words;

const FILTERS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

pub(crate) async fn events(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    let filters = params.filters(&FILTERS)?;
    let moment = |name: &str| params.text(name).map(words::moment).transpose();
    let (since, until) = (moment("since")?, moment("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        return Err(ApiError::invalid(
            "`since` time cannot be after `until` time",
        ));
    }
    let (kept, coming) = supervisor.events().subscribe();
    // Without `since` only what comes is wanted; without that, `until` in the past wants nothing.
    let wanted = |event: &Event| {
        since.is_some_and(|since| event.time >= since)
            && until.is_none_or(|until| event.time <= until)
    };
    let watch = Watch {
        filters,
        kept: kept.into_iter().filter(wanted).collect(),
        coming,
        until: until.map(instant),
    };
    let stream = unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((
            Ok::<_, std::io::Error>(Bytes::from(format!("{}\n", shown(&event)))),
            watch,
        ))
    });
    Ok(lines::json(Body::from_stream(stream)))
}

/// When a moment will be, by the clock that timers have.
fn instant(time: Timestamp) -> Instant {
    let left = Duration::try_from(time.duration_since(Timestamp::now()));
    Instant::now()
        + left
            .unwrap_or_default()
            .min(Duration::from_secs(10 * 365 * 24 * 3600))
}

/// Events for one client.
struct Watch {
    filters: Filters,
    kept: VecDeque<Event>,
    coming: broadcast::Receiver<Event>,
    until: Option<Instant>,
}

impl Watch {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let event = match self.kept.pop_front() {
                Some(event) => event,
                None => self.receive().await?,
            };
            if fits(&self.filters, &event) {
                return Some(event);
            }
        }
    }

    async fn receive(&mut self) -> Option<Event> {
        let until = self.until;
        let end = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => return None,
                event = self.coming.recv() => match event {
                    Ok(event) => return Some(event),
                    Err(RecvError::Closed) => return None,
                    // A client that does not read loses events, and not the daemon its memory.
                    Err(RecvError::Lagged(count)) => tracing::warn!(count, "a client lost events"),
                },
            }
        }
    }
}

/// Whether a client asked for this one.
fn fits(filters: &Filters, event: &Event) -> bool {
    let kind = event.kind.as_str();
    let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
    // One condition on things of a kind excludes those of other kinds.
    let of = |name: &str, texts: &[&str]| {
        !filters.has(name) || (kind == name && filters.prefix(name, texts))
    };
    let never = ["config", "node", "plugin", "secret", "service"];
    // `exec_start: sh` is found by `exec_start`, too.
    let plain = event.action.split(':').next().unwrap_or_default();
    let image = if event.kind == EventKind::Image {
        event.actor.as_str()
    } else {
        attribute("image")
    };
    let tagless = image.split(':').next().unwrap_or_default();
    filters.exact("type", kind)
        && filters.exact("scope", "local")
        && (filters.exact("event", &event.action) || filters.exact("event", plain))
        && of("container", &[&event.actor, attribute("name")])
        && of("network", &[&event.actor, attribute("name")])
        && of("volume", &[&event.actor])
        && of("daemon", &[&event.actor, attribute("name")])
        && (!filters.has("image")
            || [image, tagless, attribute("name")]
                .iter()
                .any(|text| filters.exact("image", text)))
        && filters.labels(|key| event.attributes.get(key).map(String::as_str))
        && !never.iter().any(|name| filters.has(name))
}

fn shown(event: &Event) -> Value {
    let mut shown = json!({
        "Type": event.kind.as_str(),
        "Action": event.action,
        "Actor": { "ID": event.actor, "Attributes": event.attributes },
        "scope": "local",
        "time": event.time.as_second(),
        "timeNano": i64::try_from(event.time.as_nanosecond()).unwrap_or(i64::MAX),
    });
    // As clients knew it before version 1.22, and some still do.
    if matches!(event.kind, EventKind::Container | EventKind::Image) {
        shown["status"] = json!(event.action);
        shown["id"] = json!(event.actor);
    }
    if event.kind == EventKind::Container
        && let Some(image) = event.attributes.get("image")
    {
        shown["from"] = json!(image);
    }
    shown
}

/// Tells that what nobody needed is gone.
pub(crate) fn pruned(supervisor: &Supervisor, kind: EventKind, bytes: u64) {
    supervisor.events().publish(Event {
        kind,
        action: "prune".to_owned(),
        actor: String::new(),
        attributes: BTreeMap::from([("reclaimed".to_owned(), bytes.to_string())]),
        time: Timestamp::now(),
    });
}
