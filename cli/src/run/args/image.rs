//! Where the image comes from.

use clap::ValueEnum;
use hull_image::Platform;

/// When to pull the image first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// Where it is not there yet
    Missing,
    /// Each time
    Always,
    /// Not at all
    Never,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Image {
    /// Pull the image first
    #[arg(long, value_enum, default_value_t = Pull::Missing, value_name = "WHEN")]
    pub(crate) pull: Pull,
    /// The platform of the image, such as linux/amd64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Show no progress of a pull
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
