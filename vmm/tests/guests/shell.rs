//! A Linux with a shell, which does what a test says.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use hull_vm_api::config::{HostPath, Serial};
use hull_vm_api::request::{SnapshotCreate, SnapshotLoad, SnapshotType};
use hull_vm_api::{Client, ExitCause};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::guest::initramfs_with;
use crate::common::linux::linux;
use crate::common::{Configured, Running, Vm, fifo};

/// What stands before the status at the end of a script's output.
const END: &str = "\x1e";

/// A machine that boots a shell.
pub(crate) struct Machine {
    vm: Vm,
}

/// One that runs.
pub(crate) struct Guest {
    vm: Vm,
    running: Running,
    pub(crate) client: Client,
    keys: File,
}

impl Machine {
    /// With so many vCPUs and MiB of memory.
    pub(crate) fn new(vcpus: u8, mem_mib: u32) -> Self {
        Self::with(vcpus, mem_mib, "acpi=off", &[])
    }

    /// The same with other words for the kernel, and programs in `/bin`.
    pub(crate) fn with(vcpus: u8, mem_mib: u32, args: &str, programs: &[(&str, &str)]) -> Self {
        let busybox = fs::read("/bin/busybox").expect("busybox-static of Debian");
        let programs = programs.iter().map(|(name, text)| (*name, text.as_bytes()));
        let programs: Vec<_> = programs.chain([("busybox", &busybox[..])]).collect();
        let initramfs = initramfs_with(include_bytes!("init.sh"), &programs);
        let vm = linux(vcpus, args, &initramfs);
        let vm = vm.set("/machine-config/mem_size_mib", json!(mem_mib));
        Self { vm }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.vm.path(name)
    }

    pub(crate) fn set(self, pointer: &str, value: Value) -> Self {
        let vm = self.vm.set(pointer, value);
        Self { vm }
    }

    /// Its process has a network namespace of its own, with TAP devices.
    pub(crate) fn with_network(mut self) -> Self {
        self.vm.own_network = true;
        self
    }

    /// Shares a directory; more of [`Machine::set`] may change how.
    pub(crate) fn share(mut self, tag: &str, path: &Path, read_only: bool) -> Self {
        let share = json!({ "tag": tag, "path": path, "read_only": read_only });
        let config = self.vm.config.as_object_mut().unwrap();
        let shares = config.entry("shares").or_insert(json!([]));
        shares.as_array_mut().unwrap().push(share);
        self
    }

    /// With the host's programs, once they are mounted: `mount -t virtiofs usr /usr`.
    pub(crate) fn programs_of_the_host(self) -> Self {
        self.share("usr", Path::new("/usr"), true)
    }

    /// Boots it, until its shell is there.
    pub(crate) fn boot(self) -> Guest {
        let vm = self.vm;
        let keys = fifo(&vm, "keys");
        let path = vm.path("keys");
        let vm = vm.set("/serial/serial_in_path", json!(path));
        let (running, client) = vm.serve(Configured::ByFile);
        let mut guest = Guest {
            vm,
            running,
            client,
            keys,
        };
        guest.status();
        guest
    }
}

impl Guest {
    /// Runs a script, each of whose commands must succeed; what it printed.
    pub(crate) fn sh(&mut self, script: &str) -> String {
        let (status, output) = self.try_sh(&format!("set -e\n{script}\nset +e"));
        assert_eq!(status, 0, "of {script}: {output}");
        output
    }

    /// The same of a script that may fail, with its status.
    pub(crate) fn try_sh(&mut self, script: &str) -> (i32, String) {
        println!("{script}");
        self.begin(script);
        let (status, output) = self.status();
        println!("{output}[{status}]");
        (status, output)
    }

    /// Begins a script; [`Guest::status`] waits for its end.
    pub(crate) fn begin(&mut self, script: &str) {
        write!(self.keys, "{}\n.\n", script.trim()).unwrap();
    }

    /// The status of the script that runs, and what it printed from here on.
    pub(crate) fn status(&mut self) -> (i32, String) {
        let output = self.running.output_until(END);
        let status = self.running.output_until("\n");
        let status = status.parse();
        (status.expect("a status"), output)
    }

    /// Waits until a script prints this.
    pub(crate) fn await_line(&mut self, line: &str) {
        self.running.output_until(&format!("{line}\n"));
    }

    /// Waits until a script prints this; the number that stands behind it.
    pub(crate) fn line(&mut self, begin: &str) -> usize {
        self.running.output_until(begin);
        let number = self.running.output_until("\n");
        number.parse().expect("a number")
    }

    /// How many descriptors the machine's process has.
    pub(crate) fn descriptors(&self) -> usize {
        let all = fs::read_dir(format!("/proc/{}/fd", self.running.machine()));
        all.unwrap().count()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.vm.path(name)
    }

    /// What is resident of the machine's process, in MiB.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.running.machine());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() >> 10
    }

    /// Ends the process when a snapshot of its machine was taken, and goes on from that in another one.
    pub(crate) fn move_on(self, kind: SnapshotType, load: impl FnOnce(&mut SnapshotLoad)) -> Self {
        let host = |name: &str| HostPath::try_from(self.vm.path(name).as_path()).unwrap();
        self.client.pause().unwrap();
        let create = SnapshotCreate {
            snapshot_type: kind,
            snapshot_path: host("state"),
            mem_file_path: host("memory"),
            resume_vm: false,
        };
        if let Err(error) = self.client.create_snapshot(&create) {
            panic!("{error}: {:?}", self.running.end());
        }
        self.running.signal(Signal::INT);
        assert_eq!(self.running.end().cause(), ExitCause::Terminated);
        let (running, client) = self.vm.serve(Configured::ByApi);
        let serial = Serial {
            serial_out_path: Some("/dev/stdout".into()),
            serial_in_path: Some(host("keys")),
            rate_limiter: None,
        };
        client.put_serial(&serial).unwrap();
        let mut wanted = SnapshotLoad::new(create.snapshot_path, create.mem_file_path);
        wanted.resume_vm = true;
        load(&mut wanted);
        client.load_snapshot(&wanted).unwrap();
        Self {
            running,
            client,
            ..self
        }
    }

    /// The machine's directory goes with what this returns.
    pub(crate) fn power_off(mut self) -> Vm {
        self.begin("poweroff -f");
        let ended = self.running.end();
        assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
        self.vm
    }
}

/// Asks until the answer is yes. For what happens on its own time, and tells nobody when it is done.
pub(crate) fn await_that(what: &str, mut done: impl FnMut() -> bool) {
    let since = std::time::Instant::now();
    while !done() {
        assert!(since.elapsed().as_secs() < 600, "never: {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
