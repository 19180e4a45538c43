//! `hull vm`: plain microVMs in the foreground and in the background, and what they leave.

use std::fs;
use std::path::{Path, PathBuf};

use hull_tests::{Home, Terminal, kvm};

/// Says what it reads; `off` powers it off.
const INIT: &str = r#"#!/bin/busybox sh
echo "guest is up"
while read -r line; do
    case "$line" in
        off) busybox poweroff -f ;;
        *) echo "heard $line" ;;
    esac
done
"#;

/// An initramfs (newc cpio) with the host's static busybox and the init above.
fn initramfs(home: &Home) -> String {
    fn entry(cpio: &mut Vec<u8>, name: &str, mode: usize, device: (usize, usize), data: &[u8]) {
        let inode = cpio.len() + 1;
        cpio.extend(b"070701");
        let (length, name_length) = (data.len(), name.len() + 1);
        for field in [
            inode,
            mode,
            0,
            0,
            1,
            0,
            length,
            0,
            0,
            device.0,
            device.1,
            name_length,
            0,
        ] {
            cpio.extend(format!("{field:08x}").bytes());
        }
        for part in [format!("{name}\0").as_bytes(), data] {
            cpio.extend(part);
            cpio.resize(cpio.len().next_multiple_of(4), 0);
        }
    }
    let busybox = fs::read("/bin/busybox").expect("busybox-static of Debian");
    let mut cpio = Vec::new();
    entry(&mut cpio, "dev", 0o040_755, (0, 0), b"");
    entry(&mut cpio, "dev/console", 0o020_600, (5, 1), b"");
    entry(&mut cpio, "bin", 0o040_755, (0, 0), b"");
    entry(&mut cpio, "bin/busybox", 0o100_755, (0, 0), &busybox);
    entry(&mut cpio, "init", 0o100_755, (0, 0), INIT.as_bytes());
    entry(&mut cpio, "TRAILER!!!", 0, (0, 0), b"");
    let path: PathBuf = home.scratch().join("initrd.cpio");
    fs::write(&path, cpio).expect("an initramfs");
    path.to_string_lossy().into_owned()
}

fn assert_none_left(home: &Home) {
    assert_eq!(home.run(&["vm", "ls", "-aq"]).success(), "");
    home.wait_until_quiet();
    let left = |dir: &Path| fs::read_dir(dir).map_or(0, Iterator::count);
    assert_eq!(left(&home.root().join("vms")), 0);
    assert_eq!(left(&home.runtime().join("vm")), 0);
}

#[test]
fn what_makes_no_microvm_is_refused_before_anything_starts() {
    let home = Home::new();
    for (args, words) in [
        (&[][..], &["nothing to boot", "--disk"][..]),
        (&["--disk", "/nowhere"], &["/nowhere"]),
        (
            &["--disk", "/dev/null", "--cpus", "200"],
            &["--cpus", "200"],
        ),
        (&["--disk", "/dev/null", "-m", "1k"], &["--memory"]),
        (&["--share", "/tmp"], &["--share", "DIR:TAG"]),
        (&["--net", "tap="], &["--net", "tap=NAME"]),
        (&["--name", "a/b"], &["a/b"]),
    ] {
        home.run(&[&["vm", "run"], args].concat())
            .fails_with(125, words);
    }
    for command in ["start", "stop", "kill", "pause", "logs", "console", "rm"] {
        home.run(&["vm", command, "absent"])
            .fails_with(1, &["no such microVM: absent"]);
    }
    let disk = home.scratch().join("disk");
    fs::write(&disk, "").expect("a file");
    let disk = disk.to_string_lossy();
    let made = home.run(&["vm", "create", "--name", "one", "--disk", &disk]);
    assert_eq!(made.success(), "one\n");
    home.run(&["vm", "create", "--name", "one", "--disk", &disk])
        .fails_with(125, &["already"]);
    home.run(&["vm", "pause", "one"])
        .fails_with(1, &["is not running"]);
    assert_eq!(home.run(&["vm", "rm", "one"]).success(), "one\n");
    assert_none_left(&home);
}

