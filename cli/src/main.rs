//! The `hull` command: what people type.
//!
//! Parsing and presentation only. Containers are `hull_engine`'s, images `hull_image`'s; this crate
//! turns options into their types and their errors into one sentence and an exit code.

mod attach;
mod build;
mod checkpoint;
mod client;
mod complete;
mod container;
mod context;
mod contexts;
mod daemon;
mod doctor;
mod events;
mod fork;
mod format;
mod image;
mod inspect;
mod log;
mod login;
mod man;
mod network;
mod out;
mod own;
mod pairs;
mod pruning;
mod refused;
mod resume;
mod run;
mod snapshot;
mod suspend;
mod system;
mod template;
mod top;
mod trust;
mod vm;
mod volume;
mod whole;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::context::Context;

/// Containers as easy to run as with Docker, each in a microVM of its own.
#[derive(Debug, Parser)]
#[command(
    name = "hull",
    version,
    disable_version_flag = true,
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
    /// Print the version
    #[arg(short = 'v', visible_short_alias = 'V', long = "version", action = clap::ArgAction::Version)]
    _version: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    OfContainers(Box<container::Shortcut>),
    Container(Box<container::Args>),
    Checkpoint(checkpoint::Args),
    Inspect(inspect::Args),
    Events(events::Args),
    Suspend(suspend::Args),
    Resume(resume::Args),
    Snapshot(snapshot::Args),
    Fork(fork::Args),
    Template(template::Args),
    Top(top::Args),
    #[command(hide = true)]
    Own(own::Args),
    Build(Box<build::Args>),
    Builder(build::BuilderArgs),
    Image(image::Args),
    Pull(image::PullArgs),
    Push(image::PushArgs),
    Images(image::LsArgs),
    Rmi(image::RmArgs),
    Load(image::LoadArgs),
    Save(image::SaveArgs),
    Import(image::ImportArgs),
    History(image::HistoryArgs),
    Search(image::SearchArgs),
    Tag(image::TagArgs),
    Vm(vm::Args),
    Network(network::Args),
    Volume(volume::Args),
    System(system::Args),
    Info(system::info::Args),
    Login(login::Args),
    Logout(login::LogoutArgs),
    Context(contexts::Args),
    Doctor(doctor::Args),
    Daemon(daemon::Args),
    Completion(complete::Args),
    #[command(hide = true)]
    Man(man::Args),
    Version(system::version::Args),
}

/// As a shell shows an end by SIGPIPE.
const UNHEARD: u8 = 128 + 13;

fn main() -> ExitCode {
    // A shell that asks what may be typed next is answered here, and that is all.
    clap_complete::CompleteEnv::with_factory(Cli::command)
        .var(complete::ASKED)
        .complete();
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => return misspelt(&error),
    };
    match &cli.command {
        Command::Daemon(args) => log::to_stderr(args.log()),
        _ => log::to_stderr(log::Log::COMMANDS),
    }
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

/// The command line. What is to start fast does not put together all that people may type before it reads its own words; where those are not
/// understood, or ask for help, all of it says so.
fn parse() -> Result<Cli, clap::Error> {
    let first = std::env::args_os().nth(1).unwrap_or_default();
    let command = match first.to_str() {
        Some(own::NAME) => alone().map(Command::Own),
        Some("run") => alone().map(|args| container::Shortcut::Run(Box::new(args)).into()),
        Some("exec") => alone().map(|args| container::Shortcut::Exec(args).into()),
        _ => None,
    };
    match command {
        Some(command) => Ok(Cli {
            _version: None,
            command,
        }),
        None => Cli::try_parse(),
    }
}

/// The words of the first subcommand.
fn alone<A: clap::Args>() -> Option<A> {
    let words = std::env::args_os().skip(1);
    let command = A::augment_args(clap::Command::new("hull"));
    A::from_arg_matches(&command.try_get_matches_from(words).ok()?).ok()
}

