//! A shared directory: FUSE requests with arguments of the right shape, on a small file system that only this process sees.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr;

use super::input::Input;
use super::script::{self, Host};
use crate::fs::{Fs, FsBackend, FsCache, FsConfig};
use crate::testing::Driver;
use crate::{DeviceState, VirtioDevice};

/// Where the file system is mounted.
const PLACE: &CStr = c"/dev/shm";
const NAMES: [&str; 10] = [
    "a", "b", "c", "dir", "link", "file", "fifo", "..", "a/b", "",
];

/// The requests, and the shapes of their arguments: `n` a name, `h` a file handle, `q` and `d` numbers of 64 and 32 bits,
/// `i` the number of a file, `b` bytes. Padding is `d` like other numbers.
const SHAPES: [(u32, &str); 43] = [
    (1, "n"),
    (2, "q"),
    (3, "ddh"),
    (4, "ddhqqqqqddddddddd"),
    (5, ""),
    (6, "nn"),
    (8, "ddddn"),
    (9, "ddn"),
    (10, "n"),
    (11, "n"),
    (12, "inn"),
    (13, "in"),
    (14, "dd"),
    (15, "hqddqdd"),
    (16, "hqddqddb"),
    (17, ""),
    (18, "hddq"),
    (20, "hdd"),
    (21, "ddnb"),
    (22, "ddn"),
    (23, "dd"),
    (24, "n"),
    (25, "hddq"),
    (26, "ddddb"),
    (27, "dd"),
    (28, "hqddqdd"),
    (29, "hddq"),
    (30, "hdd"),
    (31, "hqqqdddd"),
    (32, "hqqqdddd"),
    (33, "hqqqdddd"),
    (34, "dd"),
    (35, "ddddn"),
    (36, "q"),
    (38, ""),
    (42, "ddiqiq"),
    (43, "hqqdd"),
    (44, "hqddqdd"),
    (45, "iddnn"),
    (46, "hqdd"),
    (47, "hqihqqq"),
    (50, "q"),
    (52, "ddhdd"),
];

struct Shared {
    root: PathBuf,
    config: FsConfig,
    unique: u64,
}

impl Shared {
    fn backend(&self) -> FsBackend {
        FsBackend {
            root: open_path(&self.root),
            proc_self_fd: open_path(Path::new("/proc/self/fd")),
            descriptors: 64,
            nodes: 100,
        }
    }

    fn header(&mut self, opcode: u32, node: u64, args: &[u8]) -> Vec<u8> {
        self.unique += 2;
        let len = u32::try_from(40 + args.len()).unwrap();
        let mut bytes = [len, opcode].map(u32::to_ne_bytes).concat();
        bytes.extend(self.unique.to_ne_bytes());
        bytes.extend(node.to_ne_bytes());
        bytes.extend([0; 16]);
        bytes.extend(args);
        bytes
    }
}

impl Host for Shared {
    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Fs::new(self.config.clone(), self.backend()).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        let DeviceState::Fs(state) = state else {
            panic!("{state:?}");
        };
        Box::new(Fs::restore(self.config.clone(), state, self.backend()).unwrap())
    }

    fn request(&mut self, _queue: usize, input: &mut Input<'_>) -> Vec<u8> {
        if self.unique == 0 {
            // Nothing is served before INIT: version 7.39, and all flags.
            let mut args = [7, 39, 1 << 20, u32::MAX, u32::MAX]
                .map(u32::to_ne_bytes)
                .concat();
            args.extend([0; 44]);
            return self.header(26, 0, &args);
        }
        let (opcode, shape) = SHAPES[input.below(SHAPES.len())];
        let node = 1 + input.number() % 241;
        let mut args = Vec::new();
        for kind in shape.bytes() {
            match kind {
                b'n' => {
                    args.extend(input.pick(&NAMES).bytes());
                    args.push(0);
                }
                b'h' => args.extend((input.number() % 241).to_ne_bytes()),
                b'i' => args.extend((1 + input.number() % 241).to_ne_bytes()),
                b'q' => args.extend(input.number().to_ne_bytes()),
                b'd' => args.extend(input.short_number().to_ne_bytes()),
                _ => args.extend(input.literal()),
            }
        }
        self.header(opcode, node, &args)
    }

    /// Someone on the host makes, changes, renames and removes files.
    fn act(&mut self, _driver: &mut Driver, input: &mut Input<'_>) {
        let name = |input: &mut Input<'_>| input.pick(&NAMES[..6]);
        let (a, b) = (name(input), name(input));
        let (a, b) = (self.root.join(a), self.root.join(b));
        match input.u8() % 6 {
            0 => drop(fs::write(a, input.literal())),
            1 => drop(fs::create_dir(a)),
            2 => drop(fs::rename(a, b)),
            3 => drop(fs::remove_file(a)),
            4 => drop(fs::remove_dir_all(a)),
            _ => drop(std::os::unix::fs::symlink("..", a)),
        }
    }
}

fn open_path(path: &Path) -> OwnedFd {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let file = File::options().read(true).custom_flags(flags).open(path);
    file.unwrap().into()
}

pub(super) fn run(input: &mut Input<'_>) {
    let root = Path::new(PLACE.to_str().unwrap()).join("share");
    fs::create_dir(&root).unwrap();
    let how = input.u8();
    let mut shared = Shared {
        root: root.clone(),
        config: FsConfig {
            tag: "share".into(),
            read_only: how & 64 != 0,
            cache: [FsCache::Auto, FsCache::Always, FsCache::Never][usize::from(how % 3)],
            queues: 1 + u16::from(how >> 7),
        },
        unique: 0,
    };
    script::run(&mut shared, input);
    fs::remove_dir_all(&root).unwrap();
}

/// Mounts a small file system in a name space of this process, with which it goes.
#[allow(unsafe_code)]
pub(super) fn prepare() {
    let check = |result: libc::c_int, what: &str| {
        assert!(result == 0, "can't {what}: {}", io::Error::last_os_error());
    };
    // SAFETY: the process has a single thread yet.
    let is_root = unsafe { libc::geteuid() } == 0;
    let spaces = libc::CLONE_NEWNS | if is_root { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: all strings have their NULs, and the null pointers are those of arguments that are not needed.
    unsafe {
        check(libc::unshare(spaces), "have a mount name space");
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let root = c"/".as_ptr();
        check(
            libc::mount(ptr::null(), root, ptr::null(), private, ptr::null()),
            "leave the host's mounts",
        );
        let options = c"size=16m,nr_inodes=2000".as_ptr().cast();
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        let kind = c"tmpfs".as_ptr();
        check(
            libc::mount(kind, PLACE.as_ptr(), kind, flags, options),
            "mount a file system",
        );
    }
}
