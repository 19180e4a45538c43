//! File systems.

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct Files {
    /// Mount a volume, or a directory, file or socket of the host: data:/var/lib/db, ./src:/src:ro
    #[arg(short, long, value_name = "[SOURCE:]PATH[:OPTIONS]")]
    pub(crate) volume: Vec<String>,
    /// The same at length: type=bind|volume|tmpfs,src=SOURCE,dst=PATH[,readonly][,...]
    #[arg(long, value_name = "NAME=VALUE,...")]
    pub(crate) mount: Vec<String>,
    /// Mount what another container does
    #[arg(long, value_name = "CONTAINER[:ro]")]
    pub(crate) volumes_from: Vec<String>,
    /// Mount an empty file system in memory: PATH or PATH:size=64m,mode=1777
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    pub(crate) tmpfs: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// The size of /dev/shm, 64m where nothing is said
    #[arg(long, value_name = "SIZE")]
    pub(crate) shm_size: Option<String>,
    /// size=SIZE: how much the container can write, 10g where nothing is said, from 32m to 1t. Only what it writes is taken
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) storage_opt: Vec<String>,
}
