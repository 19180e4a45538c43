//! One microVM of each contestant: how each is told to boot the same kernel with the same memory.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tempfile::TempDir;

use crate::guests;
use crate::measure::{own_memory, to_the_end, until_printed};
use crate::report::Report;

/// Guest memory of every machine, in MiB.
const MEMORY: u64 = 256;

/// Where Hull's programs and the guest's files are.
#[derive(Debug)]
pub(crate) struct Hull {
    pub(crate) hull: PathBuf,
    vmm: PathBuf,
    kernel: PathBuf,
    pub(crate) images: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hull,
    Qemu,
    Firecracker,
}

/// One that takes part.
#[derive(Debug)]
struct Contestant {
    name: &'static str,
    kind: Kind,
    program: PathBuf,
}

/// All that take part, and the guests that they boot.
#[derive(Debug)]
pub(crate) struct Machines {
    pub(crate) hull: Hull,
    contestants: Vec<Contestant>,
    files: TempDir,
    /// What the guest kernel must be told on this host, from Hull's own probe.
    kernel_args: String,
}

/// What a machine boots.
#[derive(Debug, Clone, Copy)]
struct Guest<'a> {
    kernel: &'a Path,
    initramfs: Option<&'a Path>,
    args: &'a str,
}

impl Machines {
    pub(crate) fn find() -> Result<Self> {
        let hull = Hull::find()?;
        let probe = Command::new(&hull.vmm)
            .arg("probe")
            .output()
            .context("hull-vmm probe")?;
        let profile: serde_json::Value =
            serde_json::from_slice(&probe.stdout).context("hull-vmm probe prints no JSON")?;
        let kernel_args = profile["kernel_args"]
            .as_str()
            .unwrap_or_default()
            .to_owned();

        let mut contestants = vec![Contestant {
            name: "hull",
            kind: Kind::Hull,
            program: hull.vmm.clone(),
        }];
        if Command::new("qemu-system-x86_64")
            .arg("--version")
            .output()
            .is_ok()
        {
            let program = PathBuf::from("qemu-system-x86_64");
            contestants.push(Contestant {
                name: "qemu microvm",
                kind: Kind::Qemu,
                program,
            });
        } else {
            eprintln!("qemu-system-x86_64 is not installed: QEMU does not take part");
        }
        match env::var_os("FIRECRACKER") {
            Some(program) => contestants.push(Contestant {
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
            contestants,
            files,
            kernel_args,
        })
    }

    /// From the start of the process to its end, with a kernel that stops at its first instruction.
    pub(crate) fn first_instruction(&self, rounds: usize, report: &mut Report) -> Result<()> {
        let kernel = self.files.path().join("stop");
        let guest = Guest {
            kernel: &kernel,
            initramfs: None,
            args: "",
        };
        let costs = self.rounds(rounds, |contestant| {
            let cost = to_the_end(&mut self.command(contestant, guest)?)?;
            Ok((milliseconds(cost.wall), milliseconds(cost.cpu)))
        })?;
        for (contestant, samples) in self.contestants.iter().zip(costs) {
            let (wall, cpu) = samples.into_iter().unzip();
            report.add(
                "first instruction, whole process",
                contestant.name,
                "ms",
                wall,
            );
            report.add("first instruction, CPU time", contestant.name, "ms", cpu);
        }
        Ok(())
    }

    /// From the start of the process to a line printed by init, with Hull's kernel and one initramfs.
    pub(crate) fn kernel_boot(&self, rounds: usize, report: &mut Report) -> Result<()> {
        let initramfs = self.files.path().join("initramfs");
        let args = self.linux_args();
        let guest = Guest {
            kernel: &self.hull.kernel,
            initramfs: Some(&initramfs),
            args: &args,
        };
        let times = self.rounds(rounds, |contestant| {
            let time = until_printed(&mut self.command(contestant, guest)?, guests::READY)?;
            Ok(milliseconds(time))
        })?;
        for (contestant, samples) in self.contestants.iter().zip(times) {
            report.add("kernel boot to init", contestant.name, "ms", samples);
        }
        Ok(())
    }

    /// The memory of a machine whose guest has booted and sleeps, without the guest's own memory.
    pub(crate) fn own_memory(&self, report: &mut Report) -> Result<()> {
        let initramfs = self.files.path().join("initramfs");
        let args = self.linux_args();
        let guest = Guest {
            kernel: &self.hull.kernel,
            initramfs: Some(&initramfs),
            args: &args,
        };
        for contestant in &self.contestants {
            let mut command = self.command(contestant, guest)?;
            let mut child = Machine(
                command
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()?,
            );
            let stdout = child.0.stdout.take().context("no standard output")?;
            if !crate::measure::contains(stdout, guests::READY)? {
                bail!("{} did not boot", contestant.name);
            }
            // Below 4 GiB a machine's memory is one mapping, or two where the VMM splits off the first megabyte.
            let kib = own_memory(child.0.id(), MEMORY * 1024 * 9 / 10)?;
            #[allow(clippy::cast_precision_loss)]
            report.add(
                "own memory (PSS), guest booted",
                contestant.name,
                "KiB",
                vec![kib as f64],
            );
        }
        Ok(())
    }

    fn linux_args(&self) -> String {
        format!(
            "console=ttyS0 quiet reboot=k panic=-1 acpi=off pci=off {}",
            self.kernel_args
        )
    }

    /// Lets the contestants take turns.
    fn rounds<T>(
        &self,
        rounds: usize,
        run: impl Fn(&Contestant) -> Result<T>,
    ) -> Result<Vec<Vec<T>>> {
        let mut samples: Vec<Vec<T>> = self.contestants.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (contestant, samples) in self.contestants.iter().zip(&mut samples) {
                samples.push(run(contestant).with_context(|| contestant.name.to_owned())?);
            }
        }
        Ok(samples)
    }

