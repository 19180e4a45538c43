use hull_agent_protocol::{ExitStatus, Failure, FailureKind, FromAgent, ToAgent, VERSION};

use super::*;
use crate::testing::{Agent, Got};

/// A channel and the agent at its other end, which has said hello.
async fn ends() -> (Inquiry, Agent) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut agent = Agent::new(theirs);
    agent.say(FromAgent::Hello { version: VERSION }).await;
    (Inquiry::over(ours), agent)
}

/// The next message after the engine's hello.
async fn asked(agent: &mut Agent) -> ToAgent {
    loop {
        match agent.next().await {
            Got::Message(ToAgent::Hello { .. }) => {}
            Got::Message(message) => return message,
            Got::Input(_) => panic!("input came where a message was expected"),
        }
    }
}

async fn started(agent: &mut Agent) -> Files {
    let ToAgent::Files(files) = asked(agent).await else {
        panic!("nothing was asked about files")
    };
    agent.say(FromAgent::Started { pid: 9, at_us: 1 }).await;
    files
}

#[tokio::test]
async fn one_channel_answers_any_number_of_questions() {
    let (mut inquiry, mut agent) = ends().await;
    let guest = tokio::spawn(async move {
        for _ in 0..3 {
            assert_eq!(asked(&mut agent).await, ToAgent::Stats);
            let stats = Stats {
                pids: 7,
                ..Stats::default()
            };
            agent.say(FromAgent::Stats(Box::new(stats))).await;
        }
        assert_eq!(asked(&mut agent).await, ToAgent::Processes);
        agent.say(FromAgent::Processes(Processes::default())).await;
        assert!(matches!(
            asked(&mut agent).await,
            ToAgent::Limit(Limits { pids: Some(5), .. })
        ));
        agent.say(FromAgent::Done).await;
        assert!(matches!(asked(&mut agent).await, ToAgent::Network(_)));
        let failure = Failure::new(FailureKind::Invalid, "there is no network device 7");
        agent.say(FromAgent::Failed(failure)).await;
        agent
    });
    for _ in 0..3 {
        assert_eq!(inquiry.stats().await.unwrap().pids, 7);
    }
    assert_eq!(inquiry.processes().await.unwrap(), Processes::default());
    let limits = Limits {
        pids: Some(5),
        ..Limits::default()
    };
    inquiry.set_limits(limits).await.unwrap();
    let refused = inquiry.set_network(Network::default()).await.unwrap_err();
    assert!(
        matches!(&refused, SessionError::Refused(failure) if failure.message.contains("device 7"))
    );
    guest.await.unwrap();
}

#[tokio::test]
async fn what_a_path_is_comes_whole_or_as_a_refusal() {
    let stat = FileStat {
        name: "x".into(),
        size: 5,
        ..FileStat::default()
    };
    let (inquiry, mut agent) = ends().await;
    let sent = stat.clone();
    let guest = tokio::spawn(async move {
        assert_eq!(started(&mut agent).await, Files::Stat { path: "/x".into() });
        agent.print(Stream::Stdout, &sent.encode()).await;
        agent.exit(0).await;
        agent
    });
    assert_eq!(inquiry.file_stat("/x").await.unwrap(), stat);
    guest.await.unwrap();

    let (inquiry, mut agent) = ends().await;
    let guest = tokio::spawn(async move {
        started(&mut agent).await;
        let failure = Failure::new(FailureKind::NoSuchFile, "/x: no such file or directory");
        agent.say(FromAgent::Aborted(failure)).await;
        agent
    });
    let refused = inquiry.file_stat("/x").await.unwrap_err();
    assert!(
        matches!(refused, SessionError::Refused(failure) if failure.kind == FailureKind::NoSuchFile)
    );
    guest.await.unwrap();

    let (inquiry, mut agent) = ends().await;
    let guest = tokio::spawn(async move {
        started(&mut agent).await;
        agent.print(Stream::Stdout, b"\xff\xff").await;
        agent.exit(0).await;
        agent
    });
    assert!(matches!(
        inquiry.file_stat("/x").await,
        Err(SessionError::Malformed(_))
    ));
    guest.await.unwrap();
}

