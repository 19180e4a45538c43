//! Everything that a guest can ask of a shared directory, once, of a real process under its filters: a guest of a few instructions sends
//! FUSE requests that were made before it began (Linux, `include/uapi/linux/fuse.h`).

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use common::guest::{Code, WINDOW};
use common::{Vm, no_kvm};
use hull_vm_api::ExitCause;
use serde_json::json;

const REGISTERS: u64 = 0xd000_0000;
/// The vsock device has the first slot.
const SLOT: u32 = WINDOW + 0x1000;
/// The queue of requests, and where they and their replies are.
const QUEUE: u32 = 0x20_1000;
const REQUESTS: u32 = 0x30_0000;
const REPLY: u32 = 0x40_0000;
const ROOM: u64 = 16 + 0x1000;

const ROOT: u64 = 1;
const RDWR: u32 = 2;
const APPEND: u32 = 0o2000;

/// The arguments of a request.
#[derive(Default, Clone)]
struct Args(Vec<u8>);

impl Args {
    fn u32(mut self, values: &[u32]) -> Self {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }

    fn u64(mut self, values: &[u64]) -> Self {
        self.0.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        self
    }

    fn name(mut self, name: &str) -> Self {
        self.0.extend(name.as_bytes());
        self.0.push(0);
        self
    }
}

fn args() -> Args {
    Args::default()
}

/// Arguments of SETATTR: which fields are valid, a handle, a mode.
fn setattr(valid: u32, handle: u64, mode: u32) -> Args {
    let (size, time, id) = (3, 1_000_000_000, 0);
    args()
        .u32(&[valid, 0])
        .u64(&[handle, size, 0, time, time, 0])
        .u32(&[0, 0, 0, mode, 0, id, id, 0])
}

/// Arguments of READ, READDIR and READDIRPLUS.
fn read(handle: u64) -> Args {
    args()
        .u64(&[handle, 0])
        .u32(&[2048, 0])
        .u64(&[0])
        .u32(&[0, 0])
}

fn write(handle: u64, flags: u32, data: &str) -> Args {
    let length = u32::try_from(data.len()).unwrap();
    let head = args()
        .u64(&[handle, 0])
        .u32(&[length, 0])
        .u64(&[0])
        .u32(&[flags, 0]);
    Args([&head.0[..], data.as_bytes()].concat())
}

/// Arguments of GETLK and SETLK: kind 0 is to read, 1 to write, 2 none.
fn lock(handle: u64, kind: u32, flock: bool) -> Args {
    args()
        .u64(&[handle, 7, 0, i64::MAX.cast_unsigned()])
        .u32(&[kind, 0, flock.into(), 0])
}

/// What is asked, in this order: the operation, the node that it is about, its arguments. The server counts nodes from 2 and handles
/// from 1, in the order in which they come.
fn requests() -> Vec<(u32, u64, Args)> {
    let named = |name: &str| args().name(name);
    let create = |name: &str| args().u32(&[RDWR, 0o10_0644, 0, 0]).name(name);
    let (directory, fifo, file, link, copy) = (2, 3, 4, 5, 6);
    let attribute = args().u32(&[5, 0, 0, 0]).name("user.x");
    let attribute = Args([&attribute.0[..], b"value"].concat());
    vec![
        // INIT
        (26, 0, {
            let init = args().u32(&[7, 41, 0x2_0000, u32::MAX, 0xff]);
            Args([&init.0[..], &[0; 44]].concat())
        }),
        // MKDIR, MKNOD, CREATE, SYMLINK, READLINK, LINK, LOOKUP
        (9, ROOT, args().u32(&[0o755, 0o22]).name("directory")),
        (8, ROOT, args().u32(&[0o1_0644, 0, 0, 0]).name("fifo")),
        (35, ROOT, create("file")),
        (6, ROOT, named("link").name("file")),
        (5, link, args()),
        (13, ROOT, args().u64(&[file]).name("hard")),
        (1, ROOT, named("hard")),
        // WRITE, READ, FALLOCATE, LSEEK, COPY_FILE_RANGE, FLUSH, FSYNC
        (16, file, write(1, RDWR, "hello")),
        (16, file, write(1, RDWR | APPEND, " and more")),
        (15, file, read(1)),
        (43, file, args().u64(&[1, 0, 100]).u32(&[0, 0])),
        (46, file, args().u64(&[1, 0]).u32(&[3, 0])),
        (35, ROOT, create("copy")),
        (47, file, args().u64(&[1, 0, copy, 2, 0, 5, 0])),
        (25, file, args().u64(&[1, 0, 7])),
        (20, file, args().u64(&[1]).u32(&[0, 0])),
        (20, file, args().u64(&[1]).u32(&[1, 0])),
        // SETATTR: mode, owner, size, times; by the node, and of what cannot be opened; by a handle. GETATTR, ACCESS, STATFS
        (4, file, setattr(1, 0, 0o600)),
        (4, fifo, setattr(1, 0, 0o600)),
        (4, file, setattr(2 | 4, 0, 0)),
        (4, file, setattr(8, 0, 0)),
        (4, file, setattr(8 | 64, 1, 0)),
        (4, file, setattr(1 | 64, 1, 0o640)),
        (4, file, setattr(16 | 32, 0, 0)),
        (3, file, args().u64(&[0, 0])),
        (34, file, args().u32(&[4, 0])),
        (17, file, args()),
        // A write after which the file runs with nobody's rights (FUSE_WRITE_KILL_SUIDGID)
        (4, file, setattr(1, 0, 0o6755)),
        (16, file, {
            let head = args().u64(&[1, 0]).u32(&[1, 4]).u64(&[0]);
            Args([&head.u32(&[RDWR, 0]).0[..], b"H"].concat())
        }),
        (4, file, setattr(1, 0, 0o640)),
        // SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR
        (21, file, attribute.clone()),
        (22, file, args().u32(&[100, 0]).name("user.x")),
        (23, file, args().u32(&[1000, 0])),
        (24, file, named("user.x")),
        (21, directory, attribute),
        // SETLK, GETLK, flock(2)
        (32, file, lock(1, 1, false)),
        (31, file, lock(1, 1, false)),
        (32, file, lock(1, 2, false)),
        (32, file, lock(1, 1, true)),
        (32, file, lock(1, 2, true)),
        // OPENDIR, READDIR, READDIRPLUS, FSYNCDIR, RELEASEDIR
        (27, ROOT, args().u64(&[0])),
        (28, ROOT, read(3)),
        (44, ROOT, read(3)),
        (30, ROOT, args().u64(&[3]).u32(&[0, 0])),
        (29, ROOT, args().u64(&[3]).u32(&[0, 0]).u64(&[0])),
        // OPEN, RELEASE, SYNCFS
        (14, file, args().u32(&[RDWR, 0])),
        (18, file, args().u64(&[4]).u32(&[0, 0]).u64(&[0])),
        (50, ROOT, args().u64(&[0])),
        // RENAME2, UNLINK, RMDIR
        (
            45,
            ROOT,
            args()
                .u64(&[directory])
                .u32(&[0, 0])
                .name("copy")
                .name("moved"),
        ),
        (10, directory, named("moved")),
        (11, ROOT, named("directory")),
    ]
}

