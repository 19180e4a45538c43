//! A share that can't be written.

use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

use super::client::{Client, O_EXCL, O_RDWR, O_TRUNC, O_WRONLY, ROOT};
use super::number;
use super::place::{Place, config, make_host, read_host};
use super::reply::{Args, mode};
use crate::fs::FsConfig;
use crate::fs::wire::op;

fn read_only(place: &Place) -> Client {
    place.client_with(FsConfig {
        read_only: true,
        ..config()
    })
}

#[test]
fn all_that_changes_something_is_refused() {
    let place = Place::new();
    make_host(&place.path("file"), b"contents");
    std::fs::create_dir(place.path("dir")).unwrap();
    let before = std::fs::metadata(place.path("file")).unwrap();
    let mut client = read_only(&place);
    let file = client.lookup(ROOT, "file").unwrap().node;
    let (fh, _) = client.open(file, 0).unwrap();
    let refused = number(Errno::ROFS);
    assert_eq!(client.setattr(file, &mode(0o777)), Err(refused));
    assert_eq!(client.mkdir(ROOT, "new", 0o755), Err(refused));
    assert_eq!(client.mknod(ROOT, "new", 0o10_0644, 0), Err(refused));
    assert_eq!(client.symlink(ROOT, "new", "x"), Err(refused));
    assert_eq!(client.link(file, ROOT, "new"), Err(refused));
    assert_eq!(client.unlink(ROOT, "file"), Err(refused));
    assert_eq!(client.rmdir(ROOT, "dir"), Err(refused));
    let renamed = client.rename((ROOT, "file"), (ROOT, "new"), 0);
    assert_eq!(renamed, Err(refused));
    let args = Args::new().u64(ROOT).name("file").name("new");
    assert_eq!(client.call(op::RENAME, ROOT, &args), Err(refused));
    assert_eq!(client.put(file, fh, 0, b"x"), Err(refused));
    assert_eq!(client.setxattr(file, "user.x", b"x"), Err(refused));
    let args = Args::new().name("user.x");
    assert_eq!(client.call(op::REMOVEXATTR, file, &args), Err(refused));
    let args = Args::new().u64(fh).u64(0).u64(1).u64(0);
    assert_eq!(client.call(op::FALLOCATE, file, &args), Err(refused));
    let args = Args::new()
        .u64(fh)
        .u64(0)
        .u64(file)
        .u64(fh)
        .u64(1)
        .u64(1)
        .u64(0);
    assert_eq!(client.call(op::COPY_FILE_RANGE, file, &args), Err(refused));
    let args = Args::new().u32(O_RDWR).u32(0o600).u64(0).name("/");
    assert_eq!(client.call(op::TMPFILE, ROOT, &args), Err(refused));
    for flags in [O_WRONLY, O_RDWR, O_TRUNC] {
        assert_eq!(client.open(file, flags), Err(refused));
    }
    assert_eq!(client.create(ROOT, "new", 0, 0o644).unwrap_err(), refused);
    assert_eq!(
        client.create(ROOT, "new", O_RDWR, 0o644).unwrap_err(),
        refused
    );
    let access = Args::new().u32(2).u32(0);
    assert_eq!(client.call(op::ACCESS, file, &access), Err(refused));
    assert_eq!(read_host(&place.path("file")), b"contents");
    let after = std::fs::metadata(place.path("file")).unwrap();
    assert_eq!(before.mtime_nsec(), after.mtime_nsec());
    assert_eq!(std::fs::read_dir(place.share()).unwrap().count(), 2);
}

#[test]
fn all_that_reads_works() {
    let place = Place::new();
    make_host(&place.path("file"), b"contents");
    let mut client = read_only(&place);
    let file = client.lookup(ROOT, "file").unwrap().node;
    let (fh, _) = client.open(file, 0).unwrap();
    assert_eq!(client.read(file, fh, 0, 100).unwrap(), b"contents");
    let args = Args::new().u64(fh).u64(0);
    client.call(op::FSYNC, file, &args).unwrap();
    client.flush(file, fh, 1).unwrap();
    client.release(file, fh).unwrap();
    // An existing file can be created as long as nothing comes of it.
    let (again, fh) = client.create(ROOT, "file", 0, 0o644).unwrap();
    assert_eq!(client.read(again.node, fh, 0, 100).unwrap(), b"contents");
    let error = client.create(ROOT, "file", O_EXCL, 0o644).unwrap_err();
    assert_eq!(error, number(Errno::EXIST));
    assert_eq!(client.list(ROOT, 4096, true).len(), 3);
    let access = Args::new().u32(4).u32(0);
    client.call(op::ACCESS, file, &access).unwrap();
    client.call(op::SYNCFS, ROOT, &Args::new().u64(0)).unwrap();
}
