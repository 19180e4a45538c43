//! `hull` as a client of the daemon that it starts itself: what people type about containers, what is printed, how it exits.

use std::fs;
use std::process::Command;

use hull_tests::{Finished, Home, Running, Terminal, kvm, run};
use rustix::process::Signal;
use serde_json::Value;

/// Says something on both streams, keeps a promise to stop, and repeats what it is told.
const SCRIPT: &str = "trap 'echo asked; exit 3' TERM; echo one; echo two >&2; touch /ready; \
    while read -r line; do echo got $line; done; while :; do sleep 1; done";

/// A home whose daemon was started by a command, and the commands for it.
struct Hull {
    home: Home,
}

impl Hull {
    fn new() -> Self {
        let home = Home::with_image("busybox");
        let listed = home.run(&["container", "ls", "--all"]);
        assert_eq!(listed.stderr, "");
        let header = listed.success();
        assert!(
            header.starts_with(
                "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
            ),
            "{header}"
        );
        Self { home }
    }

    /// What a command prints that succeeds, without spaces around it.
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.home.run(args).success().trim().to_owned()
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Finished {
        self.home.run(args)
    }

    #[track_caller]
    fn fails(&self, code: i32, words: &[&str], args: &[&str]) {
        self.home.run(args).fails_with(code, words);
    }

    fn begin(&self, args: &[&str]) -> Running {
        self.home.start(args)
    }

    /// A path of this test's own.
    fn path(&self, name: &str) -> String {
        self.home
            .scratch()
            .join(name)
            .to_string_lossy()
            .into_owned()
    }
}

#[test]
fn containers_are_driven_from_their_start_to_their_end() {
    if !kvm() {
        return;
    }
    let hull = Hull::new();
    hull.ok(&[
        "run",
        "-di",
        "--name",
        "web",
        "--label",
        "a.b=c",
        "-e",
        "COLOUR=red",
        "busybox",
        "sh",
        "-c",
        SCRIPT,
    ]);
    let mut logs = hull.begin(&["logs", "-f", "web"]);
    logs.wait_for("one\n");
    seen(&hull);
    programs_beside_it(&hull);
    files(&hull);
    attached(&hull);
    changed(&hull);
    ended(&hull, logs);
    with_a_terminal(&hull);
    hull.home.assert_clean();
}

/// `ps`, `inspect`, `top`, `stats`, `port`.
fn seen(hull: &Hull) {
    let id = hull.ok(&["ps", "-q", "--no-trunc", "-f", "label=a.b=c"]);
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(hull.ok(&["ps", "-q", "-f", "label=a.b=d"]), "");
    let line = r#"{{.Names}} {{.State}} {{.Image}} {{.Label "a.b"}} {{.Command}}"#;
    assert_eq!(
        hull.ok(&["container", "ls", "--format", line]),
        "web running busybox c \"sh -c 'trap 'echo a…\""
    );
    let table = hull.ok(&["container", "ls", "--format", r"table {{.ID}}\t{{.Names}}"]);
    assert_eq!(table, format!("CONTAINER ID   NAMES\n{}   web", &id[..12]));
    let json: Value =
        serde_json::from_str(&hull.ok(&["container", "ls", "--format", "json"])).unwrap();
    assert_eq!(json["Labels"], "a.b=c");

    let inspected = hull.ok(&[
        "inspect",
        "-f",
        "{{.State.Status}} {{.Name}} {{if .State.Health}}{{else}}none{{end}}",
        "web",
    ]);
    assert_eq!(inspected, "running /web none");
    let all: Value = serde_json::from_str(&hull.ok(&["inspect", "web", "busybox"])).unwrap();
    assert_eq!(
        (&all[0]["Id"], all[1]["RepoTags"][0].as_str()),
        (&Value::from(id), Some("busybox:latest"))
    );
    let missing = hull.run(&["inspect", "web", "nothing"]);
    assert!(missing.text().contains("\"/web\""), "{}", missing.text());
    missing.fails_with(1, &["No such object: nothing"]);
    hull.fails(1, &["Nmae"], &["inspect", "-f", "{{.Nmae}}", "web"]);

    let top = hull.ok(&["top", "web", "-o", "pid,comm"]);
    assert!(top.starts_with("PID") && top.contains("sh"), "{top}");
    let stats = hull.ok(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.PIDs}} {{.MemUsage}}",
        "web",
    ]);
    assert!(
        stats.starts_with("web 1 ") && stats.contains("iB / "),
        "{stats}"
    );
    let mut watching = Terminal::start(&mut hull.home.hull(&["stats"]), 24, 200);
    watching.wait_for("MEM USAGE / LIMIT");
    watching.wait_for("web");
    watching.wait_for("iB / ");
    watching.signal(Signal::INT);
    assert_eq!(watching.finish(), 130);
    let driver = ["inspect", "--type", "network", "-f", "{{.Driver}}", "none"];
    assert_eq!(hull.ok(&driver), "null");
    assert_eq!(hull.ok(&["port", "web"]), "");
    hull.fails(
        1,
        &["no public port '80/tcp' published for web"],
        &["port", "web", "80"],
    );
}

