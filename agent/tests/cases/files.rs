//! Files of a container that are read and written from outside.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use hull_agent_protocol::{
    Change, ChangeKind, Changes, ExitStatus, Failure, FailureKind, FileStat, Files, Stream, Write,
};

use super::environment::shell;
use crate::common::{Note, Outcome, Session};
use crate::sandbox::{Machine, finish};

const OK: Outcome = Outcome::Exited(ExitStatus::Code(0));

/// A machine whose container has changed much and goes on.
fn changed() -> Machine {
    let script = "echo new > /new; rm /etc/plain; chmod 711 /data/sub; mv /home/app /home/other; \
                  echo x >> /data/sub/file; mkdir /bin/d; echo y > /home/other/y; rm -r /tmp; mkdir /tmp; \
                  echo z > /tmp/z; touch /dev/shm/not; echo ready; cat";
    let mut machine = Machine::new();
    fs::write(machine.image().join("home/app/kept"), "kept").unwrap();
    fs::write(machine.image().join("tmp/old"), "old").unwrap();
    machine.session.end.configure(machine.configure()).unwrap();
    machine.session.end.start(shell(script)).unwrap();
    machine.session.stdout_with("ready");
    machine
}

fn files(machine: &Machine, files: Files) -> (Vec<u8>, Outcome) {
    let mut session = machine.another();
    session.end.files(files).unwrap();
    let outcome = session.outcome();
    (session.stdout, outcome)
}

fn read(machine: &Machine, what: Files) -> Vec<u8> {
    let (output, outcome) = files(machine, what);
    assert_eq!(outcome, OK);
    output
}

