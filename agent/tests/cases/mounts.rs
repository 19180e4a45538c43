//! Directories of the host in a container; in these tests they are directories of this machine.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use hull_agent_protocol::{Adopt, ExitStatus, Identity, Mount, MountSource, Share};

use super::environment::{output_with, shell};
use crate::common::{Note, Outcome};
use crate::sandbox::{Machine, finish};

/// An empty directory beside a machine's image.
fn directory(machine: &Machine, name: &str) -> PathBuf {
    let path = machine.base.path().join(name);
    fs::create_dir(&path).unwrap();
    path
}

fn share(target: &str, share: Share) -> Mount {
    Mount {
        target: target.into(),
        source: MountSource::Share(share),
    }
}

fn of(path: &std::path::Path) -> Share {
    Share {
        tag: path.to_str().unwrap().into(),
        ..Share::default()
    }
}

fn tmpfs(target: &str) -> Mount {
    Mount {
        target: target.into(),
        source: MountSource::Tmpfs {
            options: String::new(),
        },
    }
}

pub(crate) fn a_share_is_the_host_s_directory() {
    let script = "cat /made/here/in; echo out > /made/here/out; touch /data/x 2>&1; cat /data/f; \
                  touch /made/here/deep/t && mount | grep -E ' /(data|made/here) ' | sed 's/.* (//'";
    let mut shared = PathBuf::new();
    let mut machine = Machine::new();
    let mut configure = machine.configure();
    let (one, other) = (directory(&machine, "one"), directory(&machine, "other"));
    fs::write(one.join("in"), "from the host\n").unwrap();
    fs::create_dir(one.join("deep")).unwrap();
    fs::write(other.join("f"), "read only\n").unwrap();
    shared.clone_from(&one);
    // The deepest first: the order is the agent's to find.
    configure.mounts = vec![
        tmpfs("/made/here/deep"),
        share(
            "/made/here",
            Share {
                nosuid: true,
                ..of(&one)
            },
        ),
        share(
            "/data",
            Share {
                read_only: true,
                nodev: true,
                ..of(&other)
            },
        ),
    ];
    machine.session.end.configure(configure).unwrap();
    machine
        .session
        .end
        .start(shell(&script.replace(" | sed 's/.* (//'", "")))
        .unwrap();
    let (stdout, stderr, outcome) = finish(&mut machine.session);
    assert_eq!(
        outcome,
        Outcome::Exited(ExitStatus::Code(0)),
        "{stdout}{stderr}"
    );
    assert!(
        stdout.starts_with("from the host\ntouch: /data/x: Read-only file system\nread only\n"),
        "{stdout}"
    );
    let line = |target: &str| {
        stdout
            .lines()
            .find(|line| line.contains(target))
            .unwrap()
            .to_owned()
    };
    assert!(line(" /data ").contains("(ro,nodev"), "{stdout}");
    assert!(line(" /made/here ").contains("(rw,nosuid"), "{stdout}");
    assert_eq!(fs::read_to_string(shared.join("out")).unwrap(), "out\n");
    assert!(!shared.join("deep/t").exists(), "the file is in memory");
}

pub(crate) fn a_single_file_is_mounted_and_nothing_that_a_link_leads_to() {
    let script = "cat /etc/hosts /made/file; echo new > /made/file; cat /etc/hostname";
    let seen = output_with(shell(script), |machine, configure| {
        let one = directory(machine, "one");
        fs::create_dir(one.join("sub")).unwrap();
        fs::write(one.join("sub/file"), "of the host\n").unwrap();
        fs::write(one.join("hosts"), "hosts of the user\n").unwrap();
        let part = |path: &str| Share {
            path: path.into(),
            ..of(&one)
        };
        configure.mounts = vec![
            share("/made/file", part("sub/file")),
            share("/etc/hosts", part("hosts")),
        ];
    });
    assert_eq!(seen, "hosts of the user\nof the host\nbox\n");

    for path in ["link", "sub/../../image", "/etc", "missing"] {
        let mut machine = Machine::new();
        let one = directory(&machine, "one");
        fs::create_dir(one.join("sub")).unwrap();
        symlink("/etc", one.join("link")).unwrap();
        let mut configure = machine.configure();
        configure.mounts = vec![share(
            "/made",
            Share {
                path: path.into(),
                ..of(&one)
            },
        )];
        machine.session.end.configure(configure).unwrap();
        let Outcome::Failed(failure) = machine.session.outcome() else {
            panic!("{path} was mounted")
        };
        assert!(
            failure
                .message
                .contains(&format!("find {path} in the share")),
            "{failure}"
        );
    }
}

pub(crate) fn an_empty_share_is_filled_from_the_image_once() {
    let mut one = PathBuf::new();
    let keep = tempfile::tempdir().unwrap();
    let run = |script: &str, read_only: bool| {
        output_with(shell(script), |machine, configure| {
            let image = machine.image().join("data");
            let mode = fs::Permissions::from_mode(0o2711);
            fs::set_permissions(image.join("sub"), mode).unwrap();
            std::os::unix::fs::chown(image.join("sub/file"), Some(1000), Some(100)).unwrap();
            symlink("sub/file", image.join("link")).unwrap();
            let share_of = Share {
                fill: true,
                read_only,
                ..of(keep.path())
            };
            configure.mounts = vec![share("/data", share_of)];
        })
    };
    one.push(keep.path());
    assert_eq!(
        run("cat /data/link; echo; touch /data/x 2>&1; true", true),
        "from the image\ntouch: /data/x: Read-only file system\n"
    );
    let stat = |path: &str| fs::symlink_metadata(one.join(path)).unwrap();
    assert_eq!(stat("sub").mode() & 0o7777, 0o2711);
    assert_eq!(
        (stat("sub/file").uid(), stat("sub/file").gid()),
        (1000, 100)
    );
    assert!(stat("link").is_symlink());
    fs::write(one.join("sub/file"), "changed").unwrap();
    assert_eq!(
        run("cat /data/link", false),
        "changed",
        "it is not filled again"
    );
}

pub(crate) fn a_clone_gets_mounts_of_its_own_on_top() {
    let mut machine = Machine::new();
    let etc = directory(&machine, "etc");
    let data = directory(&machine, "one");
    fs::write(etc.join("passwd"), "root:x:0:0::/:\n").unwrap();
    machine.session.end.configure(machine.configure()).unwrap();
    machine.session.end.hold();
    while machine.session.next() != Note::Held {}
    assert_eq!(machine.session.outcome(), Outcome::Gone);
    machine.session = machine.another();
    let identity = Identity {
        hostname: "clone".into(),
        hosts: "127.0.0.1 clone\n".into(),
        ..Identity::default()
    };
    let adopt = Adopt {
        identity: Some(identity),
        mounts: vec![
            share(
                "/data",
                Share {
                    fill: true,
                    ..of(&data)
                },
            ),
            share("/etc", of(&etc)),
        ],
        ..Adopt::default()
    };
    machine.session.end.adopt(adopt).unwrap();
    let script = "cat /etc/hosts /data/sub/file; echo; ls /etc; echo 1 > /data/written";
    machine.session.end.start(shell(script)).unwrap();
    let (stdout, stderr, outcome) = finish(&mut machine.session);
    assert_eq!(
        outcome,
        Outcome::Exited(ExitStatus::Code(0)),
        "{stdout}{stderr}"
    );
    assert_eq!(
        stdout,
        "127.0.0.1 clone\nfrom the image\nhostname\nhosts\npasswd\n"
    );
    assert!(data.join("written").exists());
}
