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
use crate::share::Share;
use crate::vm::{self, Descriptors, Disks, Launch, MachineSpec, Priority};
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

impl Saved {
    /// Whether its machine runs on a copy of a disk.
    pub(crate) fn copies(&self) -> bool {
        matches!(self.disk, SavedDisk::Copy(_))
    }
}

/// The writable disk of a machine in files.
#[derive(Debug)]
pub(crate) enum SavedDisk {
    /// It has not been looked at, so that an empty one will do.
    Empty,
    /// It is to be copied; the copy takes the place of what the container has when the machine has come up.
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

/// The name of the socket at which a guest arrives that connects to a port of the host.
pub(crate) fn service(port: u32) -> String {
    format!("{VSOCK}_{port}")
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
            agent: runtime.join(service(PORT)),
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
    shares: &[Share],
    saved: Option<Saved>,
    sockets: &Sockets,
) -> Result<Prepared<'a>, Error> {
    let directory = plan.held.directory();
    let runtime = around.shelf.runtime(&plan.record.id);
    let writable = have_disk(plan, around, saved.as_ref())?;
    let bind = |path: &Path, name| StdListener::bind(path).map_err(unbound(&runtime, name));
    let mut descriptors = Descriptors::new(bind(&sockets.vsock, VSOCK)?);
    let api = descriptors.give(API, bind(&sockets.api, API)?);
    descriptors.share(shares)?;
    let taps = plan.wired.descriptors();
    for (name, descriptor) in taps.map_err(Error::io("copy a descriptor of", "a TAP"))? {
        descriptors.give(&name, descriptor);
    }
    let disks = Disks {
        image: plan.image.parts(),
        writable: &writable,
        kept: !plan.record.config.auto_remove,
    };
    let path = directory.vmm_config();
    // So that its VMM can get ready for that before it has read what it is.
    let expected = saved.is_some().then(|| {
        let mib = vm::memory_mib(plan.shape);
        ["--expect-mem".to_owned(), mib.to_string()]
    });
    let (source, agent) = match saved {
        Some(saved) => {
            let load = vm::load(saved, disks, &mut descriptors)?;
            write(&path, &load)?;
            ("--load-file", None)
        }
        None => {
            let machine = MachineSpec {
                shape: plan.shape,
                shares,
                boot_args: &around.kernel.arguments,
                interfaces: plan.wired.macs(),
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
    // Those of an earlier run go.
    File::create(&metrics).map_err(Error::io("make", &metrics))?;
    let arguments = [
        source,
        &path.to_string_lossy(),
        "--api-sock",
        api.as_str(),
        "--metrics-path",
        &metrics.to_string_lossy(),
        "--metrics-at-end",
        "--id",
        plan.record.id.short(),
    ];
    let mut arguments = arguments.map(str::to_owned).to_vec();
    arguments.extend(expected.into_iter().flatten());
    Ok(Prepared {
        launch: Launch {
            program: &around.programs.vmm,
            arguments,
            descriptors: descriptors.into_inner(),
            log,
            priority: plan.record.config.cpu_shares.and_then(Priority::of),
            runtime: around.shelf.run(),
        },
        agent,
    })
}

/// The writable disk that the machine runs on. It is made where the container has none, and a copy where it was saved with one.
fn have_disk(
    plan: &Plan,
    around: &Surroundings<'_>,
    saved: Option<&Saved>,
) -> Result<PathBuf, Error> {
    let directory = plan.held.directory();
    let own = directory.disk();
    match saved.map(|saved| &saved.disk) {
        None | Some(SavedDisk::Empty) if plan.has_disk => Ok(own),
        None | Some(SavedDisk::Empty) => {
            disk::make(&around.layers, plan.layer, &own)?;
            Ok(own)
        }
        Some(SavedDisk::Copy(of)) => {
            let next = directory.next_disk();
            disk::make_copy(of, &next)?;
            Ok(next)
        }
        Some(SavedDisk::Own) => Ok(own),
    }
}

fn write(path: &Path, what: &impl Serialize) -> Result<(), Error> {
    let written = serde_json::to_vec_pretty(what).map_err(io::Error::from);
    written
        .and_then(|json| fs::write(path, json))
        .map_err(Error::io("write", path))
}
