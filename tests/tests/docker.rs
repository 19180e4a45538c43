//! Docker's own client, unchanged, against `hull daemon`: what people type, what it prints, how it exits.

use hull_tests::{Daemon, Home, Registry, Running, has_docker, kvm};
use rustix::process::Signal;
use serde_json::Value;

fn usable() -> bool {
    kvm() && has_docker()
}

#[test]
fn run_prints_takes_input_and_exits_as_the_program_does() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let output = daemon.run(&["run", "--rm", "busybox", "echo", "hi"]);
    assert_eq!(output.stderr, "");
    assert_eq!(output.success(), "hi\n");

    let script = "echo out; echo oops >&2; exit 7";
    let output = daemon.run(&["run", "--rm", "busybox", "sh", "-c", script]);
    assert_eq!(output.text(), "out\n");
    output.fails_with(7, &["oops"]);

    let mut counter = daemon.begin(&[
        "run",
        "-i",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "wc -c; echo end",
    ]);
    counter.write(b"data\n");
    let output = counter.finish().success();
    assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["5", "end"]);

    daemon
        .run(&["run", "--rm", "busybox", "/no/such/program"])
        .fails_with(127, &["no such file or directory"]);
    daemon
        .run(&["run", "--rm", "busybox", "nosuchprogram"])
        .fails_with(127, &["executable file not found"]);
    daemon
        .run(&["run", "--rm", "busybox", "/etc"])
        .fails_with(126, &["is a directory"]);
    daemon
        .run(&["run", "--rm", "--pull=never", "nothing/here", "true"])
        .fails_with(125, &["No such image: nothing/here"]);
    daemon
        .run(&["run", "--rm", "--network=host", "busybox", "true"])
        .fails_with(125, &["HostConfig.NetworkMode host is not supported"]);
    daemon.end();
}

#[test]
fn a_container_in_the_background_lives_a_whole_life() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let script = "trap 'echo asked; exit 3' TERM; echo one; echo two >&2; touch /ready; while :; do sleep 1; done";
    let run = [
        "run",
        "-d",
        "--name",
        "web",
        "--label",
        "a=b",
        "-e",
        "COLOUR=red",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let id = daemon.ok(&run);
    assert_eq!(id.len(), 64, "{id}");

    let mut logs = daemon.begin(&["logs", "-f", "web"]);
    logs.wait_for("one\n");
    assert_eq!(
        daemon.ok(&["ps", "--quiet", "--no-trunc", "--filter", "label=a=b"]),
        id
    );
    let seen = daemon.ok(&[
        "inspect",
        "--format",
        "{{.State.Status}} {{.Config.Image}} {{.Name}} {{.State.Running}}",
        "web",
    ]);
    assert_eq!(seen, "running busybox /web true");
    let all: Value = serde_json::from_str(&daemon.ok(&["inspect", "web"])).unwrap();
    assert_eq!(all[0]["Id"], id.as_str());
    assert!(all[0]["State"]["Pid"].as_i64().unwrap() > 0);

    assert_eq!(
        daemon.ok(&["exec", "web", "sh", "-c", "echo $COLOUR"]),
        "red"
    );
    let output = daemon.run(&["exec", "web", "sh", "-c", "echo no >&2; exit 5"]);
    output.fails_with(5, &["no"]);
    let mut typed = daemon.begin(&["exec", "-i", "web", "cat"]);
    typed.write(b"typed\n");
    assert_eq!(typed.finish().success(), "typed\n");
    daemon
        .run(&["exec", "web", "nosuchprogram"])
        .fails_with(127, &[]);

    daemon.ok(&["rename", "web", "shop"]);
    daemon.ok(&["pause", "shop"]);
    assert_eq!(
        daemon.ok(&["inspect", "--format", "{{.State.Status}}", "shop"]),
        "paused"
    );
    daemon
        .run(&["exec", "shop", "true"])
        .fails_with(1, &["is paused"]);
    daemon.ok(&["unpause", "shop"]);

    let waiter = daemon.begin(&["wait", "shop"]);
    daemon.ok(&["stop", "shop"]);
    assert_eq!(waiter.finish().success(), "3\n");
    let output = logs.finish();
    assert!(output.text().ends_with("one\nasked\n"), "{}", output.text());
    assert_eq!(output.stderr, "two\n");
    assert!(
        daemon
            .ok(&["ps", "--all", "--format", "{{.Names}} {{.Status}}"])
            .starts_with("shop Exited (3)")
    );
    assert_eq!(daemon.ok(&["logs", "--tail", "1", "shop"]), "asked");

    daemon.ok(&["start", "shop"]);
    daemon.run(&["rm", "shop"]).fails_with(1, &["is running"]);
    daemon.ok(&["kill", "shop"]);
    assert_eq!(daemon.ok(&["wait", "shop"]), "137");
    daemon.ok(&["rm", "shop"]);
    daemon
        .run(&["inspect", "shop"])
        .fails_with(1, &["No such object: shop"]);
    daemon.end();
}

