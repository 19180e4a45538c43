//! `hull run` as a person and a script use it: output, input, exit statuses, signals, options.

use std::fs;
use std::process::Command;

use hull_tests::{Home, kvm};
use rustix::process::Signal;

#[test]
fn a_program_prints_and_its_exit_status_is_passed_on() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let output = home.run(&["run", "--rm", "busybox", "echo", "hi"]);
    assert_eq!(output.stderr, "");
    assert_eq!(output.success(), "hi\n");
    home.run(&[
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "echo oops >&2; exit 7",
    ])
    .fails_with(7, &["oops"]);
    home.assert_clean();
}

#[test]
fn standard_input_arrives_whole_and_ends() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let mut counter = home.start(&["run", "-i", "--rm", "busybox", "wc", "-c"]);
    counter.write(b"data\n");
    assert_eq!(counter.finish().success().trim(), "5");

    let mut echo = home.start(&["run", "-i", "--rm", "busybox", "sh", "-c", "cat; echo end"]);
    let megabyte: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    echo.write(&megabyte);
    let output = echo.finish();
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert!(
        output.stdout == [megabyte.as_slice(), b"end\n"].concat(),
        "what came back differs"
    );

    let deaf = home.run(&["run", "--rm", "busybox", "wc", "-c"]);
    assert_eq!(deaf.success().trim(), "0", "without -i there is no input");
    home.assert_clean();
}

#[test]
fn a_signal_to_the_client_ends_the_program() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let script = "trap 'echo terminated; exit 143' TERM; echo ready; while :; do sleep 1; done";
    let mut client = home.start(&["run", "--rm", "busybox", "sh", "-c", script]);
    client.wait_for("ready");
    client.signal(Signal::TERM);
    let output = client.finish();
    assert_eq!(output.code(), 143, "{}", output.stderr);
    assert!(
        output.text().contains("terminated"),
        "the program got no signal: {}",
        output.text()
    );

    // A program that does not end by the first interrupt: a second one ends the machine.
    let script = "trap 'echo deaf' INT; echo ready; while :; do sleep 1; done";
    let mut client = home.start(&["run", "--rm", "busybox", "sh", "-c", script]);
    client.wait_for("ready");
    client.signal(Signal::INT);
    client.wait_for("deaf");
    client.signal(Signal::INT);
    assert_ne!(client.finish().code(), 0);
    home.assert_clean();
}

#[test]
fn options_shape_the_process() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let file = home.scratch().join("environment");
    fs::write(&file, "# a comment\nFROM_FILE=yes\n").expect("an environment file");
    let script = "echo $A-$FROM_FILE; pwd; id -u; id -g; hostname; echo $$; touch /read-only; echo $?; \
                  echo x > /scratch/x && cat /scratch/x; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status";
    let output = home.run(&[
        "run",
        "--rm",
        "-e",
        "A=b",
        "--env-file",
        &file.to_string_lossy(),
        "-w",
        "/made/here",
        "-u",
        "nobody",
        "--hostname",
        "tiny",
        "--read-only",
        "--tmpfs",
        "/scratch",
        "--entrypoint",
        "sh",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "busybox",
        "-c",
        script,
    ]);
    let text = output.success();
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        "b-yes",
        "/made/here",
        "65534",
        "65534",
        "tiny",
        "1",
        "1",
        "x",
    ];
    assert_eq!(lines.get(..expected.len()), Some(&expected[..]), "{text}");
    assert!(text.contains("CapEff:\t0000000000000000"), "{text}");
    assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    home.assert_clean();
}

#[test]
fn the_machine_has_the_cpus_and_the_memory_that_were_asked_for() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let script = "nproc; awk '/MemTotal/ {print $2}' /proc/meminfo; cat /sys/fs/cgroup/memory.max; ls /sys/class/net; id; \
                  grep CapEff /proc/self/status; ls /dev; ps";
    let output = home.run(&[
        "run", "--rm", "--cpus", "2", "--memory", "1g", "--init", "busybox", "sh", "-c", script,
    ]);
    let text = output.success();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("2"), "{text}");
    let kib: u64 = lines
        .next()
        .and_then(|line| line.parse().ok())
        .expect("MemTotal");
    // The machine is as large as some others, and the limit is the container's.
    assert!((1 << 20..=5 << 18).contains(&kib), "{kib} KiB of memory");
    assert_eq!(lines.next(), Some("1073741824"), "{text}");
    assert_eq!(lines.next(), Some("lo"), "{text}");
    assert!(text.contains("uid=0(root)"), "{text}");
    // Docker's default set of capabilities.
    assert!(text.contains("CapEff:\t00000000a80425fb"), "{text}");
    for device in [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd", "stdin",
    ] {
        assert!(
            text.lines().any(|line| line == device),
            "/dev/{device} is missing: {text}"
        );
    }
    home.assert_clean();
}

