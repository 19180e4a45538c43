//! `hull run -t`: a terminal in the guest, and the person's own terminal put right again.

use hull_tests::{Home, Terminal, kvm};
use rustix::process::Signal;

#[test]
fn a_terminal_has_the_size_of_the_persons_own_and_follows_it() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let mut terminal = Terminal::start(
        &mut home.hull(&["run", "-it", "--rm", "busybox", "sh"]),
        33,
        111,
    );
    terminal.wait_for("/ # ");
    terminal.type_text("tty; stty size\n");
    terminal.wait_for("/dev/pts/0");
    terminal.wait_for("33 111");
    terminal.wait_for("/ # ");
    assert!(
        !terminal.is_cooked(),
        "keys go to the guest as they are typed"
    );

    terminal.type_text("trap 'stty size; exit 9' WINCH; echo armed; while :; do sleep 1; done\n");
    terminal.wait_for("\narmed");
    terminal.resize(40, 100);
    terminal.wait_for("40 100");
    assert_eq!(terminal.finish(), 9);
    assert!(terminal.is_cooked(), "the terminal was put right again");
    home.assert_clean();
}

#[test]
fn control_c_reaches_the_program_and_the_terminal_survives_a_killed_machine() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let mut terminal = Terminal::start(
        &mut home.hull(&["run", "-it", "--rm", "busybox", "sh"]),
        24,
        80,
    );
    terminal.wait_for("/ # ");
    // A shell that edits its line takes Ctrl-C as a key: only a command that runs is interrupted by it.
    terminal.type_text("printf 'st%s\\n' arted; sleep 1000\n");
    terminal.wait_for("started\r\n");
    terminal.type_text("\u{3}");
    terminal.wait_for("/ # ");
    terminal.type_text("exit 3\n");
    assert_eq!(terminal.finish(), 3);

    let mut terminal = Terminal::start(
        &mut home.hull(&["run", "-it", "--rm", "busybox", "sh"]),
        24,
        80,
    );
    terminal.wait_for("/ # ");
    for machine in home.machines() {
        let pid =
            rustix::process::Pid::from_raw(machine.try_into().expect("a pid")).expect("a pid");
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    assert_eq!(terminal.finish(), 137);
    assert!(terminal.is_cooked(), "the terminal was put right again");
    home.assert_clean();
}
