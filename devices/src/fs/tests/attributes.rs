//! Owners, modes, times, sizes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::io::Errno;

use super::client::{O_RDWR, ROOT};
use super::number;
use super::place::{Place, is_root, make_host, read_host};
use super::reply::{Args, Set, mode, owner, size, u32_at, u64_at};
use crate::fs::wire::op;

#[test]
fn modes_are_what_the_guest_said() {
    let place = Place::new();
    let mut client = place.client();
    for bits in [0, 0o400, 0o644, 0o755, 0o777] {
        let name = format!("file{bits:o}");
        let (file, fh) = client
            .create(ROOT, &name, O_RDWR, bits | 0o10_0000)
            .unwrap();
        assert_eq!(file.attr.mode, 0o10_0000 | bits, "{name}");
        // The handle that made a file may write it, whatever its mode.
        assert_eq!(client.put(file.node, fh, 0, b"x"), Ok(1));
        let directory = client.mkdir(ROOT, &format!("dir{bits:o}"), bits).unwrap();
        assert_eq!(directory.attr.mode, 0o4_0000 | bits);
        let fifo = client
            .mknod(ROOT, &format!("fifo{bits:o}"), 0o1_0000 | bits, 0)
            .unwrap();
        assert_eq!(fifo.attr.mode, 0o1_0000 | bits);
        let node = client
            .mknod(ROOT, &format!("node{bits:o}"), 0o10_0000 | bits, 0)
            .unwrap();
        assert_eq!(node.attr.mode, 0o10_0000 | bits);
        let socket = client
            .mknod(ROOT, &format!("socket{bits:o}"), 0o14_0000 | bits, 0)
            .unwrap();
        assert_eq!(socket.attr.mode, 0o14_0000 | bits);
    }
    let (file, _) = client.create(ROOT, "setuid", O_RDWR, 0o6755).unwrap();
    assert_eq!(file.attr.permissions(), 0o6755);
    let sticky = client.mkdir(ROOT, "sticky", 0o1777).unwrap();
    assert_eq!(sticky.attr.permissions(), 0o1777);
}

#[test]
fn modes_change_and_the_host_sees_it() {
    let place = Place::new();
    make_host(&place.path("file"), b"");
    std::fs::create_dir(place.path("dir")).unwrap();
    let mut client = place.client();
    for name in ["file", "dir"] {
        let entry = client.lookup(ROOT, name).unwrap();
        for bits in [0, 0o4711, 0o2770, 0o1777, 0o644] {
            let attr = client.setattr(entry.node, &mode(bits)).unwrap();
            assert_eq!(attr.permissions(), bits);
            let status = std::fs::metadata(place.path(name)).unwrap();
            assert_eq!(status.permissions().mode() & 0o7777, bits);
        }
    }
    let link = client.symlink(ROOT, "link", "file").unwrap();
    let error = client.setattr(link.node, &mode(0o600)).unwrap_err();
    assert_eq!(error, number(Errno::OPNOTSUPP));
    let file = client.lookup(ROOT, "file").unwrap();
    assert_eq!(file.attr.permissions(), 0o644);
}

#[test]
fn new_files_belong_to_who_made_them() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut client = place.client();
    (client.uid, client.gid) = (1234, 5678);
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o4755).unwrap();
    let mut entries = vec![file];
    entries.push(client.mkdir(ROOT, "dir", 0o755).unwrap());
    entries.push(client.symlink(ROOT, "link", "/nowhere").unwrap());
    entries.push(client.mknod(ROOT, "fifo", 0o1_0644, 0).unwrap());
    entries.push(client.mknod(ROOT, "node", 0o10_2711, 0).unwrap());
    for entry in &entries {
        assert_eq!((entry.attr.uid, entry.attr.gid), (1234, 5678), "{entry:?}");
    }
    // Giving a file away would have taken these bits, had they been set before.
    assert_eq!(entries[0].attr.permissions(), 0o4755);
    assert_eq!(entries[4].attr.permissions(), 0o2711);
    let status = std::fs::symlink_metadata(place.path("link")).unwrap();
    assert_eq!((status.uid(), status.gid()), (1234, 5678));
    // A hard link makes no file, so it changes no owner.
    (client.uid, client.gid) = (1, 1);
    let link = client.link(file.node, ROOT, "hard").unwrap();
    assert_eq!((link.attr.uid, link.attr.gid), (1234, 5678));
}

