//! Processes that are killed at any moment leave no process, no socket and no locked state.

use std::time::{Duration, Instant};

use hull_tests::{Home, PATIENCE, Running, kvm};
use rustix::process::{Pid, Signal, kill_process};

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    let _ = kill_process(pid, Signal::KILL);
}

/// Starts a container that says `ready` and stays.
fn start_and_wait(home: &Home, name: &str) -> Running {
    let script = "echo ready; exec sleep 1000";
    let mut client = home.start(&["run", "--rm", "--name", name, "busybox", "sh", "-c", script]);
    client.wait_for("ready");
    client
}

#[test]
fn two_run_side_by_side_and_each_end_is_its_own() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let one = start_and_wait(&home, "one");
    let two = start_and_wait(&home, "two");
    assert_eq!(home.machines().len(), 2);
    home.run(&["run", "--rm", "--name", "one", "busybox", "true"])
        .fails_with(125, &["one", "in use"]);

    one.signal(Signal::KILL);
    let _ = one.finish();
    let listed = home.run(&["ps", "--format", "json"]).success();
    assert!(
        listed.contains("\"two\"") && !listed.contains("\"one\""),
        "{listed}"
    );

    // The machine of the second is killed under it: Hull says so and exits with 137.
    for machine in home.machines() {
        kill(machine);
    }
    two.finish().fails_with(137, &[]);
    let _ = home
        .run(&["run", "--rm", "--name", "one", "busybox", "true"])
        .success();
    home.assert_clean();
}

#[test]
fn a_client_killed_at_any_moment_leaves_nothing() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    // The moments are spread over preparing, spawning, booting and running.
    for milliseconds in [0, 30, 100, 300, 1000, 3000, 8000] {
        let client = home.start(&[
            "run", "--rm", "--name", "victim", "busybox", "sleep", "1000",
        ]);
        assert!(
            client.outlives(Duration::from_millis(milliseconds)),
            "it ended by itself"
        );
        client.signal(Signal::KILL);
        let _ = client.finish();
        home.wait_until_quiet();
    }
    let _ = home
        .run(&["run", "--rm", "--name", "victim", "busybox", "true"])
        .success();
    home.assert_clean();
}

/// What of a container is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Owner,
    Machine,
}

/// A container without --rm, killed at a moment of its life that nobody chose: the next command finds it in a state
/// that can be removed, and nothing else.
#[test]
fn what_is_killed_at_a_random_moment_is_recovered_by_the_next_command() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    // Long enough for a boot and the end behind it; the file gives the power-off something to write.
    let script = "dd if=/dev/urandom of=/f bs=64k count=8 2>/dev/null; echo done";
    for round in 0..8 {
        let victim = [Victim::Owner, Victim::Machine][round % 2];
        let moment = Duration::from_millis(random_below(14_000));
        let what = format!("round {round}: {victim:?} after {moment:?}");
        let client = home.start(&["run", "--name", "victim", "busybox", "sh", "-c", script]);
        let lives = client.outlives(moment);
        match victim {
            Victim::Owner => client.signal(Signal::KILL),
            Victim::Machine => home.machines().into_iter().for_each(kill),
        }
        let ended = client.finish();
        home.wait_until_quiet();

        let listed = home.run(&["ps", "--all", "--format", "json"]).success();
        let text = listed.trim();
        let left = home.runtime_files();
        assert!(left.is_empty(), "{what}: {left:?}");
        if text.is_empty() {
            // It was killed before the container was whole.
            assert!(lives && matches!(victim, Victim::Owner), "{what}");
        } else {
            let one: serde_json::Value = serde_json::from_str(text).expect("one container");
            assert_eq!(one["Names"], "victim", "{what}");
            let state = one["State"].as_str().unwrap_or_default();
            // Exited even where the machine was killed while it powered off, since its program had ended.
            let expected = match (victim, ended.code()) {
                (Victim::Owner, 137) => &["created", "exited"][..],
                (Victim::Machine, 125) => &["created"],
                _ => &["exited"],
            };
            assert!(expected.contains(&state), "{what}: {} {text}", ended.stderr);
            let _ = home.run(&["rm", "victim"]).success();
        }
        home.assert_clean();
    }
}

#[test]
fn a_container_killed_while_it_powers_off_keeps_its_exit_status() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    for victim in [Victim::Owner, Victim::Machine] {
        let script = "dd if=/dev/urandom of=/f bs=64k count=16 2>/dev/null; echo bye; exit 3";
        let mut client = home.start(&["run", "--name", "victim", "busybox", "sh", "-c", script]);
        client.wait_for("bye");
        // Its exit is written while its machine has yet to write its disk and to power off.
        let deadline = Instant::now() + PATIENCE;
        while !home.run(&["ps", "--all"]).success().contains("Exited (3)") {
            assert!(Instant::now() < deadline, "its exit was never written");
        }
        match victim {
            Victim::Owner => client.signal(Signal::KILL),
            Victim::Machine => home.machines().into_iter().for_each(kill),
        }
        let code = client.finish().code();
        assert!([3, 137].contains(&code), "{victim:?}: {code}");
        home.wait_until_quiet();
        let listed = home.run(&["ps", "--all"]).success();
        assert!(listed.contains("Exited (3)"), "{victim:?}: {listed}");
        assert!(home.runtime_files().is_empty(), "{victim:?}");
        let _ = home.run(&["rm", "victim"]).success();
        home.assert_clean();
    }
}

/// Another number each time.
fn random_below(limit: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(limit) % limit
}
