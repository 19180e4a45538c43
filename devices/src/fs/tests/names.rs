//! Names: links, renames, removal.

use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

use super::client::{O_EXCL, O_RDWR, O_TRUNC, ROOT};
use super::number;
use super::place::{Place, make_host, read_host};
use super::reply::{Args, u64_at};
use crate::fs::wire::op;

const NOREPLACE: u32 = 1;
const EXCHANGE: u32 = 2;
const WHITEOUT: u32 = 4;

#[test]
fn names_have_a_longest_length_and_are_single_components() {
    let place = Place::new();
    let mut client = place.client();
    let longest = "x".repeat(255);
    let (file, _) = client.create(ROOT, &longest, O_RDWR, 0o644).unwrap();
    assert_eq!(client.lookup(ROOT, &longest).unwrap().node, file.node);
    let too_long = "x".repeat(256);
    let too_long_error = Err(number(Errno::NAMETOOLONG));
    assert_eq!(client.lookup(ROOT, &too_long), too_long_error);
    assert_eq!(client.mkdir(ROOT, &too_long, 0o755), too_long_error);
    // Bytes that are no UTF-8 are as good as any.
    let args = Args::new().u32(0o755).u32(0).bytes(b"\xff\xfe\0");
    client.call(op::MKDIR, ROOT, &args).unwrap();
    client
        .call(op::LOOKUP, ROOT, &Args::new().bytes(b"\xff\xfe\0"))
        .unwrap();
}

#[test]
fn create_opens_what_is_there_unless_it_must_be_new() {
    let place = Place::new();
    make_host(&place.path("file"), b"contents");
    let mut client = place.client();
    let exists = client.create(ROOT, "file", O_RDWR | O_EXCL, 0o600);
    assert_eq!(exists.unwrap_err(), number(Errno::EXIST));
    let (file, fh) = client.create(ROOT, "file", O_RDWR, 0o600).unwrap();
    assert_eq!(file.node, client.lookup(ROOT, "file").unwrap().node);
    // Its mode stays.
    assert_eq!(file.attr.permissions(), 0o666);
    assert_eq!(client.read(file.node, fh, 0, 100).unwrap(), b"contents");
    let (file, fh) = client
        .create(ROOT, "file", O_RDWR | O_TRUNC, 0o600)
        .unwrap();
    assert_eq!(client.read(file.node, fh, 0, 100).unwrap(), b"");
    client.mkdir(ROOT, "dir", 0o755).unwrap();
    let error = client.create(ROOT, "dir", O_RDWR, 0o600).unwrap_err();
    assert_eq!(error, number(Errno::ISDIR));
    client.mknod(ROOT, "fifo", 0o1_0644, 0).unwrap();
    let error = client.create(ROOT, "fifo", O_RDWR, 0o600).unwrap_err();
    assert_eq!(error, number(Errno::NXIO));
}

#[test]
fn what_exists_is_not_made_again() {
    let place = Place::new();
    make_host(&place.path("file"), b"");
    let mut client = place.client();
    let exists = Err(number(Errno::EXIST));
    assert_eq!(client.mkdir(ROOT, "file", 0o755), exists);
    assert_eq!(client.mknod(ROOT, "file", 0o10_0644, 0), exists);
    assert_eq!(client.symlink(ROOT, "file", "x"), exists);
    let dir = client.mkdir(ROOT, "dir", 0o755).unwrap();
    let file = client.lookup(ROOT, "file").unwrap();
    assert_eq!(client.link(file.node, ROOT, "dir"), exists);
    assert_eq!(
        client.link(dir.node, ROOT, "hard"),
        Err(number(Errno::PERM))
    );
    assert_eq!(
        client.mkdir(file.node, "below", 0o755),
        Err(number(Errno::NOTDIR))
    );
}

#[test]
fn links_count() {
    let place = Place::new();
    let mut client = place.client();
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    assert_eq!(file.attr.nlink, 1);
    let hard = client.link(file.node, ROOT, "hard").unwrap();
    assert_eq!(hard.node, file.node);
    assert_eq!(hard.attr.nlink, 2);
    client.unlink(ROOT, "file").unwrap();
    assert_eq!(client.getattr(file.node).unwrap().nlink, 1);
    // Links to links are links to the link.
    let soft = client.symlink(ROOT, "soft", "hard").unwrap();
    let link = client.link(soft.node, ROOT, "soft2").unwrap();
    assert_eq!(link.node, soft.node);
    assert_eq!(client.readlink(link.node).unwrap(), "hard");
    // Directories count their subdirectories.
    let before = client.getattr(ROOT).unwrap().nlink;
    client.mkdir(ROOT, "dir", 0o755).unwrap();
    assert_eq!(client.getattr(ROOT).unwrap().nlink, before + 1);
    client.rmdir(ROOT, "dir").unwrap();
    assert_eq!(client.getattr(ROOT).unwrap().nlink, before);
}

