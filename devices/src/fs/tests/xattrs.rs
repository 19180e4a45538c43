//! Extended attributes.

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::client::{O_RDWR, ROOT};
use super::number;
use super::place::{Place, is_root};
use super::reply::{Args, u32_at};
use crate::fs::wire::op;

#[test]
fn attributes_are_set_read_listed_and_removed() {
    let place = Place::new();
    let mut client = place.client();
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    let dir = client.mkdir(ROOT, "dir", 0o755).unwrap();
    for node in [file.node, dir.node] {
        client.setxattr(node, "user.one", b"1").unwrap();
        client.setxattr(node, "user.three", b"333").unwrap();
        client.setxattr(node, "user.empty", b"").unwrap();
        assert_eq!(client.getxattr(node, "user.three", 100).unwrap(), b"333");
        assert_eq!(client.getxattr(node, "user.empty", 100).unwrap(), b"");
        let size = client.getxattr(node, "user.three", 0).unwrap();
        assert_eq!(u32_at(&size, 0), 3);
        let small = client.getxattr(node, "user.three", 2);
        assert_eq!(small, Err(number(Errno::RANGE)));
        let list = client.listxattr(node, 1000).unwrap();
        let mut names: Vec<_> = list.split(|byte| *byte == 0).collect();
        names.sort_unstable();
        assert_eq!(names, [&b""[..], b"user.empty", b"user.one", b"user.three"]);
        let size = client.listxattr(node, 0).unwrap();
        assert_eq!(usize::try_from(u32_at(&size, 0)).unwrap(), list.len());
        assert_eq!(client.listxattr(node, 5), Err(number(Errno::RANGE)));
        let args = Args::new().name("user.one");
        client.call(op::REMOVEXATTR, node, &args).unwrap();
        let gone = Err(number(Errno::NODATA));
        assert_eq!(client.getxattr(node, "user.one", 100), gone);
        assert_eq!(client.call(op::REMOVEXATTR, node, &args), gone);
    }
    let mut value = [0; 8];
    let len = rustix::fs::getxattr(place.path("file"), "user.three", &mut value[..]).unwrap();
    assert_eq!(value[..len], *b"333");
}

#[test]
fn create_and_replace_are_told_apart() {
    let place = Place::new();
    let mut client = place.client();
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    let mut set = |flags: u32| {
        let args = Args::new()
            .u32(1)
            .u32(flags)
            .u64(0)
            .name("user.x")
            .bytes(b"v");
        client.call(op::SETXATTR, file.node, &args).map(drop)
    };
    assert_eq!(set(2), Err(number(Errno::NODATA)));
    assert_eq!(set(1), Ok(()));
    assert_eq!(set(1), Err(number(Errno::EXIST)));
    assert_eq!(set(2), Ok(()));
}

#[test]
fn what_is_the_hosts_is_neither_seen_nor_set() {
    let place = Place::new();
    let mut client = place.client();
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    if is_root() {
        let path = place.path("file");
        rustix::fs::setxattr(path, "trusted.mine", b"1", XattrFlags::empty()).unwrap();
    }
    for name in [
        "trusted.mine",
        "trusted.overlay.opaque",
        "security.selinux",
        "system.x",
        "x",
    ] {
        let set = client.setxattr(file.node, name, b"2");
        assert_eq!(set, Err(number(Errno::OPNOTSUPP)), "{name}");
        let got = client.getxattr(file.node, name, 100);
        assert_eq!(got, Err(number(Errno::NODATA)), "{name}");
    }
    assert_eq!(client.listxattr(file.node, 1000).unwrap(), b"");
}

#[test]
fn capabilities_and_access_lists_are_stored() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut client = place.client();
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o755).unwrap();
    // VFS_CAP_REVISION_2 with CAP_NET_BIND_SERVICE, effective.
    let capability = Args::new().u32(0x0200_0001).u32(1 << 10).u32(0).u64(0).0;
    let name = "security.capability";
    client.setxattr(file.node, name, &capability).unwrap();
    assert_eq!(client.getxattr(file.node, name, 100).unwrap(), capability);
    assert_eq!(
        client.listxattr(file.node, 100).unwrap(),
        b"security.capability\0"
    );
    // Version 2; user::rwx, user:1000:r--, group::r-x, mask::r-x, other::r-x.
    let entry = |tag: u16, bits: u16, id: u32| {
        let mut bytes = tag.to_le_bytes().to_vec();
        bytes.extend(bits.to_le_bytes());
        bytes.extend(id.to_le_bytes());
        bytes
    };
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, bits, id) in [
        (1, 7, u32::MAX),
        (2, 4, 1000),
        (4, 5, u32::MAX),
        (16, 5, u32::MAX),
        (32, 5, u32::MAX),
    ] {
        list.extend(entry(tag, bits, id));
    }
    let name = "system.posix_acl_access";
    client.setxattr(file.node, name, &list).unwrap();
    assert_eq!(client.getxattr(file.node, name, 100).unwrap(), list);
}

#[test]
fn links_and_pipes_have_none() {
    let place = Place::new();
    let mut client = place.client();
    let link = client.symlink(ROOT, "link", "/etc/passwd").unwrap();
    let fifo = client.mknod(ROOT, "fifo", 0o1_0644, 0).unwrap();
    for node in [link.node, fifo.node] {
        let set = client.setxattr(node, "user.x", b"1");
        assert_eq!(set, Err(number(Errno::OPNOTSUPP)));
        let got = client.getxattr(node, "user.x", 10);
        assert_eq!(got, Err(number(Errno::NODATA)));
        assert_eq!(client.listxattr(node, 10).unwrap(), b"");
    }
}

#[test]
fn values_have_the_kernels_limit() {
    let place = Place::new();
    let mut client = place.client();
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    let huge = vec![1; 0x1_0001];
    let error = client.setxattr(file.node, "user.x", &huge).unwrap_err();
    assert_eq!(error, number(Errno::TOOBIG));
    // A value that is said to be longer than it is.
    let args = Args::new()
        .u32(100)
        .u32(0)
        .u64(0)
        .name("user.x")
        .bytes(b"short");
    let reply = client.call(op::SETXATTR, file.node, &args);
    assert_eq!(reply, Err(number(Errno::INVAL)));
}
