//! Before a share is used: its configuration, INIT, and what comes before that.

use super::client::{Client, LINUX_FLAGS, O_RDWR, ROOT};
use super::number;
use super::place::{Place, backend, config, open_path};
use super::reply::{Args, u32_at};
use crate::VirtioDevice;
use crate::fs::wire::op;
use crate::fs::{Fs, FsBackend, FsCache, FsConfig, FsError};
use crate::testing::Driver;
use rustix::io::Errno;
use std::path::Path;

#[test]
fn the_driver_reads_tag_and_number_of_queues() {
    let place = Place::new();
    let config = FsConfig {
        tag: "data".into(),
        queues: 3,
        ..config()
    };
    let device = Fs::new(config, backend(&place.share())).unwrap();
    assert_eq!(device.queue_sizes(), [128, 1024, 1024, 1024]);
    let mut space = [0xff; 40];
    device.read_config(0, &mut space);
    assert_eq!(&space[..5], b"data\0");
    assert_eq!(space[5..36], [0; 31]);
    assert_eq!(space[36..], [3, 0, 0, 0]);
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let place = Place::new();
    let refused = |change: &dyn Fn(&mut FsConfig, &mut FsBackend)| {
        let (mut config, mut backend) = (config(), backend(&place.share()));
        change(&mut config, &mut backend);
        Fs::new(config, backend).unwrap_err()
    };
    let long = "x".repeat(37);
    for tag in ["", "a\0b", &long] {
        let error = refused(&|config, _| config.tag = tag.into());
        assert!(matches!(error, FsError::Tag(_)), "{error}");
    }
    for queues in [0, 17] {
        let error = refused(&|config, _| config.queues = queues);
        assert!(matches!(error, FsError::Queues(_)), "{error}");
    }
    let error = refused(&|_, backend| backend.descriptors = 3);
    assert!(matches!(error, FsError::Descriptors(3)), "{error}");
    let file = place.path("file");
    std::fs::write(&file, "").unwrap();
    let error = refused(&|_, backend| backend.root = std::fs::File::open(&file).unwrap().into());
    assert!(matches!(error, FsError::Root(_)), "{error}");
    // Something else than this process' descriptors.
    let error = refused(&|_, backend| backend.proc_self_fd = open_path(Path::new("/")));
    assert!(matches!(error, FsError::ProcSelfFd), "{error}");
}

#[test]
fn init_takes_what_both_sides_know() {
    let place = Place::new();
    let mut client = place.client();
    let reply = client.init(LINUX_FLAGS);
    assert_eq!(reply.len(), 64);
    assert_eq!((u32_at(&reply, 0), u32_at(&reply, 4)), (7, 39));
    let flags = u64::from(u32_at(&reply, 12)) | u64::from(u32_at(&reply, 32)) << 32;
    for (name, bit) in [
        ("POSIX_LOCKS", 1),
        ("BIG_WRITES", 5),
        ("FLOCK_LOCKS", 10),
        ("AUTO_INVAL_DATA", 12),
        ("DO_READDIRPLUS", 13),
        ("PARALLEL_DIROPS", 18),
        ("MAX_PAGES", 22),
        ("HANDLE_KILLPRIV_V2", 28),
        ("DIRECT_IO_ALLOW_MMAP", 36),
    ] {
        assert!(flags & 1 << bit != 0, "{name}");
    }
    for (name, bit) in [("DONT_MASK", 6), ("WRITEBACK_CACHE", 16), ("POSIX_ACL", 20)] {
        assert!(flags & 1 << bit == 0, "{name}");
    }
    // 256 pages, and writes of 1 MiB.
    assert_eq!(u32_at(&reply, 28) & 0xffff, 256);
    assert_eq!(u32_at(&reply, 20), 1 << 20);
    // What is not offered is not taken.
    let reply = client.init(1 << 5);
    assert_eq!((u32_at(&reply, 12), u32_at(&reply, 32)), (1 << 5, 0));
    assert_eq!(u32_at(&reply, 20), 128 << 10);
}

