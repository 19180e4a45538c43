//! `hull inspect`: all that is known of an object.

use std::process::ExitCode;

use bytes::Bytes;
use clap::ValueEnum;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Deserializer, Value};

use crate::client::{Daemon, Said, escaped};
use crate::complete;
use crate::context::Context;
use crate::format::Template;
use crate::out;

/// Show all that is known of containers, images, networks and volumes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull inspect web\n  \
    hull inspect -f '{{.State.Status}}' web\n  \
    hull inspect -f '{{range .Mounts}}{{println .Source .Destination}}{{end}}' web\n  \
    hull inspect --type volume data")]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    /// Show also how much containers have written
    #[arg(short, long)]
    size: bool,
    /// What it is; without this a container before an image, a network or a volume of the same name
    #[arg(long, value_enum, value_name = "TYPE")]
    r#type: Option<Kind>,
    /// Names or ids
    #[arg(value_name = "NAME", required = true, add = complete::containers())]
    names: Vec<String>,
}

/// Show all that is known of containers
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hull container inspect web\n  hull container inspect -f '{{json .NetworkSettings.Ports}}' web"
)]
pub(crate) struct ContainerArgs {
    #[command(flatten)]
    how: How,
    /// Show also how much they have written
    #[arg(short, long)]
    size: bool,
    /// Names, ids, or beginnings of ids
    #[arg(value_name = "CONTAINER", required = true, add = complete::containers())]
    names: Vec<String>,
}

/// In which form.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// How to print it: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

impl Kind {
    /// Where the daemon tells of it. Names of images have slashes.
    fn path(self, name: &str, size: bool) -> String {
        let escaped = escaped(name);
        match self {
            Self::Container if size => format!("/containers/{escaped}/json?size=1"),
            Self::Container => format!("/containers/{escaped}/json"),
            Self::Image => format!("/images/{}/json", escaped.replace("%2F", "/")),
            Self::Network => format!("/networks/{escaped}"),
            Self::Volume => format!("/volumes/{escaped}"),
        }
    }

    /// What may be missing from what is shown, and then is nothing to templates, and no slip of the pen.
    fn optional(self) -> &'static [&'static str] {
        match self {
            Self::Container => &[
                "/SizeRootFs",
                "/SizeRw",
                "/State/Health",
                "/Config/Cmd",
                "/Config/Entrypoint",
                "/Config/ExposedPorts",
                "/Config/Healthcheck",
                "/Config/OnBuild",
                "/Config/Shell",
                "/Config/StopSignal",
                "/Config/StopTimeout",
                "/Config/Volumes",
                "/HostConfig/Annotations",
                "/HostConfig/Init",
                "/HostConfig/Mounts",
                "/HostConfig/StorageOpt",
                "/HostConfig/Sysctls",
                "/HostConfig/Tmpfs",
            ],
            Self::Image => &[
                "/Config/Cmd",
                "/Config/Entrypoint",
                "/Config/ExposedPorts",
                "/Config/Healthcheck",
                "/Config/Labels",
                "/Config/OnBuild",
                "/Config/Shell",
                "/Config/StopSignal",
                "/Config/Volumes",
                "/Variant",
            ],
            Self::Network => &["/Containers", "/Labels", "/Options"],
            Self::Volume => &["/Labels", "/Options", "/Status", "/UsageData"],
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
        }
    }
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let all = [Kind::Container, Kind::Image, Kind::Network, Kind::Volume];
    match args.r#type {
        Some(kind) => show(&[kind], &args.names, args.size, &args.how, ctx).await,
        None => show(&all, &args.names, args.size, &args.how, ctx).await,
    }
}

pub(crate) async fn containers(args: ContainerArgs, ctx: &Context) -> anyhow::Result<ExitCode> {
    show(&[Kind::Container], &args.names, args.size, &args.how, ctx).await
}

/// Shows objects of these kinds by their names, of which the first kind that has it is meant. What is not there does not keep the
/// others from being shown.
pub(crate) async fn show(
    kinds: &[Kind],
    names: &[String],
    size: bool,
    how: &How,
    ctx: &Context,
) -> anyhow::Result<ExitCode> {
    let form = how.form()?;
    let daemon = Daemon::connect(ctx).await?;
    let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for name in names {
        match find(&daemon, kinds, name, size).await {
            Ok(object) => found.push(object),
            Err(error) => code = crate::fail(&error),
        }
    }
    form.print(&found)?;
    Ok(code)
}