#[test]
fn events_tell_a_container_s_life_in_order() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let mut events = daemon.begin(&[
        "events",
        // It may begin to listen after the first of them.
        "--since",
        "10m",
        "--filter",
        "type=container",
        "--format",
        "{{.Action}}:{{.Actor.Attributes.exitCode}}",
    ]);
    daemon
        .run(&["run", "--rm", "busybox", "sh", "-c", "exit 4"])
        .fails_with(4, &[]);
    events.wait_for("destroy");
    events.signal(Signal::TERM);
    let seen = events.finish().text().replace("<no value>", "");
    let seen: Vec<&str> = seen.lines().collect();
    assert_eq!(seen, ["create:", "attach:", "start:", "die:4", "destroy:"]);
    daemon.end();
}

#[test]
fn a_client_that_is_told_to_end_ends_its_container() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let script = "trap 'echo bye; exit 9' INT; echo ready; while :; do sleep 1; done";
    let mut client = daemon.begin(&["run", "--rm", "busybox", "sh", "-c", script]);
    client.wait_for("ready");
    client.signal(Signal::INT);
    let output = client.finish();
    assert_eq!(output.text(), "ready\nbye\n");
    assert_eq!(output.code(), 9, "{}", output.stderr);

    // One that is killed leaves it running.
    let script = "echo up; while :; do sleep 1; done";
    let mut client = daemon.begin(&["run", "--name", "left", "busybox", "sh", "-c", script]);
    client.wait_for("up");
    client.signal(Signal::KILL);
    let _ = client.finish();
    assert_eq!(daemon.ok(&["ps", "--format", "{{.Names}}"]), "left");
    daemon.ok(&["rm", "-f", "left"]);
    daemon.end();
}

#[test]
fn images_are_listed_tagged_and_removed() {
    if !has_docker() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    assert_eq!(
        daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]),
        "busybox:latest"
    );
    daemon.ok(&["tag", "busybox", "registry.example:5000/team/box:1"]);
    let id = daemon.ok(&["inspect", "--format", "{{.Id}}", "busybox"]);
    assert_eq!(
        daemon.ok(&[
            "inspect",
            "--format",
            "{{.Id}}",
            "registry.example:5000/team/box:1"
        ]),
        id
    );
    assert_eq!(
        daemon.ok(&["rmi", "registry.example:5000/team/box:1"]),
        "Untagged: registry.example:5000/team/box:1"
    );
    let inspect = ["image", "inspect", "--format", "{{.Id}}", "--platform"];
    let inspect = |platform| daemon.run(&[&inspect[..], &[platform, "busybox"]].concat());
    assert_eq!(inspect("linux/amd64").success().trim(), id);
    inspect("linux/arm64").fails_with(1, &["does not provide the specified platform"]);
    daemon.ok(&["create", "--name", "user", "busybox"]);
    daemon.run(&["rmi", "busybox"]).fails_with(1, &["in use"]);
    daemon.ok(&["container", "prune", "--force"]);
    let gone = daemon.ok(&["rmi", "busybox"]);
    assert!(
        gone.starts_with("Untagged: busybox:latest\nDeleted: sha256:"),
        "{gone}"
    );
    let version = daemon.ok(&[
        "version",
        "--format",
        "{{.Server.APIVersion}} {{.Client.APIVersion}}",
    ]);
    assert!(version.starts_with("1.51 1."), "{version}");
    assert_eq!(
        daemon.ok(&["info", "--format", "{{.Driver}} {{.Swarm.LocalNodeState}}"]),
        "hull inactive"
    );
    daemon.end();
}

