//! `hull events`: what happens, as it happens.

use std::process::ExitCode;

use futures_util::TryStreamExt as _;
use http_body_util::BodyExt as _;
use hyper::Method;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_util::io::StreamReader;

use crate::client::{Daemon, Exchange, escaped, filters};
use crate::context::Context;
use crate::format::Template;
use crate::out;

/// Show what happens to containers, images, networks and volumes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull events                                               until ctrl-c\n  \
    hull events --since 1h --until 1m                         of the last hour\n  \
    hull events -f type=container -f event=die --format '{{.Actor.Attributes.name}}'\n  \
    hull events --format json")]
pub(crate) struct Args {
    /// Only those that fit: type, event, container, image, network, volume, label, scope
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// How to print them: json, or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Also what has happened since: 2026-01-02T13:23:37Z, or 42m for so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what happens until: 2026-01-02T13:23:37Z, or 42m for so long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// How an event is printed.
enum Line {
    Text,
    Json,
    Template(Template),
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let line = match args.format.as_deref() {
        None => Line::Text,
        Some("json" | "{{json .}}") => Line::Json,
        Some(text) => Line::Template(Template::parse(text)?),
    };
    let filters = filters(&args.filter)?;
    let daemon = Daemon::connect(ctx).await?;
    let mut path = format!(
        "/events?filters={}",
        escaped(&serde_json::to_string(&filters)?)
    );
    for (name, time) in [("since", &args.since), ("until", &args.until)] {
        if let Some(time) = time {
            path.push_str(&format!("&{name}={}", escaped(time)));
        }
    }
    let answer = daemon.exchange(Exchange::new(Method::GET, path)).await?;
    let data = answer.into_body().into_data_stream();
    let reader = StreamReader::new(data.map_err(std::io::Error::other));
    let mut lines = BufReader::new(reader).lines();
    while let Some(text) = lines.next_line().await? {
        out::line(&line.of(&text)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Line {
    fn of(&self, text: &str) -> anyhow::Result<String> {
        match self {
            Self::Json => Ok(text.to_owned()),
            Self::Text => Ok(said(&serde_json::from_str(text)?)),
            Self::Template(template) => template.render(&named(serde_json::from_str(text)?)),
        }
    }
}

/// With the names that templates have for some of the fields.
fn named(mut event: Value) -> Value {
    for (name, field) in [
        ("From", "from"),
        ("ID", "id"),
        ("Scope", "scope"),
        ("Status", "status"),
        ("Time", "time"),
        ("TimeNano", "timeNano"),
    ] {
        event[name] = match &event[field] {
            Value::Null => Value::String(String::new()),
            value => value.clone(),
        };
    }
    event
}

/// `2026-01-02T13:23:37.000000000+00:00 container start ID (image=busybox, name=web)`.
fn said(event: &Value) -> String {
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    let time = event["timeNano"].as_i64().unwrap_or_default();
    let time = Timestamp::from_nanosecond(time.into()).unwrap_or_default();
    let time = time
        .to_zoned(TimeZone::system())
        .strftime("%Y-%m-%dT%H:%M:%S.%9f%:z")
        .to_string();
    let actor = &event["Actor"];
    let line = format!(
        "{time} {} {} {}",
        text(&event["Type"]),
        text(&event["Action"]),
        text(&actor["ID"])
    );
    let attributes = actor["Attributes"].as_object();
    let attributes: Vec<String> = attributes
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect();
    match attributes.is_empty() {
        true => line,
        false => format!("{line} ({})", attributes.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = r#"{"Type":"container","Action":"die","Actor":{"ID":"01","Attributes":{"name":"web","exitCode":"4"}},"timeNano":1000000001}"#;
        let line = Line::Text.of(event).unwrap();
        assert!(line.starts_with("1970-01-01T"), "{line}");
        assert!(line.contains(".000000001"), "{line}");
        assert!(
            line.ends_with(" container die 01 (exitCode=4, name=web)"),
            "{line}"
        );
        assert_eq!(Line::Json.of(event).unwrap(), event);
        let template =
            Template::parse("{{.Action}}:{{.Actor.Attributes.exitCode}}:{{.TimeNano}}:{{.ID}}");
        let line = Line::Template(template.unwrap()).of(event).unwrap();
        assert_eq!(line, "die:4:1000000001:");
    }
}
