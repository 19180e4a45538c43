//! The parameter `filters`: JSON, a map of lists (`{"label":["a=b"]}`) or of maps (`{"label":{"a=b":true}}`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use regex::RegexBuilder;
use serde_json::Value;

use crate::error::ApiError;
use crate::words;

/// Patterns may cost so much memory, in bytes.
const PATTERN_LIMIT: usize = 1 << 20;

/// Conditions by name. One name's values are alternatives, unless the name is `label`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads the JSON text; nothing is no condition.
    ///
    /// # Errors
    /// When it is something else, or has a name that is not among `known`.
    pub(crate) fn parse(text: &str, known: &[&str]) -> Result<Self, ApiError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let wrong = |why: String| ApiError::invalid(format!("invalid filters {text:?}: {why}"));
        let value: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let Value::Object(names) = value else {
            return Err(wrong("an object is expected".to_owned()));
        };
        let mut filters = BTreeMap::new();
        for (name, values) in names {
            if !known.contains(&name.as_str()) {
                return Err(ApiError::invalid(format!("invalid filter '{name}'")));
            }
            let values = list(values)
                .ok_or_else(|| wrong(format!("{name} is neither a list nor a map of texts")))?;
            if !values.is_empty() {
                filters.insert(name, values);
            }
        }
        Ok(Self(filters))
    }

    /// The values of a name; none where there is no such condition.
    pub(crate) fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether one of the values is exactly this text, or there is no such condition.
    pub(crate) fn exact(&self, name: &str, text: &str) -> bool {
        !self.has(name) || self.values(name).iter().any(|value| value == text)
    }

    /// Whether one of the texts begins with one of the values, or there is no such condition.
    pub(crate) fn prefix(&self, name: &str, texts: &[&str]) -> bool {
        let fits = |value: &String| texts.iter().any(|text| text.starts_with(value.as_str()));
        !self.has(name) || self.values(name).iter().any(fits)
    }

    /// Whether one of the values, as a regular expression, is found in one of the texts.
    pub(crate) fn pattern(&self, name: &str, texts: &[&str]) -> bool {
        let fits = |value: &String| {
            if texts.contains(&value.as_str()) {
                return true;
            }
            let pattern = RegexBuilder::new(value).size_limit(PATTERN_LIMIT).build();
            pattern.is_ok_and(|pattern| texts.iter().any(|text| pattern.is_match(text)))
        };
        !self.has(name) || self.values(name).iter().any(fits)
    }

    /// A condition that is true or false.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.values(name) {
            [] => Ok(None),
            [value] => match value.as_str() {
                "1" | "true" | "True" | "TRUE" | "t" | "T" => Ok(Some(true)),
                "0" | "false" | "False" | "FALSE" | "f" | "F" => Ok(Some(false)),
                _ => Err(invalid(name, value)),
            },
            [_, second, ..] => Err(invalid(name, second)),
        }
    }

    /// The moment before which something was made.
    pub(crate) fn until(&self) -> Result<Option<Timestamp>, ApiError> {
        match self.values("until") {
            [] => Ok(None),
            [text] => words::moment(text).map(Some),
            _ => Err(ApiError::invalid("more than one until filter specified")),
        }
    }

    /// Whether all conditions `label` hold, and none of `label!`.
    pub(crate) fn labels<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let holds = |condition: &String| match condition.split_once('=') {
            Some((key, value)) => label(key) == Some(value),
            None => label(condition).is_some(),
        };
        self.values("label").iter().all(holds) && !self.values("label!").iter().any(holds)
    }
}

/// A value that its name does not know.
pub(crate) fn invalid(name: &str, value: &str) -> ApiError {
    ApiError::invalid(format!("invalid filter '{name}={value}'"))
}

fn list(values: Value) -> Option<Vec<String>> {
    match values {
        Value::Array(values) => values
            .into_iter()
            .map(|value| match value {
                Value::String(text) => Some(text),
                _ => None,
            })
            .collect(),
        Value::Object(values) => {
            let chosen = |(text, value): (String, Value)| match value {
                Value::Bool(true) => Some(Some(text)),
                Value::Bool(false) => Some(None),
                _ => None,
            };
            let values: Option<Vec<Option<String>>> = values.into_iter().map(chosen).collect();
            Some(values?.into_iter().flatten().collect())
        }
        Value::Null => Some(Vec::new()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: [&str; 4] = ["label", "name", "status", "label!"];

    fn parse(text: &str) -> Result<Filters, String> {
        Filters::parse(text, &KNOWN).map_err(|error| error.message)
    }

    #[test]
    fn lists_and_maps_are_the_same() {
        let lists = parse(r#"{"label":["a=b","c"],"status":[]}"#).unwrap();
        let maps = parse(r#"{"label":{"a=b":true,"c":true,"d":false},"status":null}"#).unwrap();
        assert_eq!(lists, maps);
        assert_eq!(lists.values("label"), ["a=b", "c"]);
        assert!(!lists.has("status"));
        assert_eq!(parse("").unwrap(), Filters::default());
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        assert_eq!(
            parse(r#"{"foo":["x"]}"#).unwrap_err(),
            "invalid filter 'foo'"
        );
        for text in [
            "x",
            "[]",
            "1",
            r#"{"label":"a"}"#,
            r#"{"label":[1]}"#,
            r#"{"label":{"a":1}}"#,
        ] {
            assert!(
                parse(text).unwrap_err().starts_with("invalid filters"),
                "{text}"
            );
        }
    }

    #[test]
    fn all_labels_must_fit_and_one_name_must() {
        let filters = parse(r#"{"label":["a=b","c"],"name":["^web$","db"]}"#).unwrap();
        let label = |key: &str| match key {
            "a" => Some("b"),
            "c" => Some(""),
            _ => None,
        };
        assert!(filters.labels(label));
        assert!(!filters.labels(|key| label(key).filter(|_| key != "c")));
        assert!(filters.pattern("name", &["web"]));
        assert!(filters.pattern("name", &["mydb1"]));
        assert!(!filters.pattern("name", &["web2"]));
        assert!(filters.pattern("status", &["anything"]));
        assert!(!parse(r#"{"label!":["a"]}"#).unwrap().labels(label));
    }

    proptest! {
        #[test]
        fn no_text_and_no_pattern_panics(text in ".*", name in ".*") {
            let _ = parse(&text);
            let filters = parse(&serde_json::json!({ "name": [name] }).to_string()).unwrap();
            filters.pattern("name", &["a", ""]);
        }
    }
}