#[test]
fn an_image_goes_with_or_without_those_that_it_was_made_of() {
    if !has_docker() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let context = home.scratch().join("context");
    std::fs::create_dir(&context).unwrap();
    let dockerfile = "FROM busybox\nLABEL one=1\nLABEL two=2\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let parent = || {
        let mut build = daemon.docker(&["build", "-t", "made", &context.to_string_lossy()]);
        build.env("DOCKER_BUILDKIT", "0");
        let _ = Running::start(&mut build).finish().success();
        daemon.ok(&["inspect", "--format", "{{.Parent}}", "made"])
    };
    let kept = parent();
    daemon.ok(&["rmi", "--no-prune", "made"]);
    assert_eq!(daemon.ok(&["inspect", "--format", "{{.Id}}", &kept]), kept);
    assert_eq!(parent(), kept);
    let gone = daemon.ok(&["rmi", "made"]);
    assert!(gone.contains(&format!("Deleted: {kept}")), "{gone}");
    daemon
        .run(&["image", "inspect", &kept])
        .fails_with(1, &["No such image"]);
    daemon.end();
}

/// The names in a tar archive, sorted.
fn names(archive: &std::path::Path) -> Vec<String> {
    let listed = std::process::Command::new("tar")
        .arg("-tf")
        .arg(archive)
        .output()
        .unwrap();
    assert!(listed.status.success());
    let text = String::from_utf8(listed.stdout).unwrap();
    let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn files_go_in_and_out_of_containers_that_run_and_that_do_not() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let path = |name: &str| home.scratch().join(name);
    let text = |name: &str| path(name).to_string_lossy().into_owned();
    std::fs::create_dir(path("in")).unwrap();
    std::fs::write(path("in/a"), "first\n").unwrap();

    // Before its start, as Compose and Testcontainers do it.
    let script = "cat /put/a; rm /etc/passwd; echo more > /new; echo ready; exec sleep 1000";
    daemon.ok(&["create", "--name", "box", "busybox", "sh", "-c", script]);
    daemon.ok(&["cp", &text("in"), "box:/put"]);
    daemon
        .run(&["cp", "box:/nothing", &text("out")])
        .fails_with(1, &["Could not find the file /nothing in container"]);
    daemon.ok(&["start", "box"]);
    let mut logs = daemon.begin(&["logs", "-f", "box"]);
    logs.wait_for("first\nready\n");

    // While it runs.
    daemon.ok(&["cp", "box:/new", &text("new")]);
    assert_eq!(std::fs::read_to_string(path("new")).unwrap(), "more\n");
    let top = daemon.ok(&["top", "box"]);
    assert!(
        top.starts_with("UID") && top.ends_with("sleep 1000"),
        "{top}"
    );
    assert!(
        daemon
            .ok(&["top", "box", "-o", "pid,comm"])
            .contains("sleep")
    );
    let stats = [
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.PIDs}} {{.MemUsage}} {{.CPUPerc}}",
        "box",
    ];
    let stats = daemon.ok(&stats);
    assert!(
        stats.starts_with("box 1 ") && stats.contains("iB / "),
        "{stats}"
    );
    let diff = daemon.ok(&["diff", "box"]);
    for line in ["C /etc", "D /etc/passwd", "A /new", "A /put", "A /put/a"] {
        assert!(diff.lines().any(|found| found == line), "{line}: {diff}");
    }
    let commit = [
        "commit",
        "-m",
        "why",
        "-c",
        "CMD [\"cat\", \"/new\"]",
        "box",
        "made:1",
    ];
    let made = daemon.ok(&commit);
    assert_eq!(daemon.ok(&["run", "--rm", "made:1"]), "more");
    assert_eq!(
        daemon.ok(&["inspect", "--format", "{{.Id}} {{.Comment}}", "made:1"]),
        format!("{made} why")
    );

    // And after its end.
    daemon.ok(&["kill", "box"]);
    drop(logs);
    daemon.ok(&["export", "-o", &text("all.tar"), "box"]);
    let all = names(&path("all.tar"));
    assert!(
        all.contains(&"put/a".to_owned()) && !all.contains(&"etc/passwd".to_owned()),
        "{all:?}"
    );
    std::fs::write(path("in/b"), "second\n").unwrap();
    daemon.ok(&["cp", &text("in/b"), "box:/put/"]);
    daemon.ok(&["cp", "box:/put/b", &text("back")]);
    assert_eq!(std::fs::read_to_string(path("back")).unwrap(), "second\n");
    assert_eq!(
        daemon.ok(&[
            "inspect",
            "--format",
            "{{.State.Status}} {{.State.ExitCode}}",
            "box"
        ]),
        "exited 137"
    );
    daemon.ok(&["rm", "box"]);
    daemon.ok(&["rmi", "made:1"]);
    daemon.end();
}

