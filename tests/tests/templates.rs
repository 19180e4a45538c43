//! Starting is cloning: `hull run` from templates, and what clones of one have to themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use hull_tests::{Home, kvm};
use serde_json::{Map, Value};

/// Clones that are made in all, and at once.
const CLONES: usize = 200;
const AT_ONCE: usize = 4;

/// What a container has to itself, one thing in a line.
const IDENTITY: [&str; 4] = [
    "cat",
    "/etc/hostname",
    "/proc/sys/kernel/random/boot_id",
    "/proc/sys/kernel/random/uuid",
];

/// `hull run` with where its time went.
fn timed(home: &Home, args: &[&str]) -> (String, Map<String, Value>) {
    let file = home.scratch().join("timing.json");
    let mut all = vec!["run", "--rm", "--timing-file", file.to_str().unwrap()];
    all.extend(args);
    let output = home.run(&all);
    assert_eq!(output.stderr, "");
    let output = output.success();
    let timing = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    (output, timing)
}

fn templates(home: &Home) -> Vec<Value> {
    let lines = home.run(&["template", "ls", "--format", "json"]).success();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn memory_of(home: &Home, kind: &str) -> PathBuf {
    let all = templates(home);
    let one = all.iter().find(|one| one["kind"] == kind).unwrap();
    home.root()
        .join("templates")
        .join(one["id"].as_str().unwrap())
        .join("memory")
}

#[test]
fn clones_of_a_template_have_nothing_in_common_that_is_their_own() {
    if !kvm() {
        return;
    }
    let home = Home::alone().load("busybox");
    let mut args = vec!["busybox"];
    args.extend(IDENTITY);
    let (first, timing) = timed(&home, &args);
    assert!(timing.contains_key("boot"), "{timing:?}");
    let (second, timing) = timed(&home, &args);
    assert!(
        timing.contains_key("restore") && !timing.contains_key("boot"),
        "{timing:?}"
    );

    let mut outputs = vec![first, second];
    while outputs.len() < CLONES {
        let mut all = vec!["run", "--rm"];
        all.extend(&args);
        let clones: Vec<_> = (0..AT_ONCE).map(|_| home.start(&all)).collect();
        outputs.extend(clones.into_iter().map(|clone| clone.finish().success()));
    }
    for (index, what) in IDENTITY.iter().skip(1).enumerate() {
        let seen: BTreeSet<&str> = outputs
            .iter()
            .map(|output| output.lines().nth(index).unwrap())
            .collect();
        assert_eq!(seen.len(), outputs.len(), "{what} was the same twice");
    }
    assert_eq!(templates(&home).len(), 2, "one machine, and one image");

    // The guest's clock stood still in the template.
    let now = || {
        std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs()
    };
    let before = now();
    let (date, _) = timed(&home, &["busybox", "date", "+%s"]);
    let date: u64 = date.trim().parse().unwrap();
    assert!((before..=now()).contains(&date), "{before} {date}");
    home.assert_clean();
}

#[test]
fn what_was_altered_is_thrown_away_and_the_machine_boots() {
    if !kvm() {
        return;
    }
    let home = Home::alone().load("busybox");
    let build = |image: &str| home.run(&["template", "build", "--rm", image]);
    let _ = build("busybox").success();
    let again = build("busybox");
    assert!(again.stderr.contains("already"), "{}", again.stderr);
    let (_, timing) = timed(&home, &["busybox", "true"]);
    assert!(timing.contains_key("restore"), "{timing:?}");

    // Of the two, the image's is nearer; without it the machine's is used.
    let mut memory = fs::read(memory_of(&home, "image")).unwrap();
    memory[5 << 20] ^= 1;
    fs::write(memory_of(&home, "image"), memory).unwrap();
    let (_, timing) = timed(&home, &["busybox", "true"]);
    assert!(timing.contains_key("restore"), "{timing:?}");
    assert!(timing.contains_key("template of the image"), "{timing:?}");

    for kind in ["image", "machine"] {
        let file = fs::File::options()
            .write(true)
            .open(memory_of(&home, kind))
            .unwrap();
        file.set_len(4096).unwrap();
    }
    let (output, timing) = timed(&home, &["busybox", "echo", "hi"]);
    assert_eq!(output, "hi\n");
    assert!(timing.contains_key("boot"), "{timing:?}");

    let ids: Vec<String> = templates(&home)
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 2);
    let _ = home.run(&["template", "rm", &ids[0]]).success();
    home.run(&["template", "rm", &ids[0]])
        .fails_with(1, &["No such template"]);
    let _ = home.run(&["template", "prune", "--force"]).success();
    assert!(templates(&home).is_empty());
    home.assert_clean();
}

#[test]
fn any_size_is_a_clone_and_a_cold_start_is_none() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let limits = [
        (
            "--memory",
            "100m",
            "/sys/fs/cgroup/memory.max",
            "104857600\n",
        ),
        (
            "--memory",
            "300m",
            "/sys/fs/cgroup/memory.max",
            "314572800\n",
        ),
        ("--cpus", "0.5", "/sys/fs/cgroup/cpu.max", "50000 100000\n"),
    ];
    for (flag, value, file, expected) in limits {
        for _ in 0..2 {
            let (output, timing) = timed(&home, &[flag, value, "busybox", "cat", file]);
            assert_eq!(output, expected, "{flag} {value}: {timing:?}");
        }
        let (_, timing) = timed(&home, &[flag, value, "busybox", "true"]);
        assert!(timing.contains_key("restore"), "{flag} {value}: {timing:?}");
    }
    let (_, timing) = timed(&home, &["--cold", "busybox", "true"]);
    assert!(timing.contains_key("boot"), "{timing:?}");
    assert!(
        !timing.keys().any(|step| step.contains("template")),
        "{timing:?}"
    );
    home.assert_clean();
}
