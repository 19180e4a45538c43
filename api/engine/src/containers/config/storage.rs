//! File systems: of the host, in memory, the writable disk; the log.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hull_engine::{ContainerConfig, LogConfig, LogDriver, Mount, Tmpfs, clean_path, parse_size};
use serde_json::Value;

use super::body::{CreateBody, LogConfigBody};
use super::{binds, mounts};
use crate::containers::fields::unsupported;
use crate::error::ApiError;

pub(super) fn convert(body: &CreateBody, config: &mut ContainerConfig) -> Result<(), ApiError> {
    let host = &body.host_config;
    config.read_only = host.readonly_rootfs;
    for (path, options) in &host.tmpfs {
        config.tmpfs.push(Tmpfs {
            path: PathBuf::from(path),
            options: options.clone(),
        });
    }
    for bind in &host.binds {
        config.mounts.push(binds::parse(bind)?);
    }
    mounts::convert(&host.mounts, config)?;
    unnamed(body, config)?;
    unique(config)?;
    for (name, value) in &host.storage_opt {
        if name != "size" {
            let value = Value::from(format!("{name}={value}"));
            return Err(unsupported("HostConfig.StorageOpt", &value));
        }
        let bytes = parse_size(value).map_err(|_| {
            ApiError::invalid(format!(
                "invalid storage option size={value}: a size such as 20G is expected"
            ))
        })?;
        config.disk = Some(bytes);
    }
    config.log = log(&host.log_config)?;
    Ok(())
}

/// Volumes without a name, where nothing else is asked for.
fn unnamed(body: &CreateBody, config: &mut ContainerConfig) -> Result<(), ApiError> {
    for target in body.volumes.keys() {
        if target.contains(':') || !target.starts_with('/') || clean_path(target) == "/" {
            return Err(ApiError::invalid(format!(
                "invalid volume specification: '{target}'"
            )));
        }
        if !places(config).any(|place| place == clean_path(target)) {
            config.mounts.push(Mount::unnamed(clean_path(target)));
        }
    }
    Ok(())
}

/// Where something is mounted.
fn places(config: &ContainerConfig) -> impl Iterator<Item = String> {
    let tmpfs = config
        .tmpfs
        .iter()
        .map(|tmpfs| tmpfs.path.to_string_lossy());
    let tmpfs = tmpfs.map(|path| clean_path(&path));
    let mounts = config.mounts.iter();
    mounts.map(|mount| clean_path(&mount.target)).chain(tmpfs)
}

fn unique(config: &ContainerConfig) -> Result<(), ApiError> {
    let mut known = BTreeSet::new();
    match places(config).find(|place| !known.insert(place.clone())) {
        Some(place) => Err(ApiError::invalid(format!("Duplicate mount point: {place}"))),
        None => Ok(()),
    }
}

fn log(body: &LogConfigBody) -> Result<LogConfig, ApiError> {
    let driver = match body.driver.as_str() {
        "" | "json-file" => LogDriver::JsonFile,
        "none" => LogDriver::None,
        other => {
            return Err(unsupported(
                "HostConfig.LogConfig.Type",
                &Value::from(other),
            ));
        }
    };
    let mut log = LogConfig {
        driver,
        ..LogConfig::default()
    };
    for (name, value) in &body.config {
        let wrong = || ApiError::invalid(format!("invalid log option {name}={value}"));
        match name.as_str() {
            "max-size" => {
                let size = parse_size(value).ok().filter(|size| *size > 0);
                log.max_size = Some(size.ok_or_else(wrong)?);
            }
            "max-file" => {
                let count = value.parse().ok().filter(|count| *count > 0);
                log.max_files = count.ok_or_else(wrong)?;
            }
            // Output waits for the log: that is how it is.
            "mode" if value == "blocking" => (),
            _ => {
                let option = Value::from(format!("{name}={value}"));
                return Err(unsupported("HostConfig.LogConfig.Config", &option));
            }
        }
    }
    if log.max_files > 1 && log.max_size.is_none() {
        return Err(ApiError::invalid(
            "max-file cannot be used without max-size, because nothing would ever begin another file",
        ));
    }
    Ok(log)
}
