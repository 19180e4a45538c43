//! Checks of a container's well-being.

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Health")]
pub(crate) struct Health {
    /// A command of the shell that is run in the container from time to time: 0 is healthy
    #[arg(long, value_name = "COMMAND", conflicts_with = "no_healthcheck")]
    pub(crate) health_cmd: Option<String>,
    /// The time between two checks: 30s, 1m30s
    #[arg(long, value_name = "TIME", value_parser = super::super::config::duration, conflicts_with = "no_healthcheck")]
    pub(crate) health_interval: Option<i64>,
    /// How long a check may take
    #[arg(long, value_name = "TIME", value_parser = super::super::config::duration, conflicts_with = "no_healthcheck")]
    pub(crate) health_timeout: Option<i64>,
    /// How many failures in a row are one too many
    #[arg(long, value_name = "COUNT", conflicts_with = "no_healthcheck")]
    pub(crate) health_retries: Option<i64>,
    /// How long the program may take to come up, while failures do not count
    #[arg(long, value_name = "TIME", value_parser = super::super::config::duration, conflicts_with = "no_healthcheck")]
    pub(crate) health_start_period: Option<i64>,
    /// The time between two checks while the program comes up
    #[arg(long, value_name = "TIME", value_parser = super::super::config::duration, conflicts_with = "no_healthcheck")]
    pub(crate) health_start_interval: Option<i64>,
    /// Check nothing, whatever the image says
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
}
