//! What a guest can't have more of, and how a share does with few descriptors.

use rustix::io::Errno;

use super::client::{Client, LINUX_FLAGS, O_RDWR, ROOT};
use super::number;
use super::place::{Place, backend, config, make_host};
use super::reply::{Args, u64_at};
use crate::fs::wire::op;
use crate::fs::{Fs, FsBackend};
use crate::testing::Driver;

fn client(place: &Place, change: impl FnOnce(&mut FsBackend)) -> Client {
    let mut backend = backend(&place.share());
    change(&mut backend);
    let device = Fs::new(config(), backend).unwrap();
    let mut client = Client::over(Box::new(Driver::ready(Box::new(device))));
    client.init(LINUX_FLAGS);
    client
}

/// Descriptors of this process that are of files in the share.
fn open_descriptors(place: &Place) -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.starts_with(place.share()))
        .count()
}

#[test]
fn nodes_have_a_limit_and_forgetting_makes_room() {
    let place = Place::new();
    for index in 0..20 {
        make_host(&place.path(&format!("{index}")), b"");
    }
    let mut client = client(&place, |backend| backend.nodes = 11);
    let nodes: Vec<_> = (0..10)
        .map(|index| client.lookup(ROOT, &format!("{index}")).unwrap().node)
        .collect();
    assert_eq!(client.lookup(ROOT, "10"), Err(number(Errno::NFILE)));
    // What is known already is no trouble.
    assert_eq!(client.lookup(ROOT, "3").unwrap().node, nodes[3]);
    // Listings go on without looking up.
    assert_eq!(client.list(ROOT, 4096, true).len(), 22);
    // Nothing is made that could not be shown.
    let full = number(Errno::NFILE);
    assert_eq!(client.create(ROOT, "new", O_RDWR, 0o644).unwrap_err(), full);
    assert_eq!(client.mkdir(ROOT, "new", 0o755), Err(full));
    assert_eq!(client.symlink(ROOT, "new", "x"), Err(full));
    assert_eq!(client.mknod(ROOT, "new", 0o1_0644, 0), Err(full));
    assert!(!place.path("new").exists());
    assert!(client.create(ROOT, "3", O_RDWR, 0o644).is_ok());
    client.forget(nodes[5], 100);
    assert!(client.lookup(ROOT, "10").is_ok());
}

#[test]
fn open_files_have_a_limit() {
    let place = Place::new();
    make_host(&place.path("file"), b"");
    let mut client = client(&place, |backend| backend.descriptors = 64);
    let file = client.lookup(ROOT, "file").unwrap().node;
    let handles: Vec<_> = (0..16).map(|_| client.open(file, 0).unwrap().0).collect();
    let full = number(Errno::NFILE);
    assert_eq!(client.open(file, 0), Err(full));
    assert_eq!(client.opendir(ROOT), Err(full));
    assert_eq!(client.create(ROOT, "new", O_RDWR, 0o644).unwrap_err(), full);
    assert!(!place.path("new").exists());
    client.release(file, handles[0]).unwrap();
    client.opendir(ROOT).unwrap();
}

#[test]
fn many_files_are_known_with_few_descriptors() {
    let place = Place::new();
    for dir in 0..20 {
        std::fs::create_dir(place.path(&format!("dir{dir}"))).unwrap();
        for file in 0..50 {
            let name = format!("dir{dir}/file{file}");
            make_host(&place.path(&name), name.as_bytes());
        }
    }
    let mut client = client(&place, |backend| backend.descriptors = 64);
    let mut nodes = Vec::new();
    for dir in 0..20 {
        let parent = client.lookup(ROOT, &format!("dir{dir}")).unwrap().node;
        for file in 0..50 {
            let node = client.lookup(parent, &format!("file{file}")).unwrap().node;
            nodes.push((format!("dir{dir}/file{file}"), node));
        }
    }
    let open = open_descriptors(&place);
    assert!((10..=64).contains(&open), "{open}");
    for (name, node) in &nodes {
        let (fh, _) = client.open(*node, 0).unwrap();
        assert_eq!(client.read(*node, fh, 0, 100).unwrap(), name.as_bytes());
        client.release(*node, fh).unwrap();
    }
    // The guest moves a directory: what is in it is still found.
    client.rename((ROOT, "dir0"), (ROOT, "moved"), 0).unwrap();
    assert!(client.getattr(nodes[0].1).is_ok());
    // The host removes or replaces one: the guest has to look again.
    std::fs::remove_file(place.path("dir5/file5")).unwrap();
    std::fs::remove_file(place.path("dir5/file6")).unwrap();
    make_host(&place.path("dir5/file6"), b"another");
    for (_, node) in &nodes[500..] {
        client.getattr(*node).unwrap();
    }
    let stale = Err(number(Errno::STALE));
    assert_eq!(client.getattr(nodes[255].1), stale);
    assert_eq!(client.getattr(nodes[256].1), stale);
    let parent = client.lookup(ROOT, "dir5").unwrap().node;
    let again = client.lookup(parent, "file6").unwrap();
    assert_ne!(again.node, nodes[256].1);
    // The link that takes a directory's place is not followed.
    std::fs::rename(place.path("dir6"), place.path("away")).unwrap();
    std::os::unix::fs::symlink("away", place.path("dir6")).unwrap();
    assert_eq!(client.getattr(nodes[300].1), stale);
}

