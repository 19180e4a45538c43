//! microVMs in files, and more of one: snapshots, forks, those that are suspended. One that booted does for all of it.

use std::fs;

use hull_tests::{Home, Terminal, kvm};
use serde_json::Value;

use super::guest::{ext4, initramfs, read_ext4};
use super::network::{enter_own_network, sh};
use super::{assert_none_left, inspect, json};

/// Attached to the console of one that runs.
struct Console(Terminal);

impl Console {
    fn attach(home: &Home, name: &str) -> Self {
        let command = &mut home.hull(&["vm", "console", name]);
        let mut terminal = Terminal::start(command, 24, 80);
        terminal.wait_for("Ctrl-] detaches");
        Self(terminal)
    }

    /// Runs a command that prints this. What is typed is echoed, and so must not have it.
    #[track_caller]
    fn sees(&mut self, command: &str, printed: &str) {
        self.0.type_text(&format!("{command}\r"));
        self.0.wait_for(printed);
        self.0.wait_for("status 0");
    }

    #[track_caller]
    fn does(&mut self, command: &str) {
        self.0.type_text(&format!("{command}\r"));
        self.0.wait_for("status 0");
    }

    fn detach(mut self) {
        self.0.type_text("\u{1d}");
        assert_eq!(self.0.finish(), 0);
    }
}

/// What a guest has in its memory, told so that its echo is something else.
const WORD: &str = "echo \"word is\" $word";

/// Waits until the cable of its interface is plugged in, or is not.
const PLUGGED: &str = "while busybox ip link show eth0 | busybox grep -q NO-CARRIER; do :; done";
const UNPLUGGED: &str = "until busybox ip link show eth0 | busybox grep -q NO-CARRIER; do :; done";

fn status(home: &Home, name: &str) -> Value {
    inspect(home, name)["status"].clone()
}

#[test]
fn one_that_runs_is_saved_forked_suspended_and_goes_on() {
    if !kvm() || !enter_own_network() {
        return;
    }
    let _ = sh("ip tuntap add tap0 mode tap");
    let home = Home::new();
    let initrd = initramfs(&home);
    let (disk, fixed) = (
        ext4(&home, "writable", None, false),
        ext4(&home, "fixed", None, false),
    );
    let read_only = format!("{fixed}:ro");
    let create = [
        "vm",
        "create",
        "--name",
        "web",
        "--initrd",
        &initrd,
        "--disk",
        &disk,
        "--disk",
        &read_only,
        "--net",
        "tap=tap0",
        "-m",
        "128m",
        "--cmdline",
        "quiet",
    ];
    let _ = home.run(&create).success();
    for command in ["snapshot", "fork"] {
        let asked = ["vm", command, "web", "warm"];
        let asked = &asked[..if command == "fork" { 3 } else { 4 }];
        home.run(asked).fails_with(1, &["web is not running"]);
    }
    let _ = home.run(&["vm", "start", "web"]).success();
    let mut log = home.start(&["vm", "logs", "-f", "web"]);
    log.wait_for("guest is up");
    let mut web = Console::attach(&home, "web");
    web.does("busybox mount -t ext4 /dev/vda /mnt");
    web.does("echo first >/mnt/note; word=secret");
    web.does("busybox ip link set eth0 up");
    web.does(PLUGGED);

    let shown = home.run(&["vm", "snapshot", "web", "warm"]).success();
    assert_eq!(shown, "warm\n");
    web.does("echo later >/mnt/note; word=changed");
    snapshots_are_listed(&home);
    goes_on_from_a_snapshot(&home);
    web.sees("echo \"note is\" $(busybox cat /mnt/note)", "note is later");
    is_forked(&home, &mut web);
    is_suspended(&home, web, &disk);
    let _ = log.finish();

    // What goes on knows what is on the disk that it reads.
    fs::File::open(&fixed)
        .and_then(|file| file.set_modified(std::time::SystemTime::UNIX_EPOCH))
        .expect("another time");
    let from = ["vm", "create", "--name", "two", "--from", "warm"];
    home.run(&from)
        .fails_with(125, &[&fixed, "was changed since", "warm"]);
    fs::remove_file(&fixed).expect("a file");
    home.run(&from).fails_with(125, &[&fixed, "No such file"]);
    assert_eq!(
        home.run(&["vm", "snapshot", "rm", "warm"]).success(),
        "warm\n"
    );
    home.run(&["vm", "snapshot", "rm", "warm"])
        .fails_with(1, &["no such snapshot: warm"]);
    home.run(&from).fails_with(125, &["no such snapshot: warm"]);
    assert_none_left(&home);
}

fn snapshots_are_listed(home: &Home) {
    let list = ["vm", "snapshot", "ls", "--format", "json"];
    let listed = json(&home.run(&list).success());
    assert_eq!(listed["name"], "warm");
    assert_eq!(listed["microvm"], "web");
    // Memory and disk have holes.
    let size = listed["size"].as_u64().expect("a size");
    assert!((1 << 20..96 << 20).contains(&size), "{listed}");
    let table = home.run(&["vm", "snapshot", "ls"]).success();
    assert!(table.contains("warm") && table.contains("web"), "{table}");
    home.run(&["vm", "snapshot", "web", "warm"])
        .fails_with(1, &["there is a snapshot warm already"]);
    home.run(&["vm", "snapshot", "web", "../warm"])
        .fails_with(1, &["invalid name"]);
}

