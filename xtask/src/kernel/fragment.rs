//! Whether Kconfig did what the fragment says. It drops without a word what it does not know and what lacks a
//! dependency, so a kernel would miss a feature and nobody would hear of it.

use std::collections::HashMap;

/// The lines of `fragment` that are not so in `config`, each with what is there instead.
pub(super) fn refused(fragment: &str, config: &str) -> Vec<String> {
    let actual: HashMap<&str, &str> = settings(config).collect();
    settings(fragment)
        .filter_map(|(name, wanted)| {
            let actual = actual.get(name).copied().unwrap_or("n");
            (actual != wanted).then(|| format!("{name}={wanted} became {name}={actual}"))
        })
        .collect()
}

/// The options that a fragment or configuration sets, without the comments.
pub(super) fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(setting)
}

/// `CONFIG_X=y` as `(CONFIG_X, y)`, and the comment by which Kconfig says no as `(CONFIG_X, n)`.
fn setting(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if let Some(name) = line
        .strip_prefix("# ")
        .and_then(|rest| rest.strip_suffix(" is not set"))
    {
        return Some((name, "n"));
    }
    line.starts_with("CONFIG_")
        .then(|| line.split_once('='))
        .flatten()
}