#[test]
fn links_say_what_was_said() {
    let place = Place::new();
    let mut client = place.client();
    let longest = "x".repeat(4095);
    for target in ["relative", "/absolute", "../outside", &longest] {
        let link = client.symlink(ROOT, "link", target).unwrap();
        assert_eq!(client.readlink(link.node).unwrap(), target);
        assert_eq!(link.attr.mode, 0o12_0777);
        client.unlink(ROOT, "link").unwrap();
    }
    let too_long = "x".repeat(4096);
    let error = client.symlink(ROOT, "link", &too_long).unwrap_err();
    assert_eq!(error, number(Errno::NAMETOOLONG));
    let (file, _) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    let error = client.readlink(file.node).unwrap_err();
    // The kernel says so of what it was asked by its descriptor.
    assert!([Errno::INVAL, Errno::NOENT].map(number).contains(&error));
}

#[test]
fn an_open_file_lives_on_without_a_name() {
    let place = Place::new();
    let mut client = place.client();
    let (file, fh) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    client.put(file.node, fh, 0, b"still here").unwrap();
    client.unlink(ROOT, "file").unwrap();
    let missing = client.lookup(ROOT, "file");
    assert_eq!(missing, Err(number(Errno::NOENT)));
    assert_eq!(client.getattr_of(file.node, fh).unwrap().nlink, 0);
    assert_eq!(client.getattr(file.node).unwrap().size, 10);
    assert_eq!(client.read(file.node, fh, 0, 100).unwrap(), b"still here");
    // A new file of that name is another.
    let (other, _) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    assert_ne!(other.node, file.node);
    client.release(file.node, fh).unwrap();
    client.forget(file.node, 1);
    assert_eq!(client.getattr(file.node), Err(number(Errno::STALE)));
}

#[test]
fn removal_has_its_rules() {
    let place = Place::new();
    let mut client = place.client();
    let dir = client.mkdir(ROOT, "dir", 0o755).unwrap();
    client.create(dir.node, "file", O_RDWR, 0o644).unwrap();
    assert_eq!(client.rmdir(ROOT, "dir"), Err(number(Errno::NOTEMPTY)));
    assert_eq!(client.unlink(ROOT, "dir"), Err(number(Errno::ISDIR)));
    assert_eq!(client.rmdir(dir.node, "file"), Err(number(Errno::NOTDIR)));
    assert_eq!(client.unlink(ROOT, "missing"), Err(number(Errno::NOENT)));
    assert_eq!(client.rmdir(ROOT, "missing"), Err(number(Errno::NOENT)));
    client.unlink(dir.node, "file").unwrap();
    client.rmdir(ROOT, "dir").unwrap();
    // It is still known, and nothing can be made in it.
    assert!(client.getattr(dir.node).is_ok());
    let error = client.mkdir(dir.node, "sub", 0o755).unwrap_err();
    assert_eq!(error, number(Errno::NOENT));
}

#[test]
fn rename_replaces_and_moves() {
    let place = Place::new();
    make_host(&place.path("a"), b"a");
    make_host(&place.path("b"), b"b");
    let mut client = place.client();
    let a = client.lookup(ROOT, "a").unwrap();
    let dir = client.mkdir(ROOT, "dir", 0o755).unwrap();
    client.rename((ROOT, "a"), (ROOT, "b"), 0).unwrap();
    assert_eq!(client.lookup(ROOT, "b").unwrap().node, a.node);
    assert_eq!(client.lookup(ROOT, "a"), Err(number(Errno::NOENT)));
    client.rename((ROOT, "b"), (dir.node, "c"), 0).unwrap();
    assert_eq!(client.lookup(dir.node, "c").unwrap().node, a.node);
    assert_eq!(read_host(&place.path("dir/c")), b"a");
    // The old form of the request, without flags.
    let args = Args::new().u64(ROOT).name("c").name("d");
    client.call(op::RENAME, dir.node, &args).unwrap();
    assert_eq!(client.lookup(ROOT, "d").unwrap().node, a.node);
    let missing = client.rename((ROOT, "missing"), (ROOT, "x"), 0);
    assert_eq!(missing, Err(number(Errno::NOENT)));
}

