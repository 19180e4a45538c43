//! `hull vm fork`: more of a running microVM, as it is at this moment.

use std::process::ExitCode;

use clap::ValueEnum;
use hull_engine::network::{InvalidPublication, Publication};
use hull_engine::plain::{MicroVms, NetSpec, NetTarget};
use serde_json::json;

use super::name;
use crate::fork::Children;
use crate::out;
use crate::own;

/// Fork a running microVM, with its memory and disks
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each child is a microVM of its own in the background, with copies of the disks that its guest writes. Its guest does not know that it is\n\
    another one, unless its kernel listens to ACPI: then it gets new random numbers (VM generation ID). It has its parent's MAC and IP\n\
    addresses, so its interfaces are unplugged unless --net says where else they go, as long as nobody meets two of one address there: a\n\
    TAP in a network namespace or a bridge of its own. With --net user every one has a network of its own anyway.\n\n\
    Examples:\n  \
    hull vm fork web                                   one child; its name is printed\n  \
    hull vm fork web -n 10 --rm                        ten, which are removed at their ends\n  \
    hull vm fork web --name canary --net tap=tap7      with a name, at a TAP of its own"
)]
pub(crate) struct Args {
    #[command(flatten)]
    children: Children,
    /// Where the child's interfaces go, one --net for each: tap=NAME, unplugged, or user if it was that
    #[arg(long = "net", visible_alias = "network", value_name = "NET")]
    networks: Vec<NetSpec>,
    /// A port of the host that is the child's; can be given several times. Those of its parent stay that one's
    #[arg(short, long, value_name = "[IP:]HOST:GUEST[/udp]", value_parser = ports)]
    publish: Vec<String>,
    /// What to print of them; json is one object, with how long the parent stood still
    #[arg(long, value_enum, default_value_t = Format::Name)]
    format: Format,
    /// The microVM
    #[arg(value_name = "NAME")]
    microvm: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Their names, one in a line
    Name,
    Json,
}

/// Ports that make sense, as they were written.
fn ports(text: &str) -> Result<String, InvalidPublication> {
    text.parse().map(|_: Publication| text.to_owned())
}

pub(super) async fn run(args: Args, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    let parent = name(&args.microvm)?;
    let Children {
        count,
        name: wanted,
        rm,
    } = args.children;
    let ends = match args.networks.is_empty() {
        true => vms.nets_of_fork(&parent)?,
        false => args.networks.iter().map(|net| net.to.clone()).collect(),
    };
    // What only one can have.
    let alone = |end: &NetTarget| matches!(end, NetTarget::Tap(_) | NetTarget::Network(_));
    if count > 1 && ends.iter().any(alone) {
        anyhow::bail!(
            "{count} children cannot share one TAP, or one address of a network: fork one after the other, each with a --net of its own"
        );
    }
    // Goes when its children are there, which have its files open.
    let snapshot = format!("fork-{}", std::process::id());
    let (all, of, to) = (vms.clone(), parent.clone(), snapshot.clone());
    let taken = tokio::task::spawn_blocking(move || all.snapshot(&of, &to)).await??;
    let ends: Vec<String> = ends.iter().map(NetTarget::to_string).collect();
    let mut code = ExitCode::SUCCESS;
    let mut children = Vec::new();
    for number in 1..=count {
        let name = wanted.as_ref().map(|name| match count {
            1 => name.clone(),
            _ => format!("{name}-{number}"),
        });
        let mut own = vec!["vm", "own", "--from", snapshot.as_str()];
        own.extend(name.iter().flat_map(|name| ["--name", name.as_str()]));
        own.extend(rm.then_some("--rm"));
        own.extend(ends.iter().flat_map(|end| ["--net", end.as_str()]));
        own.extend(
            args.publish
                .iter()
                .flat_map(|port| ["--publish", port.as_str()]),
        );
        match own::leave("the microVM", &own).await {
            Ok(name) => children.push(name),
            Err(error) => code = crate::fail(&error),
        }
    }
    vms.snapshots().remove(&snapshot)?;
    if args.format == Format::Name {
        for name in &children {
            out::line(name)?;
        }
    } else {
        let milliseconds = taken.stood_still.as_secs_f64() * 1000.0;
        let object = json!({ "children": children, "parent_stood_still_ms": milliseconds });
        out::line(&object.to_string())?;
    }
    Ok(code)
}
