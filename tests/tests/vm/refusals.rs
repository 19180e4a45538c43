//! What makes no microVM.

use std::fs;

use hull_tests::Home;

use super::assert_none_left;

#[test]
fn what_makes_no_microvm_is_refused_before_anything_starts() {
    let home = Home::new();
    let qcow2 = home.scratch().join("cloud.qcow2");
    fs::write(&qcow2, b"QFI\xfb\0\0\0\x03").expect("a file");
    let qcow2 = qcow2.to_string_lossy();
    for (args, words) in [
        (&[][..], &["nothing to boot", "--disk"][..]),
        (&["--disk", "/nowhere"], &["/nowhere"]),
        (&["--disk", &qcow2], &["qcow2", "qemu-img convert -O raw"]),
        (
            &["--disk", "/dev/null", "--cpus", "200"],
            &["--cpus", "200"],
        ),
        (&["--disk", "/dev/null", "-m", "1k"], &["--memory"]),
        (&["--disk", "/dev/null", "--root", "0"], &["--root", "0"]),
        (
            &["--disk", "/dev/null", "--root", "1", "--raw-cmdline"],
            &["--root", "--raw-cmdline"],
        ),
        (&["--share", "/tmp"], &["--share", "DIR:TAG"]),
        (&["--net", "tap="], &["--net", "tap=NAME"]),
        (&["--name", "a/b"], &["a/b"]),
        // Without a value it is the usual console, and the next option an option.
        (&["--console"], &["nothing to boot"]),
        (&["--console", "--disk", "/nowhere"], &["/nowhere"]),
        (&["--console", "vga"], &["--console", "vga", "serial"]),
    ] {
        home.run(&[&["vm", "run"], args].concat())
            .fails_with(125, words);
    }
    assert_none_left(&home);
}

#[test]
fn names_are_of_one_microvm_each_and_several_commands_take_several() {
    let home = Home::new();
    for command in [
        "start", "stop", "kill", "pause", "resume", "logs", "console", "rm", "inspect", "stats",
    ] {
        home.run(&["vm", command, "absent"])
            .fails_with(1, &["no such microVM: absent"]);
    }
    let disk = home.scratch().join("disk");
    fs::write(&disk, "").expect("a file");
    let disk = disk.to_string_lossy();
    let create = |name| home.run(&["vm", "create", "--name", name, "--disk", &disk]);
    assert_eq!(create("one").success(), "one\n");
    assert_eq!(create("two").success(), "two\n");
    create("one").fails_with(125, &["already", "one"]);
    for command in ["kill", "pause", "console"] {
        home.run(&["vm", command, "one"])
            .fails_with(1, &["one is not running"]);
    }
    home.run(&["vm", "resume", "one"]).fails_with(
        1,
        &["one is neither suspended nor paused", "hull vm start one"],
    );
    assert_eq!(
        home.run(&["vm", "stop", "one", "two"]).success(),
        "one\ntwo\n",
        "what does not run is stopped"
    );
    let removed = home.run(&["vm", "rm", "one", "absent", "two"]);
    removed.fails_with(1, &["no such microVM: absent"]);
    assert_eq!(removed.text(), "one\ntwo\n");
    assert_none_left(&home);
}
