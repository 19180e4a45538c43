//! A running container in files and back: snapshots, forks, and being suspended.

use std::collections::BTreeSet;
use std::fs;

use hull_tests::{Home, Running, kvm};
use serde_json::Value;

/// Counts in memory, in a file, and with a server on loopback; and says who it is.
const COUNTS: &str = "nc -ll -p 7 -e cat & until echo | nc 127.0.0.1 7 >/dev/null 2>&1; do :; done; i=0; while :; do
    i=$((i + 1)); echo $i > /data; sync; read file < /data; read host < /proc/sys/kernel/hostname
    read boot < /proc/sys/kernel/random/boot_id; echo i=$i file=$file echo=$(echo $i | nc 127.0.0.1 7) host=$host boot=$boot; done";

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Count {
    number: u64,
    host: String,
    boot: String,
}

fn parse(line: &str) -> Count {
    let field = |name: &str| {
        let text = line.split(' ').find_map(|field| field.strip_prefix(name));
        text.unwrap_or_else(|| panic!("no {name} in {line:?}"))
            .to_owned()
    };
    let [number, file, echo] =
        ["i=", "file=", "echo="].map(|name| field(name).parse::<u64>().unwrap());
    assert_eq!((file, echo), (number, number), "{line}");
    Count {
        number,
        host: field("host="),
        boot: field("boot="),
    }
}

/// All whole lines.
fn counts(text: &str) -> Vec<Count> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let counts: Vec<_> = whole.lines().map(parse).collect();
    for pair in counts.windows(2) {
        assert_eq!(pair[1].number, pair[0].number + 1, "{text}");
    }
    counts
}

/// Waits until a container in the background goes on, beyond what it has said before; all that it has said.
fn background(home: &Home, id: &str) -> Vec<Count> {
    let mut following = home.start(&["logs", "--follow", "--tail", "1", id]);
    following.wait_for("boot=");
    following.wait_for("\ni=");
    drop(following);
    counts(&home.run(&["logs", id]).success())
}

fn counting(home: &Home, args: &[&str]) -> Running {
    let mut all = vec!["run", "--name", "parent"];
    all.extend(args);
    all.extend(["busybox", "sh", "-c", COUNTS]);
    let mut parent = home.start(&all);
    parent.wait_for("i=2 ");
    parent
}

