//! Who takes part: Hull and its peers, and how each is told to boot the same guest with the same devices.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guests;

/// Guest memory of every machine, in MiB.
pub(crate) const MEMORY: u64 = 256;

/// Where Hull's programs and the guest's files are.
#[derive(Debug)]
pub(crate) struct Hull {
    pub(crate) hull: PathBuf,
    pub(crate) vmm: PathBuf,
    pub(crate) kernel: PathBuf,
    /// The initramfs that holds Hull's agent.
    pub(crate) agent: PathBuf,
    pub(crate) images: PathBuf,
    /// The guest that drives queues by itself.
    driver: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hull,
    Qemu,
    Firecracker,
}

/// One that takes part.
#[derive(Debug)]
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    program: PathBuf,
}

/// All that take part, and the guests that they boot.
#[derive(Debug)]
pub(crate) struct Contestants {
    pub(crate) hull: Hull,
    all: Vec<Contestant>,
    files: TempDir,
    /// What the guest kernel must be told on this host, from Hull's own probe.
    kernel_args: String,
}

/// How a disk's file is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// By system calls of the thread that serves the disk.
    Sync,
    /// By io_uring.
    Async,
}

/// What a machine boots, and what it has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine<'a> {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: Option<PathBuf>,
    pub(crate) args: String,
    /// Its first serial port writes to standard output.
    pub(crate) serial: bool,
    pub(crate) disk: Option<(PathBuf, Engine)>,
    /// The TAP device behind its network card.
    pub(crate) tap: Option<&'a str>,
    /// The socket of its vsock device. QEMU has none without the host's help.
    pub(crate) vsock: Option<PathBuf>,
    /// The socket of its API (QMP with QEMU).
    pub(crate) api: Option<PathBuf>,
}

impl Contestants {
    pub(crate) fn find() -> Result<Self> {
        let hull = Hull::find()?;
        let probe = Command::new(&hull.vmm)
            .arg("probe")
            .output()
            .context("hull-vmm probe")?;
        let profile: Value =
            serde_json::from_slice(&probe.stdout).context("hull-vmm probe prints no JSON")?;
        let kernel_args = profile["kernel_args"]
            .as_str()
            .unwrap_or_default()
            .to_owned();

        let mut all = vec![Contestant {
            name: "hull",
            kind: Kind::Hull,
            program: hull.vmm.clone(),
        }];
        if Command::new("qemu-system-x86_64")
            .arg("--version")
            .output()
            .is_ok()
        {
            all.push(Contestant {
                name: "qemu microvm",
                kind: Kind::Qemu,
                program: PathBuf::from("qemu-system-x86_64"),
            });
        } else {
            eprintln!("qemu-system-x86_64 is not installed: QEMU does not take part");
        }
        match env::var_os("FIRECRACKER") {
            Some(program) => all.push(Contestant {
                name: "firecracker",
                kind: Kind::Firecracker,
                program: program.into(),
            }),
            None => eprintln!("FIRECRACKER does not name a binary: Firecracker does not take part"),
        }
        let files = tempfile::Builder::new().prefix("hull-bench-").tempdir()?;
        fs::write(files.path().join("stop"), guests::stopping_kernel())?;
        fs::write(files.path().join("initramfs"), guests::initramfs())?;
        Ok(Self {
            hull,
            all,
            files,
            kernel_args,
        })
    }

    /// Those of some kinds.
    pub(crate) fn of(&self, kinds: &[Kind]) -> Vec<&Contestant> {
        let all = self.all.iter();
        all.filter(|contestant| kinds.contains(&contestant.kind))
            .collect()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<&Contestant> {
        self.all.iter().collect()
    }

    /// A file that goes with this.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A machine that stops at its first instruction.
    pub(crate) fn stopping(&self) -> Machine<'static> {
        Machine {
            kernel: self.file("stop"),
            ..Machine::default()
        }
    }

    /// A machine that boots Linux to an init that prints a line and sleeps.
    pub(crate) fn linux(&self) -> Machine<'static> {
        let args = "console=ttyS0 quiet reboot=k panic=-1 acpi=off pci=off";
        Machine {
            kernel: self.hull.kernel.clone(),
            initramfs: Some(self.file("initramfs")),
            args: format!("{args} {}", self.kernel_args),
            serial: true,
            ..Machine::default()
        }
    }

    /// A machine whose guest drives a device by itself; `job` is what it is to do.
    pub(crate) fn driver(&self, contestant: &Contestant, job: &str) -> Machine<'static> {
        // Where each has its virtio-mmio devices.
        let place = match contestant.kind {
            Kind::Hull => "base=0xd0000000 step=4096 count=19",
            Kind::Qemu => "base=0xfeb00000 step=512 count=32",
            Kind::Firecracker => "base=0xc0001000 step=4096 count=16",
        };
        Machine {
            kernel: self.hull.driver.clone(),
            args: format!("acpi=off {job} {place}"),
            serial: true,
            ..Machine::default()
        }
    }

    /// The command that starts a contestant's machine.
    pub(crate) fn command(
        &self,
        contestant: &Contestant,
        machine: &Machine<'_>,
    ) -> Result<Command> {
        let mut command = Command::new(&contestant.program);
        let mut machine = machine.clone();
        // Where KVM emulates guest kernels it cannot do XSAVE, and of all contestants only Hull does it in its place.
        let is_linux = machine.kernel == self.hull.kernel;
        if is_linux && contestant.kind != Kind::Hull && !self.kernel_args.is_empty() {
            machine.args.push_str(" noxsave");
        }
        let machine = &machine;
        if contestant.kind == Kind::Qemu {
            qemu(&mut command, machine);
            return Ok(command);
        }
        let config = config(contestant.kind, machine);
        let file = self.file(&format!("{}.json", contestant.name));
        fs::write(&file, serde_json::to_vec(&config)?)?;
        match &machine.api {
            Some(socket) => command.arg("--api-sock").arg(socket),
            None => command.arg("--no-api"),
        };
        command.arg("--config-file").arg(file);
        Ok(command)
    }

    /// The command that starts a contestant's process with nothing but its API; none if it has no such state.
    pub(crate) fn idle(&self, contestant: &Contestant, socket: &Path) -> Option<Command> {
        if contestant.kind == Kind::Qemu {
            return None;
        }
        let mut command = Command::new(&contestant.program);
        command.arg("--api-sock").arg(socket);
        Some(command)
    }
}

