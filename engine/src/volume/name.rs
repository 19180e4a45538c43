//! What a volume can be called, and which options it can have.

use std::path::{Path, PathBuf};

use super::{VolumeError, VolumeSpec};

/// A file system's names have so many bytes.
const LONGEST: usize = 255;

/// Checks a name and options before anything is made.
///
/// # Errors
/// In Docker's words.
pub(crate) fn check(name: &str, spec: &VolumeSpec) -> Result<(), VolumeError> {
    let owned = || name.to_owned();
    let mut bytes = name.bytes();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if name.len() == 1 && first {
        return Err(VolumeError::ShortName(owned()));
    }
    if !first || !bytes.all(allowed) {
        return Err(VolumeError::Name(owned()));
    }
    if name.len() > LONGEST {
        return Err(VolumeError::LongName(owned()));
    }
    device(name, spec).map(drop)
}

/// The directory of the host that a volume is another name for, if it is.
pub(super) fn device(name: &str, spec: &VolumeSpec) -> Result<Option<PathBuf>, VolumeError> {
    let wrong = |option: &str| VolumeError::Option {
        name: name.to_owned(),
        option: option.to_owned(),
    };
    let mut device = None;
    for (option, value) in &spec.options {
        match (option.as_str(), value.as_str()) {
            ("type", "none" | "bind") => {}
            ("o", "bind" | "rbind" | "bind,rw" | "rw,bind") => {}
            ("device", path) if Path::new(path).is_absolute() => device = Some(PathBuf::from(path)),
            _ => return Err(wrong(&format!("{option}={value}"))),
        }
    }
    let complete = ["type", "o", "device"]
        .iter()
        .all(|option| spec.options.contains_key(*option));
    match spec.options.keys().next() {
        Some(option) if !complete => Err(wrong(option)),
        _ => Ok(device),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_docker_has() {
        let plain = |name: &str| check(name, &VolumeSpec::default());
        for good in ["db", "a0", "my_data.v2-x", &"x".repeat(255)] {
            assert_eq!(plain(good), Ok(()));
        }
        assert!(matches!(plain("a"), Err(VolumeError::ShortName(_))));
        assert!(matches!(
            plain(&"x".repeat(256)),
            Err(VolumeError::LongName(_))
        ));
        for bad in ["", "..", ".hidden", "-x", "a/b", "a b", "ä0", "a\0b"] {
            assert!(matches!(plain(bad), Err(VolumeError::Name(_))), "{bad:?}");
        }
    }

    #[test]
    fn of_options_only_a_directory_of_the_host_is_known() {
        let device = |options: &[(&str, &str)]| {
            let options = options
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let spec = VolumeSpec {
                options: options.collect(),
                ..VolumeSpec::default()
            };
            device("v0", &spec)
        };
        assert_eq!(device(&[]), Ok(None));
        let bind = [("type", "none"), ("o", "bind"), ("device", "/srv")];
        assert_eq!(device(&bind), Ok(Some(PathBuf::from("/srv"))));
        for bad in [
            &[("type", "tmpfs"), ("o", "bind"), ("device", "tmpfs")][..],
            &[("type", "none"), ("o", "bind")],
            &[("device", "/srv")],
            &[("type", "nfs"), ("o", "addr=10.0.0.1"), ("device", "/srv")],
            &[("size", "1g")],
        ] {
            assert!(
                matches!(device(bad), Err(VolumeError::Option { .. })),
                "{bad:?}"
            );
        }
    }
}
