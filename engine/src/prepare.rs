//! The files and sockets of one machine, from its container's plan.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use hull_agent_protocol::PORT;
use hull_vm_api::config::HostPath;
use serde::Serialize;
use tokio::net::UnixListener;

use crate::plan::Plan;
use crate::running::{Surroundings, unbound};
use crate::vm::{self, Descriptors, Disks, Launch, MachineSpec};
use crate::{Error, disk};

/// Names a file that what guests' kernels say is appended to, for those who work on the guest.
pub(crate) const KERNEL_LOG: &str = "HULL_KERNEL_LOG";

/// The socket of the vsock device, in the container's runtime directory.
const VSOCK: &str = "v";
/// That of the machine's API.
const API: &str = "api";

/// A machine in files, which are open.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) state: File,
    pub(crate) memory: File,
    pub(crate) disk: SavedDisk,
}

/// The writable disk of a machine in files.
#[derive(Debug)]
pub(crate) enum SavedDisk {
    /// It has not been looked at, so that an empty one will do.
    Empty,
    /// It is to be copied.
    Copy(File),
    /// It is the container's own.
    Own,
}

/// The sockets of a machine. They are made here, so that one can connect before it is there.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) vsock: PathBuf,
    pub(crate) api: PathBuf,
    /// Where an agent connects that boots.
    agent: PathBuf,
}

/// What a machine starts with.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub(crate) launch: Launch<'a>,
    /// Where the agent of a machine that boots connects.
    pub(crate) agent: Option<UnixListener>,
}

impl Sockets {
    pub(crate) fn below(runtime: &Path) -> Self {
        Self {
            vsock: runtime.join(VSOCK),
            api: runtime.join(API),
            agent: runtime.join(format!("{VSOCK}_{PORT}")),
        }
    }

    /// Takes away what an attempt to start left, except the directory.
    pub(crate) fn remove(&self) {
        for path in [&self.vsock, &self.api, &self.agent] {
            let _ = fs::remove_file(path);
        }
    }

    /// One connection was all it was for.
    pub(crate) fn remove_agent(&self) {
        let _ = fs::remove_file(&self.agent);
    }
}

/// Makes the disk, the sockets, and what the VMM reads, for a machine that boots or one that was saved.
pub(crate) fn prepare<'a>(
    plan: &Plan,
    around: &Surroundings<'a>,
    saved: Option<Saved>,
    sockets: &Sockets,
) -> Result<Prepared<'a>, Error> {
    let directory = plan.held.directory();
    let runtime = around.shelf.runtime(&plan.record.id);
    match saved.as_ref().map(|saved| &saved.disk) {
        None | Some(SavedDisk::Empty) => {
            disk::make(&around.layers, plan.layer, &directory.disk())?;
        }
        Some(SavedDisk::Copy(of)) => disk::make_copy(of, &directory.disk())?,
        Some(SavedDisk::Own) => {}
    }
    let bind = |path: &Path, name| StdListener::bind(path).map_err(unbound(&runtime, name));
    let mut descriptors = Descriptors::new(bind(&sockets.vsock, VSOCK)?);
    let api = descriptors.give(API, bind(&sockets.api, API)?);
    let disks = Disks {
        image: plan.image.parts(),
        writable: &directory.disk(),
        kept: !plan.record.config.auto_remove,
    };
    let path = directory.vmm_config();
    let (source, agent) = match saved {
        Some(saved) => {
            let load = vm::load(saved, disks, &mut descriptors)?;
            write(&path, &load)?;
            ("--load-file", None)
        }
        None => {
            let machine = MachineSpec {
                shape: plan.shape,
                boot_args: &around.kernel.arguments,
                kernel_log: std::env::var(KERNEL_LOG).ok().map(HostPath::from),
            };
            let config = vm::boot(around.programs, machine, disks, &mut descriptors)?;
            write(&path, &config)?;
            let agent = UnixListener::bind(&sockets.agent);
            (
                "--config-file",
                Some(agent.map_err(unbound(&runtime, VSOCK))?),
            )
        }
    };
    let log = directory.vmm_log();
    let log = File::create(&log).map_err(Error::io("make", &log))?;
    let metrics = directory.metrics();
    let arguments = [
        source,
        &path.to_string_lossy(),
        "--api-sock",
        api.as_str(),
        "--metrics-path",
        &metrics.to_string_lossy(),
        "--id",
        plan.record.id.short(),
    ];
    Ok(Prepared {
        launch: Launch {
            program: &around.programs.vmm,
            arguments: arguments.map(str::to_owned).to_vec(),
            descriptors: descriptors.into_inner(),
            log,
            runtime: around.shelf.run(),
        },
        agent,
    })
}

fn write(path: &Path, what: &impl Serialize) -> Result<(), Error> {
    let written = serde_json::to_vec_pretty(what).map_err(io::Error::from);
    written
        .and_then(|json| fs::write(path, json))
        .map_err(Error::io("write", path))
}