#[test]
fn output_is_neither_lost_nor_reordered_at_exit() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let script = "i=0; while [ $i -lt 20 ]; do dd if=/dev/zero bs=64k count=1 2>/dev/null | tr '\\0' a; i=$((i+1)); done; echo; echo end";
    let output = home.run(&["run", "--rm", "busybox", "sh", "-c", script]);
    let text = output.success();
    assert_eq!(text.len(), 20 * 65536 + 5);
    assert!(text.ends_with("a\nend\n"));
    home.assert_clean();
}

#[test]
fn a_container_without_rm_is_listed_until_it_is_removed() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let _ = home
        .run(&["run", "--name", "once", "--label", "a=b", "busybox", "true"])
        .success();
    let listed = home.run(&["ps", "--all"]).success();
    assert!(
        listed.contains("once") && listed.contains("Exited (0)"),
        "{listed}"
    );
    home.run(&["run", "--rm", "--name", "once", "busybox", "true"])
        .fails_with(125, &["once", "in use"]);
    let json = home.run(&["ps", "--all", "--format", "json"]).success();
    let container: serde_json::Value = serde_json::from_str(json.trim()).expect("JSON");
    assert_eq!(container["Names"], "once");
    let _ = home.run(&["rm", "once"]).success();
    home.assert_clean();
}

#[test]
fn what_the_image_says_of_its_process_is_honoured() {
    if !kvm() {
        return;
    }
    let home = Home::new();
    let script = "echo $A; pwd; id -u; grep -c ' /etc ' /proc/mounts; head -n 1 /etc/passwd; \
                  trap 'echo asked; exit 5' USR1; echo ready; while :; do sleep 1; done";
    let layout = home.scratch().join("layout");
    let copied = Command::new("cp")
        .arg("-r")
        .args([
            &hull_tests::image("busybox")
                .canonicalize()
                .expect("a layout"),
            &layout,
        ])
        .status();
    assert!(copied.expect("cp runs").success());
    let configured = Command::new("umoci")
        .args(["config", "--image", &layout.to_string_lossy()])
        .args(["--config.entrypoint", "sh", "--config.entrypoint", "-c"])
        .args(["--config.cmd", script, "--config.env", "A=of the image"])
        .args(["--config.user", "65534", "--config.workingdir", "/srv/work"])
        .args(["--config.stopsignal", "SIGUSR1", "--config.volume", "/etc"])
        .status();
    assert!(configured.expect("umoci runs").success());
    let loaded = home.run(&["image", "load", "-i", &layout.to_string_lossy()]);
    let _ = loaded.success();

    let mut client = home.start(&["run", "--rm", "--name", "own", "busybox"]);
    client.wait_for("ready");
    let _ = home.run(&["stop", "--time", "200", "own"]).success();
    let output = client.finish();
    assert_eq!(output.code(), 5, "{}", output.stderr);
    assert_eq!(
        output.text(),
        "of the image\n/srv/work\n65534\n1\nroot:x:0:0:root:/root:/bin/sh\nready\nasked\n"
    );
    home.assert_clean();
}

#[test]
fn a_stop_brings_its_signal_whatever_it_would_mean_to_the_client() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    // Of a window, in real time, and to a client that passes no signals on.
    let cases = [
        ("window", "SIGWINCH", "28", "--sig-proxy=true"),
        ("real-time", "SIGRTMIN+3", "37", "--sig-proxy=false"),
    ];
    for (name, signal, number, proxy) in cases {
        let script =
            format!("trap 'echo asked; exit 5' {number}; echo ready; while :; do sleep 1; done");
        let options = [
            "run",
            "--rm",
            "--name",
            name,
            "--stop-signal",
            signal,
            proxy,
        ];
        let mut client = home.start(&[&options[..], &["busybox", "sh", "-c", &script]].concat());
        client.wait_for("ready");
        let _ = home.run(&["stop", "--time", "200", name]).success();
        let output = client.finish();
        assert_eq!(output.code(), 5, "{name}: {}", output.stderr);
        assert_eq!(output.text(), "ready\nasked\n", "{name}");
    }
    home.assert_clean();
}

