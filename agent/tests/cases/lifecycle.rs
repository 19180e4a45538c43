//! Beginnings and ends of processes, channels and machines.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use hull_agent_protocol::{ExitStatus, Place, Start, VERSION};

use crate::common::{Outcome, start};
use crate::sandbox::{Machine, finish, run};

fn exited(code: u8) -> Outcome {
    Outcome::Exited(ExitStatus::Code(code))
}

fn beside(argv: &[&str]) -> Start {
    Start {
        place: Place::Beside,
        ..start(argv)
    }
}

pub(crate) fn exit_codes_and_signals() {
    assert_eq!(run(start(&["sh", "-c", "exit 7"])).2, exited(7));
    assert_eq!(run(start(&["/bin/true"])).2, exited(0));
    let mut machine = Machine::started(start(&["sleep", "1000"]));
    machine.session.started();
    machine.session.end.signal(9);
    assert_eq!(
        machine.session.outcome(),
        Outcome::Exited(ExitStatus::Signal(9))
    );
}

pub(crate) fn signals_reach_the_program() {
    let script = "trap 'echo usr1' USR1; trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done";
    let mut machine = Machine::started(start(&["sh", "-c", script]));
    let session = &mut machine.session;
    session.stdout_with("up");
    session.end.signal(10);
    session.stdout_with("usr1");
    session.end.signal(15);
    assert_eq!(session.outcome(), exited(9));
}

pub(crate) fn a_first_process_is_not_immortal() {
    let mut machine = Machine::started(start(&["sleep", "1000"]));
    machine.session.started();
    machine.session.end.signal(15);
    assert_eq!(
        machine.session.outcome(),
        Outcome::Exited(ExitStatus::Signal(15))
    );

    let script = "trap '' TERM; echo up; sleep 0.3; echo alive; exit 4";
    let mut machine = Machine::started(start(&["sh", "-c", script]));
    machine.session.stdout_with("up");
    machine.session.end.signal(15);
    machine.session.stdout_with("alive");
    assert_eq!(machine.session.outcome(), exited(4));
}

pub(crate) fn descendants_end_with_the_first_process() {
    let script = "(while :; do echo still here; sleep 0.02; done) & sleep 0.1; exit 5";
    let mut machine = Machine::started(start(&["sh", "-c", script]));
    assert_eq!(machine.session.outcome(), exited(5));
}

pub(crate) fn init_reaps_and_forwards() {
    let with_init = |argv: &[&str]| Start {
        place: Place::NewContainer { init: true },
        ..start(argv)
    };
    // An orphan that ends must not stay a zombie.
    let script = "(true & exec sleep 0.01) & wait; (sleep 0.05 &); sleep 0.3; echo $$; \
                  cat /proc/[0-9]*/status | grep -c zombie; true";
    let (stdout, stderr, outcome) = run(with_init(&["sh", "-c", script]));
    assert_eq!((outcome, stderr.as_str()), (exited(0), ""), "{stdout}");
    assert_eq!(
        stdout, "2\n0\n",
        "the program is a child of process 1, and nothing is left"
    );

    let mut machine = Machine::started(with_init(&["sleep", "1000"]));
    machine.session.started();
    machine.session.end.signal(15);
    assert_eq!(machine.session.outcome(), exited(143));

    let (_, _, outcome) = run(with_init(&["nonsense"]));
    assert!(matches!(outcome, Outcome::Failed(failure) if failure.kind.exit_code() == 127));
}

pub(crate) fn many_processes_run_beside() {
    let mut machine = Machine::started(start(&["sh", "-c", "touch /tmp/mark; echo up; cat; true"]));
    machine.session.stdout_with("up");
    let script = "ls /tmp; hostname; cat /proc/1/comm; ps | grep -c cat; cat; echo last; exit";
    let mut others: Vec<_> = (0..10)
        .map(|number| {
            let mut session = machine.another();
            session
                .end
                .start(beside(&["sh", "-c", &format!("{script} {number}")]))
                .unwrap();
            session
        })
        .collect();
    for session in &mut others {
        session.started();
        let _ = session.end.stdin(b"typed\n");
    }
    for (number, session) in others.iter_mut().enumerate().rev() {
        session.end.close(hull_agent_protocol::Stream::Stdin);
        let (stdout, _, outcome) = finish(session);
        assert_eq!(outcome, exited(u8::try_from(number).unwrap()));
        assert!(stdout.starts_with("mark\nbox\nsh\n"), "{stdout}");
        assert!(stdout.ends_with("typed\nlast\n"), "{stdout}");
    }
}

pub(crate) fn a_daemon_does_not_hold_up_the_exit() {
    let mut machine = Machine::started(start(&["cat"]));
    machine.session.started();
    let mut session = machine.another();
    session
        .end
        .start(beside(&["sh", "-c", "sleep 1000 & echo started; exit 6"]))
        .unwrap();
    assert_eq!(
        finish(&mut session),
        ("started\n".into(), String::new(), exited(6))
    );
}

pub(crate) fn a_lost_channel_ends_its_process_only() {
    let mut machine = Machine::started(start(&["sh", "-c", "while :; do sleep 0.05; done"]));
    machine.session.started();
    let mut lost = machine.another();
    lost.end.start(beside(&["sleep", "12345"])).unwrap();
    lost.started();
    drop(lost);
    let wait = "while ps | grep -q '[1]2345'; do sleep 0.05; done; echo gone";
    let mut session = machine.another();
    session.end.start(beside(&["sh", "-c", wait])).unwrap();
    assert_eq!(finish(&mut session).0, "gone\n");
    machine.session.end.signal(9);
    assert_eq!(
        machine.session.outcome(),
        Outcome::Exited(ExitStatus::Signal(9))
    );
}

pub(crate) fn a_lost_engine_ends_everything() {
    let mut machine = Machine::started(start(&["sleep", "1000"]));
    let pid = machine.session.started();
    let (other, _) = UnixStream::pair().unwrap();
    let lost = std::mem::replace(
        &mut machine.session,
        crate::common::Session::new(other, std::time::Duration::from_secs(1)),
    );
    drop(lost);
    let status = machine.agent.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}")).exists(),
        "the process is left"
    );
}

pub(crate) fn the_power_button_asks_first() {
    let script = "trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let mut machine = Machine::started(start(&["sh", "-c", script]));
    machine.session.stdout_with("up");
    let mut button = UnixStream::connect(machine.base.path().join("1025")).unwrap();
    machine.session.stdout_with("saved");
    assert_eq!(machine.session.outcome(), exited(0));
    assert!(machine.agent.wait().unwrap().success());
    assert_eq!(button.read(&mut [0]).unwrap_or(0), 0);
}

pub(crate) fn garbage_ends_the_channel() {
    let mut machine = Machine::started(start(&["sh", "-c", "echo up; cat"]));
    machine.session.stdout_with("up");
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 64],
        &[255; 64],
        &[2, 0, 0, 0, 0, 0, 99],
    ];
    for bytes in garbage {
        let mut socket = UnixStream::connect(machine.base.path().join("1024")).unwrap();
        socket.write_all(bytes).unwrap();
        // The agent's hello comes, and then nothing any more.
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        let version = u8::try_from(VERSION).unwrap();
        assert_eq!(rest, [2, 0, 0, 0, 0, 0, version], "after {bytes:?}");
    }
    machine
        .session
        .end
        .close(hull_agent_protocol::Stream::Stdin);
    assert_eq!(machine.session.outcome(), exited(0));
}
