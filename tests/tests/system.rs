//! `hull` as the client of its daemon, beside containers: volumes, networks, the daemon itself, registries, builds, and what all
//! microVMs use.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use hull_tests::network::enter_own_network;
use hull_tests::{Daemon, Home, Running, Terminal, has_docker, kvm};
use serde_json::Value;

/// What `hull ARGS...` prints, without spaces around it.
#[track_caller]
fn ok(home: &Home, args: &[&str]) -> String {
    home.run(args).success().trim().to_owned()
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn volumes_come_and_go_as_with_docker() {
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let create = [
        "volume", "create", "--label", "team=web", "-d", "local", "data",
    ];
    assert_eq!(ok(&home, &create), "data");
    let unnamed = ok(&home, &["volume", "create"]);
    assert_eq!(unnamed.len(), 64, "{unnamed}");

    let table = ok(&home, &["volume", "ls", "--filter", "label=team"]);
    assert_eq!(table, "DRIVER    VOLUME NAME\nlocal     data");
    let template = "{{.Name}} {{.Labels}} {{.Label \"team\"}}";
    let listed = ok(
        &home,
        &["volume", "ls", "-f", "name=data", "--format", template],
    );
    assert_eq!(listed, "data team=web web");
    let shown = json(&ok(&home, &["volume", "inspect", "data"]));
    assert_eq!(shown[0]["Labels"]["team"], "web");
    let place = ok(
        &home,
        &["volume", "inspect", "-f", "{{.Mountpoint}}", "data"],
    );
    assert!(Path::new(&place).is_dir(), "{place}");
    let missing = home.run(&["volume", "inspect", "data", "none"]);
    assert_eq!(json(&missing.text()).as_array().map(Vec::len), Some(1));
    missing.fails_with(1, &["hull: get none: no such volume"]);

    home.run(&["volume", "create", "--driver", "nfs", "x"])
        .fails_with(1, &["plugin \"nfs\" not found"]);
    home.run(&["volume", "ls", "--filter", "data"])
        .fails_with(1, &["invalid filter"]);
    home.run(&["volume", "ls", "--format", "{{.Nothing"])
        .fails_with(1, &["invalid --format"]);

    // Nobody has said that the one with a name may go; and nobody at all says yes here.
    assert_eq!(ok(&home, &["volume", "prune"]), "");
    let pruned = ok(&home, &["volume", "prune", "--force"]);
    assert!(
        pruned.starts_with(&format!(
            "Deleted Volumes:\n{unnamed}\n\nTotal reclaimed space: "
        )),
        "{pruned}"
    );
    home.run(&["volume", "rm", "data", "none"])
        .fails_with(1, &["no such volume"]);
    assert_eq!(ok(&home, &["volume", "rm", "--force", "none"]), "none");
    assert_eq!(ok(&home, &["volume", "ls", "--quiet"]), "");
    daemon.end();
}

#[test]
fn networks_come_and_go_as_with_docker() {
    if !enter_own_network() || !has_docker() {
        return;
    }
    let home = Home::with_image("busybox").with_networks();
    let daemon = Daemon::start(&home);
    let create = [
        "network",
        "create",
        "--subnet",
        "10.67.0.0/24",
        "--gateway",
        "10.67.0.7",
        "--aux-address",
        "printer=10.67.0.9",
        "--label",
        "tier=front",
        "--mtu",
        "1400",
        "front",
    ];
    let id = ok(&home, &create);
    let _ = ok(
        &home,
        &["network", "create", "--internal", "--ipv6", "back"],
    );
    home.run(&["network", "create", "front"])
        .fails_with(1, &["hull: network with name front already exists"]);
    home.run(&["network", "create", "--driver", "overlay", "x"])
        .fails_with(1, &["overlay"]);
    home.run(&["network", "create", "--gateway", "10.1.1.1", "x"])
        .fails_with(1, &["--gateway 10.1.1.1 is in no --subnet"]);

    let template = "{{.Name}} {{.Driver}} {{.Internal}} {{.IPv6}}";
    let listed = ok(&home, &["network", "ls", "--format", template]);
    assert_eq!(
        listed,
        "back bridge true true\nbridge bridge false false\nfront bridge false false\nhost host false false\nnone null false false"
    );
    let quiet = [
        "network",
        "ls",
        "--quiet",
        "--no-trunc",
        "--filter",
        "label=tier=front",
    ];
    assert_eq!(ok(&home, &quiet), id);
    let shown = json(&ok(&home, &["network", "inspect", "front"]));
    let pool = &shown[0]["IPAM"]["Config"][0];
    assert_eq!(pool["Gateway"], "10.67.0.7");
    assert_eq!(pool["AuxiliaryAddresses"]["printer"], "10.67.0.9");
    assert_eq!(shown[0]["Options"]["com.docker.network.driver.mtu"], "1400");

    // A container that does not run yet comes into a network, too, and keeps others from removing it by the way.
    daemon.ok(&["create", "--name", "web", "busybox", "true"]);
    let _ = ok(
        &home,
        &[
            "network",
            "connect",
            "--ip",
            "10.67.0.99",
            "--alias",
            "www",
            "front",
            "web",
        ],
    );
    let inspect = [
        "inspect",
        "--format",
        "{{json .NetworkSettings.Networks.front.Aliases}}",
        "web",
    ];
    assert!(daemon.ok(&inspect).contains("www"));
    assert_eq!(
        ok(&home, &["network", "prune", "-f"]),
        "Deleted Networks:\nback"
    );
    let _ = ok(&home, &["network", "disconnect", "front", "web"]);
    home.run(&["network", "disconnect", "front", "nobody"])
        .fails_with(1, &["No such container: nobody"]);
    let _ = ok(
        &home,
        &["network", "disconnect", "--force", "front", "nobody"],
    );
    daemon.ok(&["rm", "web"]);
    assert_eq!(ok(&home, &["network", "rm", "front"]), "front");
    home.run(&["network", "rm", "front"])
        .fails_with(1, &["network front not found"]);
    assert_eq!(ok(&home, &["network", "rm", "--force", "front"]), "");
    home.run(&["network", "rm", "bridge"])
        .fails_with(1, &["pre-defined network"]);
    daemon.end();
}

#[test]
fn the_daemon_tells_what_it_is_and_what_nobody_needs() {
    if !has_docker() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let version = env!("CARGO_PKG_VERSION");
    let both = ok(
        &home,
        &[
            "version",
            "-f",
            "{{.Client.Version}} {{.Server.Version}} {{.Server.ApiVersion}}",
        ],
    );
    assert_eq!(both, format!("{version} {version} 1.51"));
    let text = ok(&home, &["version"]);
    assert!(
        text.contains("  API version:      1.51 (minimum version 1.24)\n"),
        "{text}"
    );
    assert_eq!(ok(&home, &["--version"]), format!("hull {version}"));

    daemon.ok(&["create", "--name", "old", "busybox", "true"]);
    let _ = ok(&home, &["volume", "create"]);
    let counts = ok(
        &home,
        &["info", "-f", "{{.Containers}} {{.Images}} {{.Driver}}"],
    );
    assert_eq!(counts, "1 1 hull");
    let text = ok(&home, &["system", "info"]);
    assert!(
        text.contains("\nServer:\n Containers: 1\n  Running: 0\n"),
        "{text}"
    );

    let usage = ok(
        &home,
        &[
            "system",
            "df",
            "--format",
            "{{.Type}} {{.TotalCount}} {{.Active}}",
        ],
    );
    assert_eq!(
        usage,
        "Images 1 1\nContainers 1 0\nLocal Volumes 1 0\nBuild Cache 0 0"
    );
    let each = ok(&home, &["system", "df", "-v"]);
    for words in [
        "Images space usage:\n\nREPOSITORY",
        "busybox",
        "\nContainers space usage:\n\nCONTAINER ID",
        "old",
    ] {
        assert!(each.contains(words), "{words:?} is not in {each}");
    }

    home.run(&["system", "prune", "--volumes", "--filter", "until=1h"])
        .fails_with(1, &["\"until\" filter is not supported with \"--volumes\""]);
    // Nobody says yes.
    assert_eq!(ok(&home, &["system", "prune"]), "");
    let pruned = ok(&home, &["system", "prune", "--force", "--all", "--volumes"]);
    for words in [
        "Deleted Containers:\n",
        "Deleted Volumes:\n",
        "untagged: ",
        "Total reclaimed space: ",
    ] {
        assert!(pruned.contains(words), "{words:?} is not in {pruned}");
    }
    let counts = ok(&home, &["info", "-f", "{{.Containers}} {{.Images}}"]);
    assert_eq!(counts, "0 0");
    daemon.end();
}

/// A registry that lets one user in, and has nothing.
fn registry(user_and_password: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let expected = format!("authorization: basic {user_and_password}").to_lowercase();
            let known = asked.iter().any(|line| line.to_lowercase() == expected);
            let answer = match known {
                true => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
                false => {
                    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                }
            };
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn who_logs_in_is_known_until_they_log_out() {
    // "me:secret" in base64.
    let registry = registry("bWU6c2VjcmV0");
    let home = Home::new();
    let daemon = Daemon::start(&home);
    let login = |password: &str| {
        let mut login = home.start(&["login", "--username", "me", "--password-stdin", &registry]);
        login.write(password.as_bytes());
        login.finish()
    };
    login("wrong\n").fails_with(1, &["hull: unauthorized: incorrect username or password"]);
    let file = home.scratch().join("docker/config.json");
    assert!(!file.exists(), "a wrong password was kept");

    let output = login("secret\n");
    assert!(
        output.stderr.contains("stored unencrypted"),
        "{}",
        output.stderr
    );
    assert_eq!(output.success(), "Login Succeeded\n");
    let kept = json(&fs::read_to_string(&file).unwrap());
    assert_eq!(kept["auths"][&registry]["auth"], "bWU6c2VjcmV0");
    let again = home.run(&["login", &registry]).success();
    assert_eq!(
        again,
        "Authenticating with existing credentials...\nLogin Succeeded\n"
    );

    assert_eq!(
        ok(&home, &["logout", &registry]),
        format!("Removing login credentials for {registry}")
    );
    home.run(&["login", &registry])
        .fails_with(1, &["non TTY device", "--password-stdin"]);
    home.run(&["login", "--password-stdin", &registry])
        .fails_with(1, &["requires --username"]);

    // A helper keeps what it is told to.
    let helper = home.scratch().join("docker-credential-test");
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncase $1 in\nstore) cat > kept;;\nget) cat kept 2>/dev/null || { echo credentials not found; exit 1; };;\nerase) rm kept;;\nesac\n";
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(&file, "{\"credsStore\": \"test\"}").unwrap();
    let hull = |args: &[&str]| {
        let mut command = home.hull(args);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", home.scratch().display()));
        command
    };
    let mut login = Running::start(&mut hull(&[
        "login",
        "-u",
        "me",
        "--password-stdin",
        &registry,
    ]));
    login.write(b"secret");
    let output = login.finish();
    assert!(!output.stderr.contains("unencrypted"), "{}", output.stderr);
    let _ = output.success();
    let kept = json(&fs::read_to_string(home.scratch().join("kept")).unwrap());
    assert_eq!(
        (&kept["Username"], &kept["Secret"]),
        (&"me".into(), &"secret".into())
    );
    assert!(!fs::read_to_string(&file).unwrap().contains("bWU6"));
    let _ = Running::start(&mut hull(&["login", &registry]))
        .finish()
        .success();
    let _ = Running::start(&mut hull(&["logout", &registry]))
        .finish()
        .success();
    assert!(!home.scratch().join("kept").exists());
    daemon.end();
}