#[test]
fn forks_go_on_with_memory_processes_and_disk_under_names_of_their_own() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let mut parent = counting(
        &home,
        &["--rm", "--label", "kind=counter", "-v", "notes:/notes"],
    );
    let forked = home
        .run(&["fork", "parent", "-n", "10", "--rm", "--format", "json"])
        .success();
    let forked: Value = serde_json::from_str(&forked).unwrap();
    println!(
        "the parent stood still for {} ms",
        forked["parent_stood_still_ms"]
    );
    let children = forked["children"].as_array().unwrap().iter();
    let children: Vec<String> = children
        .map(|child| child["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(children.len(), 10);
    // One after the other, for where guest kernels are emulated a dozen of them keep two CPUs busy with their timers alone.
    for child in &children {
        let _ = home.run(&["pause", child]).success();
    }
    let running = home.run(&["ps", "-q"]).success();
    assert_eq!(running.lines().count(), 11, "{running}");
    let mut seen = BTreeSet::new();
    for child in &children {
        let _ = home.run(&["unpause", child]).success();
        let counts = background(&home, child);
        let last = counts.last().unwrap();
        assert_eq!(last.host, child[..12], "{counts:?}");
        assert!(seen.insert(last.boot.clone()), "{counts:?}");
        if child != &children[0] {
            let _ = home.run(&["rm", "-f", child]).success();
        }
    }
    // It has what its parent has: they write the same volume.
    let first = children[0].as_str();
    let labelled = home.run(&["ps", "-q", "--no-trunc", "--filter", "label=kind=counter"]);
    assert!(labelled.success().contains(first));
    let note = ["exec", first, "sh", "-c", "echo from a child > /notes/note"];
    let _ = home.run(&note).success();
    let read = home
        .run(&["exec", "parent", "cat", "/notes/note"])
        .success();
    assert_eq!(read, "from a child\n");
    // A child can have children.
    let grandchild = home
        .run(&["fork", first, "--rm", "--name", "grandchild"])
        .success();
    let seen_by_it = background(&home, grandchild.trim());
    assert!(seen.insert(seen_by_it.last().unwrap().boot.clone()));
    for child in [first, "grandchild"] {
        let _ = home.run(&["rm", "-f", child]).success();
    }

    parent.wait_for("i=3 ");
    let _ = home.run(&["rm", "-f", "parent"]).success();
    let output = parent.finish();
    let counts = counts(&output.text());
    let own = counts.last().unwrap();
    assert!(
        counts
            .iter()
            .all(|count| (&count.host, &count.boot) == (&own.host, &own.boot))
    );
    assert!(!seen.contains(&own.boot));
    assert_eq!(home.run(&["snapshot", "ls", "-q"]).success(), "");
    let _ = home.run(&["volume", "rm", "notes"]).success();
    home.assert_clean();
}

#[test]
fn a_snapshot_is_gone_on_from_as_often_as_one_likes() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let parent = counting(&home, &["--rm"]);
    let _ = home.run(&["snapshot", "parent", "warm"]).success();
    home.run(&["snapshot", "parent", "warm"])
        .fails_with(1, &["warm", "exists already"]);
    home.run(&["snapshot", "parent", "../warm"])
        .fails_with(1, &["../warm"]);
    let _ = home.run(&["rm", "-f", "parent"]).success();
    let before = counts(&parent.finish().text());
    home.run(&["image", "rm", "busybox"])
        .fails_with(1, &["snapshot warm"]);

    for name in ["one", "two"] {
        let mut child = home.start(&["run", "--rm", "--name", name, "--from", "warm"]);
        child.wait_for("boot=");
        let _ = home.run(&["rm", "-f", name]).success();
        let after = counts(&child.finish().text());
        assert!(
            after[0].number <= before.last().unwrap().number + 1,
            "{before:?} {after:?}"
        );
        assert_ne!(after[0].boot, before[0].boot);
    }

    let memory = home.root().join("snapshots/warm/memory");
    let mut bytes = fs::read(&memory).unwrap();
    bytes[1 << 20] ^= 1;
    fs::write(&memory, bytes).unwrap();
    home.run(&["run", "--rm", "--from", "warm"])
        .fails_with(125, &["warm", "was changed"]);
    home.run(&["run", "--rm", "--from", "none"])
        .fails_with(125, &["No such snapshot", "none"]);
    home.run(&["snapshot", "none", "other"])
        .fails_with(1, &["No such container"]);
    let _ = home.run(&["snapshot", "rm", "warm"]).success();
    home.run(&["snapshot", "rm", "warm"])
        .fails_with(1, &["No such snapshot"]);
    home.assert_clean();
}

#[test]
fn a_suspended_container_goes_on_where_it_was_and_is_the_same() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let parent = counting(&home, &["--rm"]);
    let _ = home.run(&["pause", "parent"]).success();
    home.run(&["pause", "parent"])
        .fails_with(1, &["already paused"]);
    let listed = home.run(&["ps"]).success();
    assert!(listed.contains("(Paused)"), "{listed}");
    let _ = home.run(&["unpause", "parent"]).success();
    home.run(&["resume", "parent"])
        .fails_with(1, &["not suspended"]);
    let _ = home.run(&["suspend", "parent"]).success();
    let output = parent.finish();
    assert!(output.stderr.contains("hull resume"), "{}", output.stderr);
    let before = counts(&output.text());
    home.wait_until_quiet();
    let listed = home.run(&["ps", "-a"]).success();
    assert!(listed.contains("Suspended"), "{listed}");
    home.run(&["pause", "parent"])
        .fails_with(1, &["not running"]);

    let mut again = home.start(&["resume", "parent"]);
    again.wait_for("boot=");
    let _ = home.run(&["suspend", "parent"]).success();
    let after = counts(&again.finish().text());
    let own = before.last().unwrap();
    assert_eq!(after[0].number, own.number + 1, "{before:?} {after:?}");
    assert_eq!((&after[0].host, &after[0].boot), (&own.host, &own.boot));

    // It is not over, so that it does not go; whoever starts it goes on with it.
    let _ = home.run(&["start", "parent"]).success();
    let later = background(&home, "parent");
    assert!(later.last().unwrap().number > after.last().unwrap().number);
    let _ = home.run(&["suspend", "parent"]).success();
    let _ = home.run(&["resume", "-d", "parent"]).success();
    let last = background(&home, "parent");
    assert!(last.last().unwrap().number > later.last().unwrap().number);
    assert_eq!(last.last().unwrap().boot, own.boot);
    let _ = home.run(&["suspend", "parent"]).success();
    let _ = home.run(&["rm", "parent"]).success();
    home.assert_clean();
}
