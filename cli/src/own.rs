//! The process in the background that owns a container.

use std::fs::File;
use std::io::Write;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, bail};
use hull_engine::{Attachment, Changes, Engine, Origin, OutputReader, WaitFor};
use rustix::fs::{Mode, OFlags, open};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::context::Context;
use crate::run::signals::{Signals, WINDOW_CHANGED};

/// Own a container until it ends: what commands leave in the background
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One that goes on from a snapshot
    #[arg(
        long,
        value_name = "SNAPSHOT",
        conflicts_with = "resume",
        required_unless_present = "resume"
    )]
    from: Option<String>,
    /// One that was suspended
    #[arg(long, value_name = "CONTAINER")]
    resume: Option<String>,
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// It is removed at its end
    #[arg(long)]
    rm: bool,
}

/// Starts the owner of a container; the id of the container, which runs.
pub(crate) async fn spawn(args: &[&str]) -> anyhow::Result<String> {
    leave("the container", &[&["own"], args].concat()).await
}

/// Leaves `hull ARGS...` in the background as the owner of `what`; the line that it says when that runs.
pub(crate) async fn leave(what: &str, args: &[&str]) -> anyhow::Result<String> {
    let own = std::env::current_exe().context("hull does not find its own program")?;
    let mut owner = Command::new(own)
        .args(args)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("a process in the background cannot be started")?;
    // It closes both when what it owns runs, or when it ends.
    let (mut said, mut words) = (String::new(), String::new());
    if let Some(stdout) = &mut owner.stdout {
        stdout.read_to_string(&mut said).await?;
    }
    if said.ends_with('\n') {
        return Ok(said.trim().to_owned());
    }
    if let Some(stderr) = &mut owner.stderr {
        stderr.read_to_string(&mut words).await?;
    }
    let status = owner.wait().await?;
    match words.trim().trim_start_matches("hull: ") {
        "" => bail!("{what} was not started: its owner ended with {status}"),
        words => bail!("{words}"),
    }
}

/// Becomes the owner, in a session of its own, and stays until the end.
pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    // It fails only for one who leads a group already, as a person who types this does.
    let _ = rustix::process::setsid();
    let mut signals = Signals::listen()?;
    let engine = Engine::open(ctx.paths().clone())?;
    let id = match (&args.from, &args.resume) {
        (_, Some(container)) => {
            let id = engine.find(container)?;
            engine.reopen(&id).await?;
            id
        }
        (snapshot, None) => {
            let changes = Changes {
                name: args.name,
                auto_remove: args.rm,
                ..Changes::default()
            };
            let snapshot = snapshot.as_deref().unwrap_or_default();
            engine.create_from(snapshot, changes).await?.id
        }
    };
    let Attachment { output, input } = engine.attach(&id)?;
    let file = File::options()
        .append(true)
        .create(true)
        .open(engine.output_file(&id));
    let passing = tokio::spawn(pass_output(
        output,
        file.context("the file for its output")?,
    ));
    engine.start(&id, Origin::Nearest).await?;
    // Nobody types.
    drop(input);
    rustix::io::write(rustix::stdio::stdout(), format!("{id}\n").as_bytes())?;
    let nothing = open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;

    let ended = engine.wait(&id, WaitFor::Removal);
    tokio::pin!(ended);
    let exit = loop {
        tokio::select! {
            exit = &mut ended => break exit?,
            signal = signals.next() => match signal {
                WINDOW_CHANGED => {}
                signal => engine.signal(&id, signal)?,
            },
        }
    };
    let _ = passing.await;
    Ok(ExitCode::from(exit.code))
}

async fn pass_output(mut output: OutputReader, mut file: File) {
    while let Some(piece) = output.next().await {
        if let Err(error) = file.write_all(&piece.data) {
            tracing::warn!(%error, "output of a container was lost");
        }
    }
}
