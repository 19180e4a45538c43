//! What cannot be done, and how that is said.

use hull_agent_protocol::{ExitStatus, Failure, Place, Start};

use crate::common::{Outcome, start};
use crate::sandbox::{Machine, run};

fn failure(start: Start) -> Failure {
    match run(start) {
        (_, _, Outcome::Failed(failure)) => failure,
        other => panic!("it did not fail: {other:?}"),
    }
}

pub(crate) fn commands_fail_in_dockers_words() {
    let cases = [
        (
            "nosuch",
            "exec: \"nosuch\": executable file not found in $PATH",
            127,
        ),
        (
            "/nosuch",
            "exec: \"/nosuch\": stat /nosuch: no such file or directory",
            127,
        ),
        ("/etc", "exec: \"/etc\": is a directory", 126),
        ("/etc/plain", "exec: \"/etc/plain\": permission denied", 126),
        ("/bin/text", "exec /bin/text: exec format error", 126),
    ];
    for (command, message, code) in cases {
        let failure = failure(start(&[command]));
        assert_eq!(
            (failure.message.as_str(), failure.kind.exit_code()),
            (message, code)
        );
    }
    let stranger = failure(Start {
        user: "stranger".into(),
        ..start(&["true"])
    });
    assert_eq!(
        stranger.message,
        "unable to find user stranger: no matching entries in passwd file"
    );
    let cwd = failure(Start {
        cwd: "/etc/plain".into(),
        ..start(&["true"])
    });
    let message = "chdir to cwd (\"/etc/plain\") set in config.json failed";
    assert!(cwd.message.starts_with(message), "{}", cwd.message);
    assert!(cwd.message.ends_with("not a directory"), "{}", cwd.message);
    assert_eq!(cwd.kind.exit_code(), 126);
}

pub(crate) fn a_failed_start_leaves_a_working_agent() {
    let mut machine = Machine::started(start(&["cat"]));
    machine.session.started();
    for _ in 0..3 {
        let mut session = machine.another();
        session
            .end
            .start(Start {
                place: Place::Beside,
                ..start(&["nosuch"])
            })
            .unwrap();
        assert!(matches!(session.outcome(), Outcome::Failed(_)));
    }
    let mut session = machine.another();
    session
        .end
        .start(Start {
            place: Place::Beside,
            ..start(&["true"])
        })
        .unwrap();
    assert_eq!(session.outcome(), Outcome::Exited(ExitStatus::Code(0)));
}

pub(crate) fn a_second_container_is_refused() {
    let mut machine = Machine::started(start(&["cat"]));
    machine.session.started();
    let mut session = machine.another();
    session.end.start(start(&["true"])).unwrap();
    let Outcome::Failed(failure) = session.outcome() else {
        panic!("it started")
    };
    assert_eq!(failure.message, "the container runs already");
}

pub(crate) fn bad_requests_are_refused() {
    let refused = |start: Start| failure(start).message;
    assert!(refused(start(&[])).contains("no command"));
    assert!(refused(start(&["a\0b"])).contains("zero byte"));
    assert!(
        refused(Start {
            cwd: "etc".into(),
            ..start(&["true"])
        })
        .contains("absolute")
    );
    assert!(
        refused(Start {
            oom_score_adj: 2000,
            ..start(&["true"])
        })
        .contains("2000")
    );

    let mut machine = Machine::new();
    machine.session.end.start(start(&["true"])).unwrap();
    let Outcome::Failed(failure) = machine.session.outcome() else {
        panic!("it started")
    };
    assert!(
        failure.message.contains("configured"),
        "{}",
        failure.message
    );

    let mut machine = Machine::new();
    let mut configure = machine.configure();
    configure.root.image = "/no/such/image".into();
    machine.session.end.configure(configure).unwrap();
    let Outcome::Failed(failure) = machine.session.outcome() else {
        panic!("it was mounted")
    };
    assert!(
        failure
            .message
            .starts_with("cannot mount the image /no/such/image"),
        "{failure}"
    );
}