#[test]
fn open_files_are_not_closed_for_others() {
    let place = Place::new();
    for index in 0..200 {
        make_host(&place.path(&format!("{index}")), b"x");
    }
    let mut client = client(&place, |backend| backend.descriptors = 64);
    let (file, fh) = client.create(ROOT, "open", O_RDWR, 0o644).unwrap();
    client.put(file.node, fh, 0, b"12345").unwrap();
    client.unlink(ROOT, "open").unwrap();
    for index in 0..200 {
        client.lookup(ROOT, &format!("{index}")).unwrap();
    }
    assert_eq!(client.getattr(file.node).unwrap().size, 5);
}

#[test]
fn forgetting_and_looking_up_for_ever_costs_nothing() {
    let place = Place::new();
    make_host(&place.path("file"), b"");
    let mut client = client(&place, |_| {});
    let mut last = 0;
    for _ in 0..2000 {
        let node = client.lookup(ROOT, "file").unwrap().node;
        assert!(node > last);
        last = node;
        client.forget(node, 1);
        assert_eq!(client.getattr(node), Err(number(Errno::STALE)));
    }
    // The root is never forgotten.
    client.forget(ROOT, u64::MAX);
    client.getattr(ROOT).unwrap();
}

#[test]
fn files_that_cannot_be_found_again_do_not_take_all_descriptors() {
    let place = Place::new();
    make_host(&place.path("file"), b"x");
    let mut client = client(&place, |backend| backend.descriptors = 64);
    let args = Args::new().u32(O_RDWR).u32(0o600).u64(0).name("/");
    let mut nameless = Vec::new();
    let full = loop {
        match client.call(op::TMPFILE, ROOT, &args) {
            Ok(reply) => {
                let (node, fh) = (u64_at(&reply, 0), u64_at(&reply, 128));
                client.release(node, fh).unwrap();
                nameless.push(node);
            }
            Err(error) => break error,
        }
        assert!(nameless.len() < 64);
    };
    assert_eq!(full, number(Errno::NFILE));
    assert_eq!(client.lookup(ROOT, "file"), Err(full));
    // A name makes one that can be found again.
    client.link(nameless[0], ROOT, "name").unwrap();
    let file = client.lookup(ROOT, "file").unwrap();
    assert_eq!(file.attr.size, 1);
    client.getattr(nameless[0]).unwrap();
    client.getattr(nameless[1]).unwrap();
}

#[test]
fn a_file_that_is_closed_counts_as_others_do() {
    let place = Place::new();
    for index in 0..100 {
        make_host(&place.path(&format!("{index}")), b"x");
    }
    let mut client = client(&place, |backend| backend.descriptors = 64);
    // Each is open while the next are looked up, so all descriptors are needed at one time or another.
    let mut open = std::collections::VecDeque::new();
    for round in 0..3 {
        for index in 0..100 {
            let node = client.lookup(ROOT, &format!("{index}")).unwrap().node;
            open.push_back((node, client.open(node, 0).unwrap().0));
            if open.len() > 10 {
                let (node, fh) = open.pop_front().unwrap();
                assert_eq!(client.read(node, fh, 0, 1).unwrap(), b"x", "{round}");
                client.release(node, fh).unwrap();
            }
        }
    }
}