#[test]
fn a_container_goes_on_from_a_checkpoint() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let script = "n=0; while read line; do n=$((n + 1)); echo $line $n; echo $n > /count; done";
    daemon.ok(&[
        "run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", script,
    ]);
    let mut typed = daemon.begin(&["attach", "box"]);
    typed.write(b"a\n");
    typed.wait_for("a 1");
    daemon.ok(&["checkpoint", "create", "box", "one"]);
    assert_eq!(
        daemon.ok(&["inspect", "--format", "{{.State.Status}}", "box"]),
        "exited"
    );
    drop(typed);
    assert_eq!(
        daemon.ok(&["checkpoint", "ls", "box"]),
        "CHECKPOINT NAME\none"
    );
    daemon
        .run(&["start", "--checkpoint", "two", "box"])
        .fails_with(1, &["checkpoint two does not exist for container box"]);
    daemon.ok(&["start", "--checkpoint", "one", "box"]);
    let mut typed = daemon.begin(&["attach", "box"]);
    typed.write(b"b\n");
    typed.wait_for("b 2");
    assert_eq!(daemon.ok(&["exec", "box", "cat", "/count"]), "2");
    daemon.ok(&["kill", "box"]);
    drop(typed);
    daemon.ok(&["checkpoint", "rm", "box", "one"]);
    daemon
        .run(&["checkpoint", "rm", "box", "one"])
        .fails_with(1, &["checkpoint one does not exist for container box"]);
    daemon.ok(&["rm", "box"]);
    daemon.end();
}

#[test]
fn images_go_to_a_registry_and_into_archives_and_come_back() {
    if !has_docker() {
        return;
    }
    let Some(registry) = Registry::start() else {
        return;
    };
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let text = |name: &str| home.scratch().join(name).to_string_lossy().into_owned();
    let id = daemon.ok(&["inspect", "--format", "{{.Id}}", "busybox"]);
    let remote = registry.reference("team/app:1");

    daemon
        .run(&["push", &remote])
        .fails_with(1, &["An image does not exist locally with the tag"]);
    daemon.ok(&["tag", "busybox", &remote]);
    let pushed = daemon.ok(&["push", &remote]);
    assert!(
        pushed.contains("The push refers to repository") && pushed.contains("1: digest: sha256:"),
        "{pushed}"
    );
    assert!(
        daemon
            .ok(&["push", &remote])
            .contains("Layer already exists")
    );
    daemon.ok(&["rmi", &remote]);
    daemon.ok(&["pull", "--quiet", &remote]);
    assert_eq!(daemon.ok(&["inspect", "--format", "{{.Id}}", &remote]), id);
    let found = daemon.ok(&["manifest", "inspect", "--insecure", &remote]);
    assert!(found.contains("schemaVersion"), "{found}");

    daemon.ok(&["save", "-o", &text("both.tar"), "busybox", &remote]);
    daemon.ok(&["rmi", "--force", &id]);
    assert_eq!(daemon.ok(&["images", "--quiet"]), "");
    let loaded = daemon.ok(&["load", "--input", &text("both.tar")]);
    assert!(loaded.contains("Loaded image: busybox:latest"), "{loaded}");
    assert_eq!(
        daemon.ok(&[
            "images",
            "--quiet",
            "--no-trunc",
            "--filter",
            "reference=busybox"
        ]),
        id
    );
    daemon
        .run(&["save", "-o", &text("none.tar"), "nothing"])
        .fails_with(1, &["No such image: nothing"]);

    std::fs::write(home.scratch().join("hello"), "hi").unwrap();
    let root = std::process::Command::new("tar")
        .args(["-C", &text(""), "-cf", &text("root.tar"), "hello"])
        .status();
    assert!(root.unwrap().success());
    let change = [
        "import",
        "--change",
        "ENV A=1",
        "--message",
        "why",
        &text("root.tar"),
        "mine:2",
    ];
    let mine = daemon.ok(&change);
    assert_eq!(
        daemon.ok(&["inspect", "--format", "{{.Id}} {{.Config.Env}}", "mine:2"]),
        format!("{mine} [A=1]")
    );
    assert_eq!(
        daemon.ok(&["history", "--format", "{{.Comment}}", "mine:2"]),
        "why"
    );
    daemon.end();
}

