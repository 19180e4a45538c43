//! A machine at rest: what an engine finds when it comes back to it, or to a clone of it.

use std::fs;

use hull_agent_protocol::{Adopt, ExitStatus, Failure, Identity, Place, Start, Stdio};

use crate::common::{Note, Outcome, start};
use crate::sandbox::{Machine, finish};

const SEEN: &str = "hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf /etc/machine-id";

fn adopt() -> Adopt {
    Adopt {
        identity: Some(Identity {
            hostname: "clone".into(),
            hosts: "127.0.0.1 clone\n".into(),
            resolv_conf: "nameserver 10.0.0.2\n".into(),
            machine_id: "fedcba9876543210fedcba9876543210".into(),
            ..Identity::default()
        }),
        entropy: vec![7; 64],
        ..Adopt::default()
    }
}

/// Leaves a machine at rest and comes back.
fn hold(machine: &mut Machine) {
    machine.session.end.hold();
    while machine.session.next() != Note::Held {}
    assert_eq!(machine.session.outcome(), Outcome::Gone);
    machine.session = machine.another();
}

fn failure(machine: &mut Machine) -> Failure {
    match machine.session.outcome() {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn a_machine_at_rest_is_configured_by_whoever_comes_back() {
    let mut machine = Machine::new();
    hold(&mut machine);
    // Nothing was asked for on this one, which changes nothing.
    machine.session = machine.another();
    machine.session.end.configure(machine.configure()).unwrap();
    machine.session.end.start(start(&["echo", "hi"])).unwrap();
    let (stdout, stderr, outcome) = finish(&mut machine.session);
    assert_eq!(outcome, Outcome::Exited(ExitStatus::Code(0)), "{stderr}");
    assert_eq!(stdout, "hi\n");
}

pub(crate) fn a_configured_machine_gets_another_name_for_everything() {
    let mut machine = Machine::new();
    fs::write(machine.image().join("etc/machine-id"), "").unwrap();
    machine.session.end.configure(machine.configure()).unwrap();
    hold(&mut machine);
    machine.session.end.adopt(adopt()).unwrap();
    // It can be left at rest once more, under this name.
    hold(&mut machine);
    machine.session.end.adopt(adopt()).unwrap();
    machine
        .session
        .end
        .start(start(&["sh", "-c", SEEN]))
        .unwrap();
    let (stdout, stderr, outcome) = finish(&mut machine.session);
    assert_eq!(outcome, Outcome::Exited(ExitStatus::Code(0)), "{stderr}");
    let seen =
        "clone\nclone\n127.0.0.1 clone\nnameserver 10.0.0.2\nfedcba9876543210fedcba9876543210\n";
    assert_eq!(stdout, seen);
}

pub(crate) fn an_image_without_a_machine_id_gets_none() {
    let mut machine = Machine::started(start(&["ls", "/etc/machine-id"]));
    let (_, _, outcome) = finish(&mut machine.session);
    assert_eq!(outcome, Outcome::Exited(ExitStatus::Code(1)));
}

pub(crate) fn a_machine_is_held_by_its_control_channel_and_adopted_at_rest() {
    let mut machine = Machine::new();
    machine.session.end.adopt(adopt()).unwrap();
    assert!(failure(&mut machine).message.contains("configured"));

    let mut machine = Machine::started(start(&["sleep", "1000"]));
    machine.session.started();
    let mut other = machine.another();
    other.end.hold();
    assert!(
        matches!(other.outcome(), Outcome::Failed(failure) if failure.message.contains("held"))
    );
}

pub(crate) fn a_process_is_frozen_while_its_machine_is_at_rest_and_goes_on_under_another_name() {
    let script = "hostname; read line; echo got $line; hostname; cat /proc/sys/kernel/random/boot_id; exit 5";
    let mut begin = start(&["sh", "-c", script]);
    begin.stdio = Stdio::Pipes { stdin: true };
    let mut machine = Machine::started(begin);
    machine.session.stdout_with("box");
    let base = machine.base.path().to_owned();
    let events = format!(
        "/proc/{}/root{}/places/cgroup/hull/cgroup.events",
        machine.agent.id(),
        base.display()
    );
    let frozen = || fs::read_to_string(&events).unwrap().contains("frozen 1");
    machine.session.end.hold();
    while machine.session.next() != Note::Held {}
    assert_eq!(machine.session.outcome(), Outcome::Gone);

    assert!(frozen());
    machine.session = machine.another();
    machine.session.end.adopt(adopt()).unwrap();
    machine.session.end.attach();
    machine.session.started();
    assert!(!frozen());
    let _ = machine.session.end.stdin(b"on\n");
    let (stdout, stderr, outcome) = finish(&mut machine.session);
    assert_eq!(outcome, Outcome::Exited(ExitStatus::Code(5)), "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[..2], ["got on", "clone"], "{stdout}");
    let own = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(lines[2].len() == 36 && lines[2] != own.trim(), "{stdout}");
}

pub(crate) fn nothing_starts_beside_a_frozen_process() {
    let mut machine = Machine::started(start(&["sh", "-c", "echo up; cat"]));
    machine.session.stdout_with("up");
    hold(&mut machine);
    machine.session.end.adopt(adopt()).unwrap();
    while !matches!(machine.session.next(), Note::Configured { .. }) {}
    let mut other = machine.another();
    let beside = Start {
        place: Place::Beside,
        ..start(&["true"])
    };
    other.end.start(beside.clone()).unwrap();
    assert!(
        matches!(other.outcome(), Outcome::Failed(failure) if failure.message.contains("frozen"))
    );
    machine.session.end.attach();
    machine.session.started();
    let mut other = machine.another();
    other.end.start(beside).unwrap();
    assert_eq!(other.outcome(), Outcome::Exited(ExitStatus::Code(0)));
}