#[test]
fn a_set_group_id_directory_hands_its_group_down() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut client = place.client();
    let dir = client.mkdir(ROOT, "dir", 0o755).unwrap();
    client.setattr(dir.node, &owner(0, 77)).unwrap();
    client.setattr(dir.node, &mode(0o2775)).unwrap();
    (client.uid, client.gid) = (1234, 5678);
    let (file, _) = client.create(dir.node, "file", O_RDWR, 0o644).unwrap();
    assert_eq!((file.attr.uid, file.attr.gid), (1234, 77));
    let sub = client.mkdir(dir.node, "sub", 0o755).unwrap();
    assert_eq!((sub.attr.uid, sub.attr.gid), (1234, 77));
    assert_eq!(sub.attr.permissions(), 0o2755);
}

#[test]
fn owners_change_one_by_one() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut client = place.client();
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o6755).unwrap();
    let uid_only = Set {
        valid: 2,
        uid: 10,
        ..Set::default()
    };
    let attr = client.setattr(file.node, &uid_only).unwrap();
    assert_eq!((attr.uid, attr.gid), (10, 0));
    // As on any Linux, a program does not go on running as its new owner.
    assert_eq!(attr.permissions(), 0o755);
    let gid_only = Set {
        valid: 4,
        gid: 20,
        ..Set::default()
    };
    let attr = client.setattr(file.node, &gid_only).unwrap();
    assert_eq!((attr.uid, attr.gid), (10, 20));
    let link = client.symlink(ROOT, "link", "file").unwrap();
    let attr = client.setattr(link.node, &owner(30, 40)).unwrap();
    assert_eq!((attr.uid, attr.gid), (30, 40));
    let attr = client.getattr(file.node).unwrap();
    assert_eq!((attr.uid, attr.gid), (10, 20));
    for (uid, gid) in [(u32::MAX, 0), (0, u32::MAX)] {
        let error = client.setattr(file.node, &owner(uid, gid)).unwrap_err();
        assert_eq!(error, number(Errno::INVAL));
    }
}

#[test]
fn times_are_set_to_what_is_asked_to_now_or_not_at_all() {
    let place = Place::new();
    let mut client = place.client();
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    let both = Set {
        valid: 16 | 32,
        atime: (1_000_000_000, 999_999_999),
        mtime: (1_100_000_000, 1),
        ..Set::default()
    };
    let attr = client.setattr(file.node, &both).unwrap();
    assert_eq!((attr.atime, attr.mtime), (both.atime, both.mtime));
    // Before 1970.
    let negative = Set {
        valid: 32,
        mtime: ((-5_i64).cast_unsigned(), 7),
        ..Set::default()
    };
    let attr = client.setattr(file.node, &negative).unwrap();
    assert_eq!((attr.atime, attr.mtime), (both.atime, negative.mtime));
    let now = Set {
        valid: 16 | 128,
        ..Set::default()
    };
    let attr = client.setattr(file.node, &now).unwrap();
    assert!(attr.atime.0 > 1_700_000_000);
    assert_eq!(attr.mtime, negative.mtime);
    let wrong = Set {
        valid: 16,
        atime: (0, 1_000_000_000),
        ..Set::default()
    };
    let error = client.setattr(file.node, &wrong).unwrap_err();
    assert_eq!(error, number(Errno::INVAL));
    // A link has times of its own.
    let link = client.symlink(ROOT, "link", "file").unwrap();
    let attr = client.setattr(link.node, &both).unwrap();
    assert_eq!(attr.mtime, both.mtime);
    assert_eq!(client.getattr(file.node).unwrap().mtime, negative.mtime);
}

#[test]
fn sizes_change_with_and_without_a_handle() {
    let place = Place::new();
    make_host(&place.path("file"), b"0123456789");
    let mut client = place.client();
    let file = client.lookup(ROOT, "file").unwrap();
    assert_eq!(client.setattr(file.node, &size(4)).unwrap().size, 4);
    assert_eq!(read_host(&place.path("file")), b"0123");
    let (fh, _) = client.open(file.node, O_RDWR).unwrap();
    let with_handle = Set {
        valid: 8 | 64,
        fh,
        ..size(6)
    };
    assert_eq!(client.setattr(file.node, &with_handle).unwrap().size, 6);
    assert_eq!(read_host(&place.path("file")), b"0123\0\0");
    // The handle goes on even after its name and its permissions are gone.
    client.setattr(file.node, &mode(0)).unwrap();
    client.unlink(ROOT, "file").unwrap();
    let attr = client.setattr(file.node, &with_handle).unwrap();
    assert_eq!((attr.size, attr.nlink), (6, 0));
    let error = client.setattr(file.node, &size(u64::MAX)).unwrap_err();
    assert_eq!(error, number(Errno::FBIG));
    let dir = client.mkdir(ROOT, "dir", 0o755).unwrap();
    let error = client.setattr(dir.node, &size(0)).unwrap_err();
    assert_eq!(error, number(Errno::ISDIR));
}

