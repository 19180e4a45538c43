use hull_agent_protocol::{
    Capabilities, ExitStatus, FailureKind, FromAgent, MAX_DATA, Place, Root, ToAgent, VERSION,
};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::attachment::Attachment;
use crate::testing::{Agent, Got};

fn configure() -> Configure {
    Configure {
        root: Root {
            image: "/dev/vda".into(),
            ..Root::default()
        },
        ..Configure::default()
    }
}

fn process(stdio: Stdio) -> Start {
    Start {
        place: Place::NewContainer { init: false },
        argv: vec!["true".into()],
        env: Vec::new(),
        user: String::new(),
        groups: Vec::new(),
        cwd: String::new(),
        stdio,
        rlimits: Vec::new(),
        capabilities: Capabilities::default(),
        no_new_privileges: false,
        oom_score_adj: 0,
    }
}

struct Ends {
    session: Session,
    agent: Agent,
    client: Attachment,
    requests: mpsc::UnboundedSender<Request>,
}

fn ends(stdio: Stdio, open_stdin: bool) -> Ends {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (client, attached) = attachment::pair();
    let (requests, receiver) = mpsc::unbounded_channel();
    let other = Client {
        attached,
        requests: receiver,
        early: vec![],
        open_stdin,
    };
    let session = Session::open(
        ours,
        Opening::Configure(configure()),
        Process::Start(process(stdio)),
        other,
    )
    .unwrap();
    Ends {
        session,
        agent: Agent::new(theirs),
        client,
        requests,
    }
}

#[tokio::test]
async fn output_arrives_in_order_and_before_the_end() {
    let Ends {
        mut session,
        mut agent,
        mut client,
        requests: _requests,
    } = ends(Stdio::Pipes { stdin: false }, false);
    let guest = tokio::spawn(async move {
        agent.come_up().await;
        agent.print(Stream::Stdout, b"one").await;
        agent.print(Stream::Stderr, b"two").await;
        agent.print(Stream::Stdout, b"three").await;
        agent.exit(7).await;
        agent
    });
    let times = session.started().await.unwrap();
    assert_eq!((times.main, times.started), (1, 4));
    let end = session.ended().await.unwrap();
    assert_eq!(
        end,
        ProcessEnd {
            status: ExitStatus::Code(7),
            oom_killed: false
        }
    );
    let _agent = guest.await.unwrap();
    drop(session);
    let mut all = Vec::new();
    while let Some(output) = client.output.next().await {
        all.push((output.stream, String::from_utf8(output.data).unwrap()));
    }
    let expected = [
        (OutputStream::Stdout, "one".to_owned()),
        (OutputStream::Stderr, "two".to_owned()),
        (OutputStream::Stdout, "three".to_owned()),
    ];
    assert_eq!(all, expected);
}

#[tokio::test]
async fn signals_pass_while_nobody_reads_the_output_and_nobody_takes_the_input() {
    let Ends {
        mut session,
        mut agent,
        client,
        requests,
    } = ends(Stdio::Pipes { stdin: true }, true);
    let driver = tokio::spawn(async move {
        session.started().await.unwrap();
        session.ended().await
    });
    agent.come_up().await;
    // A whole window of output that the client leaves alone, and more input than the process takes.
    let window = usize::try_from(Stream::Stdout.window()).unwrap();
    agent.print(Stream::Stdout, &vec![b'x'; window]).await;
    let input = client.input;
    let writer = tokio::spawn(async move {
        let pieces = usize::try_from(Stream::Stdin.window()).unwrap() / MAX_DATA + 2;
        for _ in 0..pieces {
            assert!(input.write(vec![b'y'; MAX_DATA]).await);
        }
    });
    let mut taken = 0;
    while taken < usize::try_from(Stream::Stdin.window()).unwrap() {
        let Got::Input(data) = agent.next().await else {
            panic!("input was expected")
        };
        taken += data.len();
    }
    requests.send(Request::Signal(15)).unwrap();
    assert_eq!(agent.next().await, Got::Message(ToAgent::Signal(15)));
    let size = TtySize {
        rows: 24,
        columns: 80,
    };
    requests.send(Request::Resize(size)).unwrap();
    assert_eq!(agent.next().await, Got::Message(ToAgent::Resize(size)));
    writer.abort();
    agent.exit(0).await;
    assert!(driver.await.unwrap().is_ok());
}

