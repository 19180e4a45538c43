//! Labels, and what else is written as `KEY=VALUE`.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context as _, bail};

use crate::run::args::Basics;

/// The labels of all files and then of all options.
pub(crate) fn labels(basics: &Basics) -> anyhow::Result<HashMap<String, String>> {
    let mut all = HashMap::new();
    for path in &basics.label_file {
        let text = fs::read_to_string(path)
            .with_context(|| format!("the label file {} cannot be read", path.display()))?;
        let lines = text.lines().map(str::trim_start).zip(1..);
        for (line, number) in lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) =
                label(line).with_context(|| format!("{}, line {number}", path.display()))?;
            all.insert(key, value);
        }
    }
    for text in &basics.label {
        let (key, value) = label(text).with_context(|| format!("invalid --label {text:?}"))?;
        all.insert(key, value);
    }
    Ok(all)
}

fn label(text: &str) -> anyhow::Result<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        bail!("a label needs a key: KEY=VALUE is expected");
    }
    if key.contains(char::is_whitespace) {
        bail!("label '{key}' contains whitespaces");
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `NAME=VALUE` of an option that takes nothing else.
pub(super) fn pairs(
    option: &str,
    all: &[String],
) -> anyhow::Result<Option<HashMap<String, String>>> {
    let pair = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .with_context(|| format!("invalid {option} {text:?}: NAME=VALUE is expected"))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    if all.is_empty() {
        return Ok(None);
    }
    all.iter()
        .map(pair)
        .collect::<anyhow::Result<_>>()
        .map(Some)
}
