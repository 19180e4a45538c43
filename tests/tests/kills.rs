//! Processes that are killed at random moments while containers are saved, forked, suspended, resumed, and templates made: whatever is
//! there afterwards is whole, all else is gone, and Hull works as before.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::{Duration, Instant};

use hull_tests::{Home, PATIENCE, Running, await_end, kvm};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Kills for every change, and when there is time.
const SOME: u32 = 5;
const MANY: u32 = 200;

/// What the container does: it tells that it goes on.
const TICKS: [&str; 4] = ["busybox", "sh", "-c", "while sleep 1; do echo tick; done"];

/// What is under way when something is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Snapshot,
    From,
    Fork,
    Suspend,
    Resume,
    Template,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The command that asked for it.
    Client,
    /// Who does it.
    Daemon,
    /// The owner of the container.
    Owner,
    /// Every microVM.
    Machines,
}

const DEEDS: [Deed; 5] = [
    Deed::Snapshot,
    Deed::Suspend,
    Deed::Fork,
    Deed::Resume,
    Deed::From,
];
const VICTIMS: [Victim; 4] = [
    Victim::Daemon,
    Victim::Owner,
    Victim::Machines,
    Victim::Client,
];

/// A Hull whose containers are killed.
struct Kills {
    home: Home,
    /// How long each deed takes when nobody is killed.
    lengths: Vec<(Deed, Duration)>,
}

fn random(limit: u32) -> u32 {
    u32::try_from(RandomState::new().hash_one(limit) % u64::from(limit)).unwrap()
}

fn kill(pid: Pid) {
    let _ = kill_process(pid, Signal::KILL);
}

/// The names in a directory, except those that nobody looks for.
fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).into_iter().flatten();
    let names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

impl Kills {
    fn new(home: Home) -> Self {
        Self {
            home,
            lengths: Vec::new(),
        }
    }

    /// `hull ARGS...`, which must work.
    #[track_caller]
    fn hull(&self, args: &[&str]) -> String {
        self.home.run(args).success()
    }

