//! `hull info`: what the daemon says of itself and of its host.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::lines::{Lines, shown};
use super::version;
use crate::client::Daemon;
use crate::context::Context;
use crate::format::{Template, units};
use crate::out;

/// Show what the daemon says of itself and of its host
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull info\n  \
    hull info -f '{{.ContainersRunning}} of {{.Containers}} run'\n\n\
    What this host can do for microVMs says hull doctor.")]
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
    let mut info: Value = Daemon::connect(ctx).await?.get("/info").await?;
    info["ClientInfo"] = version::own();
    match (template, args.format.as_deref()) {
        (Some(template), _) => out::line(&template.render(&info)?)?,
        (None, Some("json")) => out::line(&info.to_string())?,
        (None, _) => {
            out::print(&text(&info))?;
            for warning in info["Warnings"].as_array().into_iter().flatten() {
                anstream::eprintln!("{}", shown(warning));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// As Docker prints it.
fn text(info: &Value) -> String {
    let mut lines = Lines::default();
    let client = &info["ClientInfo"];
    lines.head(0, "Client:");
    lines.value(1, "Version", &client["Version"]);
    lines.value(1, "Context", &client["Context"]);
    lines.blank();
    lines.head(0, "Server:");
    lines.value(1, "Containers", &info["Containers"]);
    for (name, field) in [
        ("Running", "ContainersRunning"),
        ("Paused", "ContainersPaused"),
        ("Stopped", "ContainersStopped"),
    ] {
        lines.value(2, name, &info[field]);
    }
    lines.value(1, "Images", &info["Images"]);
    lines.value(1, "Server Version", &info["ServerVersion"]);
    lines.value(1, "Storage Driver", &info["Driver"]);
    for pair in info["DriverStatus"].as_array().into_iter().flatten() {
        lines.value(2, &shown(&pair[0]), &pair[1]);
    }
    lines.value(1, "Logging Driver", &info["LoggingDriver"]);
    lines.value(1, "Cgroup Driver", &info["CgroupDriver"]);
    lines.head(1, "Plugins:");
    for kind in ["Volume", "Network", "Log"] {
        lines.value(2, kind, &info["Plugins"][kind]);
    }
    lines.value(1, "Swarm", &info["Swarm"]["LocalNodeState"]);
    lines.value(1, "Runtimes", &names(&info["Runtimes"]));
    lines.value(1, "Default Runtime", &info["DefaultRuntime"]);
    lines.value(1, "Init Binary", &info["InitBinary"]);
    lines.values(1, "Security Options", &texts(&info["SecurityOptions"]));
    lines.value(1, "Kernel Version", &info["KernelVersion"]);
    lines.value(1, "Operating System", &info["OperatingSystem"]);
    lines.value(1, "OSType", &info["OSType"]);
    lines.value(1, "Architecture", &info["Architecture"]);
    lines.value(1, "CPUs", &info["NCPU"]);
    let memory = info["MemTotal"].as_u64().unwrap_or_default();
    lines.value(1, "Total Memory", &json!(units::memory(memory)));
    lines.value(1, "Name", &info["Name"]);
    lines.value(1, "ID", &info["ID"]);
    lines.value(1, "Docker Root Dir", &info["DockerRootDir"]);
    lines.value(1, "Debug Mode", &info["Debug"]);
    lines.values(1, "Labels", &texts(&info["Labels"]));
    lines.value(1, "Experimental", &info["ExperimentalBuild"]);
    lines.values(1, "Insecure Registries", &insecure(&info["RegistryConfig"]));
    lines.value(1, "Live Restore Enabled", &info["LiveRestoreEnabled"]);
    lines.text()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(shown).collect()
}

fn names(map: &Value) -> Value {
    let names = map.as_object().into_iter().flatten();
    json!(names.map(|(name, _)| name).collect::<Vec<_>>())
}

/// Registries without TLS: by their names, and networks of them.
fn insecure(registries: &Value) -> Vec<String> {
    let named = registries["IndexConfigs"].as_object().into_iter().flatten();
    let named = named.filter(|(_, index)| index["Secure"] == false);
    let mut all: Vec<String> = named.map(|(name, _)| name.clone()).collect();
    all.extend(texts(&registries["InsecureRegistryCIDRs"]));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_shown() {
        let info = json!({
            "Containers": 3, "ContainersRunning": 1, "ServerVersion": "1.2.3", "Driver": "hull",
            "DriverStatus": [["Isolation", "microVM"]], "Plugins": { "Network": ["bridge", "null"] },
            "Runtimes": { "hull": {} }, "MemTotal": 8_u64 << 30, "SecurityOptions": ["name=microvm"],
            "RegistryConfig": { "IndexConfigs": { "docker.io": { "Secure": true }, "a:5000": { "Secure": false } },
                "InsecureRegistryCIDRs": ["127.0.0.0/8"] },
            "ClientInfo": { "Version": "1.2.4" },
        });
        let expected = "\
Client:
 Version: 1.2.4

Server:
 Containers: 3
  Running: 1
 Server Version: 1.2.3
 Storage Driver: hull
  Isolation: microVM
 Plugins:
  Network: bridge null
 Runtimes: hull
 Security Options:
  name=microvm
 Total Memory: 8GiB
 Insecure Registries:
  a:5000
  127.0.0.0/8
";
        assert_eq!(text(&info), expected);
    }
}
