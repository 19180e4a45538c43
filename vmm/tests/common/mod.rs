//! What the tests of `hull-vmm` share: the program as a process, and guests made by hand.

#![allow(dead_code)]

pub(crate) mod fuse;
pub(crate) mod guest;
pub(crate) mod linux;

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use hull_vm_api::{Client, ExitCause};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Whether guests can run here; says so when a test is skipped.
pub(crate) fn no_kvm() -> bool {
    let usable = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    if !usable {
        println!("SKIPPED: no usable /dev/kvm");
    }
    !usable
}

/// A named pipe in the machine's directory, open for both ways, so that nobody waits for the other end.
pub(crate) fn fifo(vm: &Vm, name: &str) -> fs::File {
    let (path, mode) = (vm.path(name), Mode::RUSR | Mode::WUSR);
    mknodat(rustix::fs::CWD, &path, FileType::Fifo, mode, 0).unwrap();
    let mut options = fs::File::options();
    options.read(true).write(true).open(path).unwrap()
}

/// A file that `make kernel` or `cargo xtask agent` makes.
pub(crate) fn guest_file(name: &str) -> PathBuf {
    let dir = std::env::var_os("HULL_GUEST_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guest")),
        PathBuf::from,
    );
    let path = dir.join(name);
    assert!(
        path.exists(),
        "{} is missing: make it with `make kernel`, or name its directory with HULL_GUEST_DIR",
        path.display()
    );
    path
}

/// The program, or what `cargo xtask seccomp` runs in its place to see what it does.
fn program() -> std::ffi::OsString {
    let wrapper = std::env::var_os("HULL_VMM_WRAPPER");
    wrapper.unwrap_or_else(|| env!("CARGO_BIN_EXE_hull-vmm").into())
}

/// A TAP device with several queues.
pub(crate) const QUEUES: &str = "hulltapq";
/// Who says nothing for so long is stuck, however slow the host is.
const SILENCE: Timespec = Timespec {
    tv_sec: 300,
    tv_nsec: 0,
};
/// How many devices [`Vm::every_device`] makes.
pub(crate) const EVERY_DEVICE: u32 = 9;

/// A machine to be started, with a directory of its own.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) dir: TempDir,
    pub(crate) config: Value,
    pub(crate) args: Vec<String>,
    /// Whether its process has a network namespace of its own, with the TAP devices hulltap0, hulltap1 and [`QUEUES`].
    pub(crate) own_network: bool,
    /// Bytes of the file system `small` in its directory, which its process alone sees; 0 for none.
    pub(crate) small_disk: u32,
}

impl Vm {
    /// A machine that boots a kernel made of this code.
    pub(crate) fn of(code: &[u8]) -> Self {
        let vm = Self::empty();
        fs::write(vm.path("kernel"), guest::elf(0x10_0000, code)).unwrap();
        vm
    }

