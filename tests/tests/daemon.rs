//! The daemon ends in any way, and its containers do not notice.

use std::time::Instant;

use hull_tests::{Daemon, Home, PATIENCE, await_end, has_docker, kvm, run};
use rustix::process::{Pid, Signal, kill_process};

/// Counts, so that one can see whether a line is missing or there twice.
///
/// It waits by reading what nobody writes: to start a program takes long where guest kernels are emulated.
const COUNTS: &str = "i=0; while :; do echo line $i; i=$((i+1)); read -t 1 nothing; done";

fn usable() -> bool {
    kvm() && has_docker()
}

/// Asserts that a container's lines are all there, each once; how many there are.
#[track_caller]
fn count(daemon: &Daemon<'_>, container: &str) -> usize {
    let logs = daemon.ok(&["logs", container]);
    for (index, line) in logs.lines().enumerate() {
        assert_eq!(line, format!("line {index}"), "{container}:\n{logs}");
    }
    logs.lines().count()
}

#[test]
fn a_daemon_that_is_killed_leaves_its_containers_running() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let names: Vec<String> = (0..10).map(|index| format!("count{index}")).collect();
    for name in &names {
        daemon.ok(&["run", "-di", "--name", name, "busybox", "sh", "-c", COUNTS]);
    }
    let before: Vec<usize> = names.iter().map(|name| count(&daemon, name)).collect();
    let ids = daemon.ok(&["ps", "--quiet", "--no-trunc"]);
    daemon.kill();

    let daemon = Daemon::start(&home);
    assert_eq!(daemon.ok(&["ps", "--quiet", "--no-trunc"]), ids);
    for (name, before) in names.iter().zip(before) {
        let mut logs = daemon.begin(&["logs", "--follow", name]);
        logs.wait_for(&format!("line {}\n", before + 3));
        logs.signal(Signal::TERM);
        drop(logs);
        assert!(count(&daemon, name) > before + 3);
    }
    let waiter = daemon.begin(&["wait", "count0"]);
    daemon.ok(&["stop", "--time", "60", "count0"]);
    let code = daemon.ok(&["inspect", "--format", "{{.State.ExitCode}}", "count0"]);
    assert_eq!(waiter.finish().success().trim(), code);
    let remove: Vec<&str> = names.iter().map(String::as_str).collect();
    daemon.ok(&[&["rm", "--force"], &remove[..]].concat());
    let said = daemon.stop();
    assert!(!said.contains("panicked"), "{said}");
    home.assert_clean();
}

#[test]
fn what_happens_while_there_is_no_daemon_is_made_good_by_the_next() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let script = "trap 'exit 5' USR1; echo up; while :; do sleep 1000 & wait; done";
    let start = |name: &str, how: &[&str]| {
        let run = ["run", "-d", "--name", name];
        let rest = ["busybox", "sh", "-c", script];
        daemon.ok(&[&run[..], how, &rest].concat());
        daemon.begin(&["logs", "--follow", name]).wait_for("up\n");
        daemon.ok(&["inspect", "--format", "{{.State.Pid}}", name])
    };
    let machines = [
        start("again", &["--restart", "always"]),
        start("once", &[]),
        start("gone", &["--rm"]),
    ];
    daemon.kill();
    for machine in machines {
        let pid = Pid::from_raw(machine.parse().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        assert!(await_end(pid, Instant::now() + PATIENCE));
    }

    let daemon = Daemon::start(&home);
    let mut logs = daemon.begin(&["logs", "--follow", "again"]);
    logs.wait_for("up\nup\n");
    let state = "{{.State.Status}} {{.State.ExitCode}}";
    assert_eq!(
        daemon.ok(&["inspect", "--format", state, "again"]),
        "running 0"
    );
    assert_eq!(
        daemon.ok(&["inspect", "--format", state, "once"]),
        "exited 137"
    );
    daemon
        .run(&["inspect", "gone"])
        .fails_with(1, &["No such object"]);

    // Its policy goes on.
    daemon.ok(&["kill", "--signal", "USR1", "again"]);
    logs.wait_for("up\nup\nup\n");
    assert_eq!(
        daemon.ok(&["inspect", "--format", "{{.RestartCount}}", "again"]),
        "1"
    );
    daemon.ok(&["stop", "again"]);
    assert_eq!(logs.finish().code(), 0);
    assert_eq!(daemon.ok(&["ps", "--quiet"]), "");
    daemon.ok(&["rm", "again", "once"]);
    let _ = daemon.stop();
    home.assert_clean();
}

#[test]
fn there_is_one_daemon_of_a_directory() {
    if !usable() {
        return;
    }
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let second = run(&mut home.hull(&["daemon"]));
    second.fails_with(1, &["another daemon has", "HULL_ROOT"]);
    daemon.ok(&["info"]);
    let _ = daemon.stop();
    home.assert_clean();
}
