//! What a container mounts of the host, before it is made.

use std::collections::BTreeSet;

use crate::Error;
use crate::container::{ContainerConfig, Mount, MountSource, clean_path, random_id};
use crate::share::MOST;
use crate::spec::InvalidProcess;
use crate::volume::{self, ANONYMOUS, VolumeSpec};

/// Checks what can be wrong with mounts whatever there is on the host.
pub(super) fn check(config: &ContainerConfig) -> Result<(), Error> {
    let count = config.mounts.len();
    if count > MOST {
        return Err(Error::ManyMounts { count, most: MOST });
    }
    let mut places = BTreeSet::new();
    for mount in &config.mounts {
        let place = clean_path(&mount.target);
        if !mount.target.starts_with('/') || place == "/" {
            return Err(InvalidProcess::Mount(mount.target.clone()).into());
        }
        if !places.insert(place) {
            return Err(Error::SamePlace(mount.target.clone()));
        }
        if let MountSource::Volume { name, spec, .. } = &mount.source
            && !name.is_empty()
        {
            volume::check(name, spec)?;
        }
    }
    Ok(())
}

/// Checks that what is not to be made is there.
pub(super) fn check_sources(config: &ContainerConfig) -> Result<(), Error> {
    for mount in &config.mounts {
        if let MountSource::Bind {
            path,
            create: false,
        } = &mount.source
            && !path.exists()
        {
            return Err(Error::NoSource(path.clone()));
        }
    }
    Ok(())
}

/// Adds a volume without a name for each that the image wants, where nothing else is mounted.
pub(super) fn add_image_s(config: &mut ContainerConfig, volumes: &[String]) {
    let tmpfs = config
        .tmpfs
        .iter()
        .map(|tmpfs| tmpfs.path.to_string_lossy().into_owned());
    let mounts = config.mounts.iter().map(|mount| mount.target.clone());
    let mut taken: BTreeSet<String> = tmpfs.chain(mounts).map(|path| clean_path(&path)).collect();
    for volume in volumes {
        let target = clean_path(volume);
        if taken.insert(target.clone()) {
            config.mounts.push(Mount::unnamed(target));
        }
    }
}

/// Gives a name to each volume that has none.
pub(super) fn name(config: &mut ContainerConfig) -> Result<(), Error> {
    for mount in &mut config.mounts {
        if let MountSource::Volume { name, spec, .. } = &mut mount.source
            && name.is_empty()
        {
            *name = random_id().map_err(Error::io("read", "/dev/urandom"))?;
            spec.labels.insert(ANONYMOUS.to_owned(), String::new());
        }
    }
    Ok(())
}

impl Mount {
    /// A volume of the engine's choice, which goes with the container.
    #[must_use]
    pub fn unnamed(target: String) -> Self {
        Self {
            target,
            read_only: false,
            source: MountSource::Volume {
                name: String::new(),
                no_copy: false,
                subpath: None,
                spec: VolumeSpec::default(),
            },
            mode: String::new(),
            propagation: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(target: &str) -> Mount {
        Mount {
            source: MountSource::Bind {
                path: "/srv".into(),
                create: false,
            },
            ..Mount::unnamed(target.to_owned())
        }
    }

    fn of(mounts: Vec<Mount>) -> ContainerConfig {
        ContainerConfig {
            mounts,
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn each_place_has_one_mount_and_there_is_room_for_so_many() {
        assert!(check(&of(vec![bound("/a"), bound("/a/b")])).is_ok());
        let twice = check(&of(vec![bound("/a"), bound("/b/../a/")])).unwrap_err();
        assert_eq!(twice.to_string(), "Duplicate mount point: /b/../a/");
        assert!(check(&of(vec![bound("a")])).is_err());
        assert!(check(&of(vec![bound("//")])).is_err());
        let many = (0..=MOST).map(|n| bound(&format!("/{n}"))).collect();
        assert!(matches!(check(&of(many)), Err(Error::ManyMounts { .. })));
    }

    #[test]
    fn the_image_s_volumes_are_where_nothing_else_is() {
        let mut config = of(vec![bound("/data/")]);
        config.tmpfs.push(crate::Tmpfs {
            path: "/cache".into(),
            options: String::new(),
        });
        let volumes = ["/data", "/cache", "/log", "/log/"].map(str::to_owned);
        add_image_s(&mut config, &volumes);
        name(&mut config).unwrap();
        assert_eq!(config.mounts.len(), 2);
        let log = &config.mounts[1];
        assert_eq!(log.target, "/log");
        assert_eq!(log.volume().map(str::len), Some(64));
        assert!(check(&config).is_ok());
    }
}