impl From<container::Shortcut> for Command {
    fn from(shortcut: container::Shortcut) -> Self {
        Self::OfContainers(Box::new(shortcut))
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let ctx = Context::from_env()?;
    match command {
        Command::OfContainers(shortcut) => container::shortcut(*shortcut, &ctx).await,
        Command::Container(args) => container::run(*args, &ctx).await,
        Command::Checkpoint(args) => checkpoint::run(args, &ctx).await,
        Command::Inspect(args) => inspect::run(args, &ctx).await,
        Command::Events(args) => events::run(args, &ctx).await,
        Command::Suspend(args) => suspend::run(args, &ctx).await,
        Command::Resume(args) => resume::run(args, &ctx).await,
        Command::Snapshot(args) => snapshot::run(args, &ctx).await,
        Command::Fork(args) => fork::run(args, &ctx).await,
        Command::Template(args) => template::run(args, &ctx).await,
        Command::Top(args) => top::run(args, &ctx).await,
        Command::Own(args) => own::run(args, &ctx).await,
        Command::Build(args) => build::run(*args, &ctx).await,
        Command::Builder(args) => build::builder(args, &ctx).await,
        Command::Image(args) => image::run(args.command, &ctx).await,
        Command::Pull(args) => image::run(image::Command::Pull(args), &ctx).await,
        Command::Push(args) => image::run(image::Command::Push(args), &ctx).await,
        Command::Images(args) => image::run(image::Command::Ls(args), &ctx).await,
        Command::Rmi(args) => image::run(image::Command::Rm(args), &ctx).await,
        Command::Load(args) => image::run(image::Command::Load(args), &ctx).await,
        Command::Save(args) => image::run(image::Command::Save(args), &ctx).await,
        Command::Import(args) => image::run(image::Command::Import(args), &ctx).await,
        Command::History(args) => image::run(image::Command::History(args), &ctx).await,
        Command::Search(args) => image::search::run(args, &ctx).await,
        Command::Tag(args) => image::run(image::Command::Tag(args), &ctx).await,
        Command::Vm(args) => vm::run(args, &ctx).await,
        Command::Network(args) => network::run(args, &ctx).await,
        Command::Volume(args) => volume::run(args, &ctx).await,
        Command::System(args) => system::run(args, &ctx).await,
        Command::Info(args) => system::info::run(&args, &ctx).await,
        Command::Login(args) => login::run(args, &ctx).await,
        Command::Logout(args) => login::logout(args).await,
        Command::Context(args) => contexts::run(args, &ctx),
        Command::Doctor(args) => doctor::run(args, &ctx).await,
        Command::Daemon(args) => daemon::run(args, &ctx).await,
        Command::Completion(args) => complete::run(&args),
        Command::Man(args) => man::run(&args, Cli::command()),
        Command::Version(args) => system::version::run(&args, &ctx).await,
    }
}

/// Prints an error and its causes as one sentence.
fn fail(error: &anyhow::Error) -> ExitCode {
    if error.is::<out::Unheard>() {
        return ExitCode::from(UNHEARD);
    }
    anstream::eprintln!("hull: {error:#}");
    ExitCode::FAILURE
}

/// Help and version are no errors. For a wrong option `hull run` and `hull exec` exit with 125, as Docker's
/// do, so that no script takes it for its program's own exit code.
fn misspelt(error: &clap::Error) -> ExitCode {
    let word = |index| std::env::args_os().nth(index).unwrap_or_default();
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(reason) = word(1).to_str().and_then(refused::reason)
    {
        return fail(&anyhow::anyhow!("{}: {reason}", word(1).display()));
    }
    let text = error.render().to_string();
    match text.strip_prefix("error: ") {
        Some(text) => anstream::eprint!("hull: {text}"),
        None => drop(error.print()),
    }
    let verb = match word(1) {
        noun if noun == "vm" || noun == "container" => word(2),
        verb => verb,
    };
    let runs = ["run", "exec"].iter().any(|one| verb == *one);
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if runs => ExitCode::from(125),
        code => ExitCode::from(u8::try_from(code).unwrap_or(1)),
    }
}
