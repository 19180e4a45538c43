use proptest::prelude::*;

use super::*;
use crate::message::Message;
use crate::{FailureKind, Place, Stdio};

fn start() -> Start {
    Start {
        place: Place::NewContainer { init: false },
        argv: vec!["true".into()],
        env: vec![],
        user: String::new(),
        groups: vec![],
        cwd: "/".into(),
        stdio: Stdio::Pipes { stdin: true },
        rlimits: vec![],
        capabilities: crate::Capabilities::default(),
        no_new_privileges: false,
        oom_score_adj: 0,
    }
}

fn from_agent(messages: &[FromAgent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        encode(message, &mut bytes).unwrap();
    }
    bytes
}

const HELLO: FromAgent = FromAgent::Hello { version: VERSION };
const STARTED: FromAgent = FromAgent::Started { pid: 2, at_us: 5 };
const EXITED: FromAgent = FromAgent::Exited {
    status: ExitStatus::Code(7),
    oom_killed: false,
    at_us: 9,
};

/// An end whose process runs.
fn running() -> EngineEnd {
    let mut end = EngineEnd::new();
    end.start(start()).unwrap();
    end.received(&from_agent(&[HELLO, STARTED]));
    assert_eq!(end.event(), Ok(Some(Event::Ready)));
    assert_eq!(end.event(), Ok(Some(Event::Started { pid: 2, at_us: 5 })));
    assert_eq!(end.event(), Ok(None));
    end
}

fn queued(end: &mut EngineEnd) -> Vec<ToAgent> {
    let bytes = end.outgoing().to_vec();
    end.sent(bytes.len());
    let (mut rest, mut messages) = (&bytes[..], Vec::new());
    while let Some(received) = decode::<ToAgent>(rest).unwrap() {
        if let Frame::Message(message) = received.frame {
            messages.push(message);
        }
        rest = &rest[received.consumed..];
    }
    messages
}

#[test]
fn a_process_runs_from_hello_to_exit() {
    let mut end = running();
    let mut bytes = Vec::new();
    encode_data(Stream::Stdout, b"hi\n", &mut bytes);
    bytes.extend(from_agent(&[EXITED]));
    // One byte at a time: frames do not keep to reads.
    let mut seen = Vec::new();
    for byte in bytes {
        end.received(&[byte]);
        while let Some(event) = end.event().unwrap() {
            seen.push(format!("{event:?}"));
        }
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].starts_with("Output(Stdout"), "{seen:?}");
    assert!(seen[1].contains("Code(7)"), "{seen:?}");
}

#[test]
fn stdin_stops_at_the_window_and_goes_on_with_credit() {
    let mut end = running();
    let window = end.stdin_room();
    assert_eq!(end.stdin(&vec![0; window + 1]), window);
    assert_eq!(end.stdin(b"x"), 0);
    end.received(&from_agent(&[FromAgent::Credit { bytes: 10 }]));
    assert_eq!(end.event(), Ok(Some(Event::StdinRoom)));
    assert_eq!(end.stdin_room(), 10);
    end.received(&from_agent(&[FromAgent::Credit { bytes: u32::MAX }]));
    assert!(matches!(
        end.event(),
        Err(Violation::Window {
            stream: Stream::Stdin,
            ..
        })
    ));
}

#[test]
fn output_beyond_the_window_is_a_violation_and_consuming_gives_credit() {
    let mut end = running();
    queued(&mut end);
    let window = usize::try_from(Stream::Stdout.window()).unwrap();
    let mut flood = Vec::new();
    encode_data(Stream::Stdout, &vec![0; window], &mut flood);
    end.received(&flood);
    while end.event().unwrap().is_some() {}
    end.consumed(Stream::Stdout, window);
    let credit = ToAgent::Credit {
        stream: Stream::Stdout,
        bytes: Stream::Stdout.window(),
    };
    assert_eq!(queued(&mut end), [credit]);
    end.received(&flood);
    while end.event().unwrap().is_some() {}
    let mut one = Vec::new();
    encode_data(Stream::Stdout, b"x", &mut one);
    end.received(&one);
    assert!(matches!(
        end.event(),
        Err(Violation::Window {
            stream: Stream::Stdout,
            ..
        })
    ));
}

