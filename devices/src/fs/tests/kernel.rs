//! The server with a real client: the kernel of the machine that runs the tests, which mounts it by `/dev/fuse`, in a mount
//! namespace of its own. That needs root and the device; without them these tests say so and do nothing. Nothing is mapped
//! here: a process that serves its own mappings can wait for itself.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use vm_memory::{Bytes, GuestAddress};

use super::place::{Place, backend, config, is_root};
use crate::GuestMemory;
use crate::Segment;
use crate::fs::server::{Served, Server};
use crate::fs::{FsCache, FsConfig};
use crate::testing::memory;

const REQUEST: u64 = 0x1000;
const REPLY: u64 = 0x20_0000;
/// A WRITE of 1 MiB and its header, and as much for a READ.
const ROOM: u32 = 0x10_1000;

fn segment(addr: u64, len: u32) -> Segment {
    Segment {
        addr: GuestAddress(addr),
        len,
    }
}

/// Carries requests from the kernel to the server and replies back, until it is unmounted.
fn serve(mut server: Server, mut device: &File) {
    let memory = memory();
    let mut buffer = vec![0; usize::try_from(ROOM).unwrap()];
    while let Ok(len) = device.read(&mut buffer) {
        memory
            .write_slice(&buffer[..len], GuestAddress(REQUEST))
            .unwrap();
        let readable = [segment(REQUEST, u32::try_from(len).unwrap())];
        let writable = [segment(REPLY, ROOM)];
        let written = match server.serve(&memory, &readable, &writable) {
            Served::Done(written) => written,
            Served::Interrupts(_) => 0,
            Served::Refused(unique, _) => {
                server.answer(&memory, &writable, unique, Err(rustix::io::Errno::AGAIN))
            }
            Served::Waits(unique, lock) => {
                // The device would set it aside; here there is nothing else to do.
                while server.lock(&lock).is_err() {
                    std::thread::yield_now();
                }
                server.answer(&memory, &writable, unique, Ok(()))
            }
        };
        if written > 0 {
            send(&memory, device, written);
        }
    }
}

fn send(memory: &GuestMemory, mut device: &File, written: u32) {
    let mut reply = vec![0; usize::try_from(written).unwrap()];
    memory.read_slice(&mut reply, GuestAddress(REPLY)).unwrap();
    // A request that was interrupted meanwhile takes no reply.
    let _ = device.write(&reply);
}

/// Mounts the share at `mnt`, beside it, for as long as `guest` runs.
fn mounted(place: &Place, config: &FsConfig, guest: impl FnOnce(PathBuf) + Send) {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let (true, Ok(device)) = (is_root(), device) else {
        println!("SKIPPED: no usable /dev/fuse");
        return;
    };
    let mount = place.dir.path().join("mnt");
    std::fs::create_dir_all(&mount).unwrap();
    let server = Server::new(config, backend(&place.share())).unwrap();
    // The device can only be read once it is mounted.
    let (is_mounted, serving) = std::sync::mpsc::channel();
    let device = &device;
    std::thread::scope(|scope| {
        let guest = scope.spawn(move || {
            enter_namespace();
            let options = format!(
                "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
                device.as_raw_fd()
            );
            let options = std::ffi::CString::new(options).unwrap();
            let flags = MountFlags::NOSUID;
            rustix::mount::mount("hull", &mount, "fuse.hull", flags, &*options).unwrap();
            let unmount = Unmount(&mount);
            is_mounted.send(()).unwrap();
            guest(mount.clone());
            drop(unmount);
        });
        if serving.recv().is_ok() {
            serve(server, device);
        }
        guest.join().unwrap();
    });
}

/// Also when the guest's assertions fail, or the server would wait for ever.
struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0, UnmountFlags::DETACH).unwrap();
    }
}

fn enter_namespace() {
    // SAFETY: only this thread's view of mounts and its working directory become its own.
    #[allow(unsafe_code)]
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).unwrap();
}

