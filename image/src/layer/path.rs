//! Paths in archives: where they lead below the root of the container, decided on their text alone.

use super::{Error, MAX_NAME, MAX_PATH};

/// The names that `path` consists of, in order.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
}

/// Normalises a path as Docker does: `/a/./b/../c/` becomes `a/c`; empty means the root.
///
/// # Errors
/// When it leads out of the root, contains a NUL byte, or is too long for the kernel.
pub(super) fn normalise(path: &[u8]) -> Result<Vec<u8>, Error> {
    if path.contains(&0) {
        return Err(Error::member(path, "its path contains a NUL byte"));
    }
    let absolute = path.first() == Some(&b'/');
    let mut names: Vec<&[u8]> = Vec::new();
    let mut all = components(path).peekable();
    while let Some(name) = all.next() {
        // The name of a whiteout may be longer by its prefix: it is no file's.
        let hidden = name.strip_prefix(b".wh.").filter(|_| all.peek().is_none());
        match name {
            b"." => {}
            b".." if names.pop().is_none() && !absolute => {
                return Err(Error::member(path, "its path leads out of the root"));
            }
            b".." => {}
            _ if hidden.unwrap_or(name).len() > MAX_NAME => {
                return Err(Error::member(path, "a name in it is longer than 255 bytes"));
            }
            _ => names.push(name),
        }
    }
    let normal = names.join(&b'/');
    if normal.len() > MAX_PATH {
        return Err(Error::member(path, "its path is longer than 4095 bytes"));
    }
    Ok(normal)
}

/// What a path stands for in a layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Itself.
    Plain,
    /// It hides this path of the layers below.
    Whiteout(Vec<u8>),
    /// It hides all that the layers below have in this directory.
    Opaque(Vec<u8>),
    /// Bookkeeping of aufs, which means nothing here.
    Ignored,
}

/// Tells whiteouts from files. `path` is normalised.
///
/// # Errors
/// When it is a whiteout of nothing.
pub(super) fn role(path: &[u8]) -> Result<Role, Error> {
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => path.split_at(at),
        None => (&[][..], path),
    };
    let name = name.strip_prefix(b"/").unwrap_or(name);
    if name == b".wh..wh..opq" {
        return Ok(Role::Opaque(parent.to_vec()));
    }
    if components(path).any(|name| name.starts_with(b".wh..wh.")) {
        return Ok(Role::Ignored);
    }
    match name.strip_prefix(b".wh.") {
        None => Ok(Role::Plain),
        Some(b"" | b"." | b"..") => Err(Error::member(path, "it is a whiteout of nothing")),
        Some(hidden) if parent.is_empty() => Ok(Role::Whiteout(hidden.to_vec())),
        Some(hidden) => Ok(Role::Whiteout([parent, hidden].join(&b'/'))),
    }
}
