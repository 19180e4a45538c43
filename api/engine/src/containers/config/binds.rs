//! `HostConfig.Binds`: `SOURCE:TARGET[:MODE]`, as `docker run -v` takes it.

use hull_engine::volume::VolumeSpec;
use hull_engine::{Mount, MountSource};
use serde_json::Value;

use crate::containers::fields::unsupported;
use crate::error::ApiError;

/// What a mode says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mode {
    read_only: bool,
    no_copy: bool,
    propagation: Option<String>,
}

/// One bind.
///
/// # Errors
/// In Docker's words.
pub(super) fn parse(text: &str) -> Result<Mount, ApiError> {
    let invalid = |why: &str| {
        let why = if why.is_empty() {
            String::new()
        } else {
            format!(": {why}")
        };
        ApiError::invalid(format!("invalid volume specification: '{text}'{why}"))
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [_, second] if read_mode(second).is_some() => return Err(invalid("")),
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        _ => return Err(invalid("")),
    };
    if target.is_empty() || (source.is_empty() && parts.len() > 1) {
        return Err(invalid(""));
    }
    if !target.starts_with('/') {
        return Err(invalid(&format!(
            "invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    if hull_engine::clean_path(target) == "/" {
        return Err(invalid("invalid specification: destination can't be '/'"));
    }
    let wrong_mode = || ApiError::invalid(format!("invalid mode: {mode}"));
    let read = read_mode(mode).ok_or_else(wrong_mode)?;
    let is_bind = source.starts_with('/');
    if (is_bind && read.no_copy) || (!is_bind && read.propagation.is_some()) {
        return Err(wrong_mode());
    }
    let source = match is_bind {
        true => MountSource::Bind {
            path: hull_engine::clean_path(source).into(),
            create: true,
        },
        false => MountSource::Volume {
            name: source.to_owned(),
            no_copy: read.no_copy,
            subpath: None,
            spec: VolumeSpec::default(),
        },
    };
    let propagation = match is_bind {
        true => propagation("HostConfig.Binds", read.propagation.as_deref())?,
        false => String::new(),
    };
    Ok(Mount {
        target: hull_engine::clean_path(target),
        read_only: read.read_only,
        source,
        // What Docker shows for a volume about which nothing was said.
        mode: match mode {
            "" if !is_bind && parts.len() > 1 => "z".to_owned(),
            mode => mode.to_owned(),
        },
        propagation,
    })
}

/// What becomes of mounts that are made later. Those of the host are seen below a directory that is shared, and nobody outside sees a
/// guest's.
///
/// # Errors
/// If they are to be seen outside, or it is no such word.
pub(super) fn propagation(field: &str, word: Option<&str>) -> Result<String, ApiError> {
    match word.unwrap_or_default() {
        "" => Ok("rprivate".to_owned()),
        word @ ("private" | "rprivate" | "slave" | "rslave") => Ok(word.to_owned()),
        other => Err(unsupported(field, &Value::from(other))),
    }
}

/// Reads a mode: each kind of word once, separated by commas; nothing if it is none.
fn read_mode(text: &str) -> Option<Mode> {
    let (mut mode, mut kinds) = (Mode::default(), Vec::new());
    if text.is_empty() {
        return Some(mode);
    }
    for word in text.split(',') {
        let kind = match word {
            "ro" | "rw" => {
                mode.read_only = word == "ro";
                "access"
            }
            "nocopy" => {
                mode.no_copy = true;
                "copy"
            }
            // Labels of a security module, which a microVM's files have none of.
            "z" | "Z" => "label",
            // Only Docker on a Mac tells them apart.
            "consistent" | "cached" | "delegated" => "consistency",
            "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" => {
                mode.propagation = Some(word.to_owned());
                "propagation"
            }
            _ => return None,
        };
        if kinds.contains(&kind) {
            return None;
        }
        kinds.push(kind);
    }
    Some(mode)
}

/// A container of which another one takes the mounts, and whether it may only read them.
///
/// # Errors
/// In Docker's words.
pub(crate) fn volumes_from(text: &str) -> Result<(&str, Option<bool>), ApiError> {
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() {
        return Err(ApiError::invalid(format!(
            "invalid volumes-from specification: {text}"
        )));
    }
    match read_mode(mode).filter(|mode| !mode.no_copy && mode.propagation.is_none()) {
        // Without a word each stays as it is there.
        Some(read) => Ok((name, Some(read.read_only).filter(|_| !mode.is_empty()))),
        None => Err(ApiError::invalid(format!("invalid mode: {mode}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_is_a_directory_or_a_volume() {
        let mount = parse("/srv/./www/:/data/:ro,z").unwrap();
        assert_eq!(mount.target, "/data");
        assert!(mount.read_only);
        assert_eq!(
            (mount.mode.as_str(), mount.propagation.as_str()),
            ("ro,z", "rprivate")
        );
        let MountSource::Bind { path, create: true } = mount.source else {
            panic!("{mount:?}");
        };
        assert_eq!(path.to_str(), Some("/srv/www"));
        let volume = parse("db:/data:nocopy").unwrap();
        assert_eq!(volume.volume(), Some("db"));
        assert!(matches!(
            volume.source,
            MountSource::Volume { no_copy: true, .. }
        ));
        assert_eq!(parse("db:/data").unwrap().mode, "z");
        assert_eq!(parse("/data").unwrap().volume(), Some(""));
    }

    #[test]
    fn what_is_wrong_is_told_as_by_docker() {
        for (text, words) in [
            ("", "invalid volume specification: ''"),
            ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
            (":/b", "invalid volume specification: ':/b'"),
            ("/a:ro", "invalid volume specification: '/a:ro'"),
            (
                "/a:b",
                "invalid volume specification: '/a:b': invalid mount path: 'b' mount path must be absolute",
            ),
            ("/a:/", "destination can't be '/'"),
            ("/a:/b:wo", "invalid mode: wo"),
            ("/a:/b:ro,rw", "invalid mode: ro,rw"),
            ("/a:/b:nocopy", "invalid mode: nocopy"),
            ("v:/b:rslave", "invalid mode: rslave"),
            ("/a:/b:rshared", "HostConfig.Binds rshared is not supported"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(words), "{text}: {}", error.message);
        }
    }

    #[test]
    fn mounts_of_another_container_stay_as_they_are_there_or_are_read_only() {
        assert_eq!(volumes_from("web").unwrap(), ("web", None));
        assert_eq!(volumes_from("web:ro").unwrap(), ("web", Some(true)));
        assert_eq!(volumes_from("web:rw").unwrap(), ("web", Some(false)));
        assert_eq!(
            volumes_from("web:wo").unwrap_err().message,
            "invalid mode: wo"
        );
        assert!(volumes_from(":ro").is_err());
    }
}
