//! Volumes, binds, limits and health checks, by Docker's own client against `hull daemon`.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use hull_tests::{Daemon, Home, has_docker, kvm};
use serde_json::Value;

/// Whether the test can run; only root can share a single file.
fn usable() -> bool {
    kvm() && has_docker()
}

#[test]
fn what_is_mounted_of_the_host_is_seen_by_all_and_volumes_stay() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let host = home.scratch().join("host");
    fs::create_dir_all(host.join("sub")).unwrap();
    fs::write(host.join("conf"), "of the host\n").unwrap();
    fs::write(host.join("secret"), "not to be seen\n").unwrap();
    let path = |name: &str| host.join(name).display().to_string();
    assert_eq!(
        daemon.ok(&["volume", "create", "--label", "a=b", "data"]),
        "data"
    );

    let bind = format!("{}:/ro:ro", path("sub"));
    let file = format!("{}:/etc/conf", path("conf"));
    let made = format!("{}:/made", path("missing/dir"));
    let script = "stat -c %u /home/user; echo first > /home/user/note; cat /etc/conf; echo more >> /etc/conf; \
        (echo no > /ro/x) 2>/dev/null || echo refused; echo kept > /made/kept; touch /ro/mem/x && echo inside; \
        df -k /dev/shm | awk 'NR==2 { print $2 }'; ulimit -n; cat /proc/sys/kernel/msgmax; cat /sys/fs/cgroup/pids.max; \
        echo ready; sleep 100000";
    #[rustfmt::skip]
    let run = [
        "run", "-d", "--name", "one", "-v", "data:/home", "-v", &bind, "-v", &file, "-v", &made, "-v", "/anon",
        "--tmpfs", "/ro/mem", "--shm-size", "1m", "--ulimit", "nofile=123", "--sysctl", "kernel.msgmax=4096",
        "--pids-limit", "50", "--cpu-shares", "512", "busybox", "sh", "-c", script,
    ];
    let _ = fs::create_dir(host.join("sub/mem"));
    let id = daemon.ok(&run);
    let mut logs = daemon.begin(&["logs", "-f", "one"]);
    logs.wait_for("ready\n");
    let said = daemon.ok(&["logs", "one"]);
    let expected = "1000\nof the host\nrefused\ninside\n1024\n123\n4096\n50\nready";
    assert_eq!(said, expected);
    assert_eq!(
        fs::read_to_string(host.join("conf")).unwrap(),
        "of the host\nmore\n"
    );
    assert_eq!(
        fs::read_to_string(host.join("missing/dir/kept")).unwrap(),
        "kept\n"
    );
    assert!(!host.join("sub/mem/x").exists());

    // Its machine is less important than others, and what it may use changes while it runs.
    let pid = daemon.ok(&["inspect", "--format", "{{.State.Pid}}", "one"]);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    assert_eq!(after_name.split(' ').nth(16), Some("3"), "{stat}");
    daemon.ok(&[
        "update",
        "--pids-limit",
        "60",
        "--memory",
        "100m",
        "--memory-swap",
        "100m",
        "--cpus",
        "0.5",
        "one",
    ]);
    let limits = "cd /sys/fs/cgroup; cat pids.max memory.max cpu.max";
    assert_eq!(
        daemon.ok(&["exec", "one", "sh", "-c", limits]),
        "60\n104857600\n50000 100000"
    );
    daemon
        .run(&["update", "--cpus", "2", "one"])
        .fails_with(1, &["cannot get more while it runs"]);

    // A second one shares them while the first one runs, and may only read.
    let script =
        "cat /home/user/note /etc/conf; (touch /home/x) 2>/dev/null || echo refused; ls -a /anon";
    let second = daemon.ok(&[
        "run",
        "--rm",
        "--volumes-from",
        "one:ro",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(second, "first\nof the host\nmore\nrefused\n.\n..");

    let all: Value = serde_json::from_str(&daemon.ok(&["inspect", "one"])).unwrap();
    let mounts = all[0]["Mounts"].as_array().unwrap();
    let places: Vec<&str> = mounts
        .iter()
        .filter_map(|one| one["Destination"].as_str())
        .collect();
    assert_eq!(places, ["/anon", "/etc/conf", "/home", "/made", "/ro"]);
    assert_eq!(mounts[2]["Name"], "data");
    assert_eq!(mounts[4]["RW"], false);
    let anonymous = mounts[0]["Name"].as_str().unwrap().to_owned();
    let inside = fs::metadata(mounts[2]["Source"].as_str().unwrap()).unwrap();
    assert!(inside.is_dir() && inside.uid() == 0);
    assert_eq!(
        daemon.ok(&["ps", "-q", "--no-trunc", "--filter", "volume=data"]),
        id
    );
    daemon
        .run(&["volume", "rm", "data"])
        .fails_with(1, &["volume is in use", &id]);
    assert_eq!(
        daemon.ok(&["volume", "ls", "-q", "--filter", "dangling=true"]),
        ""
    );

    daemon.ok(&["rm", "-f", "-v", "one"]);
    let left = daemon.ok(&["volume", "ls", "-q"]);
    assert!(left == "data" && !left.contains(&anonymous), "{left}");
    assert_eq!(
        daemon.ok(&[
            "run",
            "--rm",
            "-v",
            "data:/d:ro",
            "busybox",
            "cat",
            "/d/user/note"
        ]),
        "first"
    );
    let missing = format!("type=bind,source={},target=/x", path("nothing"));
    daemon
        .run(&["run", "--rm", "--mount", &missing, "busybox", "true"])
        .fails_with(125, &["bind source path does not exist"]);
    let pruned = daemon.ok(&["volume", "prune", "-f"]);
    assert!(pruned.contains("0B"), "{pruned}");
    daemon.ok(&["volume", "rm", "data"]);
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "");
    daemon.end();
}

