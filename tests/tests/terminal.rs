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

/// A terminal with a container that has it, once its program made ready and said `up`.
fn started(home: &Home, make_ready: &str, program: &str) -> Terminal {
    let script = format!("{make_ready}; echo u''p; {program}");
    let args = ["run", "-it", "--rm", "busybox", "sh", "-c", &script];
    let mut terminal = Terminal::start(&mut home.hull(&args), 24, 80);
    terminal.wait_for("up");
    assert!(!terminal.is_cooked());
    terminal
}

#[test]
fn signals_to_the_client_end_the_program_and_the_terminal_is_put_right() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut terminal = started(&home, ":", "exec sleep 1000");
        terminal.signal(signal);
        assert_eq!(terminal.finish(), code, "{}", terminal.text());
        assert!(terminal.is_cooked(), "after {signal:?}");
    }
    // Keys are the program's, so an interrupt of the client comes from elsewhere; the second one ends the machine.
    let mut terminal = started(&home, "trap 'echo deaf' INT", "while :; do sleep 1; done");
    terminal.signal(Signal::INT);
    terminal.wait_for("deaf");
    terminal.signal(Signal::INT);
    assert_eq!(terminal.finish(), 137, "{}", terminal.text());
    assert!(terminal.is_cooked());
    home.assert_clean();
}

#[test]
fn a_start_that_fails_or_is_interrupted_gives_the_terminal_back() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let run = |command: &str| {
        // A boot, which leaves the time to interrupt it.
        let args = ["run", "-it", "--rm", "--cold", "busybox", command];
        Terminal::start(&mut home.hull(&args), 24, 80)
    };
    let mut terminal = run("no-such-command");
    assert_eq!(terminal.finish(), 127, "{}", terminal.text());
    assert!(terminal.is_cooked());

    let mut terminal = run("sh");
    terminal.wait_for("starting the microVM");
    assert!(!terminal.is_cooked());
    terminal.type_text("\u{3}");
    assert_eq!(terminal.finish(), 130, "{}", terminal.text());
    assert!(terminal.is_cooked());
    home.assert_clean();
}

#[test]
fn a_boot_can_be_put_into_the_background_and_back() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let hull = home.hull(&["run", "-it", "--rm", "--cold", "busybox", "sh"]);
    // A shell with job control, which does not put the terminal right itself.
    let script = "set -m; \"$@\"; echo stopp''ed; read go; fg >/dev/null; echo end''ed $?";
    let mut shell = std::process::Command::new("dash");
    shell.args(["-c", script, "sh"]).arg(hull.get_program());
    shell.args(hull.get_args());
    for (name, value) in hull.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let mut terminal = Terminal::start(&mut shell, 24, 80);
    terminal.wait_for("starting the microVM");
    terminal.type_text("\u{1a}");
    terminal.wait_for("stopped");
    assert!(terminal.is_cooked(), "the shell has its terminal");
    terminal.resize(30, 90);
    terminal.type_text("\n");
    terminal.wait_for("/ # ");
    assert!(!terminal.is_cooked(), "the program has it again");
    terminal.type_text("stty size; exit 4\n");
    terminal.wait_for("30 90");
    terminal.wait_for("ended 4");
    assert_eq!(terminal.finish(), 0);
    assert!(terminal.is_cooked());
    home.assert_clean();
}

#[test]
fn the_keys_for_that_leave_a_program_that_goes_on() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("busybox");
    let script = "echo u''p; while read line; do echo got $line; done";
    for (keys, typed) in [(None, "\u{10}\u{11}"), (Some("ctrl-x,q"), "\u{18}q")] {
        let mut args = vec!["run", "-it", "--rm", "--name", "it"];
        args.extend(keys.iter().flat_map(|keys| ["--detach-keys", keys]));
        args.extend(["busybox", "sh", "-c", script]);
        let mut terminal = Terminal::start(&mut home.hull(&args), 24, 80);
        terminal.wait_for("up");
        // The first of the keys alone is the program's.
        terminal.type_text("a\u{10}b\n");
        terminal.wait_for("got a\u{10}b");
        terminal.type_text(typed);
        assert_eq!(terminal.finish(), 0, "{}", terminal.text());
        assert!(terminal.is_cooked());
        let listed = home.run(&["ps"]).success();
        assert!(listed.contains("it") && listed.contains("Up "), "{listed}");
        let _ = home.run(&["rm", "--force", "it"]).success();
    }
    home.assert_clean();
}
