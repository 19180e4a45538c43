//! Memory, processors and other limits.

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// How much processor time: 2, or 0.5. The machine has as many CPUs, rounded up
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<String>,
    /// Its weight among others that want processors, 1024 where nothing is said
    #[arg(short, long, value_name = "WEIGHT")]
    pub(crate) cpu_shares: Option<i64>,
    /// Microseconds in which it has its share of processors
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<i64>,
    /// Microseconds of processors in each period
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// The container's limit of memory: 512m, 1g
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// How much memory it is to have in any case
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_reservation: Option<String>,
    /// Memory and swap together: as --memory, for a microVM has no swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,
    /// How many processes and threads; -1 is as many as they like
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Limit the program: nofile=1024, or nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
    /// How soon it is killed where memory runs out, from -1000 to 1000
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    pub(crate) oom_score_adj: Option<i64>,
}