fn failure(machine: &Machine, what: Files) -> Failure {
    match files(machine, what) {
        (_, Outcome::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

fn write(machine: &Machine, write: Write, archive: &[u8]) -> Outcome {
    let mut session = machine.another();
    session.end.files(Files::Write(write)).unwrap();
    session.started();
    send(&mut session, archive).unwrap_or_else(|| session.outcome())
}

/// Sends all of it, unless that is over before.
fn send(session: &mut Session, mut data: &[u8]) -> Option<Outcome> {
    while !data.is_empty() {
        let count = session.end.stdin(data);
        data = &data[count..];
        if count == 0
            && let Note::Over(outcome) = session.next()
        {
            return Some(outcome);
        }
    }
    session.end.close(Stream::Stdin);
    None
}

/// Has the `tar` of this machine look at an archive.
fn tar(arguments: &[&str], archive: &[u8]) -> String {
    let mut tar = Command::new("tar")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(archive).unwrap();
    let output = tar.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn names(archive: &[u8]) -> Vec<String> {
    tar(&["-tf", "-"], archive)
        .lines()
        .map(str::to_owned)
        .collect()
}

fn path(path: &str) -> Files {
    Files::Read { path: path.into() }
}

pub(crate) fn changes_are_those_of_docker_and_make_a_layer() {
    let machine = changed();
    let mut changes = Changes::default();
    let seen = changes.received(&read(&machine, Files::Changes)).unwrap();
    assert!(changes.is_complete());
    let change = |kind, path: &str| Change {
        kind,
        path: path.into(),
    };
    use ChangeKind::{Added, Deleted, Modified};
    let expected = [
        change(Modified, "/bin"),
        change(Added, "/bin/d"),
        change(Modified, "/data"),
        change(Modified, "/data/sub"),
        change(Modified, "/data/sub/file"),
        change(Modified, "/etc"),
        change(Deleted, "/etc/plain"),
        change(Modified, "/home"),
        change(Deleted, "/home/app"),
        change(Added, "/home/other"),
        change(Added, "/home/other/kept"),
        change(Added, "/home/other/y"),
        change(Added, "/new"),
        change(Modified, "/tmp"),
        change(Deleted, "/tmp/old"),
        change(Added, "/tmp/z"),
    ];
    let text = |changes: &[Change]| {
        let line = |one: &Change| format!("{:?} {}", one.kind, String::from_utf8_lossy(&one.path));
        changes.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(text(&seen), text(&expected));

    let layer = read(&machine, Files::Layer { frozen: false });
    let expected = [
        "bin/",
        "bin/d/",
        "data/",
        "data/sub/",
        "data/sub/file",
        "etc/",
        "etc/.wh.plain",
        "home/",
        "home/.wh.app",
        "home/other/",
        "home/other/kept",
        "home/other/y",
        "new",
        "tmp/",
        "tmp/.wh.old",
        "tmp/z",
    ];
    assert_eq!(names(&layer), expected);
    assert_eq!(
        tar(&["-xOf", "-", "data/sub/file"], &layer),
        "from the imagex\n"
    );
    assert_eq!(tar(&["-xOf", "-", "home/other/kept"], &layer), "kept");

    // Nothing has happened in one that never ran, however bare its image is.
    let mut bare = Machine::new();
    fs::remove_dir_all(bare.image().join("etc")).unwrap();
    bare.session.end.configure(bare.configure()).unwrap();
    while !matches!(bare.session.next(), Note::Configured { .. }) {}
    assert_eq!(read(&bare, Files::Changes), b"");
}

pub(crate) fn what_a_container_wrote_comes_out_as_an_archive() {
    let machine = changed();
    let data = read(&machine, path("/data"));
    assert_eq!(names(&data), ["data/", "data/sub/", "data/sub/file"]);
    assert_eq!(
        tar(&["-xOf", "-", "data/sub/file"], &data),
        "from the imagex\n"
    );
    assert_eq!(names(&read(&machine, path("data/sub/."))), ["./", "./file"]);
    assert_eq!(names(&read(&machine, path("/dev/null"))), ["null"]);
    let link = tar(&["-tvf", "-"], &read(&machine, path("/bin/sh")));
    assert!(link.contains("sh -> busybox"), "{link}");
    let busybox = read(&machine, path("/bin/busybox"));
    let original = fs::read(machine.image().join("bin/busybox")).unwrap();
    assert!(
        busybox
            .windows(original.len())
            .any(|window| window == original)
    );
    assert!(names(&read(&machine, path("/dev/shm"))).contains(&"shm/not".to_owned()));

    let root = names(&read(&machine, path("/")));
    assert!(
        root.contains(&"/new".to_owned()) || root.contains(&"new".to_owned()),
        "{root:?}"
    );
    assert!(
        !root
            .iter()
            .any(|name| name.contains("dev/null") || name.contains("sys/class"))
    );

    let all = names(&read(&machine, Files::Export));
    for name in ["bin/busybox", "new", "home/other/y", "dev/", "etc/hosts"] {
        assert!(all.contains(&name.to_owned()), "{name}: {all:?}");
    }
    assert!(
        !all.iter()
            .any(|name| name == "etc/plain" || name.starts_with("dev/n") || name.starts_with('.'))
    );

    let stat =
        |path: &str| FileStat::decode(&read(&machine, Files::Stat { path: path.into() })).unwrap();
    let sh = stat("/bin/sh");
    assert_eq!(
        (sh.name.as_str(), sh.link_target.as_str()),
        ("sh", "/bin/busybox")
    );
    assert_eq!(sh.go_mode() >> 27 & 1, 1);
    let sub = stat("/data/../data/sub/");
    assert_eq!((sub.name.as_str(), sub.go_mode()), ("sub", 1 << 31 | 0o711));
    assert_eq!((stat("/new").size, stat("/").name.as_str()), (4, "/"));
}

pub(crate) fn an_archive_goes_in_before_anything_runs() {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("dir")).unwrap();
    fs::write(base.path().join("dir/large"), vec![b'x'; 300_000]).unwrap();
    fs::write(base.path().join("small"), "hello\n").unwrap();
    let made = Command::new("tar")
        .arg("-C")
        .arg(base.path())
        .args(["--owner=7", "--group=8", "-cf", "-", "dir", "small"])
        .output()
        .unwrap();

    let mut machine = Machine::new();
    let mut configure = machine.configure();
    configure.root.read_only = true;
    configure.mounts = vec![hull_agent_protocol::Mount {
        target: "/tmp".into(),
        source: hull_agent_protocol::MountSource::Volume { name: "v".into() },
    }];
    machine.session.end.configure(configure).unwrap();
    while !matches!(machine.session.next(), Note::Configured { .. }) {}
    let to = |path: &str, owner: Option<&str>| Write {
        path: path.into(),
        owner: owner.map(str::to_owned),
        ..Write::default()
    };
    assert_eq!(write(&machine, to("/tmp", None), &made.stdout), OK);
    assert_eq!(
        write(&machine, to("/tmp/dir", Some("app")), &made.stdout),
        OK
    );
    let Outcome::Failed(failure) = write(&machine, to("/data", None), &made.stdout) else {
        panic!("a read-only root was written to")
    };
    assert_eq!(failure.kind, FailureKind::ReadOnly, "{failure}");

    let script = "cat /tmp/small; wc -c < /tmp/dir/large; stat -c '%u:%g' /tmp/small /tmp/dir/small /tmp/dir/dir";
    machine.session.end.start(shell(script)).unwrap();
    let (stdout, stderr, outcome) = finish(&mut machine.session);
    assert_eq!(outcome, OK, "{stderr}");
    assert_eq!(stdout, "hello\n300000\n7:8\n1000:1000\n1000:1000\n");
}

pub(crate) fn paths_that_lead_nowhere_are_said() {
    let machine = changed();
    let missing = failure(&machine, path("/no/such"));
    assert_eq!(
        (missing.kind, missing.message.as_str()),
        (
            FailureKind::NoSuchFile,
            "/no/such: no such file or directory"
        )
    );
    let stat = Files::Stat {
        path: "/new/".into(),
    };
    assert_eq!(failure(&machine, stat).message, "/new: not a directory");
    let to = Write {
        path: "/tmp".into(),
        ..Write::default()
    };
    let Outcome::Failed(garbage) = write(&machine, to, &[b'x'; 5000]) else {
        panic!("it was unpacked")
    };
    assert_eq!(garbage.kind, FailureKind::Archive, "{garbage}");

    let mut machine = Machine::new();
    machine.session.end.files(Files::Changes).unwrap();
    assert!(
        matches!(machine.session.outcome(), Outcome::Failed(failure) if failure.message.contains("configured"))
    );
}

pub(crate) fn a_reader_that_leaves_ends_it() {
    let mut machine = changed();
    let mut session = machine.another();
    session.eager = false;
    session.end.files(path("/bin/busybox")).unwrap();
    session.started();
    while session.unconsumed == 0 {
        session.next();
    }
    drop(session);
    // The agent waits for no child when it is to go: none is left.
    machine.session.end.close(Stream::Stdin);
    assert_eq!(machine.session.outcome(), OK);
}
