//! Files whose host does not answer until the test says so: a FUSE file system that the test itself serves, in a mount
//! namespace of its own.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tempfile::TempDir;

/// Bounds a wait for what never comes; says nothing of speed.
const PATIENCE: Duration = Duration::from_secs(300);

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;
const FALLOCATE: u32 = 43;

const ROOT: u64 = 1;
/// The file that answers only when it may, and the one that always does.
pub(crate) const SLOW: &str = "slow";
pub(crate) const QUICK: &str = "quick";
const SIZE: usize = 4 << 20;

/// The mounted file system, with the files [`SLOW`] and [`QUICK`] of 4 MiB.
pub(crate) struct SlowFiles {
    dir: TempDir,
    state: Arc<State>,
    server: Option<JoinHandle<()>>,
}

struct State {
    device: File,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    files: [Vec<u8>; 2],
    holds: bool,
    /// Whoever opens the slow file waits as well.
    holds_opens: bool,
    /// Answers that are held back.
    held: Vec<Vec<u8>>,
}

impl SlowFiles {
    /// Mounts them; only this thread and what it starts see them. Without root or the device there are none.
    pub(crate) fn mount() -> Option<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let (true, Ok(device)) = (rustix::process::geteuid().is_root(), device) else {
            println!("SKIPPED: no usable /dev/fuse");
            return None;
        };
        // SAFETY: only this thread's view of mounts and its working directory become its own.
        #[allow(unsafe_code)]
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let dir = tempfile::Builder::new()
            .prefix("hull-slow-")
            .tempdir()
            .unwrap();
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount(
            "slow",
            dir.path(),
            "fuse.slow",
            MountFlags::NOSUID,
            &*options,
        )
        .unwrap();
        let state = Arc::new(State {
            device,
            inner: Mutex::new(Inner {
                files: [vec![b's'; SIZE], vec![b'q'; SIZE]],
                holds: false,
                holds_opens: false,
                held: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let served = state.clone();
        let server = thread::spawn(move || served.serve());
        Some(Self {
            dir,
            state,
            server: Some(server),
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn slow(&self) -> PathBuf {
        self.dir.path().join(SLOW)
    }

    /// From now on, reads, writes and flushes of the slow file get no answer.
    pub(crate) fn hold(&self) {
        self.state.lock().holds = true;
    }

    /// From now on, nobody can open the slow file either.
    pub(crate) fn hold_opens(&self) {
        let mut inner = self.state.lock();
        inner.holds = true;
        inner.holds_opens = true;
    }

    /// Waits until somebody waits for an answer.
    pub(crate) fn await_held(&self) {
        let inner = self.state.lock();
        let (_inner, waited) = self
            .state
            .changed
            .wait_timeout_while(inner, PATIENCE, |inner| inner.held.is_empty())
            .unwrap();
        assert!(!waited.timed_out(), "nobody asked for the slow file");
    }

    /// Everybody gets an answer.
    pub(crate) fn release(&self) {
        let mut inner = self.state.lock();
        inner.holds = false;
        inner.holds_opens = false;
        for reply in std::mem::take(&mut inner.held) {
            self.state.send(&reply);
        }
    }
}

impl Drop for SlowFiles {
    fn drop(&mut self) {
        self.release();
        let _ = rustix::mount::unmount(self.dir.path(), UnmountFlags::DETACH);
        // It ends when the last user of the files is gone.
        if let Some(server) = self.server.take()
            && !thread::panicking()
        {
            server.join().unwrap();
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn send(&self, reply: &[u8]) {
        // A request that was interrupted takes no reply.
        let _ = (&self.device).write(reply);
    }

    /// Serves until it is unmounted.
    fn serve(&self) {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(len) = (&self.device).read(&mut buffer) {
            let request = &buffer[..len];
            let (opcode, unique, node) =
                (u32_at(request, 4), u64_at(request, 8), u64_at(request, 16));
            if matches!(opcode, FORGET | BATCH_FORGET | INTERRUPT) {
                continue;
            }
            let mut inner = self.lock();
            let (error, payload) = match inner.answer(opcode, node, &request[40..]) {
                Ok(payload) => (0, payload),
                Err(errno) => (-errno, Vec::new()),
            };
            let total = u32::try_from(16 + payload.len()).unwrap();
            let mut reply = total.to_le_bytes().to_vec();
            reply.extend(error.to_le_bytes());
            reply.extend(unique.to_le_bytes());
            reply.extend(payload);
            let waits = match opcode {
                READ | WRITE | FSYNC => inner.holds,
                OPEN => inner.holds_opens,
                _ => false,
            };
            if waits && node == ROOT + 1 {
                inner.held.push(reply);
                self.changed.notify_all();
            } else {
                self.send(&reply);
            }
        }
    }
}

impl Inner {
    fn answer(&mut self, opcode: u32, node: u64, args: &[u8]) -> Result<Vec<u8>, i32> {
        let file = usize::try_from(node).unwrap().wrapping_sub(2);
        match opcode {
            INIT => {
                let mut reply = Vec::new();
                reply.extend(7_u32.to_le_bytes());
                reply.extend(31_u32.to_le_bytes());
                reply.extend((128_u32 << 10).to_le_bytes());
                reply.extend(0_u32.to_le_bytes());
                reply.extend([16, 0, 12, 0]);
                reply.extend((128_u32 << 10).to_le_bytes());
                reply.extend(1_u32.to_le_bytes());
                reply.resize(64, 0);
                Ok(reply)
            }
            LOOKUP => {
                let name = args.split(|byte| *byte == 0).next().unwrap();
                let node = match std::str::from_utf8(name) {
                    Ok(SLOW) => ROOT + 1,
                    Ok(QUICK) => ROOT + 2,
                    _ => return Err(libc::ENOENT),
                };
                let mut reply = node.to_le_bytes().to_vec();
                reply.extend(0_u64.to_le_bytes());
                // Valid for an hour.
                reply.extend(3600_u64.to_le_bytes());
                reply.extend(3600_u64.to_le_bytes());
                reply.extend([0; 8]);
                reply.extend(attributes(node));
                Ok(reply)
            }
            GETATTR | SETATTR => {
                let mut reply = 3600_u64.to_le_bytes().to_vec();
                reply.extend([0; 8]);
                reply.extend(attributes(node));
                Ok(reply)
            }
            OPEN | OPENDIR => Ok(vec![0; 16]),
            READ => {
                let (offset, size) = (u64_at(args, 8), u32_at(args, 16));
                let from = usize::try_from(offset).unwrap().min(SIZE);
                let to = (from + usize::try_from(size).unwrap()).min(SIZE);
                Ok(self.files[file][from..to].to_vec())
            }
            WRITE => {
                let (offset, size) = (u64_at(args, 8), u32_at(args, 16));
                let from = usize::try_from(offset).unwrap();
                let len = usize::try_from(size).unwrap();
                self.files[file][from..from + len].copy_from_slice(&args[40..40 + len]);
                let mut reply = size.to_le_bytes().to_vec();
                reply.extend([0; 4]);
                Ok(reply)
            }
            STATFS => Ok(vec![0; 80]),
            RELEASE | RELEASEDIR | FSYNC | FLUSH | FALLOCATE => Ok(Vec::new()),
            _ => Err(libc::ENOSYS),
        }
    }
}

/// `fuse_attr` of the directory or a file.
fn attributes(node: u64) -> Vec<u8> {
    let (mode, size) = match node {
        ROOT => (0o04_0755_u32, 0),
        _ => (0o10_0644, SIZE as u64),
    };
    let mut attributes = node.to_le_bytes().to_vec();
    attributes.extend(size.to_le_bytes());
    attributes.extend((size / 512).to_le_bytes());
    attributes.extend([0; 36]);
    attributes.extend(mode.to_le_bytes());
    attributes.extend(1_u32.to_le_bytes());
    attributes.extend([0; 12]);
    attributes.extend(4096_u32.to_le_bytes());
    attributes.extend([0; 4]);
    attributes
}