/// `exec`.
fn programs_beside_it(hull: &Hull) {
    let script = "echo $COLOUR $SHAPE $(pwd) $(id -u)";
    let said = hull.ok(&[
        "exec",
        "-e",
        "SHAPE=round",
        "-w",
        "/tmp",
        "-u",
        "7",
        "web",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(said, "red round /tmp 7");
    let failed = hull.run(&["exec", "web", "sh", "-c", "echo out; echo no >&2; exit 5"]);
    assert_eq!(failed.text(), "out\n");
    failed.fails_with(5, &["no"]);
    hull.fails(127, &[], &["exec", "web", "nosuchprogram"]);
    hull.fails(
        1,
        &["No such container: nothing"],
        &["exec", "nothing", "true"],
    );
    hull.fails(125, &["--nonsense"], &["exec", "--nonsense", "web", "true"]);
    hull.fails(1, &["not a TTY"], &["exec", "-it", "web", "sh"]);
    let mut typed = hull.begin(&["exec", "-i", "web", "cat"]);
    typed.write(b"typed\n");
    assert_eq!(typed.finish().success(), "typed\n");
    assert_eq!(hull.ok(&["exec", "-d", "web", "touch", "/detached"]), "");

    let mut terminal = Terminal::start(&mut hull.home.hull(&["exec", "-it", "web", "sh"]), 33, 111);
    terminal.wait_for("/ # ");
    assert!(!terminal.is_cooked());
    terminal.type_text("stty size; printf '\\001\\n'; tty\n");
    terminal.wait_for("33 111");
    terminal.wait_for("\u{1}");
    terminal.wait_for("/dev/pts/");
    terminal.type_text("exit 6\n");
    assert_eq!(terminal.finish(), 6);
    assert!(terminal.is_cooked());
    let args = ["exec", "-it", "--detach-keys", "ctrl-x,q", "web", "cat"];
    let mut terminal = Terminal::start(&mut hull.home.hull(&args), 24, 80);
    terminal.type_text("shown\n");
    terminal.wait_for("shown\r\nshown");
    terminal.type_text("\u{18}q");
    terminal.wait_for("read escape sequence");
    assert_eq!(terminal.finish(), 1);
    assert!(terminal.is_cooked());
}

/// `cp`, `diff`, `export`.
fn files(hull: &Hull) {
    fs::create_dir(hull.path("in")).unwrap();
    fs::write(hull.path("in/a"), "first\n").unwrap();
    std::os::unix::fs::symlink("a", hull.path("in/link")).unwrap();
    let read = |name: &str| fs::read_to_string(hull.path(name)).unwrap();
    // As a directory of its own, below one, and what is in it.
    hull.ok(&["cp", &hull.path("in"), "web:/new"]);
    hull.ok(&["cp", &hull.path("in"), "web:/new/"]);
    hull.ok(&["cp", &hull.path("in/."), "web:/tmp"]);
    hull.ok(&["cp", "-L", &hull.path("in/link"), "web:/tmp/copy"]);
    let listed = hull.ok(&[
        "exec",
        "web",
        "sh",
        "-c",
        "cd /; ls -d new/a new/in/a tmp/a; cat tmp/copy; readlink new/link",
    ]);
    assert_eq!(listed, "new/a\nnew/in/a\ntmp/a\nfirst\na");
    hull.fails(
        1,
        &["no such directory"],
        &["cp", &hull.path("in/a"), "web:/none/"],
    );
    hull.fails(1, &["must be a directory"], &["cp", "-", "web:/new/a"]);

    hull.ok(&["cp", "web:/new", &hull.path("out")]);
    assert_eq!(read("out/in/a"), "first\n");
    hull.ok(&["cp", "web:/new/a", &hull.path("out/in/renamed")]);
    assert_eq!(read("out/in/renamed"), "first\n");
    hull.ok(&["cp", "-L", "web:/new/link", &hull.path("out/in")]);
    assert_eq!(read("out/in/link"), "first\n");
    assert!(
        !fs::symlink_metadata(hull.path("out/in/link"))
            .unwrap()
            .is_symlink()
    );
    hull.fails(
        1,
        &["Could not find the file /nothing in container"],
        &["cp", "web:/nothing", &hull.path("x")],
    );
    hull.fails(
        1,
        &["does not exist"],
        &["cp", "web:/new", &hull.path("no/such/place")],
    );

    // An archive goes out and in again.
    let archive = hull.run(&["cp", "web:/new", "-"]);
    let mut taking = hull.begin(&["cp", "-", "web:/tmp"]);
    taking.write(&archive.stdout);
    let _ = taking.finish().success();
    assert_eq!(hull.ok(&["exec", "web", "cat", "/tmp/new/in/a"]), "first");

    let differences = hull.ok(&["diff", "web"]);
    for line in ["C /tmp", "A /new/in/a", "A /ready"] {
        assert!(
            differences.lines().any(|one| one == line),
            "{line}: {differences}"
        );
    }
    hull.ok(&["export", "-o", &hull.path("all.tar"), "web"]);
    let listed = run(Command::new("tar").arg("-tf").arg(hull.path("all.tar"))).success();
    assert!(
        listed
            .lines()
            .any(|line| line.trim_start_matches("./") == "new/in/a"),
        "{listed}"
    );
}

/// `attach`.
fn attached(hull: &Hull) {
    let mut attached = hull.begin(&["attach", "--sig-proxy=false", "web"]);
    attached.write(b"hello\n");
    attached.wait_for("got hello\n");
    attached.signal(Signal::INT);
    assert_eq!(attached.finish().code(), 130);
    assert_eq!(hull.ok(&["logs", "-n", "1", "web"]), "got hello");
    let timed = hull.ok(&["logs", "--tail", "1", "-t", "web"]);
    let (time, rest) = timed.split_once(' ').unwrap();
    assert!(time.ends_with('Z') && rest == "got hello", "{timed}");
    assert_eq!(hull.ok(&["logs", "--until", "1h", "web"]), "");
}

/// `rename`, `update`, `pause`, `commit`.
fn changed(hull: &Hull) {
    assert_eq!(hull.ok(&["rename", "web", "shop"]), "");
    assert_eq!(
        hull.ok(&["update", "--restart", "on-failure:3", "shop"]),
        "shop"
    );
    let policy =
        "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(hull.ok(&["inspect", "-f", policy, "shop"]), "on-failure 3");
    hull.ok(&["update", "--restart", "no", "shop"]);
    hull.fails(1, &["one or more flags"], &["update", "shop"]);

    assert_eq!(hull.ok(&["pause", "shop"]), "shop");
    hull.fails(1, &["is paused"], &["exec", "shop", "true"]);
    hull.fails(1, &["paused container"], &["attach", "shop"]);
    assert_eq!(hull.ok(&["unpause", "shop"]), "shop");

    let keep = ["checkpoint", "create", "--leave-running", "shop", "kept"];
    assert_eq!(hull.ok(&keep), "kept");
    let listed = hull.ok(&["checkpoint", "ls", "shop"]);
    assert_eq!(listed, "CHECKPOINT NAME\nkept");
    assert_eq!(hull.ok(&["checkpoint", "rm", "shop", "kept"]), "");

    let id = hull.ok(&[
        "commit",
        "-c",
        "ENV SHAPE=round",
        "-m",
        "why",
        "shop",
        "kept:1",
    ]);
    assert!(id.starts_with("sha256:"), "{id}");
    let env = hull.ok(&[
        "inspect",
        "--type",
        "image",
        "-f",
        r#"{{join .Config.Env " "}} {{.Comment}}"#,
        "kept:1",
    ]);
    assert!(env.ends_with("SHAPE=round why"), "{env}");
    hull.ok(&["image", "rm", "kept:1"]);
}

/// A container with a terminal: `start -ai`, `attach`, and both left by keys and by a signal.
fn with_a_terminal(hull: &Hull) {
    hull.ok(&["create", "-it", "--name", "shell", "busybox", "sh"]);
    let open = |args: &[&str]| Terminal::start(&mut hull.home.hull(args), 33, 111);
    let mut terminal = open(&["start", "-ai", "shell"]);
    terminal.wait_for("/ # ");
    assert!(!terminal.is_cooked());
    terminal.type_text("stty size\n");
    terminal.wait_for("33 111");
    terminal.type_text("\u{10}\u{11}");
    assert_eq!(terminal.finish(), 0);
    assert!(terminal.is_cooked());

    let mut terminal = open(&["attach", "shell"]);
    terminal.type_text("echo aga''in\n");
    terminal.wait_for("again");
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.finish(), 143);
    assert!(terminal.is_cooked());
    hull.fails(1, &["not a TTY"], &["attach", "shell"]);
    let running = "{{.State.Running}}";
    assert_eq!(hull.ok(&["inspect", "-f", running, "shell"]), "true");

    let mut terminal = open(&["attach", "shell"]);
    terminal.type_text("exit 4\n");
    assert_eq!(terminal.finish(), 4);
    assert_eq!(hull.ok(&["rm", "shell"]), "shell");
}

/// `stop`, `wait`, `start`, `kill`, `restart`, `rm`, `events`.
fn ended(hull: &Hull, logs: Running) {
    let waiter = hull.begin(&["wait", "shop"]);
    assert_eq!(hull.ok(&["stop", "shop"]), "shop");
    assert_eq!(waiter.finish().success(), "3\n");
    let said = logs.finish();
    assert_eq!(
        (said.text().as_str(), said.stderr.as_str()),
        ("one\ngot hello\nasked\n", "two\n")
    );
    assert_eq!(hull.ok(&["wait", "shop"]), "3");
    hull.fails(1, &["stopped container"], &["attach", "shop"]);

    let mut again = hull.begin(&["start", "-a", "shop"]);
    again.wait_for("one\n");
    hull.fails(1, &["is running"], &["container", "rm", "shop"]);
    again.signal(Signal::TERM);
    let said = again.finish();
    assert_eq!(said.text(), "one\nasked\n");
    said.fails_with(3, &["two"]);

    assert_eq!(hull.ok(&["start", "shop"]), "shop");
    assert_eq!(hull.ok(&["kill", "-s", "KILL", "shop"]), "shop");
    assert_eq!(hull.ok(&["wait", "shop"]), "137");
    let last = hull.ok(&[
        "container",
        "ls",
        "-l",
        "--format",
        "{{.Names}} {{.Status}}",
    ]);
    assert!(last.starts_with("shop Exited (137)"), "{last}");

    let format = "{{.Action}} {{index .Actor.Attributes \"exitCode\"}}";
    let events = hull.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "-f",
        "event=die",
        "--format",
        format,
    ]);
    assert_eq!(events, "die 3\ndie 3\ndie 137");
    let line = hull.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "-f",
        "event=rename",
    ]);
    assert!(
        line.contains(" container rename ") && line.contains("name=shop"),
        "{line}"
    );

    let removed = hull.run(&["container", "rm", "nothing", "shop"]);
    assert_eq!(removed.text(), "shop\n");
    removed.fails_with(1, &["No such container: nothing"]);
    let forced = hull.run(&["rm", "-f", "nothing"]);
    assert!(forced.stderr.contains("No such container: nothing"));
    assert_eq!(forced.success(), "");
    let pruned = hull.ok(&["container", "prune", "--force"]);
    assert_eq!(pruned, "Total reclaimed space: 0B");
}

#[test]
fn output_that_nobody_takes_is_an_error_and_no_panic() {
    let hull = Hull::new();
    hull.ok(&["tag", "busybox", "other"]);
    let commands: &[&[&str]] = &[
        &["doctor"],
        &["doctor", "--format", "json"],
        &["images"],
        &["ps"],
        &["vm", "ls"],
        &["template", "ls"],
        &["template", "prune", "--force"],
        &["create", "busybox"],
        &["rmi", "other"],
        &["image", "inspect", "busybox"],
    ];
    for args in commands {
        let full = fs::File::create("/dev/full").unwrap();
        let ended = hull.home.hull(args).stdout(full).output().unwrap();
        let words = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{args:?}: {words}");
        assert!(
            words.contains("No space left on device"),
            "{args:?}: {words}"
        );
    }
    hull.ok(&["tag", "busybox", "other"]);
    for args in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = hull.home.hull(args).stdout(writer).output().unwrap();
        let words = String::from_utf8_lossy(&ended.stderr).into_owned();
        // As if it had died of SIGPIPE, without a word.
        assert_eq!(ended.status.code(), Some(141), "{args:?}: {words}");
        assert_eq!(words, "", "{args:?}");
    }
}
