//! `hull version`: of this program, and of the daemon.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::lines::{Lines, shown};
use crate::client::{self, Daemon};
use crate::context::Context;
use crate::format::Template;
use crate::out;

/// Show the versions of this program and of the daemon
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull version\n  \
    hull version -f '{{.Server.Version}}'\n  \
    hull --version                            of this program alone, without a daemon")]
pub(crate) struct Args {
    /// json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

pub(crate) async fn run(args: &Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let template = match args.format.as_deref() {
        None | Some("" | "json") => None,
        Some(text) => Some(Template::parse(text)?),
    };
    let server = server(ctx).await;
    let (server, failed) = match server {
        Ok(server) => (server, None),
        Err(error) => (Value::Null, Some(error)),
    };
    let both = json!({ "Client": own(), "Server": server });
    match (template, args.format.as_deref()) {
        // A template wants the daemon's, too, or says so.
        (Some(template), _) if failed.is_none() => out::line(&template.render(&both)?)?,
        (Some(_), _) => {}
        (None, Some("json")) => out::line(&both.to_string())?,
        (None, _) => out::print(&text(&both))?,
    }
    Ok(failed.map_or(ExitCode::SUCCESS, |error| crate::fail(&error)))
}

async fn server(ctx: &Context) -> anyhow::Result<Value> {
    Daemon::connect(ctx).await?.get("/version").await
}

/// This program.
pub(super) fn own() -> Value {
    json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": client::version(),
        "DefaultAPIVersion": client::version(),
        "Os": "linux",
        "Arch": "amd64",
        "Context": "default",
    })
}

/// As Docker prints them.
fn text(both: &Value) -> String {
    let mut lines = Lines::with_column(20);
    let platform = |of: &Value| json!(format!("{}/{}", shown(&of["Os"]), shown(&of["Arch"])));
    let client = &both["Client"];
    lines.head(0, "Client:");
    lines.value(1, "Version", &client["Version"]);
    lines.value(1, "API version", &client["ApiVersion"]);
    lines.value(1, "OS/Arch", &platform(client));
    lines.value(1, "Context", &client["Context"]);
    let server = &both["Server"];
    if server.is_null() {
        return lines.text();
    }
    lines.blank();
    lines.head(
        0,
        &format!("Server: {}", shown(&server["Platform"]["Name"])),
    );
    for component in server["Components"].as_array().into_iter().flatten() {
        let details = &component["Details"];
        lines.head(1, &format!("{}:", shown(&component["Name"])));
        lines.value(2, "Version", &component["Version"]);
        let api = shown(&details["ApiVersion"]);
        if !api.is_empty() {
            let oldest = shown(&details["MinAPIVersion"]);
            let api = format!("{api} (minimum version {oldest})");
            lines.value(2, "API version", &json!(api));
            lines.value(2, "OS/Arch", &platform(details));
        }
        lines.value(2, "Experimental", &details["Experimental"]);
        lines.value(2, "Kernel", &details["KernelVersion"]);
    }
    lines.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_below_each_other() {
        let server = json!({
            "Platform": { "Name": "Hull" },
            "Components": [
                { "Name": "Engine", "Version": "1.2.3", "Details": {
                    "ApiVersion": "1.51", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64", "Experimental": "true",
                } },
                { "Name": "kernel\u{1b}", "Version": "6.12" },
            ],
        });
        let client = json!({ "Version": "1.2.4", "ApiVersion": "1.51", "Os": "linux", "Arch": "amd64", "Context": "default" });
        let expected = "\
Client:
 Version:           1.2.4
 API version:       1.51
 OS/Arch:           linux/amd64
 Context:           default

Server: Hull
 Engine:
  Version:          1.2.3
  API version:      1.51 (minimum version 1.24)
  OS/Arch:          linux/amd64
  Experimental:     true
 kernel:
  Version:          6.12
";
        assert_eq!(
            text(&json!({ "Client": client, "Server": server })),
            expected
        );
    }
}
