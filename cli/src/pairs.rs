//! Options of the form `KEY=VALUE`: labels, and options of drivers.

use std::collections::HashMap;

/// One of them. Without `=` its value is empty.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key.is_empty() {
        true => Err("KEY or KEY=VALUE is expected".to_owned()),
        false => Ok((key.to_owned(), value.to_owned())),
    }
}

/// `KEY=VALUE,KEY=VALUE`, by their keys: labels as lists show them.
pub(crate) fn joined(labels: &HashMap<String, String>) -> String {
    let mut all: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    all.sort();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_needs_a_key_and_may_have_a_value() {
        let of = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(pair("a"), of("a", ""));
        assert_eq!(pair("a=b=c"), of("a", "b=c"));
        assert!(pair("=b").is_err());
    }

    #[test]
    fn labels_are_shown_by_their_keys() {
        let labels =
            [("b", ""), ("a", "x=y")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(joined(&labels.into()), "a=x=y,b=");
    }
}