#[test]
fn a_microvm_in_the_background_is_driven_from_anywhere() {
    if !kvm() {
        return;
    }
    let home = Home::new();
    let initrd = initramfs(&home);
    let create = ["vm", "create", "--name", "web", "--initrd", &initrd];
    let _ = home
        .run(&[&create[..], &["--cmdline", "quiet"]].concat())
        .success();
    assert_eq!(home.run(&["vm", "start", "web"]).success(), "web\n");
    home.run(&["vm", "start", "web"])
        .fails_with(1, &["is running"]);
    home.run(&["vm", "rm", "web"])
        .fails_with(1, &["is running"]);

    let mut log = home.start(&["vm", "logs", "-f", "web"]);
    log.wait_for("guest is up");
    let mut console = Terminal::start(&mut home.hull(&["vm", "console", "web"]), 24, 80);
    console.wait_for("Ctrl-] detaches");
    console.type_text("hello\r");
    console.wait_for("heard hello");
    log.wait_for("heard hello");
    console.type_text("\u{1d}");
    assert_eq!(console.finish(), 0);
    assert!(console.is_cooked(), "the terminal was put right again");

    assert_eq!(home.run(&["vm", "pause", "web"]).success(), "web\n");
    let listed = home.run(&["vm", "ls", "--format", "json"]).success();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(listed["status"], "paused");
    assert_eq!(listed["spec"]["memory_mib"], 512);
    let table = home.run(&["vm", "ls"]).success();
    assert!(table.contains("(Paused)"), "{table}");
    assert_eq!(home.run(&["vm", "resume", "web"]).success(), "web\n");
    let stats = home.run(&["vm", "stats", "--format", "json"]).success();
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert!(stats["cpu_ms"].as_u64() > Some(0), "{stats}");

    let mut typed = home.start(&["vm", "console", "web"]);
    typed.write(b"off\n");
    log.wait_for("off");
    let _ = log.finish().success();
    let _ = typed.finish();
    home.wait_until_quiet();
    let shown = home.run(&["vm", "inspect", "web"]).success();
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(
        (&shown[0]["status"], &shown[0]["exit_code"]),
        (&"exited".into(), &0.into())
    );
    assert_eq!(home.run(&["vm", "rm", "web"]).success(), "web\n");
    assert_none_left(&home);
}

#[test]
fn the_escape_ends_the_foreground_and_a_killed_owner_leaves_nothing() {
    if !kvm() {
        return;
    }
    let home = Home::new();
    let initrd = initramfs(&home);
    let run = ["vm", "run", "--name", "here", "--initrd", &initrd];
    let mut terminal = Terminal::start(&mut home.hull(&run), 24, 80);
    terminal.wait_for("Ctrl-] ends it");
    terminal.type_text("\u{1d}");
    assert_eq!(terminal.finish(), 20);
    assert!(terminal.is_cooked(), "the terminal was put right again");
    assert_none_left(&home);

    // An owner in the background that is killed takes its machine along; the next command sees that it did.
    let _ = home
        .run(&["vm", "create", "--name", "web", "--initrd", &initrd])
        .success();
    let _ = home.run(&["vm", "start", "web"]).success();
    let owner = |(_, words): &(u32, String)| words.contains(" vm own web");
    let (owner, _) = home.processes().into_iter().find(owner).expect("an owner");
    let owner = rustix::process::Pid::from_raw(owner.try_into().expect("a pid")).expect("a pid");
    rustix::process::kill_process(owner, rustix::process::Signal::KILL).expect("a process");
    home.wait_until_quiet();
    let listed = home.run(&["vm", "ls", "-a", "--format", "json"]).success();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(
        (&listed["status"], &listed["exit_code"]),
        (&"exited".into(), &137.into())
    );
    assert_eq!(home.run(&["vm", "rm", "-f", "web"]).success(), "web\n");
    assert_none_left(&home);
}
