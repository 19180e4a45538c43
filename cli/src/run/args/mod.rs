//! The options of `hull run` and `hull create`, spelled as Docker's.

mod basics;
mod files;
mod foreign;
mod health;
mod image;
mod limits;
mod network;
mod process;

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction};

pub(crate) use basics::Basics;
pub(crate) use files::Files;
pub(crate) use foreign::Foreign;
pub(crate) use health::Health;
pub(crate) use image::{Image, Pull};
pub(crate) use limits::Limits;
pub(crate) use network::Network;
pub(crate) use process::{Process, Stream};

/// What a container is made of.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ContainerArgs {
    #[command(flatten)]
    pub(crate) basics: Basics,
    #[command(flatten)]
    pub(crate) image: Image,
    #[command(flatten)]
    pub(crate) process: Process,
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) network: Network,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) health: Health,
    #[command(flatten)]
    pub(crate) foreign: Foreign,
}

/// Run a program from an image in a microVM of its own
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    mut_args(say_yes_or_no),
    override_usage = "hull run [OPTIONS] IMAGE [COMMAND] [ARG...]",
    after_help = "Examples:\n  \
        hull run --rm busybox echo hello\n  \
        hull run -it --rm debian                          a shell\n  \
        echo data | hull run -i --rm busybox wc -c        with standard input\n  \
        hull run -d --name web -p 8080:80 nginx           in the background\n  \
        hull run --rm -v \"$PWD:/src\" -w /src rust cargo test\n  \
        hull run --rm --cpus 2 --memory 1g debian nproc   with limits\n  \
        hull run --rm --from warm                         goes on from hull snapshot CONTAINER warm\n\n\
        The container is the daemon's, which is started where none listens: it outlives this command. Ctrl-C goes to the program,\n\
        a second one ends the microVM, and ctrl-p ctrl-q leaves a terminal without ending anything.\n\n\
        The exit code is the program's own; 128+n after signal n; 125 when hull failed, 126 when the \
        command cannot be executed, 127 when it is not in the image."
)]
pub(crate) struct Args {
    /// Leave the container in the background, and print its id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Pass signals on to the program
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) sig_proxy: bool,
    /// The keys that leave the terminal of a program that goes on: ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Go on from a snapshot of a container, with its memory and processes; neither image nor command is given then
    #[arg(long, value_name = "SNAPSHOT", conflicts_with_all = ["image_and_command", "cold", "Image", "Process", "Files", "Network",
        "Limits", "Health", "Foreign"])]
    pub(crate) from: Option<String>,
    /// Boot the microVM, instead of starting it as a clone of a template
    #[arg(long)]
    pub(crate) cold: bool,
    /// Show on standard error where the time went
    #[arg(long, conflicts_with = "detach")]
    pub(crate) timing: bool,
    /// Write where the time went to this file, as a JSON object of milliseconds
    #[arg(long, value_name = "FILE", conflicts_with = "detach")]
    pub(crate) timing_file: Option<PathBuf>,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
    /// The image, then the program and its arguments where they are not the image's own
    #[arg(
        value_name = "IMAGE",
        add = crate::complete::images(),
        required_unless_present = "from",
        trailing_var_arg = true,
        num_args = 1..
    )]
    pub(crate) image_and_command: Vec<String>,
}

/// Make a container without starting it
#[derive(Clone, Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    mut_args(say_yes_or_no),
    override_usage = "hull create [OPTIONS] IMAGE [COMMAND] [ARG...]",
    after_help = "Examples:\n  \
        hull create --name web -p 8080:80 nginx       prints its id; hull start web starts it\n  \
        id=$(hull create alpine) && hull cp \"$id:/etc/os-release\" . && hull rm \"$id\""
)]
pub(crate) struct CreateArgs {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
    /// The image, then the program and its arguments where they are not the image's own
    #[arg(
        value_name = "IMAGE",
        add = crate::complete::images(),
        required = true,
        trailing_var_arg = true,
        num_args = 1..
    )]
    pub(crate) image_and_command: Vec<String>,
}

/// Lets each flag be said as Docker's can be: `--rm`, `--rm=true`, `--rm=false`.
fn say_yes_or_no(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    arg.action(ArgAction::Set)
        .value_parser(BoolishValueParser::new())
        .value_name("BOOL")
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .hide_default_value(true)
        .hide_possible_values(true)
}
