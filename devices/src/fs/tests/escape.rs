//! Ways out of the directory, none of which may lead anywhere.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::client::{O_RDWR, ROOT};
use super::number;
use super::place::{Place, make_host, read_host};
use super::reply::{Args, mode, size};
use crate::fs::wire::op;

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let place = Place::new();
    make_host(&place.path("file"), b"");
    std::fs::create_dir(place.path("dir")).unwrap();
    let mut client = place.client();
    let dir = client.lookup(ROOT, "dir").unwrap().node;
    let file = client.lookup(ROOT, "file").unwrap().node;
    let invalid = number(Errno::INVAL);
    for name in [
        "",
        ".",
        "..",
        "/",
        "../outside",
        "dir/../..",
        "/etc/passwd",
        "dir/",
        "./file",
    ] {
        for parent in [ROOT, dir] {
            assert_eq!(client.lookup(parent, name), Err(invalid), "{name}");
            assert_eq!(client.mkdir(parent, name, 0o755), Err(invalid), "{name}");
            assert_eq!(client.mknod(parent, name, 0o10_0644, 0), Err(invalid));
            assert_eq!(client.symlink(parent, name, "x"), Err(invalid), "{name}");
            assert_eq!(client.link(file, parent, name), Err(invalid), "{name}");
            assert_eq!(client.unlink(parent, name), Err(invalid), "{name}");
            assert_eq!(client.rmdir(parent, name), Err(invalid), "{name}");
            let from = client.rename((parent, name), (ROOT, "x"), 0);
            assert_eq!(from, Err(invalid), "{name}");
            let to = client.rename((ROOT, "file"), (parent, name), 0);
            assert_eq!(to, Err(invalid), "{name}");
            let created = client.create(parent, name, O_RDWR, 0o644);
            assert_eq!(created.unwrap_err(), invalid, "{name}");
        }
    }
    // Without an end, or with something behind it.
    let reply = client.call(op::LOOKUP, ROOT, &Args::new().bytes(b"file"));
    assert_eq!(reply, Err(invalid));
    client
        .call(op::LOOKUP, ROOT, &Args::new().bytes(b"file\0/../.."))
        .unwrap();
}

#[test]
fn links_are_links_and_never_followed() {
    let place = Place::new();
    let secret = place.dir.path().join("outside/secret");
    let outside = place.dir.path().join("outside");
    symlink(&secret, place.path("to_file")).unwrap();
    symlink("../outside", place.path("to_dir")).unwrap();
    symlink("/proc/self/root", place.path("magic")).unwrap();
    let mut client = place.client();
    for name in ["to_file", "to_dir", "magic"] {
        let link = client.lookup(ROOT, name).unwrap();
        assert_eq!(link.attr.mode & 0o17_0000, 0o12_0000);
        assert_eq!(
            client.lookup(link.node, "secret"),
            Err(number(Errno::NOTDIR))
        );
        assert_eq!(client.open(link.node, 0), Err(number(Errno::LOOP)));
        assert_eq!(client.opendir(link.node), Err(number(Errno::NOTDIR)));
        assert!(client.create(ROOT, name, O_RDWR, 0o644).is_err());
        assert!(client.setattr(link.node, &size(0)).is_err());
        assert!(client.setattr(link.node, &mode(0o777)).is_err());
        assert!(client.setxattr(link.node, "user.x", b"1").is_err());
        assert!(client.mkdir(link.node, "new", 0o755).is_err());
        assert!(client.unlink(link.node, "secret").is_err());
        let renamed = client.rename((link.node, "secret"), (ROOT, "stolen"), 0);
        assert!(renamed.is_err());
        // A further name is one of the link.
        client.link(link.node, ROOT, "again").unwrap();
        let again = std::fs::symlink_metadata(place.path("again")).unwrap();
        assert!(again.is_symlink());
        client.unlink(ROOT, "again").unwrap();
    }
    let times = super::reply::Set {
        valid: 32,
        mtime: (1, 1),
        ..Default::default()
    };
    let link = client.lookup(ROOT, "to_file").unwrap();
    client.setattr(link.node, &times).unwrap();
    let modified = std::fs::metadata(&secret).unwrap().modified().unwrap();
    assert!(
        modified
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs()
            > 1
    );
    assert_eq!(read_host(&secret), b"secret");
    assert_eq!(std::fs::read_dir(outside).unwrap().count(), 1);
}