    /// A machine whose kernel is missing.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hull-vmm-")
            .tempdir()
            .unwrap();
        let config = json!({
            "boot-source": { "kernel_image_path": dir.path().join("kernel") },
            "machine-config": { "vcpu_count": 1, "mem_size_mib": 64 },
            "vsock": { "guest_cid": 3, "uds_path": dir.path().join("vsock") },
        });
        Self {
            dir,
            config,
            args: Vec::new(),
            own_network: false,
            small_disk: 0,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a value into the configuration, by JSON pointer.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Self {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        self.config.pointer_mut(parent).unwrap()[field] = value;
        self
    }

    /// With a serial port whose bytes are the process's standard output.
    pub(crate) fn serial(self) -> Self {
        self.set("/serial", json!({ "serial_out_path": "/dev/stdout" }))
    }

    /// With one of every virtio device, in the slots 0 to [`EVERY_DEVICE`] - 1.
    pub(crate) fn every_device(mut self) -> Self {
        fs::write(self.path("disk"), vec![0; 1 << 20]).unwrap();
        fs::write(self.path("pmem"), vec![0; 2 << 20]).unwrap();
        fs::create_dir(self.path("shared")).unwrap();
        let (disk, pmem, shared) = (self.path("disk"), self.path("pmem"), self.path("shared"));
        let drive = json!({ "drive_id": "d", "path_on_host": disk, "is_root_device": false, "io_engine": "Async" });
        let interface = json!({ "iface_id": "n", "host_dev_name": "hulltap0" });
        self.own_network = true;
        self.set("/drives", json!([drive]))
            .set("/pmem", json!([{ "id": "p", "path_on_host": pmem }]))
            .set("/network-interfaces", json!([interface]))
            .set("/console", json!({ "output_path": "/dev/null" }))
            .set("/entropy", json!({}))
            .set(
                "/balloon",
                json!({
                    "amount_mib": 1, "deflate_on_oom": true, "stats_polling_interval_s": 1,
                    "free_page_hinting": true, "free_page_reporting": true,
                }),
            )
            .set("/memory-hotplug", json!({ "total_size_mib": 128 }))
            .set("/shares", json!([{ "tag": "s", "path": shared }]))
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    fn program(&self) -> Command {
        if self.small_disk > 0 {
            let small = self.path("small");
            fs::create_dir_all(&small).unwrap();
            let mut command = Command::new("unshare");
            let then = format!(
                "mount -t tmpfs -o size={} small {} && exec \"$0\" \"$@\"",
                self.small_disk,
                small.display()
            );
            command.args(["--mount", "sh", "-c", &then]).arg(program());
            return command;
        }
        if !self.own_network {
            return Command::new(program());
        }
        let mut command = Command::new("unshare");
        let taps = "for tap in hulltap0 hulltap1; do ip tuntap add $tap mode tap; done";
        let queues = format!("ip tuntap add {QUEUES} mode tap multi_queue");
        let then = format!("{taps}; {queues}; exec \"$0\" \"$@\"");
        command.args(["--net", "sh", "-c", &then]).arg(program());
        command
    }

    pub(crate) fn command(&self) -> Command {
        let file = self.path("config.json");
        fs::write(&file, self.config.to_string()).unwrap();
        let mut command = self.program();
        command.args(["--no-api", "--config-file"]).arg(file);
        command.arg("--metrics-path").arg(self.path("metrics"));
        command.args(&self.args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The same machine behind an API at the socket `api`: with its configuration, or waiting for one.
    pub(crate) fn serve(&self, configured: Configured) -> (Running, Client) {
        let file = self.path("config.json");
        fs::write(&file, self.config.to_string()).unwrap();
        let socket = self.path("api");
        let mut command = self.program();
        command.arg("--api-sock").arg(&socket).args(&self.args);
        if configured == Configured::ByFile {
            command.arg("--config-file").arg(file);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut running = Running(Some(command.spawn().unwrap()));
        running.await_log("serving the API at ");
        (running, Client::new(socket))
    }

    /// Runs the program with other arguments to its end.
    pub(crate) fn command_with(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(program());
        command.args(args).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().unwrap())).end()
    }

    pub(crate) fn start(&self) -> Running {
        Running(Some(self.command().spawn().unwrap()))
    }

    /// Runs it to its end, and checks that it leaves no socket.
    pub(crate) fn run(&self) -> Ended {
        let ended = self.start().end();
        self.assert_clean();
        ended
    }

    /// The figures that the last run wrote.
    pub(crate) fn metrics(&self) -> Value {
        let text = fs::read_to_string(self.path("metrics")).unwrap();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }

    pub(crate) fn assert_clean(&self) {
        assert!(!self.path("vsock").exists(), "the vsock socket was left");
    }
}

/// Whether a machine has its configuration when it begins to serve its API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Configured {
    ByFile,
    ByApi,
}

/// A machine that runs; killed if the test is over before it is.
#[derive(Debug)]
pub(crate) struct Running(Option<Child>);

impl Running {
    /// A process that the test started itself.
    pub(crate) fn of(child: Child) -> Self {
        Self(Some(child))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.0.as_ref().unwrap())
    }

    /// The process that has the guest: the child of the one that was started.
    pub(crate) fn machine(&self) -> String {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap();
        let mut children = children.split_whitespace();
        let machine = children.next().expect("the machine's process").to_owned();
        assert_eq!(children.next(), None, "more than one process");
        machine
    }

    /// Reads standard output until this line is complete.
    pub(crate) fn await_output(&mut self, text: &str) {
        let stdout = self.0.as_mut().unwrap().stdout.as_mut().unwrap();
        if !find_text(stdout, text) {
            panic!(
                "it ended without {text:?}: {:?}",
                std::mem::replace(self, Self(None)).end()
            );
        }
    }

    /// What comes on standard output before this text, which is taken away, too.
    pub(crate) fn output_until(&mut self, text: &str) -> String {
        let stdout = self.0.as_mut().unwrap().stdout.as_mut().unwrap();
        let (mut seen, found) = read_text(stdout, text);
        let kept = seen.len() - if found { text.len() } else { 0 };
        seen.truncate(kept);
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert!(found, "it ended, or is stuck, without {text:?}: {seen}");
        seen
    }

    /// Reads standard error until this text was there.
    pub(crate) fn await_log(&mut self, text: &str) {
        let stderr = self.0.as_mut().unwrap().stderr.as_mut().unwrap();
        await_text(stderr, text);
    }

    /// Waits for the end without reading standard output.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let mut child = self.0.take().unwrap();
        child.wait().unwrap()
    }

    pub(crate) fn end(mut self) -> Ended {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        Ended {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn await_text(from: &mut (impl Read + AsFd), text: &str) {
    assert!(find_text(from, text), "it ended without {text:?}");
}

/// Reads up to the end of a text; false if it ends without.
fn find_text(from: &mut (impl Read + AsFd), text: &str) -> bool {
    read_text(from, text).1
}

/// What there is up to the end of a text, and whether that is where it ends.
fn read_text(from: &mut (impl Read + AsFd), text: &str) -> (Vec<u8>, bool) {
    let mut seen = Vec::new();
    // Unbuffered: what comes afterwards is somebody else's.
    let mut byte = [0];
    while !seen.ends_with(text.as_bytes()) {
        let mut wanted = [PollFd::new(from, PollFlags::IN)];
        let stuck = poll(&mut wanted, Some(&SILENCE)).unwrap() == 0;
        if stuck || from.read(&mut byte).unwrap() == 0 {
            return (seen, false);
        }
        seen.extend(byte);
    }
    (seen, true)
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How a machine ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn cause(&self) -> ExitCause {
        let code = self.status.code();
        let cause = code.and_then(ExitCause::from_code);
        let signal = self.status.signal();
        cause.unwrap_or_else(|| panic!("exit code {code:?}, signal {signal:?}: {}", self.stderr))
    }

    /// The sentence on standard error: the last line.
    pub(crate) fn sentence(&self) -> &str {
        self.stderr.lines().last().unwrap_or_default()
    }

    /// The sentence, of a run that failed with this cause.
    pub(crate) fn refusal(&self, cause: ExitCause) -> &str {
        assert_eq!(self.cause(), cause, "{}", self.stderr);
        assert_eq!(
            self.stderr.lines().count(),
            1,
            "more than a sentence: {}",
            self.stderr
        );
        self.sentence()
    }
}
