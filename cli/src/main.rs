//! The `hull` command: what people type.
//!
//! Parsing and presentation only. Containers are `hull_engine`'s, images `hull_image`'s; this crate
//! turns options into their types and their errors into one sentence and an exit code.

mod context;
mod doctor;
mod fork;
mod image;
mod network;
mod own;
mod pause;
mod ps;
mod resume;
mod rm;
mod run;
mod snapshot;
mod stop;
mod template;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::context::Context;

/// Containers as easy to run as with Docker, each in a microVM of its own.
#[derive(Debug, Parser)]
#[command(
    name = "hull",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        hull run --rm busybox echo hello      run a program in a microVM and remove it\n  \
        hull run -it --rm debian              a shell in a Debian image\n  \
        hull image pull docker.io/alpine      fetch an image\n  \
        hull fork web -n 3                    three more of a running container, as it is now\n  \
        hull vm run --disk root.ext4          boot a plain microVM, without a container\n  \
        hull network create backend           make a network for microVMs\n  \
        hull doctor                           see whether this host can run microVMs"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Ps(ps::Args),
    Rm(rm::Args),
    Stop(stop::Args),
    Pause(pause::PauseArgs),
    Unpause(pause::UnpauseArgs),
    Suspend(pause::SuspendArgs),
    Resume(resume::Args),
    Snapshot(snapshot::Args),
    Fork(fork::Args),
    Template(template::Args),
    #[command(hide = true)]
    Own(own::Args),
    Image(image::Args),
    Pull(image::PullArgs),
    Images(image::LsArgs),
    Rmi(image::RmArgs),
    Load(image::LoadArgs),
    Tag(image::TagArgs),
    Vm(vm::Args),
    Network(network::Args),
    Doctor(doctor::Args),
    /// Show the version
    Version,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misspelt(&error),
    };
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&anyhow::Error::new(error).context("no threads could be started"));
        }
    };
    let code = runtime
        .block_on(dispatch(cli.command))
        .unwrap_or_else(|error| fail(&error));
    // A thread may be blocked reading the terminal; it must not hold up the exit.
    runtime.shutdown_background();
    code
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let ctx = Context::from_env()?;
    match command {
        Command::Run(args) => run::run(*args, &ctx).await,
        Command::Ps(args) => ps::run(args, &ctx).await,
        Command::Rm(args) => rm::run(args, &ctx).await,
        Command::Stop(args) => stop::run(args, &ctx).await,
        Command::Pause(args) => pause::pause(args, &ctx).await,
        Command::Unpause(args) => pause::unpause(args, &ctx).await,
        Command::Suspend(args) => pause::suspend(args, &ctx).await,
        Command::Resume(args) => resume::run(args, &ctx).await,
        Command::Snapshot(args) => snapshot::run(args, &ctx).await,
        Command::Fork(args) => fork::run(args, &ctx).await,
        Command::Template(args) => template::run(args, &ctx).await,
        Command::Own(args) => own::run(args, &ctx).await,
        Command::Image(args) => image::run(args.command, &ctx).await,
        Command::Pull(args) => image::run(image::Command::Pull(args), &ctx).await,
        Command::Images(args) => image::run(image::Command::Ls(args), &ctx).await,
        Command::Rmi(args) => image::run(image::Command::Rm(args), &ctx).await,
        Command::Load(args) => image::run(image::Command::Load(args), &ctx).await,
        Command::Tag(args) => image::run(image::Command::Tag(args), &ctx).await,
        Command::Vm(args) => vm::run(args, &ctx).await,
        Command::Network(args) => network::run(args, &ctx).await,
        Command::Doctor(args) => doctor::run(args, &ctx).await,
        Command::Version => {
            anstream::println!("hull {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints an error and its causes as one sentence.
fn fail(error: &anyhow::Error) -> ExitCode {
    anstream::eprintln!("hull: {error:#}");
    ExitCode::FAILURE
}

/// Help and version are no errors. For a wrong option `hull run` exits with 125, as `docker run`
/// does, so that no script takes it for its program's own exit code.
fn misspelt(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    match text.strip_prefix("error: ") {
        Some(text) => anstream::eprint!("hull: {text}"),
        None => drop(error.print()),
    }
    let word = |index| std::env::args_os().nth(index).unwrap_or_default();
    let runs = word(1) == "run" || (word(1) == "vm" && word(2) == "run");
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if runs => ExitCode::from(125),
        code => ExitCode::from(u8::try_from(code).unwrap_or(1)),
    }
}

/// What goes on inside is only told where `HULL_LOG` asks for it; errors always are.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("HULL_LOG")
        .unwrap_or_else(|_| EnvFilter::new("error,rustls_platform_verifier=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
}
