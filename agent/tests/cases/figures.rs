//! What a container uses, and changing what it may use.

use std::time::{Duration, Instant};

use hull_agent_protocol::{ExitStatus, Limits, Place, Processes, Start};

use crate::common::{Note, Outcome, start};
use crate::sandbox::Machine;

pub(crate) fn use_and_processes_are_told() {
    let mark = format!("mark-{}", std::process::id());
    // The last command would take the shell's place.
    let script = format!("echo {mark} up; seq 100000 > /dev/null; cat; true");
    let mut machine = Machine::started(start(&["sh", "-c", &script]));
    machine.session.stdout_with("up");
    let mut other = machine.another();
    other
        .end
        .start(Start {
            place: Place::Beside,
            user: "app".into(),
            ..start(&["sleep", "54321"])
        })
        .unwrap();
    other.started();

    // Any number of times over one channel.
    let mut session = machine.another();
    for _ in 0..2 {
        session.end.stats();
        let Note::Stats(stats) = session.answer() else {
            panic!("no figures")
        };
        assert!(
            stats.at_us > 0 && stats.cpu.online > 0 && stats.memory.machine > 0,
            "{stats:?}"
        );
        assert!(stats.cpu.usage_us > 0, "{stats:?}");
    }
    // Other containers may be in the same group here, where there is one machine for all.
    let find = |processes: &Processes, text: &str| {
        let mut list = processes.list.iter();
        let found = list.find(|one| one.arguments.iter().any(|argument| argument.contains(text)));
        found.cloned()
    };
    let mut ask = || {
        session.end.processes();
        match session.answer() {
            Note::Processes(processes) => processes,
            _ => panic!("no processes"),
        }
    };
    // What has just been started may not have its arguments yet, and be on its way to sleep.
    let mut processes = ask();
    let deadline = Instant::now() + Duration::from_secs(60);
    while find(&processes, "54321").is_none_or(|one| one.state == 'R') && Instant::now() < deadline
    {
        processes = ask();
    }
    assert!(usize::try_from(processes.total).unwrap() >= processes.list.len());
    let first = find(&processes, &mark).unwrap_or_else(|| panic!("{processes:?}"));
    assert_eq!((first.pid, first.ppid, first.uid), (1, 0, 0), "{first:?}");
    assert_eq!(
        (first.user.as_str(), first.name.as_str(), first.tty.as_str()),
        ("root", "sh", "?")
    );
    assert!(
        first.started_us <= processes.at_us && first.rss > 0 && first.vsz > 0,
        "{first:?}"
    );
    let second = find(&processes, "54321").unwrap_or_else(|| panic!("{processes:?}"));
    assert_eq!(
        (second.user.as_str(), second.uid, second.state),
        ("app", 1000, 'S')
    );
    assert!(second.pid > 1);
}

pub(crate) fn limits_that_cannot_be_set_are_said_and_the_process_goes_on() {
    let mut machine = Machine::started(start(&["sh", "-c", "echo up; cat"]));
    machine.session.stdout_with("up");
    machine.session.end.limit(Limits::default());
    assert_eq!(machine.session.answer(), Note::Done);
    let nonsense = Limits {
        cpu_weight: Some(0),
        ..Limits::default()
    };
    machine.session.end.limit(nonsense);
    let Note::Over(Outcome::Failed(failure)) = machine.session.answer() else {
        panic!("it was set")
    };
    assert!(failure.message.contains("set cpu.weight to 0"), "{failure}");
    machine
        .session
        .end
        .close(hull_agent_protocol::Stream::Stdin);
    assert_eq!(
        machine.session.outcome(),
        Outcome::Exited(ExitStatus::Code(0))
    );
}
