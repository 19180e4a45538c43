use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use rustix::fs::{Mode, OFlags, openat};
use rustix::process::geteuid;

use super::*;
use crate::volume::VolumeSpec;

fn bound(path: &Path, create: bool) -> Mount {
    Mount {
        target: "/x".to_owned(),
        read_only: false,
        source: MountSource::Bind {
            path: path.to_owned(),
            create,
        },
        mode: String::new(),
        propagation: String::new(),
    }
}

fn volume(name: &str, read_only: bool) -> Mount {
    Mount {
        read_only,
        source: MountSource::Volume {
            name: name.to_owned(),
            no_copy: false,
            subpath: None,
            spec: VolumeSpec::default(),
        },
        ..bound(Path::new("/"), false)
    }
}

fn open(volumes: &Volumes, mounts: &[Mount]) -> Result<Vec<Share>, Error> {
    super::open(volumes, mounts, true).map(|opened| opened.shares)
}

fn shared(share: &Share) -> agent::Share {
    match share.mount().source {
        agent::MountSource::Share(share) => share,
        other => panic!("{other:?}"),
    }
}

fn read(directory: &OwnedFd, name: &str) -> rustix::io::Result<String> {
    let file = openat(directory.as_fd(), name, OFlags::RDONLY, Mode::empty())?;
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).unwrap();
    Ok(text)
}

#[test]
fn a_source_is_there_or_is_made_or_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = Volumes::at(dir.path().join("volumes"));
    let missing = dir.path().join("a/b");
    let error = open(&volumes, &[bound(&missing, false)]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("bind source path does not exist"),
        "{error}"
    );
    open(&volumes, &[bound(&missing, true)]).unwrap();
    assert!(missing.is_dir());
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let opened = super::open(
        &volumes,
        &[bound(&socket, true), bound(&missing, false)],
        true,
    )
    .unwrap();
    assert_eq!((opened.shares.len(), opened.sockets.len()), (1, 1));
    assert_eq!(
        opened.shares[0].tag, "s0",
        "no gaps in what a template knows"
    );
    assert_eq!(opened.mounts().len(), 2);
    let error = open(&volumes, &[bound(Path::new("/dev/null"), false)]).unwrap_err();
    assert!(error.to_string().contains("a device"), "{error}");
}

#[test]
fn a_file_is_shared_without_its_neighbours() {
    if !geteuid().is_root() {
        println!("SKIPPED: only root may mount");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let volumes = Volumes::at(dir.path().join("volumes"));
    fs::write(dir.path().join("secret"), "no").unwrap();
    fs::write(dir.path().join("conf"), "yes").unwrap();
    let shares = open(&volumes, &[bound(&dir.path().join("conf"), true)]).unwrap();
    let share = &shares[0];
    assert_eq!(shared(share).path, FILE);
    assert_eq!(read(&share.directory, FILE).unwrap(), "yes");
    assert!(read(&share.directory, "secret").is_err());
    // It is the file, and no copy.
    fs::write(dir.path().join("conf"), "changed").unwrap();
    assert_eq!(read(&share.directory, FILE).unwrap(), "changed");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("hull /tmp"), "{mounts}");
}

#[test]
fn a_volume_is_filled_until_that_was_finished_and_by_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = Volumes::at(dir.path().join("volumes"));
    let data = dir.path().join("volumes/data/_data");
    let first = open(&volumes, &[volume("data", true)]).unwrap();
    assert!(shared(&first[0]).fill && shared(&first[0]).read_only);
    assert!(!first[0].read_only, "the agent must write to it");
    let lock = File::open(dir.path().join("volumes/data/fill.lock")).unwrap();
    let take = || {
        let taken = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        taken.is_ok()
    };
    assert!(!take());
    drop(first);
    assert!(take());
    drop(lock);
    fs::create_dir_all(data.join(FILLING)).unwrap();
    fs::write(data.join("half"), "").unwrap();
    assert!(shared(&open(&volumes, &[volume("data", true)]).unwrap()[0]).fill);
    let goes_on = super::open(&volumes, &[volume("data", true)], false).unwrap();
    assert!(!shared(&goes_on.shares[0]).fill, "its processes go on");
    fs::remove_dir(data.join(FILLING)).unwrap();
    let full = open(&volumes, &[volume("data", true)]).unwrap();
    assert!(!shared(&full[0]).fill && full[0].read_only);
}

#[test]
fn no_link_leads_out_of_a_volume() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = Volumes::at(dir.path().join("volumes"));
    let data = dir.path().join("volumes/data/_data");
    drop(open(&volumes, &[volume("data", false)]).unwrap());
    fs::create_dir_all(data.join("sub/etc")).unwrap();
    fs::write(data.join("sub/here"), "inside").unwrap();
    symlink("/etc", data.join("out")).unwrap();
    let at = |subpath: &str| {
        let mut mount = volume("data", false);
        if let MountSource::Volume { subpath: place, .. } = &mut mount.source {
            *place = Some(subpath.to_owned());
        }
        open(&volumes, &[mount])
    };
    assert_eq!(
        read(&at("sub").unwrap()[0].directory, "here").unwrap(),
        "inside"
    );
    assert!(at("out").is_err(), "the volume has no etc");
    assert!(
        at("../../..").unwrap()[0]
            .directory
            .as_fd()
            .try_clone_to_owned()
            .is_ok()
    );
    assert!(at("missing").is_err());
}