#[test]
fn a_container_in_the_background_has_what_its_options_say() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let (shared, id_file) = (home.scratch().join("shared"), home.scratch().join("id"));
    fs::create_dir(&shared).expect("a directory");
    fs::write(shared.join("file"), "of the host\n").expect("a file");
    let bind = format!("{}:/shared:ro", shared.display());
    let script = "cat /shared/file; touch /shared/x 2>/dev/null || echo read-only; echo kept > /data/kept; df -k /dev/shm | tail -n 1; \
                  cat /proc/sys/kernel/msgmax; id -G; while :; do sleep 1; done";
    let options = [
        "run",
        "-d",
        "--name",
        "bg",
        "-v",
        &bind,
        "--mount",
        "type=volume,src=kept,dst=/data",
        "--shm-size",
        "1m",
        "--sysctl",
        "kernel.msgmax=4321",
        "--group-add",
        "4242",
        "--pids-limit",
        "50",
        "--restart",
        "on-failure:2",
        "--health-cmd",
        "test -e /shared/file",
        "--health-interval",
        "1s",
        "--stop-signal",
        "KILL",
        "--cidfile",
        &id_file.to_string_lossy(),
        "--annotation",
        "a=b",
        "--label",
        "c=d",
        "--stop-timeout",
        "7",
    ];
    let id = home
        .run(&[&options[..], &["busybox", "sh", "-c", script]].concat())
        .success();
    assert_eq!(fs::read_to_string(&id_file).expect("the id"), id.trim());
    home.run(&[
        "run",
        "--rm",
        "--cidfile",
        &id_file.to_string_lossy(),
        "busybox",
        "true",
    ])
    .fails_with(125, &["container id file"]);

    let mut logs = home.start(&["logs", "--follow", "bg"]);
    logs.wait_for("4242");
    logs.signal(Signal::TERM);
    let text = logs.finish().text();
    assert!(text.starts_with("of the host\nread-only\n"), "{text}");
    assert!(
        text.contains(" 1024 ") && text.contains("\n4321\n"),
        "{text}"
    );
    let seen = home.run(&["inspect", "bg"]).success();
    let seen: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
    let (config, host) = (&seen[0]["Config"], &seen[0]["HostConfig"]);
    assert_eq!(host["RestartPolicy"]["MaximumRetryCount"], 2);
    assert_eq!(
        (&host["PidsLimit"], &host["Annotations"]["a"]),
        (&50.into(), &"b".into())
    );
    assert_eq!(
        (&config["StopTimeout"], &config["Labels"]["c"]),
        (&7.into(), &"d".into())
    );
    assert_eq!(config["AttachStdout"], false);
    let _ = home.run(&["rm", "--force", "bg"]).success();

    // What another one mounts, and a volume that stays.
    let made = home.run(&[
        "create",
        "--name",
        "made",
        "-v",
        "kept:/data",
        "busybox",
        "cat",
        "/data/kept",
    ]);
    assert_eq!(made.success().trim().len(), 64);
    let from = [
        "run",
        "--rm",
        "--volumes-from",
        "made:ro",
        "busybox",
        "sh",
        "-c",
        "cat /data/kept; touch /data/x",
    ];
    let output = home.run(&from);
    assert_eq!(
        (output.text().as_str(), output.code()),
        ("kept\n", 1),
        "{}",
        output.stderr
    );
    let _ = home.run(&["rm", "made"]).success();
    home.assert_clean();
}

#[test]
fn what_a_microvm_cannot_have_is_refused_by_its_name() {
    let home = Home::with_image("busybox");
    for (option, value, words) in [
        ("--pid", "host", ["PidMode", "kernel of its own"]),
        ("--network", "host", ["NetworkMode", "kernel of its own"]),
        (
            "--device",
            "/dev/fuse",
            ["Devices", "no devices of the host"],
        ),
        ("--link", "other", ["Links", "name and alias"]),
        ("--cpuset-cpus", "0", ["CpusetCpus", "--cpus"]),
        ("--memory-swappiness", "10", ["MemorySwappiness", "no swap"]),
        ("--log-driver", "syslog", ["LogConfig", "json-file"]),
    ] {
        let output = home.run(&["run", "--rm", option, value, "busybox", "true"]);
        output.fails_with(125, &words);
        let output = home.run(&["create", option, value, "busybox", "true"]);
        output.fails_with(1, &words);
    }
    home.run(&["run", "-d", "-a", "stdout", "busybox", "true"])
        .fails_with(125, &["--attach", "--detach"]);
    home.assert_clean();
}

#[test]
fn a_client_that_passes_no_signals_on_leaves_its_container_running() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let mut client = home.start(&[
        "run",
        "--rm",
        "--name",
        "it",
        "--sig-proxy=false",
        "busybox",
        "sh",
        "-c",
        "echo up; sleep 1000",
    ]);
    client.wait_for("up");
    client.signal(Signal::INT);
    assert_eq!(client.finish().code(), 130);
    let listed = home.run(&["ps"]).success();
    assert!(listed.contains("it") && listed.contains("Up "), "{listed}");
    let _ = home.run(&["rm", "--force", "it"]).success();

    // Whoever reads goes away, as with a pipe.
    let hull = home.hull(&["run", "--rm", "busybox", "yes"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "{ \"$@\"; echo ended $? >&2; } | head -n 1", "sh"]);
    shell.arg(hull.get_program()).args(hull.get_args());
    for (name, value) in hull.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let output = hull_tests::run(&mut shell);
    assert_eq!(output.text(), "y\n", "{}", output.stderr);
    assert!(output.stderr.contains("ended 141"), "{}", output.stderr);
    home.assert_clean();
}