#[test]
fn a_build_sends_its_files_and_tells_what_it_does() {
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let dir = home.scratch().join("context");
    fs::create_dir_all(dir.join("sub")).unwrap();
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    write(
        "Dockerfile",
        "ARG WHAT\nFROM scratch AS one\nLABEL what=$WHAT\nCOPY . /files\nFROM one\nENV LAST=yes\n",
    );
    write("kept", "kept\n");
    write("sub/left.log", "left out\n");
    write(".dockerignore", "**/*.log\nDockerfile\n");
    let path = dir.to_str().unwrap();
    let iidfile = home.scratch().join("id");
    let id_path = iidfile.to_str().unwrap();
    let build = [
        "build",
        "-t",
        "app:1",
        "-t",
        "app:2",
        "--label",
        "a=b",
        "--build-arg",
        "WHAT=it",
        "--iidfile",
        id_path,
        path,
    ];
    let said = ok(&home, &build);
    for words in [
        "Sending build context to Docker daemon  ",
        "Step 1/",
        "COPY . /files",
        "Successfully built",
        "Successfully tagged app:2",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let id = fs::read_to_string(&iidfile).unwrap();
    assert_eq!(
        ok(&home, &["image", "inspect", "-f", "{{.Id}}", "app:1"]),
        id
    );
    let template = "{{json .Config.Labels}} {{json .Config.Env}}";
    let config = ok(&home, &["image", "inspect", "--format", template, "app:2"]);
    assert!(
        config.contains("\"a\":\"b\"") && config.contains("LAST=yes"),
        "{config}"
    );

    // The same again is known; of another target only that is there.
    let again = ok(
        &home,
        &["build", "--build-arg", "WHAT=it", "--label", "a=b", path],
    );
    assert!(again.contains("Using cache"), "{again}");
    assert_eq!(
        ok(
            &home,
            &[
                "build",
                "-q",
                "--build-arg",
                "WHAT=it",
                "--label",
                "a=b",
                path
            ]
        ),
        id
    );
    let other = ok(
        &home,
        &["image", "build", "--quiet", "--target", "one", path],
    );
    assert_ne!(other, id);

    // A Dockerfile from somewhere else, or from standard input, and no other files.
    let outside = home.scratch().join("Other");
    fs::write(&outside, "FROM scratch\nCOPY kept /\n").unwrap();
    let _ = ok(
        &home,
        &["build", "-q", "-f", outside.to_str().unwrap(), path],
    );
    let mut alone = home.start(&["build", "-q", "-"]);
    alone.write(b"FROM scratch\nLABEL alone=yes\n");
    assert!(alone.finish().success().starts_with("sha256:"));

    for (dockerfile, words) in [
        ("FROM scratch\nCOPY nothing /\n", "nothing"),
        ("FROM scratch\nNONSENSE\n", "unknown instruction: NONSENSE"),
    ] {
        let mut wrong = home.start(&["build", "-"]);
        wrong.write(dockerfile.as_bytes());
        wrong.finish().fails_with(1, &[words]);
    }
    home.run(&["build", "--squash", path])
        .fails_with(1, &["squash"]);
    home.run(&["build", "/no/such/directory"])
        .fails_with(1, &["unable to prepare context"]);
    let _ = ok(&home, &["builder", "prune", "--force", "--all"]);
    daemon.end();
}

#[test]
fn what_all_microvms_use_is_seen_live() {
    if !kvm() || !has_docker() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    assert_eq!(ok(&home, &["top", "--no-stream", "--format", "json"]), "");
    let busy = "echo ready; while :; do :; done";
    daemon.ok(&[
        "run", "-d", "--name", "busy", "--memory", "100m", "busybox", "sh", "-c", busy,
    ]);
    daemon
        .begin(&["logs", "--follow", "busy"])
        .wait_for("ready\n");
    let line = json(&ok(&home, &["top", "--no-stream", "--format", "json"]));
    assert_eq!(
        (&line["Name"], &line["Kind"], &line["Limit"]),
        (&"busy".into(), &"container".into(), &"100MiB".into())
    );
    // A guest that is busy may have no time to say how many there are.
    assert!(
        ["1", "--"].contains(&line["PIDs"].as_str().unwrap()),
        "{line}"
    );
    let share = line["CPUPerc"]
        .as_str()
        .unwrap()
        .trim_end_matches('%')
        .parse::<f64>()
        .unwrap();
    assert!(share > 10.0, "{line}");
    assert_ne!(line["Own"], "0B");

    let mut view = Terminal::start(&mut home.hull(&["top", "--interval", "0.5"]), 10, 120);
    view.wait_for("1 microVM, CPU ");
    view.wait_for("busy");
    view.wait_for("q quit");
    view.type_text("m");
    view.wait_for("busy");
    view.type_text("q");
    assert_eq!(view.finish(), 0);
    assert!(view.is_cooked());

    // A step that fails is the build's end, and its status is the build's.
    let mut failing = home.start(&["build", "--force-rm", "--network", "none", "-"]);
    failing.write(b"FROM busybox\nRUN echo before; exit 3\n");
    let output = failing.finish();
    assert!(output.text().contains("\nbefore\n"), "{}", output.text());
    output.fails_with(3, &["returned a non-zero code: 3"]);
    daemon.ok(&["rm", "--force", "busy"]);
    daemon.end();
}

#[test]
fn what_docker_has_and_hull_has_not_is_refused_with_a_reason() {
    let home = Home::new();
    for (command, words) in [
        ("compose", "DOCKER_HOST"),
        ("swarm", "in no swarm"),
        ("buildx", "hull build"),
    ] {
        home.run(&[command, "ls"]).fails_with(1, &[command, words]);
    }
    let endpoint = ok(&home, &["context", "ls", "--format", "{{.DockerEndpoint}}"]);
    assert_eq!(
        endpoint,
        format!("unix://{}/hull.sock", home.runtime().display())
    );
    assert_eq!(ok(&home, &["context", "show"]), "default");
}

#[test]
fn a_shell_completes_what_the_daemon_knows() {
    let home = Home::new();
    let complete = |words: &[&str]| {
        let mut command: Command = home.hull(&[&["--", "hull"], words].concat());
        command
            .env("HULL_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        Running::start(&mut command).finish().success()
    };
    // None is started for that.
    assert_eq!(complete(&["volume", "rm", "da"]), "");
    assert!(!home.runtime().join("hull.sock").exists());
    let daemon = Daemon::start(&home);
    let _ = ok(&home, &["volume", "create", "data"]);
    assert_eq!(complete(&["volume", "rm", "da"]).trim(), "data");
    let _ = ok(&home, &["volume", "rm", "data"]);
    daemon.end();
}
