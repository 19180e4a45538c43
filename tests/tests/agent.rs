//! What the engine can ask the agent of a running container for, beside its processes: on a real guest, where there are real control
//! groups, disks and an overlay.

#[allow(dead_code)] // The agent's own tests use more of it.
#[path = "../../agent/tests/common/mod.rs"]
mod common;

use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use common::{Note, Outcome, Session};
use hull_agent_protocol::{
    Change, ChangeKind, Changes, ExitStatus, FileStat, Files, Limits, Network, PORT, Stream, Write,
};
use hull_tests::{Home, PATIENCE, kvm};

const OK: Outcome = Outcome::Exited(ExitStatus::Code(0));

/// A channel to the agent of the only machine of this home.
fn connect(home: &Home) -> Session {
    let mut sockets = home.runtime_files();
    sockets.retain(|path| path.file_name().is_some_and(|name| name == "v"));
    let mut socket = UnixStream::connect(&sockets[0]).unwrap();
    writeln!(socket, "CONNECT {PORT}").unwrap();
    let mut answer = String::new();
    // No byte more than the line, for the agent's own come behind it.
    let mut reader = BufReader::with_capacity(1, &mut socket);
    reader.read_line(&mut answer).unwrap();
    assert!(answer.starts_with("OK "), "{answer}");
    Session::new(socket, PATIENCE)
}

fn files(home: &Home, files: Files) -> (Vec<u8>, Outcome) {
    let mut session = connect(home);
    session.end.files(files).unwrap();
    let outcome = session.outcome();
    (session.stdout, outcome)
}

fn tar(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut tar = Command::new("tar")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(input).unwrap();
    let mut output = Vec::new();
    tar.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    assert!(tar.wait().unwrap().success());
    output
}

#[test]
fn a_running_container_is_asked_and_changed_from_outside() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let script = "echo new > /new; rm /etc/passwd; mv /home /house; sync; echo ready; read line; cat /put/in";
    let mut container = home.start(&["run", "--rm", "-i", "busybox", "sh", "-c", script]);
    container.wait_for("ready");

    let mut session = connect(&home);
    session.end.stats();
    let Note::Stats(stats) = session.answer() else {
        panic!("no figures")
    };
    assert!(stats.cpu.usage_us > 0 && stats.cpu.online > 0, "{stats:?}");
    assert!(
        stats.memory.current > 0 && stats.memory.of("anon") > 0,
        "{stats:?}"
    );
    assert!(
        stats.memory.machine > stats.memory.current && stats.pids >= 1,
        "{stats:?}"
    );
    assert!(
        stats
            .disks
            .iter()
            .any(|disk| disk.read_bytes + disk.written_bytes > 0),
        "{stats:?}"
    );
    session.end.processes();
    let Note::Processes(processes) = session.answer() else {
        panic!("no processes")
    };
    let first = &processes.list[0];
    assert_eq!(
        (first.pid, first.ppid, first.name.as_str()),
        (1, 0, "sh"),
        "{processes:?}"
    );
    let limits = Limits {
        memory: Some(100 << 20),
        pids: Some(50),
        cpu_weight: Some(200),
        ..Limits::default()
    };
    session.end.limit(limits);
    assert_eq!(session.answer(), Note::Done);
    session.end.stats();
    let Note::Stats(stats) = session.answer() else {
        panic!("no figures")
    };
    assert_eq!(
        (stats.memory.max, stats.pids_max),
        (Some(100 << 20), Some(50))
    );
    session.end.network(Network::default()).unwrap();
    assert_eq!(
        session.answer(),
        Note::Done,
        "there is no network, and none is wanted"
    );

    let (changes, outcome) = files(&home, Files::Changes);
    assert_eq!(outcome, OK);
    let seen = Changes::default().received(&changes).unwrap();
    let has = |kind, path: &str| {
        let path = path.into();
        assert!(seen.contains(&Change { kind, path }), "{seen:?}");
    };
    has(ChangeKind::Added, "/new");
    has(ChangeKind::Deleted, "/etc/passwd");
    has(ChangeKind::Modified, "/etc");
    has(ChangeKind::Deleted, "/home");
    has(ChangeKind::Added, "/house");
    has(ChangeKind::Added, "/house/user");
    assert_eq!(seen.len(), 6, "{seen:?}");
    let (layer, outcome) = files(&home, Files::Layer { frozen: true });
    assert_eq!(outcome, OK);
    let names = String::from_utf8(tar(&["-tf", "-"], &layer)).unwrap();
    assert_eq!(
        names,
        "etc/\netc/.wh.passwd\n.wh.home\nhouse/\nhouse/user/\nnew\n"
    );

    let (stat, outcome) = files(
        &home,
        Files::Stat {
            path: "/new".into(),
        },
    );
    assert_eq!((outcome, FileStat::decode(&stat).unwrap().size), (OK, 4));
    let scratch = home.scratch().join("in");
    std::fs::write(&scratch, "from outside\n").unwrap();
    let parent = home.scratch().to_string_lossy();
    let archive = tar(
        &["-C", &parent, "-cf", "-", "--transform", "s,^,put/,", "in"],
        b"",
    );
    let mut session = connect(&home);
    let to = Write {
        path: "/".into(),
        ..Write::default()
    };
    session.end.files(Files::Write(to)).unwrap();
    session.started();
    let mut rest = &archive[..];
    while !rest.is_empty() {
        let count = session.end.stdin(rest);
        rest = &rest[count..];
        assert!(count > 0 || !matches!(session.next(), Note::Over(_)));
    }
    session.end.close(Stream::Stdin);
    assert_eq!(session.outcome(), OK);
    let (put, outcome) = files(
        &home,
        Files::Read {
            path: "/put".into(),
        },
    );
    assert_eq!(outcome, OK);
    assert_eq!(tar(&["-xOf", "-", "put/in"], &put), b"from outside\n");

    container.write(b"\n");
    let finished = container.finish();
    assert_eq!(
        finished.text(),
        "ready\nfrom outside\n",
        "{}",
        finished.stderr
    );
    home.assert_clean();
}