#[test]
fn a_dockerfile_of_two_stages_is_built_and_found_again() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let context = home.scratch().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("input"), "some words\n").unwrap();
    let dockerfile = "ARG BASE=busybox\nFROM $BASE AS build\nARG WHO=nobody\nCOPY input /work/\n\
        RUN echo \"for $WHO\" >> /work/input && mkdir -p /out && tr a-z A-Z < /work/input > /out/result\n\
        FROM busybox\nCOPY --from=build /out/result /\nUSER 1000\nCMD [\"cat\", \"/result\"]\n";
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let path = context.to_string_lossy().into_owned();
    let build = |more: &[&str], path: &str| {
        let mut command = daemon.docker(&[&["build"], more, &[path]].concat());
        command.env("DOCKER_BUILDKIT", "0");
        Running::start(&mut command)
    };
    let first = build(&["-t", "app:1", "--build-arg", "WHO=you"], &path).finish();
    let said = first.success();
    assert!(
        said.contains("Step 5/9 : RUN echo") && said.contains(" ---> Running in "),
        "{said}"
    );
    assert!(said.contains("Removed intermediate container"), "{said}");
    assert!(said.contains("Successfully tagged app:1"), "{said}");
    assert_eq!(daemon.ok(&["run", "--rm", "app:1"]), "SOME WORDS\nFOR YOU");
    let id = daemon.ok(&["inspect", "--format", "{{.Id}}", "app:1"]);

    let again = build(&["-t", "app:1", "--build-arg", "WHO=you"], &path).finish();
    let said = again.success();
    assert!(
        !said.contains("Running in") && said.matches("Using cache").count() == 5,
        "{said}"
    );
    assert_eq!(daemon.ok(&["inspect", "--format", "{{.Id}}", "app:1"]), id);

    // A step that fails, and one whose client leaves.
    std::fs::write(
        context.join("Dockerfile"),
        "FROM busybox\nRUN echo oops >&2; exit 9\n",
    )
    .unwrap();
    let failed = build(&["--force-rm"], &path).finish();
    assert!(failed.text().contains("oops"), "{}", failed.text());
    failed.fails_with(
        9,
        &["The command '/bin/sh -c echo oops >&2; exit 9' returned a non-zero code: 9"],
    );
    std::fs::write(
        context.join("Dockerfile"),
        "FROM busybox\nRUN echo waits; sleep 1000\n",
    )
    .unwrap();
    let mut events = daemon.begin(&[
        "events",
        "--filter",
        "event=destroy",
        "--format",
        "{{.Action}}",
    ]);
    let mut left = build(&[], &path);
    left.wait_for("waits\n");
    left.signal(Signal::KILL);
    let _ = left.finish();
    events.wait_for("destroy");
    events.signal(Signal::TERM);
    let _ = events.finish();
    daemon.end();
}
