//! Options of Docker's that mean nothing to a microVM. They are passed on to the daemon, which takes what a microVM has anyway, and
//! refuses all else with a reason; so they need no place in the help.

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Foreign {
    #[arg(long, hide = true)]
    pub(crate) blkio_weight: Option<u16>,
    #[arg(long, hide = true)]
    pub(crate) cgroup_parent: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cgroupns: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpu_rt_period: Option<i64>,
    #[arg(long, hide = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    #[arg(long, hide = true)]
    pub(crate) cpuset_cpus: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) cpuset_mems: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) device: Vec<String>,
    #[arg(long, hide = true)]
    pub(crate) device_cgroup_rule: Vec<String>,
    #[arg(long, hide = true)]
    pub(crate) gpus: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) ipc: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) isolation: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) link_local_ip: Vec<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub(crate) memory_swappiness: Option<i64>,
    #[arg(long, hide = true)]
    pub(crate) oom_kill_disable: bool,
    #[arg(long, hide = true)]
    pub(crate) pid: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) runtime: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) userns: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) uts: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) volume_driver: Option<String>,
}