#[test]
fn what_nobody_asked_for_is_a_violation() {
    let failed = FromAgent::Failed(Failure::new(FailureKind::System, "no"));
    let configured = FromAgent::Configured {
        main_us: 0,
        ready_us: 0,
        at_us: 0,
    };
    for unasked in [
        STARTED,
        EXITED,
        failed,
        configured,
        FromAgent::Credit { bytes: 0 },
        FromAgent::Done,
        FromAgent::Stats(Box::default()),
        FromAgent::Processes(Processes::default()),
        FromAgent::Aborted(Failure::new(FailureKind::System, "no")),
        HELLO,
    ] {
        let mut end = EngineEnd::new();
        end.received(&from_agent(&[HELLO, unasked.clone()]));
        assert_eq!(end.event(), Ok(Some(Event::Ready)));
        assert!(
            matches!(end.event(), Err(Violation::Order { .. })),
            "{unasked:?}"
        );
    }
}

#[test]
fn a_process_whose_machine_was_not_held_goes_on() {
    let mut end = running();
    end.hold();
    let failure = Failure::new(FailureKind::System, "not frozen");
    end.received(&from_agent(&[
        FromAgent::Failed(failure.clone()),
        FromAgent::Exited {
            status: ExitStatus::Code(3),
            oom_killed: false,
            at_us: 1,
        },
    ]));
    assert_eq!(end.event().unwrap(), Some(Event::Failed(failure)));
    assert!(matches!(end.event(), Ok(Some(Event::Exited { .. }))));
}

#[test]
fn answers_come_in_the_order_of_their_requests_beside_a_process_or_without_one() {
    let mut end = running();
    end.stats();
    end.limit(Limits::default());
    end.processes();
    let failure = Failure::new(FailureKind::System, "no limit");
    end.received(&from_agent(&[
        FromAgent::Stats(Box::default()),
        FromAgent::Failed(failure.clone()),
        FromAgent::Processes(Processes::default()),
        EXITED,
    ]));
    assert_eq!(end.event(), Ok(Some(Event::Stats(Box::default()))));
    assert_eq!(end.event(), Ok(Some(Event::Failed(failure.clone()))));
    assert!(!end.is_over(), "the process goes on");
    let processes = Event::Processes(Processes::default());
    assert_eq!(end.event(), Ok(Some(processes)));
    assert!(matches!(end.event(), Ok(Some(Event::Exited { .. }))));

    let mut end = EngineEnd::new();
    end.network(Network::default()).unwrap();
    end.stats();
    end.received(&from_agent(&[
        HELLO,
        FromAgent::Done,
        FromAgent::Failed(failure),
    ]));
    assert_eq!(end.event(), Ok(Some(Event::Ready)));
    assert_eq!(end.event(), Ok(Some(Event::Done)));
    assert!(matches!(end.event(), Ok(Some(Event::Failed(_)))));
    assert!(end.is_over());

    let mut end = running();
    end.stats();
    end.received(&from_agent(&[FromAgent::Done]));
    assert!(
        matches!(end.event(), Err(Violation::Order { .. })),
        "another answer"
    );
}

#[test]
fn what_is_done_with_files_ends_well_or_with_the_reason() {
    for (message, fails) in [
        (EXITED, false),
        (
            FromAgent::Aborted(Failure::new(FailureKind::NoSuchFile, "no")),
            true,
        ),
    ] {
        let mut end = EngineEnd::new();
        end.files(Files::Changes).unwrap();
        end.received(&from_agent(&[HELLO, STARTED, message]));
        assert_eq!(end.event(), Ok(Some(Event::Ready)));
        assert!(matches!(end.event(), Ok(Some(Event::Started { .. }))));
        let last = end.event().unwrap();
        assert_eq!(matches!(last, Some(Event::Failed(_))), fails);
        assert!(end.is_over());
    }
}

#[test]
fn another_version_is_refused_with_both_numbers() {
    let mut end = EngineEnd::new();
    end.received(&from_agent(&[FromAgent::Hello { version: 77 }]));
    let error = end.event().unwrap_err();
    assert_eq!(error, Violation::Version(77));
    assert!(
        error.to_string().contains("77") && error.to_string().contains(&VERSION.to_string()),
        "{error}"
    );
}

proptest! {
    /// A hostile agent gets an error or nothing; it never makes the engine hold more than it sent.
    #[test]
    fn hostile_frames_are_survived(pieces in proptest::collection::vec((0_u8..5, proptest::collection::vec(any::<u8>(), 0..100)), 0..30)) {
        let mut end = running();
        for (kind, body) in pieces {
            let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
            bytes.push(kind);
            bytes.extend(body);
            end.received(&bytes);
            loop {
                match end.event() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return Ok(()),
                }
            }
            prop_assert!(end.incoming.len() <= FromAgent::MAX_LEN.max(MAX_DATA) + 200);
        }
    }
}
