//! What is said of a container as a whole, whatever it is made of.

use std::path::PathBuf;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Basics {
    /// A name for the container; a random one otherwise
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Remove the container at its end, with its volumes that have no name
    #[arg(long)]
    pub(crate) rm: bool,
    /// The host name of the container
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Put a label on the container
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Read labels from a file, one KEY[=VALUE] in a line
    #[arg(long, value_name = "FILE")]
    pub(crate) label_file: Vec<PathBuf>,
    /// Write the container's id to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
}
