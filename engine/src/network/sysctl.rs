//! The kernel's switches below /proc/sys/net that networks need, and what follows from turning them.
//!
//! They are those of the network namespace of the thread that asks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Error;

const NET: &str = "/proc/sys/net";
const FORWARD_V4: &str = "ipv4/ip_forward";
const FORWARD_V6: &str = "ipv6/conf/all/forwarding";

/// Whether the kernel has IPv6 and lets interfaces have it.
pub(crate) fn has_ipv6() -> bool {
    get("ipv6/conf/all/disable_ipv6").is_ok_and(|value| value == "0")
}

/// Makes the host forward IPv4, or IPv6. It is the host as a whole that forwards then, as with any other software for containers;
/// Hull's rules say only what may enter and leave its own networks.
pub(crate) fn forward(is_v6: bool, enable: bool) -> Result<(), Error> {
    let (name, sysctl) = match is_v6 {
        false => (FORWARD_V4, "net.ipv4.ip_forward"),
        true => (FORWARD_V6, "net.ipv6.conf.all.forwarding"),
    };
    if get(name).is_ok_and(|value| value == "1") {
        return Ok(());
    }
    if !enable {
        return Err(Error::Forwarding { sysctl });
    }
    if is_v6 {
        keep_router_advertisements();
    }
    tracing::info!(sysctl, "turning forwarding on");
    set(name, "1")
}

/// A host that forwards ignores the router that gave it its own route, unless told not to (`accept_ra=2`).
fn keep_router_advertisements() {
    for entry in fs::read_dir(Path::new(NET).join("ipv6/conf"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let accept = entry.path().join("accept_ra");
        let is_default = fs::read_to_string(&accept).is_ok_and(|value| value.trim() == "1");
        if is_default && let Err(error) = fs::write(&accept, "2") {
            tracing::warn!(path = %accept.display(), %error, "the host may lose its IPv6 routes");
        }
    }
}

/// What holds for a network's bridge.
pub(crate) fn bridge(bridge: &str, has_v4: bool, has_v6: bool) -> Result<(), Error> {
    if has_v4 {
        // The host answers for no address but the bridge's own, and may send to guests from 127.0.0.1: that is how published
        // ports are reached from there. What guests send to 127.0.0.0/8 is dropped by the rules.
        set(&format!("ipv4/conf/{bridge}/arp_ignore"), "1")?;
        set(&format!("ipv4/conf/{bridge}/route_localnet"), "1")?;
    }
    if !Path::new(NET).join("ipv6").exists() {
        return Ok(());
    }
    // A guest is nobody's router.
    set(&format!("ipv6/conf/{bridge}/accept_ra"), "0")?;
    set(&format!("ipv6/conf/{bridge}/accept_dad"), "0")?;
    set(
        &format!("ipv6/conf/{bridge}/disable_ipv6"),
        if has_v6 { "0" } else { "1" },
    )
}

/// A TAP's host side has no address of its own: IPv6 would give it one.
pub(crate) fn port(tap: &str) -> Result<(), Error> {
    if Path::new(NET).join("ipv6").exists() {
        set(&format!("ipv6/conf/{tap}/disable_ipv6"), "1")?;
    }
    Ok(())
}

fn path(name: &str) -> PathBuf {
    Path::new(NET).join(name)
}

fn get(name: &str) -> io::Result<String> {
    Ok(fs::read_to_string(path(name))?.trim().to_owned())
}

fn set(name: &str, value: &'static str) -> Result<(), Error> {
    if get(name).is_ok_and(|is| is == value) {
        return Ok(());
    }
    let sysctl = format!("net.{}", name.replace('/', "."));
    fs::write(path(name), value).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::Privilege(format!("set {sysctl}={value}")),
        _ => Error::Sysctl {
            sysctl,
            value,
            source,
        },
    })
}