#[tokio::test]
async fn credit_is_given_when_the_client_took_the_output_and_when_it_left() {
    let Ends {
        mut session,
        mut agent,
        mut client,
        requests: _requests,
    } = ends(Stdio::Pipes { stdin: false }, false);
    let driver = tokio::spawn(async move {
        session.started().await.unwrap();
        session.ended().await
    });
    agent.come_up().await;
    let window = usize::try_from(Stream::Stdout.window()).unwrap();
    agent.print(Stream::Stdout, &vec![b'x'; window]).await;
    let mut taken = 0;
    while taken < window / 2 {
        taken += client.output.next().await.unwrap().data.len();
    }
    drop(client);
    let mut printed = window;
    while printed < 3 * window {
        let Got::Message(ToAgent::Credit {
            stream: Stream::Stdout,
            bytes,
        }) = agent.next().await
        else {
            panic!("credit was expected")
        };
        let more = usize::try_from(bytes).unwrap();
        agent.print(Stream::Stdout, &vec![b'x'; more]).await;
        printed += more;
    }
    agent.exit(0).await;
    assert!(driver.await.unwrap().is_ok());
}

#[tokio::test]
async fn the_end_of_input_is_passed_on_but_not_for_a_terminal_nobody_types_at() {
    let Ends {
        mut session,
        mut agent,
        client,
        requests: _requests,
    } = ends(Stdio::Pipes { stdin: true }, true);
    let driver = tokio::spawn(async move { session.started().await.map(|_| session) });
    agent.come_up().await;
    let mut session = driver.await.unwrap().unwrap();
    drop(client.input);
    let driver = tokio::spawn(async move { session.ended().await });
    assert_eq!(
        agent.next().await,
        Got::Message(ToAgent::Close(Stream::Stdin))
    );
    agent.exit(0).await;
    assert!(driver.await.unwrap().is_ok());

    let Ends {
        mut session,
        mut agent,
        client,
        requests,
    } = ends(Stdio::Terminal(TtySize::default()), false);
    drop(client.input);
    let driver = tokio::spawn(async move {
        session.started().await.unwrap();
        session.ended().await
    });
    agent.come_up().await;
    requests.send(Request::Signal(1)).unwrap();
    assert_eq!(
        agent.next().await,
        Got::Message(ToAgent::Signal(1)),
        "and not an end of input"
    );
    agent.exit(0).await;
    assert!(driver.await.unwrap().is_ok());
}

#[tokio::test]
async fn what_the_agent_refuses_has_docker_s_exit_code() {
    let Ends {
        mut session,
        mut agent,
        client: _client,
        requests: _requests,
    } = ends(Stdio::Pipes { stdin: false }, false);
    agent.say(FromAgent::Hello { version: VERSION }).await;
    agent
        .say(FromAgent::Configured {
            main_us: 0,
            ready_us: 0,
            at_us: 0,
        })
        .await;
    let failure = Failure::new(
        FailureKind::NotFound,
        "exec: \"x\": executable file not found",
    );
    agent.say(FromAgent::Failed(failure)).await;
    let error = crate::Error::from(session.started().await.unwrap_err());
    assert_eq!(error.exit_code(), 127);
    assert!(error.to_string().contains("executable file not found"));
}

#[tokio::test]
async fn a_hostile_or_vanishing_agent_is_an_error_and_no_hang() {
    let Ends {
        mut session,
        mut agent,
        client: _client,
        requests: _requests,
    } = ends(Stdio::Pipes { stdin: false }, false);
    agent.stream.write_all(&[0xff; 64]).await.unwrap();
    assert!(matches!(
        session.started().await,
        Err(SessionError::Violation(_))
    ));

    let Ends {
        mut session,
        agent,
        client: _client,
        requests: _requests,
    } = ends(Stdio::Pipes { stdin: false }, false);
    drop(agent);
    assert!(matches!(
        session.started().await,
        Err(SessionError::Lost(_))
    ));
}
