//! What paths mean to `cp`, as Docker takes them: a slash at the end says that it is a directory, `/.` what is in one.

use anyhow::bail;

/// One of the two sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Container { name: String, path: String },
    Host(String),
}

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The name that it has in the archive: `.` for what is in a directory.
    pub(super) name: String,
    pub(super) is_dir: bool,
}

/// Where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) path: String,
    pub(super) exists: bool,
    pub(super) is_dir: bool,
}

/// Where an archive is unpacked, and under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) dir: String,
    /// Another name than in the archive.
    pub(super) name: Option<String>,
}

impl Place {
    /// Reads `CONTAINER:PATH` or a path of the host.
    pub(super) fn parse(text: &str) -> Self {
        // What begins as a path is none of a container's, whatever it has in it.
        let host = || Self::Host(text.to_owned());
        if text.starts_with('/') || text.starts_with('.') {
            return host();
        }
        match text.split_once(':') {
            Some((name, path)) if !name.is_empty() => Self::Container {
                name: name.to_owned(),
                // Relative to the root, since a container has no directory that one is in.
                path: match path.starts_with('/') {
                    true => path.to_owned(),
                    false => format!("/{path}"),
                },
            },
            _ => host(),
        }
    }
}

/// Whether a path can only be a directory's.
pub(super) fn asserts_dir(path: &str) -> bool {
    path.ends_with('/') || is_dot(path)
}

/// Whether a path means what is in a directory.
pub(super) fn is_dot(path: &str) -> bool {
    path == "." || path.ends_with("/.")
}

/// The directory that something is in, and its name there: `.` for what is in a directory.
pub(super) fn split(path: &str) -> (String, String) {
    let clean = clean(path);
    if is_dot(path) {
        return (clean, ".".to_owned());
    }
    match clean.rsplit_once('/') {
        Some(("", "")) => ("/".to_owned(), "/".to_owned()),
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((dir, name)) => (dir.to_owned(), name.to_owned()),
        None => (".".to_owned(), clean),
    }
}

/// A path without `.`, without `..` where that can be told, and without a slash at its end.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let is_absolute = path.starts_with('/');
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") => parts.push(part),
                None if !is_absolute => parts.push(part),
                _ => drop(parts.pop()),
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (is_absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// A path that is relative to what another one is in.
pub(super) fn beside(path: &str, relative: &str) -> String {
    match relative.starts_with('/') {
        true => relative.to_owned(),
        false => format!("{}/{relative}", split(path).0),
    }
}

impl Plan {
    /// As Docker copies.
    pub(super) fn of(source: &Source, destination: &Destination) -> anyhow::Result<Self> {
        let (dir, name) = split(&destination.path);
        match (destination.exists, destination.is_dir, source.is_dir) {
            (true, true, _) => Ok(Self {
                dir: destination.path.clone(),
                name: None,
            }),
            (true, false, true) => {
                bail!("cannot copy a directory onto the file {}", destination.path)
            }
            (false, _, false) if asserts_dir(&destination.path) => {
                bail!("no such directory: {}", destination.path)
            }
            _ => Ok(Self {
                dir,
                name: Some(name).filter(|name| *name != source.name),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_s_path_has_a_colon() {
        let container = |name: &str, path: &str| Place::Container {
            name: name.to_owned(),
            path: path.to_owned(),
        };
        assert_eq!(Place::parse("web:/a:b"), container("web", "/a:b"));
        assert_eq!(Place::parse("web:a"), container("web", "/a"));
        assert_eq!(Place::parse("web:"), container("web", "/"));
        for path in ["/a:b", "./a:b", "a", "-", ":a", "../a"] {
            assert_eq!(Place::parse(path), Place::Host(path.to_owned()));
        }
    }

    #[test]
    fn paths_are_split() {
        for (path, dir, name) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/b/.", "/a/b", "."),
            ("a", ".", "a"),
            (".", ".", "."),
            ("./a/../b", ".", "b"),
            ("../..", "..", ".."),
            ("/", "/", "/"),
            ("/a", "/", "a"),
        ] {
            assert_eq!(split(path), (dir.to_owned(), name.to_owned()), "{path}");
        }
        assert_eq!(beside("/a/link", "b"), "/a/b");
        assert_eq!(beside("/a/link", "/b"), "/b");
    }

    /// Where `name` of a file or directory goes: the directory, and the name there.
    fn planned(name: &str, is_dir: bool, to: &str, exists: Option<bool>) -> anyhow::Result<String> {
        let source = Source {
            name: name.to_owned(),
            is_dir,
        };
        let destination = Destination {
            path: to.to_owned(),
            exists: exists.is_some(),
            is_dir: exists == Some(true),
        };
        let Plan { dir, name } = Plan::of(&source, &destination)?;
        Ok(format!("{dir} {}", name.unwrap_or(source.name)))
    }

    #[test]
    fn copies_go_where_docker_s_go() {
        for (name, is_dir, to, exists, expected) in [
            // A file: into a directory, over a file, or under a name of its own.
            ("f", false, "/d", Some(true), "/d f"),
            ("f", false, "/d/g", Some(false), "/d g"),
            ("f", false, "/d/g", None, "/d g"),
            // A directory: below one that is there, or as one.
            ("s", true, "/d", Some(true), "/d s"),
            ("s", true, "/d", None, "/ d"),
            ("s", true, "/d/", None, "/ d"),
            // What is in it.
            (".", true, "/d", Some(true), "/d ."),
            (".", true, "/d", None, "/ d"),
        ] {
            let at = planned(name, is_dir, to, exists).unwrap();
            assert_eq!(at, expected, "{name} to {to}");
        }
        assert!(planned("f", false, "/d/", None).is_err());
        assert!(planned("f", false, "/d/.", None).is_err());
        assert!(planned("s", true, "/f", Some(false)).is_err());
    }
}
