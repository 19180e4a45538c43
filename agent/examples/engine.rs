//! Runs one command in a microVM and says where the guest's time went: the smallest engine there is,
//! to try agent, kernel and VMM without the real one.
//!
//! `cargo run -p hull-agent --example engine -- SOCKET COMMAND [ARGUMENT...]`, then start `hull-vmm` with
//! `uds_path` SOCKET, an EROFS image as first disk and an ext4 disk as second.

#[allow(dead_code)] // The tests use more of it.
#[path = "../tests/common/mod.rs"]
mod common;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Note, Outcome, Session};
use hull_agent_protocol::{Clock, PORT, Stdio, TtySize};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((path, argv)) = arguments.split_first().filter(|(_, argv)| !argv.is_empty()) else {
        eprintln!("usage: engine SOCKET COMMAND [ARGUMENT...]");
        return ExitCode::from(125);
    };
    let path = format!("{path}_{PORT}");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("the socket can be made");
    eprintln!("waiting at {path}");
    let (socket, _) = listener.accept().expect("a connection");
    let connected = Instant::now();
    let mut session = Session::new(socket, Duration::from_secs(120));

    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut configure = common::configure("/dev/vda", Some("/dev/vdb"));
    configure.clock = Some(Clock {
        seconds: i64::try_from(now.as_secs()).unwrap_or_default(),
        nanoseconds: now.subsec_nanos(),
    });
    configure.entropy = vec![42; 64];
    session
        .end
        .configure(configure)
        .expect("the configuration fits");
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let mut start = common::start(&argv);
    start.stdio = match std::env::var_os("TTY") {
        Some(_) => Stdio::Terminal(TtySize {
            rows: 24,
            columns: 80,
        }),
        None => Stdio::Pipes { stdin: false },
    };
    session.end.start(start).expect("the command fits");
    let outcome = follow(&mut session, connected);
    session.end.shutdown();
    session.flush();
    let _ = std::io::stdout().write_all(&session.stdout);
    let _ = std::io::stderr().write_all(&session.stderr);
    eprintln!("outcome: {outcome:?}");
    while !matches!(session.next(), Note::Over(Outcome::Gone)) {}
    eprintln!("{:7.1} ms after the connection: gone", ms(connected));
    match outcome {
        Outcome::Exited(status) => ExitCode::from(status.code()),
        Outcome::Failed(failure) => ExitCode::from(failure.kind.exit_code()),
        Outcome::Gone => ExitCode::from(125),
    }
}

fn follow(session: &mut Session, connected: Instant) -> Outcome {
    let mut first_output = true;
    loop {
        let note = session.next();
        if note != Note::Output || std::mem::take(&mut first_output) {
            eprintln!("{:7.1} ms after the connection: {note:?}", ms(connected));
        }
        if let Note::Over(outcome) = note {
            return outcome;
        }
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
