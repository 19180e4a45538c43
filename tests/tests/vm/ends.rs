//! How they end when somebody else wants it.

use hull_tests::{Home, Terminal, kvm, programs};
use rustix::process::{Pid, Signal, kill_process};

use super::guest::initramfs;
use super::{assert_none_left, inspect};

#[test]
fn a_kernel_with_acpi_has_a_power_button() {
    if !kvm() {
        return;
    }
    let home = Home::new();
    let initrd = initramfs(&home);
    // Named, it is a kernel like any other, which finds the machine by ACPI.
    let guest =
        std::env::var_os("HULL_GUEST_DIR").map_or_else(|| programs().join("../guest"), Into::into);
    let kernel = guest.join("vmlinux");
    let kernel = kernel.to_string_lossy();
    let run = [
        "vm",
        "run",
        "--name",
        "here",
        "--kernel",
        &kernel,
        "--initrd",
        &initrd,
        "-m",
        "128m",
        "--cmdline",
        "quiet",
    ];
    let mut here = home.start(&run);
    here.wait_for("guest is up");
    here.signal(Signal::TERM);
    let ended = here.finish();
    assert!(ended.text().contains("asked to power off"), "{ended:?}");
    let _ = ended.success();
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
    home.run(&["vm", "create", "--name", "here", "--initrd", &initrd])
        .fails_with(125, &["already", "here"]);
    terminal.type_text("\u{1d}");
    assert_eq!(terminal.finish(), 20);
    assert!(terminal.is_cooked(), "the terminal was put right again");
    assert_none_left(&home);

    for name in ["web", "db", "cache"] {
        let create = ["vm", "create", "--name", name, "--initrd", &initrd];
        let _ = home.run(&create).success();
    }
    let _ = home.run(&["vm", "start", "web", "db", "cache"]).success();

    // An owner in the background that is killed takes its machine along; the next command sees that it did.
    let owner = |(_, words): &(u32, String)| words.contains(" vm own web");
    let (owner, _) = home.processes().into_iter().find(owner).expect("an owner");
    let owner = Pid::from_raw(owner.try_into().expect("a pid")).expect("a pid");
    kill_process(owner, Signal::KILL).expect("a process");
    assert_eq!(home.run(&["vm", "kill", "db"]).success(), "db\n");
    assert_eq!(
        home.run(&["vm", "rm", "-f", "cache"]).success(),
        "cache\n",
        "it ran"
    );
    home.wait_until_quiet();
    for name in ["web", "db"] {
        let ended = inspect(&home, name);
        assert_eq!(ended["status"], "exited", "{ended}");
        assert_eq!(ended["exit_code"], 137, "{ended}");
    }
    assert_eq!(home.run(&["vm", "rm", "web", "db"]).success(), "web\ndb\n");
    assert_none_left(&home);
}
