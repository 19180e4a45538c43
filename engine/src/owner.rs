//! A container's owner: a process of its own, which outlives the daemon that started it.
//!
//! It holds the container's lock and its machine from before the start until the end, writes the log, passes streams to whoever is
//! attached, and runs execs. The daemon (`supervisor`) asks it by a socket in the container's runtime
//! directory, in the words of [`wire`]; what other commands ask of a running container goes by the one of `control`.
//!
//! It ends when its container has, or when nobody has asked for a start after a while.

pub(crate) mod ended;
mod exec;
mod health;
mod hub;
mod serve;
pub(crate) mod wire;

use std::sync::Arc;

use tokio::net::UnixListener;

pub use exec::ExecSpec;
pub use wire::Attach;

use crate::attachment::Attachment;
use crate::container::ContainerId;
use crate::engine::{Engine, WaitFor};
use crate::log::LogWriter;
use crate::running::{make_runtime, unbound};
use crate::{Error, Paths};
use hub::Hub;
use serve::{LINGER, Owner};

/// The socket's name in the runtime directory.
pub(crate) const SOCKET: &str = "owner";

/// Owns a container to its end. `ready` is called as soon as it can be asked for something.
pub async fn own(paths: Paths, id: &ContainerId, ready: impl FnOnce()) -> Result<(), Error> {
    let engine = Engine::of_owner(paths)?;
    let claimed = engine.claim(id)?;
    let runtime = make_runtime(engine.shelf(), id)?;
    let socket = runtime.join(SOCKET);
    // Nobody else owns the container: who made a file of this name is dead.
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).map_err(unbound(&runtime, SOCKET))?;
    let Attachment { output, input } = engine.attach(id)?;
    let log = match claimed.record.config.log.driver {
        crate::LogDriver::None => None,
        crate::LogDriver::JsonFile => {
            let path = engine.shelf().directory(id).log(id);
            let opened = LogWriter::open(&path, &claimed.record.config.log);
            Some(opened.map_err(Error::io("write", path))?)
        }
    };
    let config = &claimed.record.config;
    let check = config.health.clone();
    let input = Some(input).filter(|_| config.open_stdin);
    let hub = Arc::new(Hub::new(input, config.stdin_once && !config.tty));
    let pumping = tokio::spawn(Arc::clone(&hub).pump(output, log));
    let owner = Arc::new(Owner::new(engine, claimed, hub));
    let serving = tokio::spawn(serve::serve(listener, Arc::clone(&owner)));
    ready();
    if owner.wait_started().await {
        let checking = check.map(|check| tokio::spawn(health::watch(Arc::clone(&owner), check)));
        let ended = owner.engine.wait(id, WaitFor::Exit).await;
        if let Some(checking) = checking {
            checking.abort();
        }
        ended?;
        // Whoever hears of the end finds all output in the log, even if somebody who is attached does not read.
        let _ = tokio::time::timeout(LINGER, pumping).await;
        // It is told before the machine is gone, which takes longer.
        owner.exited();
        let _ = owner.engine.wait(id, WaitFor::Removal).await;
    } else {
        owner.engine.leave(id)?;
    }
    owner.served().await;
    serving.abort();
    let _ = std::fs::remove_file(&socket);
    Ok(())
}
