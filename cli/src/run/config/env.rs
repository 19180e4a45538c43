//! Variables from options and files: `NAME=VALUE`, and `NAME` alone for this environment's value.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

/// The entries of all files and then of all options, as the engine takes them: `NAME` alone is a
/// variable that this environment has not, which removes the image's.
pub(crate) fn entries(
    options: &[String],
    files: &[impl AsRef<Path>],
    own: impl Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for path in files {
        let path = path.as_ref();
        let text = fs::read_to_string(path)
            .with_context(|| format!("the environment file {} cannot be read", path.display()))?;
        for (line, number) in text.lines().zip(1..) {
            let entry =
                file_entry(line).with_context(|| format!("{}, line {number}", path.display()))?;
            all.extend(entry.and_then(|entry| from_file(entry, &own)));
        }
    }
    for option in options {
        if option.is_empty() || option.starts_with('=') {
            bail!("invalid environment variable: {option:?} has no name");
        }
        all.push(resolve(option, &own));
    }
    Ok(all)
}

/// What a line of a file says; nothing for comments and empty lines. Values are taken as they
/// stand: no quotes, no expansion, as with Docker.
fn file_entry(line: &str) -> anyhow::Result<Option<&str>> {
    let line = line.trim_start_matches('\u{feff}').trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let name = line.split_once('=').map_or(line, |(name, _)| name);
    if name.is_empty() {
        bail!("no variable name on line '{line}'");
    }
    if name.contains(char::is_whitespace) {
        bail!("variable '{name}' contains whitespaces");
    }
    Ok(Some(line))
}

/// A name alone in a file is left out where this environment has no such variable.
fn from_file(entry: &str, own: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let entry = resolve(entry, own);
    entry.contains('=').then_some(entry)
}

fn resolve(entry: &str, own: impl Fn(&str) -> Option<OsString>) -> String {
    if entry.contains('=') {
        return entry.to_owned();
    }
    match own(entry) {
        Some(value) => format!("{entry}={}", value.to_string_lossy()),
        None => entry.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str) -> Option<OsString> {
        (name == "HOME").then(|| "/home/me".into())
    }

    fn file(text: &str) -> anyhow::Result<Vec<String>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        entries(&[], &[file.path()], own)
    }

    #[test]
    fn a_file_is_read_line_by_line_and_taken_literally() {
        let text = "# comment\n\nA=b\n  B=\"quoted\" # kept\nHOME\nNOWHERE\nEMPTY=\n";
        let expected = ["A=b", "B=\"quoted\" # kept", "HOME=/home/me", "EMPTY="];
        assert_eq!(file(text).unwrap(), expected);
    }

    #[test]
    fn a_bad_line_is_named_by_number() {
        for text in ["A=b\n=c\n", "A=b\nMY VAR=c\n"] {
            let error = format!("{:#}", file(text).unwrap_err());
            assert!(error.contains("line 2"), "{error}");
        }
    }

    #[test]
    fn options_come_after_files_and_may_remove() {
        let options = ["A=1".to_owned(), "HOME".to_owned(), "GONE".to_owned()];
        let none: [&Path; 0] = [];
        assert_eq!(
            entries(&options, &none, own).unwrap(),
            ["A=1", "HOME=/home/me", "GONE"]
        );
        assert!(entries(&["=x".to_owned()], &none, own).is_err());
    }
}