#[tokio::test]
async fn changes_come_in_order_and_a_killed_process_is_an_error() {
    for (status, half) in [
        (ExitStatus::Code(0), false),
        (ExitStatus::Signal(9), false),
        (ExitStatus::Code(0), true),
    ] {
        let (inquiry, mut agent) = ends().await;
        let guest = tokio::spawn(async move {
            assert_eq!(started(&mut agent).await, Files::Changes);
            agent.print(Stream::Stdout, b"\x00/etc\0\x02/etc/").await;
            let rest = if half { &b"x"[..] } else { b"x\0" };
            agent.print(Stream::Stdout, rest).await;
            agent
                .say(FromAgent::Exited {
                    status,
                    oom_killed: false,
                    at_us: 1,
                })
                .await;
            agent
        });
        let changes = inquiry.changes().await;
        guest.await.unwrap();
        match (status, half) {
            (ExitStatus::Code(0), false) => {
                let expected = [
                    (ChangeKind::Modified, "/etc"),
                    (ChangeKind::Deleted, "/etc/x"),
                ];
                let expected = expected.map(|(kind, path)| Change {
                    kind,
                    path: path.into(),
                });
                assert_eq!(changes.unwrap(), expected);
            }
            (ExitStatus::Code(_), _) => assert!(matches!(changes, Err(SessionError::Lost(_)))),
            _ => assert!(matches!(changes, Err(SessionError::Unfinished(137)))),
        }
    }
}

#[tokio::test]
async fn an_archive_flows_no_faster_than_it_is_taken() {
    let (inquiry, mut agent) = ends().await;
    let window = usize::try_from(Stream::Stdout.window()).unwrap();
    let guest = tokio::spawn(async move {
        assert_eq!(started(&mut agent).await, Files::Export);
        agent.print(Stream::Stdout, &vec![b'x'; window]).await;
        // More may come only when something was taken.
        let ToAgent::Credit { bytes, .. } = asked(&mut agent).await else {
            panic!("credit was expected")
        };
        agent
            .print(Stream::Stdout, &vec![b'y'; usize::try_from(bytes).unwrap()])
            .await;
        agent.exit(0).await;
        (agent, usize::try_from(bytes).unwrap())
    });
    let mut reading = inquiry.read(Files::Export).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = reading.next().await.unwrap() {
        all.extend(piece);
    }
    assert_eq!(reading.next().await.unwrap(), None, "the end stays one");
    let (_agent, more) = guest.await.unwrap();
    assert_eq!(all.len(), window + more);
    assert_eq!(all.last(), Some(&b'y'));
}

#[tokio::test]
async fn an_archive_goes_in_as_there_is_room() {
    let (inquiry, mut agent) = ends().await;
    let window = Stream::Stdin.window();
    let total = 3 * usize::try_from(window).unwrap();
    let guest = tokio::spawn(async move {
        assert!(matches!(started(&mut agent).await, Files::Write(write) if write.path == "/in"));
        let mut received = 0;
        let mut due = 0;
        loop {
            match agent.next().await {
                Got::Input(data) => {
                    received += data.len();
                    due += u32::try_from(data.len()).unwrap();
                    if due == window {
                        agent
                            .say(FromAgent::Credit {
                                bytes: std::mem::take(&mut due),
                            })
                            .await;
                    }
                }
                Got::Message(ToAgent::Close(Stream::Stdin)) => break,
                Got::Message(other) => panic!("{other:?}"),
            }
        }
        agent.exit(0).await;
        (agent, received)
    });
    let to = Write {
        path: "/in".into(),
        ..Write::default()
    };
    let mut writing = inquiry.write(to).await.unwrap();
    writing.write(&vec![7; total]).await.unwrap();
    writing.finish().await.unwrap();
    assert_eq!(guest.await.unwrap().1, total);
}

#[tokio::test]
async fn a_lost_machine_is_an_error_and_no_hang() {
    let (mut inquiry, agent) = ends().await;
    drop(agent);
    assert!(matches!(inquiry.stats().await, Err(SessionError::Lost(_))));
}