/// The request on the wire.
fn fuse(opcode: u32, node: u64, args: &Args) -> Vec<u8> {
    let length = u32::try_from(40 + args.0.len()).unwrap();
    let head = Args::default().u32(&[length, opcode]);
    let head = head.u64(&[u64::from(opcode), node]).u32(&[0, 0, 0, 0]);
    [head.0, args.0.clone()].concat()
}

/// Sends a request, waits for its reply, and says its number and powers off if that is an error.
fn ask(code: Code, number: u16, request: &[u8]) -> Code {
    let at = REQUESTS + u32::from(number) * 0x200;
    let length = request.len() as u64;
    // Chained to what the device writes.
    let code = code
        .data(at, request)
        .store(QUEUE, at.into())
        .store(QUEUE + 8, length | 1 << 32 | 1 << 48)
        .store(QUEUE + 16, REPLY.into())
        .store(QUEUE + 24, ROOM | 2 << 32)
        .store(REPLY, 0xee_0000_0000);
    let (available, used) = (QUEUE + 0x400, QUEUE + 0x800);
    let code = code
        .store16(available + 4 + 2 * u32::from(number), 0)
        .store16(available + 2, number + 1)
        .store32(SLOT + 0x50, 1)
        .await_byte(used + 2, (number + 1).to_le_bytes()[0]);
    let refused = Code::new().print(&format!("request {number}: refused\n"));
    let refused = refused.power_off();
    let error = (REPLY + 4).to_le_bytes();
    code.bytes(&[0x83, 0x3c, 0x25]) // cmp dword [error], 0; je behind it
        .bytes(&error)
        .bytes(&[0, 0x0f, 0x84])
        .bytes(&u32::try_from(refused.len()).unwrap().to_le_bytes())
        .bytes(&refused)
}

/// Starts the device with its two queues.
fn start(code: Code) -> Code {
    let set = |code: Code, register: u32, value: u32| code.store32(SLOT + register, value);
    let mut code = [0, 1, 3]
        .into_iter()
        .fold(code, |code, status| set(code, 0x70, status));
    for (register, value) in [(0x24, 1), (0x20, 1), (0x24, 0), (0x20, 0), (0x70, 11)] {
        code = set(code, register, value);
    }
    for (index, base) in [(0, QUEUE - 0x1000), (1, QUEUE)] {
        code = set(code, 0x30, index);
        code = set(code, 0x38, 64);
        for (register, place) in [(0x80, base), (0x90, base + 0x400), (0xa0, base + 0x800)] {
            code = set(code, register, place);
            code = set(code, register + 4, 0);
        }
        code = set(code, 0x44, 1);
    }
    set(code, 0x70, 15)
}

#[test]
fn all_that_can_be_asked_of_a_share_is_let_through() {
    if no_kvm() {
        return;
    }
    let requests = requests();
    assert!(requests.len() < 64, "more than the queue has places");
    let mut code = start(Code::new().window(REGISTERS));
    for (number, (opcode, node, args)) in (0..).zip(&requests) {
        code = ask(code, number, &fuse(*opcode, *node, args));
    }
    let vm = Vm::of(&code.print("all done\n").power_off()).serial();
    let shared = vm.path("shared");
    fs::create_dir(&shared).unwrap();
    let vm = vm.set("/shares", json!([{ "tag": "s", "path": shared }]));
    let ended = vm.run();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    assert_eq!(ended.stdout, "all done\n");
    // It was done to files of the host.
    let file = fs::metadata(shared.join("file")).unwrap();
    assert_eq!((file.mode(), file.nlink(), file.len()), (0o10_0640, 2, 3));
    assert_eq!(fs::read_to_string(shared.join("hard")).unwrap(), "Hel");
    assert!(
        fs::metadata(shared.join("fifo"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    let link = fs::read_link(shared.join("link")).unwrap();
    assert_eq!(link.to_str(), Some("file"));
    assert!(!shared.join("directory").exists() && !shared.join("copy").exists());
}
