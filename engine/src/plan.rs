//! A container that was made and not started yet: everything its start will need.

use std::fs::File;
use std::io::Read;

use hull_agent_protocol::{
    Adopt, Clock, Configure, CpuQuota, Identity, Limits, Mount, MountSource, Network, Place, Root,
    Start, Stdio, Sysctl, TtySize,
};
use hull_image::Image;
use jiff::Timestamp;

use crate::Error;
use crate::container::{ContainerConfig, Held, Record};
use crate::disk::Layer;
use crate::prepare::Saved;
use crate::share::Opened;
use crate::spec::{CPU_PERIOD_US, Merged, Shape};
use crate::wired::Wired;

/// Hexadecimal digits of a machine's id (machine-id(5)).
const MACHINE_ID: usize = 32;

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
    /// It has run before: its writable disk is there, and is not empty.
    pub(crate) has_disk: bool,
    /// Its network, from the start to the end.
    pub(crate) wired: Wired,
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

    /// How many network interfaces its machine has.
    pub(crate) fn interfaces(&self) -> usize {
        let config = self.config();
        config.interfaces.max(config.networks.len())
    }

    /// What makes the machine this container's machine.
    pub(crate) fn configure(&self, opened: &Opened) -> Result<Configure, Error> {
        let Adopt {
            clock,
            entropy,
            limits,
            mounts,
            shm_size,
            sysctls,
            ..
        } = self.adopt(opened)?;
        let mut common = self.common();
        common.mounts.extend(mounts);
        Ok(Configure {
            identity: self.identity(),
            clock,
            entropy,
            limits,
            shm_size,
            sysctls,
            interfaces: self.wired.interfaces(),
            ..common
        })
    }

    /// The same for a machine that was configured with what this container has in common with others.
    pub(crate) fn adopt(&self, opened: &Opened) -> Result<Adopt, Error> {
        let config = self.config();
        let sysctl = |(name, value): (&String, &String)| Sysctl {
            name: name.clone(),
            value: value.clone(),
        };
        let mut mounts = opened.mounts();
        if !mounts.is_empty() {
            mounts.extend(self.in_guest());
        }
        Ok(Adopt {
            identity: Some(self.identity()),
            interfaces: Some(self.wired.interfaces()),
            clock: Some(now()),
            entropy: entropy()?,
            mounts,
            limits: limits(self.shape, config),
            shm_size: config.shm_size,
            sysctls: config.sysctls.iter().map(sysctl).collect(),
        })
    }

    /// The same for one that goes on with its process, or another's: that has its mounts, and what belongs to them.
    pub(crate) fn go_on(&self) -> Result<Adopt, Error> {
        Ok(Adopt {
            shm_size: None,
            sysctls: Vec::new(),
            ..self.adopt(&Opened::default())?
        })
    }

    fn identity(&self) -> Identity {
        let (config, hostname) = (self.config(), &self.merged.hostname);
        Identity {
            hostname: hostname.clone(),
            domainname: config.domainname.clone(),
            hosts: self.wired.hosts(config, hostname),
            resolv_conf: self.wired.resolv_conf(config),
            machine_id: self
                .record
                .id
                .as_str()
                .get(..MACHINE_ID)
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// The container's network, as an agent is told it whose container runs.
    pub(crate) fn network(&self) -> Network {
        let config = self.config();
        Network {
            interfaces: self.wired.interfaces(),
            hosts: Some(self.wired.hosts(config, &self.merged.hostname)),
            resolv_conf: Some(self.wired.resolv_conf(config)),
        }
    }

    /// What all containers have in common that can be clones of one template: nobody's names, no secrets, no limits.
    pub(crate) fn common(&self) -> Configure {
        let config = self.config();
        // What lies below a directory of the host is mounted with that.
        let mounts = match config.mounts.is_empty() {
            true => self.in_guest(),
            false => Vec::new(),
        };
        Configure {
            // Not empty, for what is empty is not mounted.
            identity: Identity {
                hostname: "template".to_owned(),
                hosts: "# A template.\n".to_owned(),
                resolv_conf: "# A template.\n".to_owned(),
                machine_id: "0".repeat(MACHINE_ID),
                ..Identity::default()
            },
            root: Root {
                image: "/dev/vda".to_owned(),
                writable: Some("/dev/vdb".to_owned()),
                read_only: config.read_only,
            },
            mounts,
            privileged: config.privileged,
            ..Configure::default()
        }
    }

    /// What is mounted that is of the machine's own memory or disk.
    fn in_guest(&self) -> Vec<Mount> {
        let config = self.config();
        let tmpfs = |tmpfs: &crate::container::Tmpfs| Mount {
            target: tmpfs.path.to_string_lossy().into_owned(),
            source: MountSource::Tmpfs {
                options: tmpfs.options.clone(),
            },
        };
        let volume = |(index, target): (usize, &String)| Mount {
            target: target.clone(),
            source: MountSource::Volume {
                name: format!("v{index}"),
            },
        };
        let volumes = self.merged.volumes.iter().enumerate().map(volume);
        volumes.chain(config.tmpfs.iter().map(tmpfs)).collect()
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
        start(self.config(), &self.merged, size)
    }
}

/// A container's process, on a terminal of this size if it has one.
pub(crate) fn start(config: &ContainerConfig, merged: &Merged, size: TtySize) -> Start {
    Start {
        place: Place::NewContainer { init: config.init },
        argv: merged.argv.clone(),
        env: merged.env.clone(),
        user: merged.user.clone(),
        groups: config.group_add.clone(),
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
        oom_score_adj: config.oom_score_adj,
    }
}

/// What a container may use of a machine of this shape.
pub(crate) fn limits(shape: Shape, config: &ContainerConfig) -> Limits {
    Limits {
        memory: shape.memory_limit,
        cpu: shape.cpu_quota_us.map(|quota_us| CpuQuota {
            quota_us,
            period_us: CPU_PERIOD_US,
        }),
        pids: config.pids,
        ..Limits::default()
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