/// Without what the others have not either. KVM takes no IA32_ARCH_CAPABILITIES where it is emulated.
fn qemu(command: &mut Command, machine: &Machine<'_>) {
    command.args(["-M", "microvm,accel=kvm,acpi=off,pic=off,pit=off,rtc=off"]);
    command.args(["-cpu", "host,-arch-capabilities", "-smp", "1"]);
    command.args(["-m", &MEMORY.to_string(), "-nodefaults", "-no-user-config"]);
    command.args(["-display", "none", "-no-reboot"]);
    command.args(["-global", "virtio-mmio.force-legacy=false"]);
    if machine.serial {
        command.args(["-serial", "stdio"]);
    }
    command.arg("-kernel").arg(&machine.kernel);
    if let Some(initramfs) = &machine.initramfs {
        command.arg("-initrd").arg(initramfs);
    }
    if !machine.args.is_empty() {
        command.args(["-append", &machine.args]);
    }
    if let Some((disk, engine)) = &machine.disk {
        let aio = match engine {
            Engine::Sync => "threads",
            Engine::Async => "io_uring",
        };
        let drive = format!(
            "id=disk,file={},format=raw,if=none,aio={aio}",
            disk.display()
        );
        command.args(["-drive", &drive]);
        command.args(["-device", "virtio-blk-device,drive=disk"]);
    }
    if let Some(tap) = machine.tap {
        let netdev = format!("tap,id=net,ifname={tap},script=no,downscript=no,vhost=off");
        command.args(["-netdev", &netdev]);
        command.args(["-device", "virtio-net-device,netdev=net"]);
    }
    if let Some(api) = &machine.api {
        let qmp = format!("unix:{},server=on,wait=off", api.display());
        command.args(["-qmp", &qmp]);
    }
}

/// Hull's and Firecracker's configuration file.
fn config(kind: Kind, machine: &Machine<'_>) -> Value {
    let mut config = json!({
        "boot-source": { "kernel_image_path": machine.kernel, "boot_args": machine.args },
        "machine-config": { "vcpu_count": 1, "mem_size_mib": MEMORY },
        "drives": [],
    });
    if let Some(initramfs) = &machine.initramfs {
        config["boot-source"]["initrd_path"] = json!(initramfs);
    }
    if let Some((path, engine)) = &machine.disk {
        let engine = match engine {
            Engine::Sync => "Sync",
            Engine::Async => "Async",
        };
        config["drives"] = json!([{
            "drive_id": "disk", "path_on_host": path, "is_root_device": false, "is_read_only": false,
            "io_engine": engine,
        }]);
    }
    if let Some(tap) = machine.tap {
        config["network-interfaces"] = json!([{
            "iface_id": "net", "host_dev_name": tap, "guest_mac": "02:00:00:00:00:02",
        }]);
    }
    if let Some(path) = &machine.vsock {
        config["vsock"] = json!({ "guest_cid": 3, "uds_path": path });
    }
    // Firecracker's guests always have a serial port, on standard output.
    if kind == Kind::Hull && machine.serial {
        config["serial"] = json!({ "serial_out_path": "/dev/stdout" });
    }
    config
}

impl Hull {
    /// Beside this program: Cargo's output directory, with `guest` and `images` next to it.
    fn find() -> Result<Self> {
        let own = env::current_exe()?;
        let dir = own.parent().context("this program has no directory")?;
        let guest =
            env::var_os("HULL_GUEST_DIR").map_or_else(|| dir.join("../guest"), PathBuf::from);
        let found = Self {
            hull: dir.join("hull"),
            vmm: dir.join("hull-vmm"),
            kernel: guest.join("vmlinux"),
            agent: guest.join("initramfs.cpio"),
            images: dir.join("../images"),
            driver: dir.join("../bench/hull-bench-guest"),
        };
        for path in [
            &found.hull,
            &found.vmm,
            &found.kernel,
            &found.agent,
            &found.images,
            &found.driver,
        ] {
            if !path.exists() {
                bail!(
                    "{} is missing: `make bench` builds everything first",
                    path.display()
                );
            }
        }
        Ok(found)
    }
}

/// Lets contestants take turns.
pub(crate) fn rounds<T>(
    contestants: &[&Contestant],
    rounds: usize,
    run: impl Fn(&Contestant) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let mut samples: Vec<Vec<T>> = contestants.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (contestant, samples) in contestants.iter().zip(&mut samples) {
            samples.push(run(contestant).with_context(|| contestant.name.to_owned())?);
        }
    }
    Ok(samples)
}
