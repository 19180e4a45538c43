//! The fields of a container's configuration that Hull reads. `containers::fields` knows all others.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::body::typed;
use crate::error::ApiError;

/// The body of `/containers/create`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct CreateBody {
    pub(crate) image: String,
    pub(crate) hostname: String,
    pub(crate) domainname: String,
    pub(crate) mac_address: String,
    pub(crate) network_disabled: bool,
    pub(crate) exposed_ports: BTreeMap<String, Value>,
    pub(crate) user: String,
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) env: Vec<String>,
    cmd: Option<Words>,
    entrypoint: Option<Words>,
    pub(crate) working_dir: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) stop_signal: String,
    pub(crate) healthcheck: HealthBody,
    pub(crate) shell: Vec<String>,
    pub(crate) volumes: BTreeMap<String, Value>,
    pub(crate) stop_timeout: Option<i64>,
    pub(crate) host_config: HostConfigBody,
    pub(crate) networking_config: NetworkingBody,
}

/// A list of words, or one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    fn list(&self) -> Vec<String> {
        match self {
            Self::One(word) => vec![word.clone()],
            Self::Many(words) => words.clone(),
        }
    }
}

impl CreateBody {
    pub(crate) fn command(&self) -> Vec<String> {
        self.cmd.as_ref().map(Words::list).unwrap_or_default()
    }

    /// The entrypoint; an empty word alone means none, as an empty list does.
    pub(crate) fn entrypoint(&self) -> Option<Vec<String>> {
        let words = self.entrypoint.as_ref()?.list();
        Some(if words == [""] { Vec::new() } else { words })
    }

    /// Whether the entrypoint is the empty word, which takes the image's command away, too.
    pub(crate) fn says_no_entrypoint(&self) -> bool {
        self.entrypoint
            .as_ref()
            .is_some_and(|words| words.list() == [""])
    }

    /// Rows and columns of the terminal, if the client knows them.
    pub(crate) fn console_size(&self) -> Option<(u16, u16)> {
        match self.host_config.console_size {
            [0, _] | [_, 0] => None,
            [rows, columns] => Some((rows, columns)),
        }
    }
}

/// The part of the body that is about the host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct HostConfigBody {
    pub(crate) memory: i64,
    pub(crate) memory_swap: i64,
    pub(crate) nano_cpus: i64,
    pub(crate) cpu_period: i64,
    pub(crate) cpu_quota: i64,
    pub(crate) init: bool,
    pub(crate) ulimits: Vec<UlimitBody>,
    pub(crate) log_config: LogConfigBody,
    pub(crate) network_mode: String,
    pub(crate) port_bindings: BTreeMap<String, Vec<PortBindingBody>>,
    pub(crate) publish_all_ports: bool,
    pub(crate) dns: Vec<String>,
    pub(crate) dns_options: Vec<String>,
    pub(crate) dns_search: Vec<String>,
    pub(crate) extra_hosts: Vec<String>,
    pub(crate) restart_policy: RestartPolicyBody,
    pub(crate) auto_remove: bool,
    pub(crate) binds: Vec<String>,
    pub(crate) mounts: Vec<MountBody>,
    pub(crate) volumes_from: Vec<String>,
    pub(crate) shm_size: i64,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) pids_limit: i64,
    pub(crate) cpu_shares: i64,
    pub(crate) memory_reservation: i64,
    pub(crate) console_size: [u16; 2],
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) group_add: Vec<String>,
    pub(crate) oom_score_adj: i64,
    pub(crate) privileged: bool,
    pub(crate) readonly_rootfs: bool,
    pub(crate) security_opt: Vec<String>,
    pub(crate) storage_opt: BTreeMap<String, String>,
    pub(crate) tmpfs: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct UlimitBody {
    pub(crate) name: String,
    pub(crate) soft: i64,
    pub(crate) hard: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct LogConfigBody {
    #[serde(rename = "Type")]
    pub(crate) driver: String,
    pub(crate) config: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct RestartPolicyBody {
    pub(crate) name: String,
    pub(crate) maximum_retry_count: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct MountBody {
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) read_only: bool,
    pub(crate) bind_options: Value,
    pub(crate) volume_options: Value,
    pub(crate) tmpfs_options: Value,
    pub(crate) image_options: Value,
}

impl MountBody {
    pub(crate) fn bind(&self) -> Result<BindBody, ApiError> {
        options(&self.bind_options)
    }

    pub(crate) fn volume(&self) -> Result<VolumeBody, ApiError> {
        options(&self.volume_options)
    }

    pub(crate) fn tmpfs(&self) -> Result<TmpfsBody, ApiError> {
        options(&self.tmpfs_options)
    }
}

/// Options that may be missing.
fn options<T: DeserializeOwned + Default>(value: &Value) -> Result<T, ApiError> {
    match value {
        Value::Null => Ok(T::default()),
        value => typed(value.clone()),
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct BindBody {
    pub(crate) propagation: String,
    pub(crate) non_recursive: bool,
    pub(crate) create_mountpoint: bool,
    pub(crate) read_only_non_recursive: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct VolumeBody {
    pub(crate) no_copy: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) driver_config: DriverBody,
    pub(crate) subpath: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct DriverBody {
    pub(crate) name: String,
    pub(crate) options: BTreeMap<String, String>,
}

/// A health check; durations are nanoseconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct HealthBody {
    pub(crate) test: Vec<String>,
    pub(crate) interval: i64,
    pub(crate) timeout: i64,
    pub(crate) start_period: i64,
    pub(crate) start_interval: i64,
    pub(crate) retries: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct TmpfsBody {
    pub(crate) size_bytes: i64,
    pub(crate) mode: u32,
    pub(crate) options: Vec<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct NetworkingBody {
    pub(crate) endpoints_config: BTreeMap<String, EndpointBody>,
}

/// A container's place in a network. What is not here is for Docker to say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct EndpointBody {
    #[serde(rename = "IPAMConfig")]
    pub(crate) ipam_config: EndpointIpamBody,
    pub(crate) links: Vec<String>,
    pub(crate) aliases: Vec<String>,
    pub(crate) mac_address: String,
    pub(crate) driver_opts: BTreeMap<String, String>,
    pub(crate) gw_priority: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EndpointIpamBody {
    #[serde(rename = "IPv4Address")]
    pub(crate) ipv4_address: String,
    #[serde(rename = "IPv6Address")]
    pub(crate) ipv6_address: String,
    #[serde(rename = "LinkLocalIPs")]
    pub(crate) link_local_ips: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct PortBindingBody {
    pub(crate) host_ip: String,
    pub(crate) host_port: String,
}