#[test]
fn files_and_directories_behave() {
    let place = Place::new();
    mounted(&place, &config(), |root| {
        let bytes: Vec<u8> = (0..3_000_000_u32)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        std::fs::write(root.join("file"), &bytes).unwrap();
        assert_eq!(std::fs::read(root.join("file")).unwrap(), bytes);
        std::fs::create_dir_all(root.join("a/b/c")).unwrap();
        std::fs::rename(root.join("file"), root.join("a/b/c/moved")).unwrap();
        std::fs::hard_link(root.join("a/b/c/moved"), root.join("hard")).unwrap();
        assert_eq!(std::fs::metadata(root.join("hard")).unwrap().nlink(), 2);
        symlink("a/b/c/moved", root.join("soft")).unwrap();
        assert_eq!(std::fs::read(root.join("soft")).unwrap(), bytes);
        for index in 0..300 {
            std::fs::write(root.join(format!("a/{index}")), "x").unwrap();
        }
        let listed = std::fs::read_dir(root.join("a")).unwrap();
        let known = listed.filter(|entry| entry.as_ref().unwrap().metadata().is_ok());
        assert_eq!(known.count(), 301);
        let permissions = PermissionsExt::from_mode(0o4711);
        std::fs::set_permissions(root.join("hard"), permissions).unwrap();
        assert_eq!(
            std::fs::metadata(root.join("soft")).unwrap().mode(),
            0o10_4711
        );
        std::os::unix::fs::chown(root.join("hard"), Some(12), Some(34)).unwrap();
        let status = std::fs::metadata(root.join("soft")).unwrap();
        assert_eq!(
            (status.uid(), status.gid(), status.mode()),
            (12, 34, 0o10_0711)
        );
        std::fs::remove_dir_all(root.join("a")).unwrap();
        std::fs::remove_file(root.join("hard")).unwrap();
        std::fs::remove_file(root.join("soft")).unwrap();
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    });
    assert_eq!(std::fs::read_dir(place.share()).unwrap().count(), 0);
}

#[test]
fn open_files_behave() {
    let place = Place::new();
    mounted(&place, &config(), |root| {
        let mut file = File::create_new(root.join("file")).unwrap();
        let again = File::create_new(root.join("file"));
        assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        file.write_all(b"0123456789").unwrap();
        file.set_len(5).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5);
        file.set_modified(time).unwrap();
        file.sync_all().unwrap();
        std::fs::remove_file(root.join("file")).unwrap();
        let status = file.metadata().unwrap();
        assert_eq!((status.len(), status.nlink()), (5, 0));
        assert_eq!(status.modified().unwrap(), time);
        assert!(status.created().is_ok());
        let mut append = OpenOptions::new();
        append.append(true).create(true);
        let mut log = append.open(root.join("log")).unwrap();
        log.write_all(b"guest ").unwrap();
        let mut host = append.open(place.path("log")).unwrap();
        host.write_all(b"host ").unwrap();
        log.write_all(b"guest").unwrap();
        let all = std::fs::read(place.path("log")).unwrap();
        assert_eq!(all, b"guest host guest");
        let sparse = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(root.join("sparse"))
            .unwrap();
        sparse.write_all_at(b"end", 1 << 30).unwrap();
        let data = rustix::fs::seek(&sparse, rustix::fs::SeekFrom::Data(0)).unwrap();
        assert!(data > 1 << 20);
        let mut copy = File::create_new(root.join("copy")).unwrap();
        let mut source = File::open(root.join("sparse")).unwrap();
        source.seek(SeekFrom::Start(1 << 30)).unwrap();
        assert_eq!(std::io::copy(&mut source, &mut copy).unwrap(), 3);
        assert_eq!(std::fs::read(root.join("copy")).unwrap(), b"end");
        assert!(std::fs::metadata(place.path("sparse")).unwrap().blocks() < 1000);
    });
}