/// A form that makes sense.
pub(crate) enum Form {
    Indented,
    Json,
    Template(Template),
}

impl How {
    /// Reads it.
    pub(crate) fn form(&self) -> anyhow::Result<Form> {
        Ok(match self.format.as_deref() {
            None => Form::Indented,
            Some("json") => Form::Json,
            Some(text) => Form::Template(Template::parse(text)?),
        })
    }
}

impl Form {
    /// Prints objects, as the daemon tells of them.
    pub(crate) fn print(&self, found: &[(Kind, Bytes)]) -> anyhow::Result<()> {
        let template = match self {
            Self::Template(template) => template,
            Self::Indented => return out::line(&listed(found, false)?),
            Self::Json => return out::line(&listed(found, true)?),
        };
        for (kind, object) in found {
            let mut object: Value = serde_json::from_slice(object)?;
            complete_with(&mut object, kind.optional());
            out::line(&template.render(&object)?)?;
        }
        Ok(())
    }
}

async fn find(
    daemon: &Daemon,
    kinds: &[Kind],
    name: &str,
    size: bool,
) -> anyhow::Result<(Kind, Bytes)> {
    let mut missing = None;
    for &kind in kinds {
        match daemon.bytes(&kind.path(name, size)).await {
            Ok(object) => return Ok((kind, object)),
            Err(error) => match error.downcast_ref::<Said>() {
                Some(said) if said.status == 404 => missing = Some(error),
                // What cannot be the name of one kind may be that of another.
                Some(said) if said.status == 400 && kinds.len() > 1 => {
                    missing.get_or_insert(error);
                }
                _ => return Err(error),
            },
        }
    }
    match (kinds, missing) {
        ([_], Some(error)) => Err(error),
        _ => {
            let nouns: Vec<&str> = kinds.iter().map(|kind| kind.noun()).collect();
            anyhow::bail!(
                "No such object: {name} (no {} has that name)",
                nouns.join(", ")
            )
        }
    }
}

/// Puts nothing where something may be missing.
fn complete_with(object: &mut Value, optional: &[&str]) {
    for path in optional {
        let Some((parent, name)) = path.rsplit_once('/') else {
            continue;
        };
        if let Some(Value::Object(parent)) = object.pointer_mut(parent) {
            parent.entry(name).or_insert(Value::Null);
        }
    }
}

/// The objects as the daemon told of them, with their fields in its order.
fn listed(found: &[(Kind, Bytes)], is_short: bool) -> anyhow::Result<String> {
    let objects: Vec<&[u8]> = found
        .iter()
        .map(|(_, object)| object.trim_ascii())
        .collect();
    let all = [&b"["[..], &objects.join(&b','), b"]"].concat();
    if is_short {
        return Ok(String::from_utf8(all)?);
    }
    let mut text = Vec::new();
    let mut writer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
    serde_transcode::transcode(&mut Deserializer::from_slice(&all), &mut writer)?;
    Ok(String::from_utf8(text)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_listed_in_the_order_of_their_fields() {
        let found = [(Kind::Volume, Bytes::from_static(b"{\"b\":1,\"a\":[]}\n"))];
        let text = "[\n    {\n        \"b\": 1,\n        \"a\": []\n    }\n]";
        assert_eq!(listed(&found, false).unwrap(), text);
        assert_eq!(listed(&found, true).unwrap(), "[{\"b\":1,\"a\":[]}]");
        assert_eq!(listed(&[], false).unwrap(), "[]");
    }

    #[test]
    fn what_may_be_missing_is_nothing() {
        let mut object = json!({ "State": { "Status": "running" } });
        complete_with(&mut object, Kind::Container.optional());
        assert_eq!(
            object["State"],
            json!({ "Status": "running", "Health": null })
        );
        assert_eq!(object.get("Config"), None);
    }

    #[test]
    fn slashes_of_images_are_part_of_the_path() {
        let path = Kind::Image.path("host:5000/a/b c", false);
        assert_eq!(path, "/images/host%3A5000/a/b%20c/json");
    }
}