/// The host's, as Debian has them.
const LINKER: &str = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";
const PERL: &str = "/usr/bin/perl";

#[test]
fn a_socket_of_the_host_is_reached_from_a_container() {
    if !usable() {
        return;
    }
    if !(Path::new(LINKER).exists() && Path::new(PERL).exists()) {
        println!("SKIPPED: this host has no perl as Debian has it");
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let path = home.scratch().join("service");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    let service = std::thread::spawn(move || {
        let (mut asked, _) = listener.accept().unwrap();
        let mut text = String::new();
        asked.read_to_string(&mut text).unwrap();
        asked
            .write_all(format!("{text} is answered").as_bytes())
            .unwrap();
    });
    let bind = format!("{}:/run/service.sock", path.display());
    let script = "use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un('/run/service.sock')) or die $!; \
        syswrite(S, 'question'); shutdown(S, 1); while (sysread(S, $text, 100)) { print $text }";
    // busybox connects to no such sockets, but the host's perl does.
    #[rustfmt::skip]
    let run = |user: &str| {
        daemon.run(&[
            "run", "--rm", "--user", user, "-v", &bind, "-v", "/usr:/usr:ro", "busybox",
            LINKER, "--library-path", LIBRARIES, PERL, "-e", script,
        ])
    };
    // Its owner and mode are the host's. Perl ends with the error's number.
    run("1000").fails_with(13, &["Permission denied"]);
    assert_eq!(run("0").success(), "question is answered");
    service.join().unwrap();
    daemon.end();
}

#[test]
fn health_is_checked_and_told() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let mut events = daemon.begin(&[
        "events",
        "--format",
        "{{.Action}}",
        "--filter",
        "type=container",
    ]);
    // It listens when it has told something.
    daemon.ok(&["create", "--name", "first", "busybox", "true"]);
    #[rustfmt::skip]
    daemon.ok(&[
        "run", "-d", "--name", "sick", "--health-cmd", "echo looking; test -e /tmp/well", "--health-interval", "100ms",
        "--health-retries", "2", "busybox", "sleep", "100000",
    ]);
    let state = |template: &str| daemon.ok(&["inspect", "--format", template, "sick"]);
    events.wait_for("health_status: unhealthy\n");
    let seen = daemon.ok(&[
        "ps",
        "--format",
        "{{.Names}} {{.Status}}",
        "--filter",
        "health=unhealthy",
    ]);
    assert!(
        seen.starts_with("sick Up") && seen.ends_with("(unhealthy)"),
        "{seen}"
    );
    assert_eq!(
        state("{{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}"),
        "1 looking"
    );
    daemon.ok(&["exec", "sick", "touch", "/tmp/well"]);
    events.wait_for("health_status: healthy\n");
    assert_eq!(
        state("{{.State.Health.Status}} {{.State.Health.FailingStreak}}"),
        "healthy 0"
    );
    // It goes on without a daemon, and the next one knows what came of it.
    daemon.kill();
    let daemon = Daemon::start(&home);
    let state = daemon.ok(&["inspect", "--format", "{{.State.Health.Status}}", "sick"]);
    assert_eq!(state, "healthy");
    drop(events);
    daemon.ok(&["rm", "-f", "sick", "first"]);
    daemon.end();
}