    /// All containers, as they are listed.
    fn containers(&self) -> Vec<Value> {
        let all = self.hull(&["ps", "--all", "--no-trunc", "--format", "json"]);
        let all = all.lines();
        all.map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The container, if there is one, with its state.
    fn state(&self) -> Option<String> {
        let all = self.containers();
        let one = all.iter().find(|one| one["Names"] == "it")?;
        let status = one["Status"].as_str().unwrap();
        Some(match status.starts_with("Suspended") {
            true => "suspended".to_owned(),
            false => one["State"].as_str().unwrap().to_owned(),
        })
    }

    /// Processes of Hull with these words in their command lines.
    fn processes(&self, words: &str) -> Vec<Pid> {
        let all = self.home.processes().into_iter();
        all.filter(|(_, line)| line.contains(words))
            .filter_map(|(pid, _)| Pid::from_raw(i32::try_from(pid).ok()?))
            .collect()
    }

    /// Waits until a container says that it goes on.
    #[track_caller]
    fn await_tick(&self, name: &str) {
        let mut following = self.home.start(&["logs", "--follow", "--tail", "0", name]);
        following.wait_for("tick");
    }

    /// Has the container in the state from which the deed begins.
    fn prepare(&mut self, deed: Deed) {
        let state = self.state();
        let wanted = match deed {
            Deed::Snapshot | Deed::Fork | Deed::Suspend => "running",
            Deed::From => {
                if names(&self.home.root().join("snapshots")).is_empty() {
                    self.prepare(Deed::Snapshot);
                    self.hull(&["snapshot", "it", "base"]);
                }
                return;
            }
            Deed::Resume => "suspended",
            Deed::Template => {
                self.hull(&["template", "prune", "--force"]);
                return;
            }
        };
        match state.as_deref() {
            Some(state) if state == wanted => return,
            Some("running") => {}
            _ => {
                self.remove();
                self.hull(&[&["run", "--detach", "--name", "it"][..], &TICKS].concat());
                self.await_tick("it");
            }
        }
        if wanted == "suspended" {
            self.hull(&["suspend", "it"]);
        }
    }

    /// Removes the container, if there is one.
    fn remove(&self) {
        if self.state().is_some() {
            self.hull(&["rm", "--force", "it"]);
        }
    }

    /// Begins the deed.
    fn begin(&self, deed: Deed, name: &str) -> Running {
        let args: &[&str] = match deed {
            Deed::Snapshot => &["snapshot", "it", name],
            Deed::From => &["run", "-d", "--rm", "--name", "child", "--from", "base"],
            Deed::Fork => &["fork", "it", "-n", "2", "--rm"],
            Deed::Suspend => &["suspend", "it"],
            Deed::Resume => &["resume", "--detach", "it"],
            Deed::Template => &["run", "--rm", "--name", "first", "busybox", "true"],
        };
        self.home.start(args)
    }

    /// How long the deed takes, which is tried out once.
    fn length(&mut self, deed: Deed) -> Duration {
        let known = self.lengths.iter().find(|(of, _)| *of == deed);
        if let Some((_, length)) = known {
            return *length;
        }
        self.prepare(deed);
        let began = Instant::now();
        let _ = self.begin(deed, "tried").finish().success();
        let length = began.elapsed();
        self.settle();
        self.lengths.push((deed, length));
        length
    }

    /// Removes what came of a deed, apart from the container and the snapshot that others begin with.
    fn settle(&self) {
        for one in self.containers() {
            if one["Names"] != "it" {
                // One with --rm may go by itself.
                let _ = self.home.run(&["rm", "-f", one["Names"].as_str().unwrap()]);
            }
        }
        let snapshots = self.hull(&["snapshot", "ls", "-q"]);
        for name in snapshots.lines().filter(|name| *name != "base") {
            self.hull(&["snapshot", "rm", name]);
        }
    }

    /// Kills something at a random moment of a deed.
    fn kill_within(&mut self, deed: Deed, victim: Victim) {
        let length = self.length(deed);
        self.prepare(deed);
        let command = self.begin(deed, "one");
        let moment = length.mul_f64(f64::from(random(1100)) / 1000.0);
        let _ = command.outlives(moment);
        let victims = match victim {
            Victim::Client => vec![command.pid()],
            Victim::Daemon => self.processes(" daemon"),
            Victim::Owner => self.processes(" own --container "),
            Victim::Machines => self.processes("hull-vmm "),
        };
        let what = format!("{deed:?}, {victim:?} after {moment:?} of {length:?}");
        println!("{what}: {victims:?}");
        for pid in victims {
            kill(pid);
        }
        // Without its client the daemon finishes what it has begun; without a daemon it is over, however far it came.
        let _ = command.finish();
        if victim == Victim::Client {
            self.end_daemon();
        }
        self.check(&what);
    }

    /// Ends the daemon, which finishes what it is at. The next command starts another one.
    fn end_daemon(&self) {
        for pid in self.processes(" daemon") {
            let _ = kill_process(pid, Signal::TERM);
            assert!(await_end(pid, Instant::now() + PATIENCE));
        }
    }

    /// Whatever is there is whole.
    fn check(&self, what: &str) {
        let snapshots = self.hull(&["snapshot", "ls", "-q"]);
        let mut listed: Vec<_> = snapshots.lines().map(str::to_owned).collect();
        listed.sort();
        let mut there = names(&self.home.root().join("snapshots"));
        there.sort();
        assert_eq!(there, listed, "{what}");
        // What was asked for may have come to be.
        let _ = self.home.run(&["rm", "-f", "child"]);
        for name in listed.iter().filter(|name| *name != "base") {
            self.hull(&["run", "-d", "--rm", "--name", "child", "--from", name]);
            self.await_tick("child");
            self.hull(&["rm", "-f", "child"]);
        }
        match self.state().as_deref() {
            // It answers.
            Some("running") => {
                self.hull(&["pause", "it"]);
                self.hull(&["unpause", "it"]);
                self.await_tick("it");
            }
            Some("suspended") => {
                let resumed = self.home.run(&["resume", "-d", "it"]);
                // An owner finishes what a daemon that is dead has asked for, and so may be faster.
                if resumed.code() != 0 {
                    resumed.fails_with(1, &["not suspended"]);
                    assert_eq!(self.state().as_deref(), Some("running"), "{what}");
                }
                self.await_tick("it");
            }
            Some("created" | "exited") | None => {}
            Some(state) => panic!("{what}: {state}"),
        }
        for one in self.containers() {
            assert_ne!(
                one["State"], "created",
                "{what}: it was never started: {one}"
            );
        }
        self.settle();
        self.hull(&["run", "--rm", "busybox", "true"]);
    }

    fn end(self) {
        self.remove();
        self.settle();
        if names(&self.home.root().join("snapshots")).contains(&"base".to_owned()) {
            self.hull(&["snapshot", "rm", "base"]);
        }
        self.home.assert_clean();
        for kind in ["snapshots", "containers"] {
            assert_eq!(names(&self.home.root().join(kind)), [""; 0], "{kind}");
        }
    }
}

fn kills(rounds: u32) {
    if !kvm() {
        return;
    }
    let mut kills = Kills::new(Home::with_image("busybox"));
    for round in 0..rounds as usize {
        // Each deed meets each victim.
        let victim = VICTIMS[(round + round / DEEDS.len()) % VICTIMS.len()];
        kills.kill_within(DEEDS[round % DEEDS.len()], victim);
    }
    kills.end();
}

/// Templates are made by a boot, which takes long.
fn kills_of_templates(rounds: usize) {
    if !kvm() {
        return;
    }
    let home = Home::alone().load("busybox");
    let mut kills = Kills::new(home);
    for round in 0..rounds {
        let victim = [Victim::Client, Victim::Machines][round % 2];
        kills.kill_within(Deed::Template, victim);
        let listed = kills.hull(&["template", "ls", "-q"]);
        assert_eq!(
            listed.lines().count(),
            2,
            "one machine, and one image: {listed}"
        );
    }
    kills.end();
}

#[test]
fn who_is_killed_while_containers_are_saved_and_go_on_leaves_what_is_whole() {
    kills(SOME);
}

#[test]
#[ignore = "takes an hour where guest kernels are emulated"]
fn two_hundred_kills_leave_what_is_whole() {
    kills(MANY);
}

#[test]
#[ignore = "takes many minutes where guest kernels are emulated"]
fn who_is_killed_while_a_template_is_made_leaves_none_or_a_whole_one() {
    kills_of_templates(20);
}
