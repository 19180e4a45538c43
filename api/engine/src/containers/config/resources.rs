//! Memory, processors and limits.

use hull_engine::{ContainerConfig, Ulimit};
use serde_json::Value;

use super::body::HostConfigBody;
use crate::containers::fields::unsupported;
use crate::error::ApiError;

/// The period that a quota is of where none is given, in microseconds.
const PERIOD: i64 = 100_000;
const BILLION: i128 = 1_000_000_000;

pub(super) fn convert(host: &HostConfigBody, config: &mut ContainerConfig) -> Result<(), ApiError> {
    let Limits {
        memory,
        nano_cpus,
        pids,
    } = limits(host)?;
    (config.memory, config.nano_cpus, config.pids) = (memory, nano_cpus, pids);
    config.cpu_shares = match u32::try_from(host.cpu_shares) {
        Ok(shares) => (shares > 0).then_some(shares),
        Err(_) => {
            return Err(ApiError::invalid(format!(
                "invalid CPU shares ({}): value must be a positive integer",
                host.cpu_shares
            )));
        }
    };
    let ulimit = |limit: &super::body::UlimitBody| Ulimit {
        name: limit.name.clone(),
        soft: limit.soft,
        hard: limit.hard,
    };
    config.ulimits = host.ulimits.iter().map(ulimit).collect();
    if let Some(limit) = config
        .ulimits
        .iter()
        .find(|limit| limit.hard != -1 && limit.soft > limit.hard)
    {
        return Err(ApiError::invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {} > {}",
            limit.soft, limit.hard
        )));
    }
    config.oom_score_adj = match i16::try_from(host.oom_score_adj) {
        Ok(value @ -1000..=1000) => value,
        _ => {
            return Err(ApiError::invalid(format!(
                "Invalid value {}, range for oom score adj is [-1000, 1000]",
                host.oom_score_adj
            )));
        }
    };
    config.init = host.init;
    config.shm_size = match u64::try_from(host.shm_size) {
        Ok(bytes) => (bytes > 0).then_some(bytes),
        Err(_) => return Err(ApiError::invalid("SHM size can not be less than 0")),
    };
    config.sysctls.clone_from(&host.sysctls);
    Ok(())
}

/// What can be changed while a container runs.
pub(crate) struct Limits {
    pub(crate) memory: Option<u64>,
    pub(crate) nano_cpus: Option<u64>,
    pub(crate) pids: Option<u64>,
}

/// # Errors
/// In Docker's words.
pub(crate) fn limits(host: &HostConfigBody) -> Result<Limits, ApiError> {
    reservation(host)?;
    // Docker's word for "as many as they like" is anything that is not above zero.
    let pids = u64::try_from(host.pids_limit).ok();
    Ok(Limits {
        memory: memory(host)?,
        nano_cpus: cpus(host)?,
        pids: pids.filter(|count| *count > 0),
    })
}

fn memory(host: &HostConfigBody) -> Result<Option<u64>, ApiError> {
    let bytes = u64::try_from(host.memory)
        .map_err(|_| ApiError::invalid(format!("invalid memory: {} is below zero", host.memory)))?;
    match host.memory_swap {
        0 | -1 => (),
        _ if bytes == 0 => {
            return Err(ApiError::invalid(
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ));
        }
        swap if swap < host.memory => {
            return Err(ApiError::invalid(
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ));
        }
        swap if swap > host.memory => {
            return Err(unsupported("HostConfig.MemorySwap", &Value::from(swap)));
        }
        _ => (),
    }
    Ok((bytes > 0).then_some(bytes))
}

/// A microVM takes memory as it uses it and gives back what is free, at all times and not only when the host is short of it. So there is
/// nothing to do for it but what Docker checks.
fn reservation(host: &HostConfigBody) -> Result<(), ApiError> {
    match host.memory_reservation {
        bytes if bytes < 0 => Err(ApiError::invalid(format!(
            "invalid memory reservation: {bytes} is below zero"
        ))),
        bytes if bytes > 0 && host.memory > 0 && bytes > host.memory => Err(ApiError::invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        )),
        _ => Ok(()),
    }
}

fn cpus(host: &HostConfigBody) -> Result<Option<u64>, ApiError> {
    if host.nano_cpus > 0 {
        for (name, value) in [
            ("CPU Period", host.cpu_period),
            ("CPU Quota", host.cpu_quota),
        ] {
            if value > 0 {
                return Err(ApiError::invalid(format!(
                    "Conflicting options: Nano CPUs and {name} cannot both be set"
                )));
            }
        }
        return Ok(u64::try_from(host.nano_cpus).ok());
    }
    if host.nano_cpus < 0 {
        return Err(ApiError::invalid(format!(
            "invalid number of CPUs: {} billionths",
            host.nano_cpus
        )));
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return Err(ApiError::invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    match host.cpu_quota {
        0 | -1 => Ok(None),
        quota if quota < 1000 => Err(ApiError::invalid(
            "CPU cfs quota can not be less than 1ms (i.e. 1000)",
        )),
        quota => {
            let period = if host.cpu_period == 0 {
                PERIOD
            } else {
                host.cpu_period
            };
            let nano = i128::from(quota) * BILLION / i128::from(period);
            Ok(Some(u64::try_from(nano).unwrap_or(u64::MAX)))
        }
    }
}
