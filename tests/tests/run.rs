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
