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

    // A client is not what a container lives by.
    one.signal(Signal::KILL);
    let _ = one.finish();
    let listed = home.run(&["ps", "--format", "json"]).success();
    assert!(
        listed.contains("\"two\"") && listed.contains("\"one\""),
        "{listed}"
    );
    let _ = home.run(&["rm", "--force", "one"]).success();

    // The machine of the second is killed under it: Hull says so and exits with 137.
    for machine in home.machines() {
        kill(machine);
    }
    two.finish()
        .fails_with(137, &["the microVM ended under its container"]);
    let _ = home
        .run(&["run", "--rm", "--name", "one", "busybox", "true"])
        .success();
    home.assert_clean();
}

#[test]
fn a_client_killed_at_any_moment_leaves_a_container_that_can_be_removed_or_none() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    // The moments are spread over preparing, spawning, starting and running.
    for milliseconds in [0, 10, 30, 100, 300, 1000, 3000, 8000] {
        let client = home.start(&[
            "run", "--rm", "--name", "victim", "busybox", "sleep", "1000",
        ]);
        assert!(
            client.outlives(Duration::from_millis(milliseconds)),
            "it ended by itself"
        );
        client.signal(Signal::KILL);
        let _ = client.finish();
        // What it asked for before is done all the same, and is then the daemon's to remove.
        let listed = home.run(&["ps", "--all", "--format", "json"]).success();
        if !listed.trim().is_empty() {
            let one: serde_json::Value = serde_json::from_str(listed.trim()).expect("one");
            let state = one["State"].as_str().unwrap_or_default();
            assert!(["created", "running"].contains(&state), "{listed}");
        }
        let removed = home.run(&["rm", "--force", "victim"]);
        assert!(
            removed.code() == 0 || removed.stderr.contains("No such container"),
            "{}",
            removed.stderr
        );
        home.wait_until_quiet();
    }
    let _ = home
        .run(&["run", "--rm", "--name", "victim", "busybox", "true"])
        .success();
    home.assert_clean();
}

#[test]
fn an_owner_killed_at_any_moment_takes_its_container_with_it() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    // The moments are spread over spawning, starting and running.
    for milliseconds in [0, 30, 100, 300, 1000, 3000, 8000] {
        let client = home.start(&[
            "run", "--rm", "--name", "victim", "busybox", "sleep", "1000",
        ]);
        let owner = await_owner(&home);
        assert!(
            client.outlives(Duration::from_millis(milliseconds)),
            "it ended by itself"
        );
        kill(owner);
        let ended = client.finish();
        assert!([125, 137].contains(&ended.code()), "{}", ended.stderr);
        home.wait_until_quiet();
        assert_eq!(home.run(&["ps", "--all", "--quiet"]).success(), "");
    }
    let _ = home
        .run(&["run", "--rm", "--name", "victim", "busybox", "true"])
        .success();
    home.assert_clean();
}

/// The only container's owner, as soon as there is one.
fn await_owner(home: &Home) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let [owner] = home.owners()[..] {
            return owner;
        }
        assert!(Instant::now() < deadline, "nobody owns the container");
    }
}

/// What of a container is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Owner,
    Machine,
}

impl Victim {
    fn kill(self, home: &Home) {
        let victims = match self {
            Self::Owner => home.owners(),
            Self::Machine => home.machines(),
        };
        victims.into_iter().for_each(kill);
    }
}

/// A container without --rm, killed at a moment of its life that nobody chose: the next command finds it in a state
/// that can be removed, and nothing else.
#[test]
fn what_is_killed_at_a_random_moment_is_recovered() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    // Long enough for a start and the end behind it; the file gives the power-off something to write.
    let script = "dd if=/dev/urandom of=/f bs=64k count=8 2>/dev/null; echo done";
    for round in 0..8 {
        let victim = [Victim::Owner, Victim::Machine][round % 2];
        let moment = Duration::from_millis(random_below(14_000));
        let what = format!("round {round}: {victim:?} after {moment:?}");
        let client = home.start(&["run", "--name", "victim", "busybox", "sh", "-c", script]);
        let _ = client.outlives(moment);
        victim.kill(&home);
        let ended = client.finish();
        home.wait_until_quiet();

        let listed = home.run(&["ps", "--all", "--format", "json"]).success();
        let one: serde_json::Value = serde_json::from_str(listed.trim()).expect("one container");
        assert_eq!(one["Names"], "victim", "{what}");
        let state = one["State"].as_str().unwrap_or_default();
        // Exited even where the machine was killed while it powered off, since its program had ended.
        let expected = match (victim, ended.code()) {
            // Its machine may have been noted down before its process ran.
            (Victim::Owner, 125) => &["created", "exited"][..],
            (Victim::Machine, 125) => &["created"],
            (_, 0 | 137) => &["exited"],
            (_, code) => panic!("{what}: {code}: {}", ended.stderr),
        };
        assert!(
            expected.contains(&state),
            "{what}: {} {listed}",
            ended.stderr
        );
        let _ = home.run(&["rm", "victim"]).success();
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
        // It ends with its program, while its machine has yet to write its disk and to power off.
        let ended = home.run(&["run", "--name", "victim", "busybox", "sh", "-c", script]);
        victim.kill(&home);
        assert_eq!(ended.code(), 3, "{victim:?}: {}", ended.stderr);
        home.wait_until_quiet();
        let listed = home.run(&["ps", "--all"]).success();
        assert!(listed.contains("Exited (3)"), "{victim:?}: {listed}");
        // Which waits until the daemon has put in order what was left.
        let _ = home.run(&["rm", "victim"]).success();
        home.assert_clean();
    }
}

/// Another number each time.
fn random_below(limit: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(limit) % limit
}
