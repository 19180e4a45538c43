//! A container that was made and not started yet: everything its start will need.

use std::fs::File;
use std::io::Read;

use hull_agent_protocol::{
    Adopt, Clock, Configure, CpuQuota, Identity, Limits, Place, Root, Start, Stdio, Tmpfs, TtySize,
    Volume,
};
use hull_image::Image;
use jiff::Timestamp;

use crate::Error;
use crate::container::{ContainerConfig, ContainerId, Held, Record};
use crate::disk::Layer;
use crate::prepare::Saved;
use crate::spec::{Merged, Shape};

/// Hexadecimal digits of a machine's id (machine-id(5)).
const MACHINE_ID: usize = 32;

/// The period in which a quota of processor time counts.
const CPU_PERIOD_US: u64 = 100_000;

/// What a start needs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) held: Held,
    pub(crate) record: Record,
    /// Kept as long as the machine runs, so that nobody removes its files.
    pub(crate) image: Image,
    pub(crate) merged: Merged,
    pub(crate) shape: Shape,
    pub(crate) layer: Layer,
    /// What its machine was when it was saved; one that was not starts from nothing.
    pub(crate) past: Option<Past>,
}

/// A machine that was saved with its process.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) saved: Saved,
    /// It was another container's, whose names and secrets this one is not to have.
    pub(crate) anothers: bool,
}

impl Plan {
    fn config(&self) -> &ContainerConfig {
        &self.record.config
    }

    /// What makes the machine this container's machine.
    pub(crate) fn configure(&self) -> Result<Configure, Error> {
        let Adopt {
            clock,
            entropy,
            limits,
            ..
        } = self.adopt()?;
        Ok(Configure {
            identity: self.identity(),
            clock,
            entropy,
            limits,
            ..self.common()
        })
    }

    /// The same for a machine that was configured with what this container has in common with others.
    pub(crate) fn adopt(&self) -> Result<Adopt, Error> {
        Ok(Adopt {
            identity: Some(self.identity()),
            clock: Some(now()),
            entropy: entropy()?,
            limits: Limits {
                memory: self.shape.memory_limit,
                cpu: self.shape.cpu_quota_us.map(|quota_us| CpuQuota {
                    quota_us,
                    period_us: CPU_PERIOD_US,
                }),
                pids: None,
            },
        })
    }

    fn identity(&self) -> Identity {
        identity(&self.merged.hostname, &self.record.id)
    }

    /// What all containers have in common that can be clones of one template: nobody's names, no secrets, no limits.
    pub(crate) fn common(&self) -> Configure {
        let config = self.config();
        let tmpfs = |tmpfs: &crate::container::Tmpfs| Tmpfs {
            target: tmpfs.path.to_string_lossy().into_owned(),
            options: tmpfs.options.clone(),
        };
        let volume = |(index, target): (usize, &String)| Volume {
            name: format!("v{index}"),
            target: target.clone(),
        };
        Configure {
            // Not empty, for what is empty is not mounted.
            identity: Identity {
                hostname: "template".to_owned(),
                hosts: "# A template.\n".to_owned(),
                resolv_conf: "# A template.\n".to_owned(),
                machine_id: "0".repeat(MACHINE_ID),
            },
            clock: None,
            entropy: Vec::new(),
            root: Root {
                image: "/dev/vda".to_owned(),
                writable: Some("/dev/vdb".to_owned()),
                read_only: config.read_only,
            },
            tmpfs: config.tmpfs.iter().map(tmpfs).collect(),
            volumes: self.merged.volumes.iter().enumerate().map(volume).collect(),
            limits: Limits::default(),
            privileged: config.privileged,
        }
    }

    /// Where its program may be.
    pub(crate) fn programs(&self) -> Vec<String> {
        let Merged { argv, env, cwd, .. } = &self.merged;
        let Some(name) = argv.first() else {
            return Vec::new();
        };
        if name.starts_with('/') {
            return vec![name.clone()];
        }
        if name.contains('/') {
            return vec![format!("{cwd}/{name}")];
        }
        let path = env.iter().rev().find_map(|one| one.strip_prefix("PATH="));
        let directories = path.unwrap_or_default().split(':');
        let absolute = directories.filter(|directory| directory.starts_with('/'));
        absolute
            .map(|directory| format!("{directory}/{name}"))
            .collect()
    }

    /// The process, on a terminal of this size if it has one.
    pub(crate) fn start(&self, size: TtySize) -> Start {
        let (config, merged) = (self.config(), &self.merged);
        Start {
            place: Place::NewContainer { init: config.init },
            argv: merged.argv.clone(),
            env: merged.env.clone(),
            user: merged.user.clone(),
            groups: Vec::new(),
            cwd: merged.cwd.clone(),
            stdio: if config.tty {
                Stdio::Terminal(size)
            } else {
                Stdio::Pipes {
                    stdin: config.open_stdin,
                }
            },
            rlimits: merged.rlimits.clone(),
            capabilities: merged.capabilities,
            no_new_privileges: config.no_new_privileges,
            oom_score_adj: 0,
        }
    }
}

/// What a container without a network has for a list of name servers. Not nothing, because the agent would then
/// leave the image's own file, and whoever built the image had other servers.
const NO_NAME_SERVERS: &str = "# This container has no network.\n";

/// Its own name leads to loopback: that is all the network there is.
fn identity(hostname: &str, id: &ContainerId) -> Identity {
    let machine_id = id.as_str().get(..MACHINE_ID).unwrap_or_default();
    let hosts = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{hostname}\n"
    );
    Identity {
        hostname: hostname.to_owned(),
        hosts,
        resolv_conf: NO_NAME_SERVERS.to_owned(),
        machine_id: machine_id.to_owned(),
    }
}

fn now() -> Clock {
    let now = Timestamp::now();
    // Before 1970 both would be negative; the clock of such a host is not worth passing on.
    Clock {
        seconds: now.as_second().max(0),
        nanoseconds: u32::try_from(now.subsec_nanosecond()).unwrap_or(0),
    }
}

fn entropy() -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; 64];
    let path = "/dev/urandom";
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(Error::io("read", path))?;
    Ok(bytes)
}