#[test]
fn what_the_host_changes_is_seen_when_it_is_opened_again() {
    for cache in [FsCache::Auto, FsCache::Never] {
        let place = Place::new();
        let config = FsConfig { cache, ..config() };
        std::fs::write(place.path("file"), "before").unwrap();
        mounted(&place, &config, |root| {
            assert_eq!(std::fs::read(root.join("file")).unwrap(), b"before");
            // In place and of the same length, which is the hardest to notice.
            std::fs::write(place.path("file"), "behind").unwrap();
            assert_eq!(std::fs::read(root.join("file")).unwrap(), b"behind");
            // A new name is there at once, also if it was asked for before.
            assert!(!root.join("new").exists());
            std::fs::write(place.path("new"), "new").unwrap();
            assert!(root.join("new").exists());
        });
    }
}

#[test]
fn locks_reach_the_host() {
    let place = Place::new();
    mounted(&place, &config(), |root| {
        std::fs::write(root.join("file"), "x").unwrap();
        let guest = File::open(root.join("file")).unwrap();
        let host = File::open(place.path("file")).unwrap();
        rustix::fs::flock(&guest, FlockOperation::LockExclusive).unwrap();
        let refused = rustix::fs::flock(&host, FlockOperation::NonBlockingLockShared);
        assert_eq!(refused, Err(rustix::io::Errno::AGAIN));
        rustix::fs::flock(&guest, FlockOperation::Unlock).unwrap();
        rustix::fs::flock(&host, FlockOperation::NonBlockingLockExclusive).unwrap();
        let other = File::open(root.join("file")).unwrap();
        let refused = rustix::fs::flock(&other, FlockOperation::NonBlockingLockShared);
        assert_eq!(refused, Err(rustix::io::Errno::AGAIN));
    });
}

#[test]
fn users_are_themselves_and_their_umask_counts() {
    let place = Place::new();
    let open = PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(place.dir.path(), open).unwrap();
    mounted(&place, &config(), |root| {
        std::fs::write(root.join("secret"), "secret").unwrap();
        let secret = PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(root.join("secret"), secret).unwrap();
        let script = "umask 027; echo x > file && mkdir dir && ln -s x link && mkfifo fifo &&
            ! cat secret 2>/dev/null && ! chown 0 file 2>/dev/null && rm -f link && ln -s y link";
        let status = Command::new("sh")
            .args(["-c", script])
            .uid(1234)
            .gid(5678)
            .current_dir(&root)
            .status()
            .unwrap();
        assert!(status.success());
    });
    if !place.path("file").exists() {
        return;
    }
    for (name, mode) in [
        ("file", 0o640),
        ("dir", 0o750),
        ("fifo", 0o640),
        ("link", 0o777),
    ] {
        let status = std::fs::symlink_metadata(place.path(name)).unwrap();
        assert_eq!((status.uid(), status.gid()), (1234, 5678), "{name}");
        assert_eq!(status.mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn a_read_only_share_is_read_only() {
    let place = Place::new();
    std::fs::write(place.path("file"), "contents").unwrap();
    let config = FsConfig {
        read_only: true,
        ..config()
    };
    mounted(&place, &config, |root| {
        assert_eq!(std::fs::read(root.join("file")).unwrap(), b"contents");
        let read_only = std::io::ErrorKind::ReadOnlyFilesystem;
        let refused =
            |result: std::io::Result<()>| assert_eq!(result.unwrap_err().kind(), read_only);
        refused(std::fs::write(root.join("file"), "x"));
        refused(std::fs::write(root.join("new"), "x"));
        refused(std::fs::create_dir(root.join("dir")));
        refused(std::fs::remove_file(root.join("file")));
        refused(std::fs::rename(root.join("file"), root.join("other")));
        refused(
            OpenOptions::new()
                .append(true)
                .open(root.join("file"))
                .map(drop),
        );
    });
    assert_eq!(std::fs::read(place.path("file")).unwrap(), b"contents");
}