#[test]
fn a_directory_that_becomes_a_link_stays_what_it_was() {
    let place = Place::new();
    std::fs::create_dir(place.path("dir")).unwrap();
    make_host(&place.path("dir/secret"), b"public");
    let mut client = place.client();
    let dir = client.lookup(ROOT, "dir").unwrap().node;
    std::fs::rename(place.path("dir"), place.path("was")).unwrap();
    symlink("../outside", place.path("dir")).unwrap();
    let file = client.lookup(dir, "secret").unwrap();
    let (fh, _) = client.open(file.node, 0).unwrap();
    assert_eq!(client.read(file.node, fh, 0, 100).unwrap(), b"public");
    client.create(dir, "new", O_RDWR, 0o644).unwrap();
    assert!(place.path("was/new").exists());
}

/// Ends what runs beside a test, also when an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Exchanges two names as fast as it can, where both are there, while `guest` is at work.
fn while_swapping(one: &Path, other: &Path, guest: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let flags = RenameFlags::EXCHANGE;
                let _ = rustix::fs::renameat_with(CWD, one, CWD, other, flags);
            }
        });
        let _stop = Stop(&stop);
        guest();
    });
}

#[test]
fn swapping_a_directory_for_a_link_while_it_is_used_leads_nowhere() {
    let place = Place::new();
    std::fs::create_dir(place.path("dir")).unwrap();
    make_host(&place.path("dir/secret"), b"public");
    symlink("../outside", place.path("link")).unwrap();
    let outside = place.dir.path().join("outside");
    let mut client = place.client();
    while_swapping(&place.path("dir"), &place.path("link"), || {
        for round in 0..2000 {
            let Ok(dir) = client.lookup(ROOT, "dir") else {
                continue;
            };
            let name = format!("new{round}");
            if let Ok(file) = client.lookup(dir.node, "secret") {
                let (fh, _) = client.open(file.node, 0).unwrap();
                assert_eq!(client.read(file.node, fh, 0, 100).unwrap(), b"public");
                client.release(file.node, fh).unwrap();
                client.forget(file.node, 1);
            }
            if let Ok((file, fh)) = client.create(dir.node, &name, O_RDWR, 0o644) {
                client.release(file.node, fh).unwrap();
                client.forget(file.node, 1);
                client.unlink(dir.node, &name).unwrap();
            }
            client.forget(dir.node, 1);
        }
    });
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(read_host(&outside.join("secret")), b"secret");
}

#[test]
fn swapping_a_file_for_a_link_while_it_is_created_leads_nowhere() {
    let place = Place::new();
    let secret = place.dir.path().join("outside/secret");
    make_host(&place.path("file"), b"public");
    symlink(&secret, place.path("link")).unwrap();
    let mut client = place.client();
    while_swapping(&place.path("file"), &place.path("link"), || {
        for _ in 0..2000 {
            // O_TRUNC would be fatal to the secret.
            let flags = O_RDWR | super::client::O_TRUNC;
            if let Ok((file, fh)) = client.create(ROOT, "file", flags, 0o644) {
                client.put(file.node, fh, 0, b"public").unwrap();
                client.release(file.node, fh).unwrap();
                client.forget(file.node, 1);
            }
        }
    });
    assert_eq!(read_host(&secret), b"secret");
}

#[test]
fn moving_a_directory_while_walking_it_never_climbs() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("a/b/c")).unwrap();
    std::fs::create_dir(place.dir.path().join("share/x")).unwrap();
    let mut client = place.client();
    let parent = client.lookup(ROOT, "a").unwrap().node;
    while_swapping(&place.path("a/b"), &place.path("x"), || {
        for _ in 0..500 {
            let Ok(inner) = client.lookup(parent, "b") else {
                continue;
            };
            for name in ["..", "../..", "../../outside"] {
                assert!(client.lookup(inner.node, name).is_err());
            }
            client.forget(inner.node, 1);
        }
    });
}

#[test]
fn a_hard_link_put_in_place_of_a_new_file_keeps_its_owner() {
    if !super::place::is_root() {
        return;
    }
    let place = Place::new();
    make_host(&place.path("victim"), b"");
    std::fs::hard_link(place.path("victim"), place.path("decoy")).unwrap();
    let mut client = place.client();
    (client.uid, client.gid) = (1234, 1234);
    let victim = place.path("victim");
    let decoy = place.path("decoy");
    let mut hits = 0;
    while_swapping(&place.path("new"), &decoy, || {
        for _ in 0..1000 {
            let _ = client.mknod(ROOT, "new", 0o1_0644, 0);
            let _ = client.unlink(ROOT, "new");
            // While there is no "new" nothing is exchanged, so the decoy can be laid again.
            if std::fs::metadata(&victim).unwrap().nlink() == 1 {
                hits += 1;
                std::fs::remove_file(&decoy).unwrap();
                std::fs::hard_link(&victim, &decoy).unwrap();
            }
        }
    });
    println!("exchanged {hits} times before it was unlinked");
    let status = std::fs::metadata(place.path("victim")).unwrap();
    assert_eq!(status.uid(), 0);
}