#[test]
fn rename_has_its_rules() {
    let place = Place::new();
    let mut client = place.client();
    let one = client.mkdir(ROOT, "one", 0o755).unwrap();
    let two = client.mkdir(ROOT, "two", 0o755).unwrap();
    client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    let below = client.rename((ROOT, "one"), (one.node, "in itself"), 0);
    assert_eq!(below, Err(number(Errno::INVAL)));
    let onto_dir = client.rename((ROOT, "file"), (ROOT, "one"), 0);
    assert_eq!(onto_dir, Err(number(Errno::ISDIR)));
    let onto_file = client.rename((ROOT, "one"), (ROOT, "file"), 0);
    assert_eq!(onto_file, Err(number(Errno::NOTDIR)));
    client.create(two.node, "x", O_RDWR, 0o644).unwrap();
    let full = client.rename((ROOT, "one"), (ROOT, "two"), 0);
    assert_eq!(full, Err(number(Errno::NOTEMPTY)));
    client.unlink(two.node, "x").unwrap();
    client.rename((ROOT, "one"), (ROOT, "two"), 0).unwrap();
    assert_eq!(client.lookup(ROOT, "two").unwrap().node, one.node);
}

#[test]
fn rename_can_refuse_to_replace_or_exchange_or_leave_a_whiteout() {
    let place = Place::new();
    make_host(&place.path("a"), b"a");
    make_host(&place.path("b"), b"b");
    let mut client = place.client();
    let (a, b) = (
        client.lookup(ROOT, "a").unwrap(),
        client.lookup(ROOT, "b").unwrap(),
    );
    let exists = client.rename((ROOT, "a"), (ROOT, "b"), NOREPLACE);
    assert_eq!(exists, Err(number(Errno::EXIST)));
    client.rename((ROOT, "a"), (ROOT, "b"), EXCHANGE).unwrap();
    assert_eq!(client.lookup(ROOT, "a").unwrap().node, b.node);
    assert_eq!(client.lookup(ROOT, "b").unwrap().node, a.node);
    for flags in [8, NOREPLACE | EXCHANGE, u32::MAX] {
        let wrong = client.rename((ROOT, "a"), (ROOT, "b"), flags);
        assert_eq!(wrong, Err(number(Errno::INVAL)), "{flags:#x}");
    }
    client.rename((ROOT, "a"), (ROOT, "c"), WHITEOUT).unwrap();
    let status = std::fs::symlink_metadata(place.path("a")).unwrap();
    assert_eq!((status.mode() & 0o17_0000, status.rdev()), (0o2_0000, 0));
}

#[test]
fn a_file_without_a_name_can_get_one() {
    let place = Place::new();
    let mut client = place.client();
    // The name that comes with it is "/", and means nothing.
    let args = |flags| Args::new().u32(flags).u32(0o640).u32(0).u32(0).name("/");
    let reply = client.call(op::TMPFILE, ROOT, &args(O_RDWR)).unwrap();
    assert_eq!(reply.len(), 144);
    let (node, fh) = (u64_at(&reply, 0), u64_at(&reply, 128));
    client.put(node, fh, 0, b"contents").unwrap();
    assert_eq!(std::fs::read_dir(place.share()).unwrap().count(), 0);
    let entry = client.link(node, ROOT, "file").unwrap();
    assert_eq!((entry.node, entry.attr.permissions()), (node, 0o640));
    assert_eq!(read_host(&place.path("file")), b"contents");
    let reply = client
        .call(op::TMPFILE, ROOT, &args(O_RDWR | O_EXCL))
        .unwrap();
    let error = client.link(u64_at(&reply, 0), ROOT, "other").unwrap_err();
    assert_eq!(error, number(Errno::NOENT));
}

#[test]
fn changes_on_the_host_are_seen() {
    let place = Place::new();
    let dir = place.path("dir");
    std::fs::create_dir(&dir).unwrap();
    let mut client = place.client();
    let node = client.lookup(ROOT, "dir").unwrap().node;
    make_host(&dir.join("new"), b"new");
    let new = client.lookup(node, "new").unwrap();
    std::fs::write(dir.join("new"), "longer").unwrap();
    assert_eq!(client.getattr(new.node).unwrap().size, 6);
    // Editors write another file and rename it over the old one.
    make_host(&dir.join("temporary"), b"edited");
    std::fs::rename(dir.join("temporary"), dir.join("new")).unwrap();
    let edited = client.lookup(node, "new").unwrap();
    assert_ne!(edited.node, new.node);
    assert_eq!(client.getattr(new.node).unwrap().nlink, 0);
    // A directory stays itself wherever it goes.
    std::fs::rename(&dir, place.path("moved")).unwrap();
    assert_eq!(client.lookup(node, "new").unwrap().node, edited.node);
    std::fs::remove_dir_all(place.path("moved")).unwrap();
    assert_eq!(client.lookup(node, "new"), Err(number(Errno::NOENT)));
}
