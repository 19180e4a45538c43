//! Those that nobody holds on to.

use hull_tests::{Home, Terminal, kvm};

use super::guest::initramfs;
use super::{assert_none_left, inspect, json};

#[test]
fn a_microvm_in_the_background_is_driven_from_anywhere() {
    if !kvm() {
        return;
    }
    let home = Home::new();
    let initrd = initramfs(&home);
    let create = [
        "vm", "create", "--name", "web", "--initrd", &initrd, "--format", "json",
    ];
    let made = home.run(&[&create[..], &["--cmdline", "quiet"]].concat());
    assert_eq!(json(&made.success())["status"], "created");
    let started = json(
        &home
            .run(&["vm", "start", "--format", "json", "web"])
            .success(),
    );
    assert_eq!(started["status"], "running");
    let socket = started["api_socket"].as_str().expect("an API");
    assert!(std::path::Path::new(socket).exists(), "{socket}");
    home.run(&["vm", "start", "web"])
        .fails_with(1, &["is running"]);
    home.run(&["vm", "rm", "web"])
        .fails_with(1, &["is running"]);

    let mut log = home.start(&["vm", "logs", "-f", "web"]);
    log.wait_for("guest is up");
    two_people_at_one_console(&home);

    assert_eq!(home.run(&["vm", "pause", "web"]).success(), "web\n");
    let listed = json(&home.run(&["vm", "ls", "--format", "json"]).success());
    assert_eq!(listed["status"], "paused");
    assert_eq!(listed["spec"]["memory_mib"], 512);
    let table = home.run(&["vm", "ls"]).success();
    assert!(table.contains("(Paused)"), "{table}");
    let stats = json(&home.run(&["vm", "stats", "--format", "json"]).success());
    assert!(stats["cpu_ms"].as_u64() > Some(0), "{stats}");
    let table = home.run(&["vm", "stats", "web"]).success();
    assert!(table.contains("web") && table.contains("MiB"), "{table}");

    // Paused as it is: it goes on to hear that it is to power off.
    let stop = ["vm", "stop", "--time", "200", "--format", "json", "web"];
    let stopped = json(&home.run(&stop).success());
    assert_eq!(stopped["status"], "exited");
    assert_eq!(stopped["exit_code"], 0, "it was not killed: {stopped}");
    let log = log.finish().success();
    assert!(log.contains("asked to power off"), "{log}");
    assert_eq!(home.run(&["vm", "logs", "web"]).success(), log);
    home.wait_until_quiet();
    assert_eq!(inspect(&home, "web")["exit_code"], 0);
    assert_eq!(home.run(&["vm", "rm", "web"]).success(), "web\n");
    assert_none_left(&home);
}

/// Both see what either types; the guest's terminal is as large as the last one's; Ctrl-] leaves the other one there.
fn two_people_at_one_console(home: &Home) {
    let attach = |rows, columns| {
        let command = &mut home.hull(&["vm", "console", "web"]);
        let mut console = Terminal::start(command, rows, columns);
        console.wait_for("Ctrl-] detaches");
        console
    };
    // What is typed is echoed: only the quotes tell it from what is then printed.
    let resized = |size: &str| {
        format!("until [ \"$(busybox stty size)\" = '{size}' ]; do :; done; echo \"now\" {size}\r")
    };
    let mut one = attach(30, 90);
    one.type_text(&resized("30 90"));
    one.wait_for("now 30 90\r");
    let mut other = attach(40, 100);
    other.type_text(&resized("40 100"));
    for console in [&mut one, &mut other] {
        console.wait_for("now 40 100\r");
        console.wait_for("status 0");
    }
    one.resize(50, 120);
    one.type_text(&resized("50 120"));
    other.wait_for("now 50 120\r");
    one.type_text("\u{1d}");
    assert_eq!(one.finish(), 0);
    assert!(one.is_cooked(), "the terminal was put right again");
    other.type_text("echo still $((40 + 2))\r");
    other.wait_for("still 42");
    other.type_text("\u{1d}");
    assert_eq!(other.finish(), 0);
}
