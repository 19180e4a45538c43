//! `HostConfig.Mounts`: what `docker run --mount` takes.

use hull_engine::volume::VolumeSpec;
use hull_engine::{ContainerConfig, Mount, MountSource, Tmpfs};
use serde_json::Value;

use super::binds;
use super::body::MountBody;
use crate::containers::fields::{is_zero, unsupported};
use crate::error::ApiError;
use crate::volumes::driver;

pub(super) fn convert(mounts: &[MountBody], config: &mut ContainerConfig) -> Result<(), ApiError> {
    for mount in mounts {
        check(mount)?;
        match mount.kind.as_str() {
            "tmpfs" => config.tmpfs.push(tmpfs(mount)?),
            "bind" => config.mounts.push(bind(mount)?),
            _ => config.mounts.push(volume(mount)?),
        }
    }
    Ok(())
}

fn wrong(mount: &MountBody, why: &str) -> ApiError {
    ApiError::invalid(format!(
        "invalid mount config for type {:?}: {why}",
        mount.kind
    ))
}

/// What is wrong whatever the kind, and what belongs to another one.
fn check(mount: &MountBody) -> Result<(), ApiError> {
    let options = [
        ("bind", "BindOptions", &mount.bind_options),
        ("volume", "VolumeOptions", &mount.volume_options),
        ("tmpfs", "TmpfsOptions", &mount.tmpfs_options),
    ];
    match mount.kind.as_str() {
        "bind" | "volume" | "tmpfs" => {}
        "image" | "npipe" | "cluster" => {
            let kind = Value::from(mount.kind.clone());
            return Err(unsupported("HostConfig.Mounts of type", &kind));
        }
        _ => return Err(wrong(mount, "mount type unknown")),
    }
    if !is_zero(&mount.image_options) {
        return Err(wrong(mount, "field ImageOptions must not be specified"));
    }
    for (kind, name, value) in options {
        if kind != mount.kind && !is_zero(value) {
            return Err(wrong(mount, &format!("field {name} must not be specified")));
        }
    }
    if mount.target.is_empty() {
        return Err(wrong(mount, "field Target must not be empty"));
    }
    if !mount.target.starts_with('/') {
        let why = format!(
            "invalid mount path: '{}' mount path must be absolute",
            mount.target
        );
        return Err(wrong(mount, &why));
    }
    if hull_engine::clean_path(&mount.target) == "/" {
        return Err(wrong(
            mount,
            "invalid specification: destination can't be '/'",
        ));
    }
    Ok(())
}

fn bind(mount: &MountBody) -> Result<Mount, ApiError> {
    if mount.source.is_empty() {
        return Err(wrong(mount, "field Source must not be empty"));
    }
    if !mount.source.starts_with('/') {
        let why = format!(
            "invalid mount path: '{}' mount path must be absolute",
            mount.source
        );
        return Err(wrong(mount, &why));
    }
    let given = mount.bind()?;
    for (name, value) in [
        ("NonRecursive", given.non_recursive),
        ("ReadOnlyNonRecursive", given.read_only_non_recursive),
    ] {
        if value {
            let field = format!("HostConfig.Mounts.BindOptions.{name}");
            return Err(unsupported(&field, &Value::Bool(true)));
        }
    }
    let propagation = Some(given.propagation.as_str());
    Ok(Mount {
        target: hull_engine::clean_path(&mount.target),
        read_only: mount.read_only,
        source: MountSource::Bind {
            path: hull_engine::clean_path(&mount.source).into(),
            create: given.create_mountpoint,
        },
        mode: String::new(),
        propagation: binds::propagation("HostConfig.Mounts.BindOptions.Propagation", propagation)?,
    })
}

fn volume(mount: &MountBody) -> Result<Mount, ApiError> {
    let given = mount.volume()?;
    driver(&given.driver_config.name)?;
    let subpath = given.subpath;
    let leads_out = subpath.starts_with('/') || subpath.split('/').any(|part| part == "..");
    if leads_out {
        return Err(wrong(
            mount,
            "subpath must be a relative path within the volume",
        ));
    }
    Ok(Mount {
        target: hull_engine::clean_path(&mount.target),
        read_only: mount.read_only,
        source: MountSource::Volume {
            name: mount.source.clone(),
            no_copy: given.no_copy,
            subpath: Some(subpath).filter(|path| !path.is_empty()),
            spec: VolumeSpec {
                labels: given.labels,
                options: given.driver_config.options,
            },
        },
        mode: "z".to_owned(),
        propagation: String::new(),
    })
}

