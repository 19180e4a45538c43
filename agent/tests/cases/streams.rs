//! Standard streams: pipes, terminals, flow control.

use std::fs::File;

use hull_agent_protocol::{ExitStatus, Place, Stdio, Stream, TtySize};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::common::{Note, Outcome, Session, start};
use crate::sandbox::{Machine, finish, run};

const OK: Outcome = Outcome::Exited(ExitStatus::Code(0));

pub(crate) fn output_and_errors_are_separate() {
    let command = start(&["sh", "-c", "echo out; echo err >&2; echo more"]);
    assert_eq!(run(command), ("out\nmore\n".into(), "err\n".into(), OK));
}

pub(crate) fn input_ends_with_end_of_file() {
    let mut machine = Machine::started(start(&["wc", "-c"]));
    let session = &mut machine.session;
    // Before the process is there: it must not be lost.
    assert_eq!(session.end.stdin(b"data\n"), 5);
    session.end.close(Stream::Stdin);
    assert_eq!(finish(session), ("5\n".into(), String::new(), OK));
}

/// 10 MB, and a reader who takes them slowly: not a byte is lost, and the agent holds none.
pub(crate) fn a_flood_is_neither_lost_nor_held() {
    let count = 10_000_000;
    let command = format!("yes | tr -d '\\n' | head -c {count}");
    let mut machine = Machine::started(start(&["sh", "-c", &command]));
    machine.session.eager = false;
    let window = usize::try_from(Stream::Stdout.window()).unwrap();
    while machine.session.unconsumed < window {
        assert_ne!(machine.session.next(), Note::StdinRoom);
    }
    // Nobody takes anything now, and the writer is stopped: nothing but the pipe holds data.
    assert_eq!(machine.session.stdout.len(), window);
    let resident = machine.agent_status();
    let resident = resident
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: u64 = resident
        .and_then(|r| r.trim().split(' ').next()?.parse().ok())
        .unwrap();
    assert!(kib < 4096, "the agent holds {kib} KiB");

    machine.session.eager = true;
    machine.session.end.consumed(Stream::Stdout, window);
    assert_eq!(machine.session.outcome(), OK);
    assert_eq!(machine.session.stdout.len(), count);
    assert!(machine.session.stdout.iter().all(|byte| *byte == b'y'));
}

/// A program may make its pipe as large as 1 MiB, fill it and end before anybody has read it.
pub(crate) fn a_large_pipe_that_is_full_at_the_exit_is_read_to_its_end() {
    let count = 900_000;
    let script = format!("read go; head -c {count} /dev/zero; exit 5");
    let mut machine = Machine::started(start(&["sh", "-c", &script]));
    fill_and_end(&mut machine.session, count);

    let mut machine = Machine::started(start(&["cat"]));
    machine.session.started();
    let mut beside = machine.another();
    // Something else keeps the pipe open.
    let mut start = start(&["sh", "-c", &format!("sleep 1000 & {script}")]);
    start.place = Place::Beside;
    beside.end.start(start).unwrap();
    fill_and_end(&mut beside, count);
}

fn fill_and_end(session: &mut Session, count: usize) {
    session.eager = false;
    let pid = session.started();
    let process = Pid::from_raw(pid.cast_signed()).unwrap();
    let process = pidfd_open(process, PidfdFlags::empty()).unwrap();
    // The program would do it itself if busybox could.
    let pipe = File::options()
        .write(true)
        .open(format!("/proc/{pid}/fd/1"));
    fcntl_setpipe_size(pipe.unwrap(), 1 << 20).unwrap();
    assert_eq!(session.end.stdin(b"go\n"), 3);
    let window = usize::try_from(Stream::Stdout.window()).unwrap();
    while session.unconsumed < window {
        assert_ne!(session.next(), Note::StdinRoom);
    }
    poll(&mut [PollFd::new(&process, PollFlags::IN)], None).unwrap();

    session.eager = true;
    session.end.consumed(Stream::Stdout, window);
    assert_eq!(session.outcome(), Outcome::Exited(ExitStatus::Code(5)));
    assert_eq!(session.stdout.len(), count);
}

pub(crate) fn input_of_megabytes_comes_back() {
    let mut machine = Machine::started(start(&["cat"]));
    let session = &mut machine.session;
    let data: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|n| [n.to_le_bytes()[0]])
        .collect();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let taken = session.end.stdin(rest);
        rest = &rest[taken..];
        if taken == 0 {
            assert!(!matches!(session.next(), Note::Over(_)));
        }
    }
    session.end.close(Stream::Stdin);
    assert_eq!(session.outcome(), OK);
    assert!(
        session.stdout == data,
        "{} of {} bytes",
        session.stdout.len(),
        data.len()
    );
}

pub(crate) fn a_closed_output_ends_the_writer() {
    let mut machine = Machine::started(start(&["sh", "-c", "trap '' TERM; exec yes"]));
    machine.session.stdout_with("y\n");
    machine.session.end.close(Stream::Stdout);
    let outcome = machine.session.outcome();
    // busybox' yes notices EPIPE, since Linux spares a first process SIGPIPE.
    assert!(
        matches!(outcome, Outcome::Exited(status) if status.code() != 0),
        "{outcome:?}"
    );
}

fn terminal(argv: &[&str], rows: u16, columns: u16) -> hull_agent_protocol::Start {
    let mut start = start(argv);
    start.stdio = Stdio::Terminal(TtySize { rows, columns });
    start
}

pub(crate) fn a_terminal_has_its_size() {
    let script = "trap 'stty size; exit 3' WINCH; stty size; tty; ls -l /dev/console; cat; sleep 9";
    let mut machine = Machine::started(terminal(&["sh", "-c", script], 24, 80));
    let session = &mut machine.session;
    session.stdout_with("24 80");
    session.stdout_with("/dev/pts/0");
    session.stdout_with("/dev/console");
    session.end.resize(TtySize {
        rows: 50,
        columns: 132,
    });
    // The shell runs its trap when `cat` has ended.
    let _ = session.end.stdin(b"\x04");
    session.stdout_with("50 132");
    assert_eq!(session.outcome(), Outcome::Exited(ExitStatus::Code(3)));
    assert!(session.stderr.is_empty());
}

pub(crate) fn ctrl_c_and_end_of_file_on_a_terminal() {
    let script = "trap 'echo got int' INT; cat; echo end $?; cat; echo closed";
    let mut machine = Machine::started(terminal(&["sh", "-c", script], 24, 80));
    let session = &mut machine.session;
    session.started();
    let _ = session.end.stdin(b"typed\n");
    session.stdout_with("typed\r\ntyped");
    let _ = session.end.stdin(b"\x03");
    session.stdout_with("end 130");
    session.end.close(Stream::Stdin);
    session.stdout_with("closed");
    assert_eq!(session.outcome(), OK);
}

pub(crate) fn without_input_there_is_end_of_file() {
    let mut command = start(&["sh", "-c", "cat; readlink /proc/self/fd/0"]);
    command.stdio = Stdio::Pipes { stdin: false };
    assert_eq!(run(command), ("/dev/null\n".into(), String::new(), OK));
}