#[test]
fn old_and_unknown_protocols_are_refused() {
    let place = Place::new();
    let device = Fs::new(config(), backend(&place.share())).unwrap();
    let mut client = Client::over(Box::new(Driver::ready(Box::new(device))));
    let rest = |args: Args| args.u32(0).u32(0).bytes(&[0; 48]);
    let old = rest(Args::new().u32(7).u32(30));
    assert_eq!(client.call(op::INIT, 0, &old), Err(number(Errno::PROTO)));
    let newer = rest(Args::new().u32(8).u32(0));
    let reply = client.call(op::INIT, 0, &newer).unwrap();
    assert_eq!(u32_at(&reply, 0), 7);
    // Nothing was agreed on.
    assert_eq!(client.lookup(ROOT, "x"), Err(number(Errno::IO)));
    client.init(LINUX_FLAGS);
    assert_eq!(client.lookup(ROOT, "x"), Err(number(Errno::NOENT)));
}

#[test]
fn unmounting_gives_everything_up() {
    let place = Place::new();
    let mut client = place.client();
    let (file, fh) = client.create(ROOT, "file", O_RDWR, 0o600).unwrap();
    client.call(op::DESTROY, 0, &Args::new()).unwrap();
    assert_eq!(client.getattr(ROOT), Err(number(Errno::IO)));
    client.init(LINUX_FLAGS);
    assert_eq!(client.getattr(file.node), Err(number(Errno::STALE)));
    assert_eq!(client.read(file.node, fh, 0, 1), Err(number(Errno::BADF)));
    // Node IDs never come to mean something else.
    let again = client.lookup(ROOT, "file").unwrap();
    assert!(again.node > file.node);
}

#[test]
fn what_is_not_known_is_not_implemented() {
    let place = Place::new();
    let mut client = place.client();
    for opcode in [0, 7, 37, 39, 40, 41, 48, 49, 53, 4096, u32::MAX] {
        let reply = client.call(opcode, ROOT, &Args::new().bytes(&[0; 64]));
        assert_eq!(reply, Err(number(Errno::NOSYS)), "{opcode}");
    }
}

#[test]
fn how_long_the_guest_may_believe_depends_on_the_mode() {
    for (cache, valid, opened) in [
        (FsCache::Never, 0, 1),
        (FsCache::Auto, 1, 0),
        (FsCache::Always, 86_400, 2),
    ] {
        let place = Place::new();
        std::fs::write(place.path("file"), "contents").unwrap();
        let mut client = place.client_with(FsConfig { cache, ..config() });
        let entry = client.lookup(ROOT, "file").unwrap();
        assert_eq!((entry.entry_valid, entry.attr_valid), (valid, valid));
        assert_eq!(client.open(entry.node, 0).unwrap().1, opened, "{cache:?}");
        // A name that is missing is only believed to be so where nobody else makes any.
        let missing = client.lookup(ROOT, "missing");
        match cache {
            FsCache::Always => {
                let missing = missing.unwrap();
                assert_eq!((missing.node, missing.entry_valid), (0, valid));
            }
            _ => assert_eq!(missing, Err(number(Errno::NOENT))),
        }
    }
}

const KEEP_CACHE: u32 = 2;

#[test]
fn contents_are_kept_over_an_open_if_nothing_changed() {
    let config = FsConfig {
        read_only: true,
        ..config()
    };
    // It takes a file that was not changed just now, which a test can't make without waiting.
    let old = Path::new(env!("CARGO_MANIFEST_DIR"));
    let device = Fs::new(config, backend(old)).unwrap();
    let mut client = Client::over(Box::new(Driver::ready(Box::new(device))));
    client.init(LINUX_FLAGS);
    let entry = client.lookup(ROOT, "Cargo.toml").unwrap();
    assert_eq!(client.open(entry.node, 0).unwrap().1, 0);
    assert_eq!(client.open(entry.node, 0).unwrap().1, KEEP_CACHE);
}

#[test]
fn contents_of_a_file_that_was_just_written_are_not_kept() {
    let place = Place::new();
    std::fs::write(place.path("file"), "contents").unwrap();
    let mut client = place.client();
    let entry = client.lookup(ROOT, "file").unwrap();
    // It could be written again without a trace in its times.
    assert_eq!(client.open(entry.node, 0).unwrap().1, 0);
    assert_eq!(client.open(entry.node, 0).unwrap().1, 0);
}