fn tmpfs(mount: &MountBody) -> Result<Tmpfs, ApiError> {
    if !mount.source.is_empty() {
        return Err(wrong(mount, "field Source must not be specified"));
    }
    // What Docker mounts where a mount says nothing.
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
    let given = mount.tmpfs()?;
    if given.size_bytes > 0 {
        options.push(format!("size={}", given.size_bytes));
    }
    if given.mode > 0 {
        options.push(format!("mode={:o}", given.mode));
    }
    if mount.read_only {
        options.push("ro".to_owned());
    }
    for option in &given.options {
        match option.as_slice() {
            [flag] if flag == "exec" => options.retain(|known| known != "noexec"),
            [flag] if flag == "noexec" => (),
            other => {
                let value = Value::from(other.join("="));
                return Err(unsupported("HostConfig.Mounts option", &value));
            }
        }
    }
    Ok(Tmpfs {
        path: mount.target.clone().into(),
        options: options.join(","),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::body::typed;

    fn of(mount: Value) -> Result<ContainerConfig, String> {
        let mount: MountBody = typed(mount).map_err(|error| error.message)?;
        let mut config = ContainerConfig::default();
        convert(&[mount], &mut config).map_err(|error| error.message)?;
        Ok(config)
    }

    #[test]
    fn each_kind_has_options_of_its_own() {
        let config = of(json!({
            "Type": "volume", "Source": "db", "Target": "/data/", "ReadOnly": true,
            "VolumeOptions": {
                "NoCopy": true, "Labels": { "a": "b" }, "Subpath": "sub",
                "DriverConfig": { "Name": "local", "Options": { "type": "none" } },
            },
        }));
        let mount = config.unwrap().mounts.remove(0);
        assert_eq!((mount.target.as_str(), mount.read_only), ("/data", true));
        let MountSource::Volume {
            name,
            no_copy,
            subpath,
            spec,
        } = mount.source
        else {
            panic!("no volume");
        };
        assert_eq!(
            (name.as_str(), no_copy, subpath.as_deref()),
            ("db", true, Some("sub"))
        );
        assert_eq!(spec.labels["a"], "b");
        assert_eq!(spec.options["type"], "none");
        let config = of(json!({
            "Type": "bind", "Source": "/srv", "Target": "/data",
            "BindOptions": { "Propagation": "rslave", "CreateMountpoint": true },
        }));
        let mount = config.unwrap().mounts.remove(0);
        assert_eq!(mount.propagation, "rslave");
        assert!(matches!(
            mount.source,
            MountSource::Bind { create: true, .. }
        ));
    }

    #[test]
    fn what_is_wrong_is_told_as_by_docker() {
        for (mount, words) in [
            (
                json!({ "Type": "x", "Target": "/a" }),
                "invalid mount config for type \"x\": mount type unknown",
            ),
            (
                json!({ "Type": "bind", "Target": "/a" }),
                "field Source must not be empty",
            ),
            (
                json!({ "Type": "bind", "Source": "/a" }),
                "field Target must not be empty",
            ),
            (
                json!({ "Type": "bind", "Source": "a", "Target": "/a" }),
                "'a' mount path must be absolute",
            ),
            (
                json!({ "Type": "volume", "Target": "a" }),
                "'a' mount path must be absolute",
            ),
            (
                json!({ "Type": "tmpfs", "Source": "x", "Target": "/a" }),
                "field Source must not be specified",
            ),
            (
                json!({ "Type": "bind", "Source": "/a", "Target": "/a", "VolumeOptions": { "NoCopy": true } }),
                "field VolumeOptions must not be specified",
            ),
            (
                json!({ "Type": "volume", "Target": "/a", "VolumeOptions": { "DriverConfig": { "Name": "nfs" } } }),
                "plugin \"nfs\" not found",
            ),
            (
                json!({ "Type": "volume", "Target": "/a", "VolumeOptions": { "Subpath": "../x" } }),
                "subpath must be a relative path within the volume",
            ),
            (
                json!({ "Type": "bind", "Source": "/a", "Target": "/a", "BindOptions": { "NonRecursive": true } }),
                "HostConfig.Mounts.BindOptions.NonRecursive true is not supported",
            ),
            (
                json!({ "Type": "image", "Source": "x", "Target": "/a" }),
                "HostConfig.Mounts of type image is not supported",
            ),
        ] {
            let error = of(mount).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