/// In the foreground and in the background, each with a disk of its own.
fn goes_on_from_a_snapshot(home: &Home) {
    let run = ["vm", "run", "--name", "here", "--from", "warm"];
    // The first one has it.
    home.run(&run).fails_with(125, &["tap0", "is in use"]);
    let two = ["--net=unplugged", "--net=unplugged"];
    home.run(&[&run[..], &two].concat())
        .fails_with(125, &["it has 1 interfaces"]);
    let run = [&run[..], &two[..1]].concat();
    let mut here = Terminal::start(&mut home.hull(&run), 30, 90);
    here.wait_for("Ctrl-] ends it");
    here.type_text(&format!("{WORD}\r"));
    here.wait_for("word is secret");
    here.type_text("echo \"note is\" $(busybox cat /mnt/note)\r");
    here.wait_for("note is first");
    // The terminal is this one's.
    here.type_text(
        "until [ \"$(busybox stty size)\" = '30 90' ]; do :; done; echo now $((30 * 90))\r",
    );
    here.wait_for("now 2700");
    here.type_text("busybox poweroff -f\r");
    assert_eq!(here.finish(), 0);

    let create = [
        "vm",
        "create",
        "--name",
        "two",
        "--from",
        "warm",
        "--net=unplugged",
    ];
    assert_eq!(home.run(&create).success(), "two\n");
    assert_eq!(status(home, "two"), "created");
    let with_more = [&create[..], &["--memory", "1g"]].concat();
    home.run(&with_more).fails_with(2, &["--memory"]);
    assert_eq!(home.run(&["vm", "start", "two"]).success(), "two\n");
    let mut two = Console::attach(home, "two");
    two.sees(WORD, "word is secret");
    two.does("echo second >/mnt/note && busybox umount /mnt");
    two.detach();
    let spec = inspect(home, "two")["spec"].clone();
    let disk = spec["disks"][0]["path"]
        .as_str()
        .expect("a disk")
        .to_owned();
    assert_eq!(home.run(&["vm", "kill", "two"]).success(), "two\n");
    assert_eq!(read_ext4(&disk, "/note"), "second\n");
    assert_eq!(home.run(&["vm", "rm", "two"]).success(), "two\n");
    assert!(!fs::exists(disk).expect("a look"), "the copy goes with it");
}

fn is_forked(home: &Home, web: &mut Console) {
    let fork = [
        "vm", "fork", "web", "-n", "2", "--name", "child", "--rm", "--format", "json",
    ];
    let forked = json(&home.run(&fork).success());
    let still = forked["parent_stood_still_ms"].as_f64().expect("a time");
    println!("the parent stood still for {still} ms");
    let children = serde_json::json!(["child-1", "child-2"]);
    assert_eq!(forked["children"], children);
    web.sees(WORD, "word is changed");
    for name in ["child-1", "child-2"] {
        let mut child = Console::attach(home, name);
        child.sees(WORD, "word is changed");
        child.does(UNPLUGGED);
        child.sees("echo \"note is\" $(busybox cat /mnt/note)", "note is later");
        child.does(&format!("echo {name} >/mnt/note; word={name}"));
        child.sees(
            "echo \"note is\" $(busybox cat /mnt/note)",
            &format!("note is {name}"),
        );
        child.detach();
    }
    web.sees("echo \"note is\" $(busybox cat /mnt/note)", "note is later");
    let _ = home.run(&["vm", "kill", "child-1", "child-2"]).success();
    assert_eq!(home.run(&["vm", "ls", "-aq"]).success(), "web\n");
    assert_eq!(
        home.run(&["vm", "snapshot", "ls", "-q"]).success(),
        "warm\n"
    );
}

fn is_suspended(home: &Home, mut web: Console, disk: &str) {
    // One that is paused can be saved, and is what it was.
    assert_eq!(home.run(&["vm", "pause", "web"]).success(), "web\n");
    let _ = home.run(&["vm", "snapshot", "web", "still"]).success();
    assert_eq!(status(home, "web"), "paused");
    assert_eq!(home.run(&["vm", "unpause", "web"]).success(), "web\n");
    let _ = home.run(&["vm", "snapshot", "rm", "still"]).success();
    web.sees(WORD, "word is changed");
    web.does("echo kept >/mnt/note");

    assert_eq!(home.run(&["vm", "suspend", "web"]).success(), "web\n");
    assert_eq!(web.0.finish(), 0, "its console closed");
    assert_eq!(status(home, "web"), "suspended");
    home.wait_until_quiet();
    home.run(&["vm", "suspend", "web"])
        .fails_with(1, &["web is not running"]);
    let table = home.run(&["vm", "ls", "-a"]).success();
    assert!(table.contains("Suspended "), "{table}");
    assert_eq!(home.run(&["vm", "resume", "web"]).success(), "web\n");
    assert_eq!(status(home, "web"), "running");
    let mut web = Console::attach(home, "web");
    web.sees(WORD, "word is changed");
    web.does(PLUGGED);
    web.sees("echo \"note is\" $(busybox cat /mnt/note)", "note is kept");
    web.does("echo last >/mnt/note && busybox umount /mnt");

    let _ = home.run(&["vm", "suspend", "web"]).success();
    let _ = web.0.finish();
    assert_eq!(read_ext4(disk, "/note"), "last\n");
    fs::File::open(disk)
        .and_then(|file| file.set_modified(std::time::SystemTime::UNIX_EPOCH))
        .expect("another time");
    let refused = home.run(&["vm", "resume", "web"]);
    refused.fails_with(1, &[disk, "was changed", "hull vm start --cold web"]);
    assert_eq!(
        status(home, "web"),
        "suspended",
        "its memory is still there"
    );
    assert_eq!(home.run(&["vm", "rm", "web"]).success(), "web\n");
}
