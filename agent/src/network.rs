//! The machine's network, which is the container's: what the engine says of it, told to the kernel by rtnetlink.
//!
//! Two questions and answers at most: which interfaces there are, and what is to change of them, all in one. A machine without a
//! network device that is not asked for one makes no call at all.

mod link;
mod netlink;
mod plan;

use hull_agent_protocol::{FailureKind, Interface, InterfaceStats};
use rustix::io::Errno;

use crate::failure::{Explain, Result};
use link::{Link, Statistics};
use netlink::Socket;

/// Makes the interfaces what `wanted` says. `before` is what they were made last; what is the same is not touched.
pub(crate) fn set(before: &[Interface], wanted: &[Interface]) -> Result<()> {
    plan::check(wanted)?;
    if before == wanted {
        return Ok(());
    }
    let asked = |what: &'static str| move || what.to_owned();
    let socket = Socket::open().explain(FailureKind::System, asked("ask about the network"))?;
    let devices = link::devices(&socket, Statistics::Skip);
    let devices = devices.explain(FailureKind::System, asked("list network interfaces"))?;
    let used = devices.iter().any(Link::is_up);
    let present = match used {
        // Interfaces that nobody has used yet have no addresses.
        false => Ok(Vec::new()),
        true => link::addresses(&socket),
    };
    let present = present.explain(FailureKind::System, asked("list addresses"))?;
    let batch = plan::plan(&devices, &present, before, wanted)?;
    let done = socket.run(&batch);
    done.map_err(|(what, errno)| plan::failure(what, errno))
}

/// What went through each interface.
pub(crate) fn statistics() -> std::result::Result<Vec<InterfaceStats>, Errno> {
    let devices = link::devices(&Socket::open()?, Statistics::Ask)?;
    let used = devices.into_iter().filter(Link::is_up);
    Ok(used.map(|link| link.statistics()).collect())
}