    fn command(&self, contestant: &Contestant, guest: Guest<'_>) -> Result<Command> {
        let mut command = Command::new(&contestant.program);
        match contestant.kind {
            Kind::Qemu => {
                // Without what the others have not either; and KVM takes no IA32_ARCH_CAPABILITIES where it is emulated.
                command.args(["-M", "microvm,accel=kvm,acpi=off,pic=off,pit=off,rtc=off"]);
                command.args(["-cpu", "host,-arch-capabilities", "-smp", "1"]);
                command.args(["-m", &MEMORY.to_string(), "-nodefaults", "-no-user-config"]);
                command.args([
                    "-display",
                    "none",
                    "-no-reboot",
                    "-serial",
                    "stdio",
                    "-kernel",
                ]);
                command.arg(guest.kernel);
                if let Some(initramfs) = guest.initramfs {
                    command
                        .arg("-initrd")
                        .arg(initramfs)
                        .args(["-append", guest.args]);
                }
            }
            Kind::Hull | Kind::Firecracker => {
                let mut config = json!({
                    "boot-source": { "kernel_image_path": guest.kernel, "boot_args": guest.args },
                    "machine-config": { "vcpu_count": 1, "mem_size_mib": MEMORY },
                    "drives": [],
                });
                if let Some(initramfs) = guest.initramfs {
                    config["boot-source"]["initrd_path"] = json!(initramfs);
                }
                if contestant.kind == Kind::Hull && guest.initramfs.is_some() {
                    config["serial"] = json!({ "serial_out_path": "/dev/stdout" });
                }
                let file = self.files.path().join(format!("{}.json", contestant.name));
                fs::write(&file, serde_json::to_vec(&config)?)?;
                command.args(["--no-api", "--config-file"]).arg(file);
            }
        }
        Ok(command)
    }
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
            images: dir.join("../images"),
        };
        for path in [&found.hull, &found.vmm, &found.kernel, &found.images] {
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

/// A machine that is killed when it is no longer needed.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