#[test]
fn who_may_not_set_it_loses_set_user_id_by_writing() {
    let place = Place::new();
    let mut client = place.client();
    let (file, fh) = client.create(ROOT, "file", O_RDWR, 0o755).unwrap();
    let handle = (file.node, fh);
    client.setattr(file.node, &mode(0o6755)).unwrap();
    // WRITE_KILL_SUIDGID.
    client.write(handle, 0, b"x", (4, 0)).unwrap();
    assert_eq!(client.getattr(file.node).unwrap().permissions(), 0o755);
    client.setattr(file.node, &mode(0o6755)).unwrap();
    let truncate = Set {
        valid: 8 | 1 << 11,
        ..size(0)
    };
    let attr = client.setattr(file.node, &truncate).unwrap();
    assert_eq!(attr.permissions(), 0o755);
    // Without the group's right to run it, the bit meant mandatory locking, and stays.
    client.setattr(file.node, &mode(0o2644)).unwrap();
    client.write(handle, 0, b"x", (4, 0)).unwrap();
    assert_eq!(client.getattr(file.node).unwrap().permissions(), 0o2644);
}

#[test]
fn only_whiteouts_are_made_of_devices() {
    let place = Place::new();
    let mut client = place.client();
    for (kind, rdev) in [(0o2_0000, 0x103), (0o6_0000, 0x801), (0o6_0000, 0)] {
        let made = client.mknod(ROOT, "device", kind | 0o666, rdev);
        assert_eq!(made, Err(number(Errno::PERM)));
    }
    for kind in [0o4_0000, 0o12_0000, 0o17_0000] {
        let made = client.mknod(ROOT, "device", kind | 0o666, 0);
        assert_eq!(made, Err(number(Errno::INVAL)));
    }
    assert!(!place.path("device").exists());
    let whiteout = client.mknod(ROOT, "device", 0o2_0000, 0).unwrap();
    assert_eq!((whiteout.attr.mode, whiteout.attr.rdev), (0o2_0000, 0));
}

#[test]
fn statfs_is_the_hosts() {
    let place = Place::new();
    let mut client = place.client();
    let reply = client.call(op::STATFS, ROOT, &Args::new()).unwrap();
    assert_eq!(reply.len(), 80);
    let host = rustix::fs::statvfs(place.share()).unwrap();
    assert_eq!(u64_at(&reply, 0), host.f_blocks);
    assert_eq!(u64::from(u32_at(&reply, 40)), host.f_bsize);
    assert_eq!(u32_at(&reply, 44), 255);
}

#[test]
fn statx_knows_the_time_of_birth() {
    let place = Place::new();
    let mut client = place.client();
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o640).unwrap();
    let args = Args::new().u64(0).u64(0).u32(0).u32(0xfff);
    let reply = client.call(op::STATX, file.node, &args).unwrap();
    assert_eq!(reply.len(), 288);
    let statx = &reply[32..];
    assert_eq!(u32_at(statx, 0) & 0x7ff, 0x7ff);
    assert_eq!(u32_at(statx, 28) & 0xffff, 0o10_0640);
    assert_eq!(u64_at(statx, 32), file.attr.ino);
    let status = std::fs::metadata(place.path("file")).unwrap();
    if let Ok(born) = status.created() {
        let born = born.duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(u64_at(statx, 80), born.as_secs());
    }
}

#[test]
fn access_follows_owner_group_and_others() {
    let place = Place::new();
    let mut client = place.client();
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o640).unwrap();
    let mut may = |uid: u32, gid: u32, mask: u32| {
        (client.uid, client.gid) = (uid, gid);
        let args = Args::new().u32(mask).u32(0);
        client.call(op::ACCESS, file.node, &args).map(drop)
    };
    let denied = Err(number(Errno::ACCESS));
    assert_eq!(may(0, 0, 6), Ok(()));
    assert_eq!(may(0, 0, 1), denied);
    let (uid, gid) = (file.attr.uid, file.attr.gid);
    assert_eq!(may(uid + 9, gid, 4), Ok(()));
    assert_eq!(may(uid + 9, gid, 2), denied);
    assert_eq!(may(uid + 9, gid + 9, 4), denied);
    assert_eq!(may(uid + 9, gid + 9, 0), Ok(()));
}
