//! Filters of `docker images` and `docker image prune`.

use jiff::Timestamp;

use crate::glob::Glob;
use crate::reference::Reference;
use crate::time;

/// Which images are meant. All kinds of conditions must hold; of several references, one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    pub(crate) dangling: Option<bool>,
    labels: Vec<Label>,
    references: Vec<Glob>,
    /// Images, by name or id, before or since whose creation they were made.
    pub(crate) before: Vec<String>,
    pub(crate) since: Vec<String>,
    until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Label {
    key: String,
    value: Option<String>,
    wanted: bool,
}

/// A filter that makes no sense, in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid filter '{name}{}'{}", .value.as_ref().map(|value| format!("={value}")).unwrap_or_default(), .hint)]
pub struct FilterError {
    name: String,
    value: Option<String>,
    hint: &'static str,
}

impl Filters {
    /// Adds a condition. `now` is what durations count back from.
    ///
    /// # Errors
    /// When there is no such filter, or it does not have such values.
    pub fn add(&mut self, name: &str, value: &str, now: Timestamp) -> Result<(), FilterError> {
        let wrong = |hint| FilterError {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            hint,
        };
        match name {
            "dangling" => {
                let value = flag(value).ok_or_else(|| wrong(": it is true or false"))?;
                self.dangling = Some(value);
            }
            "label" => self.labels.push(label(value, true)),
            "label!" => self.labels.push(label(value, false)),
            "reference" => {
                let glob = Glob::parse(value).ok_or_else(|| wrong(": syntax error in pattern"))?;
                self.references.push(glob);
            }
            "before" => self.before.push(value.to_owned()),
            "since" => self.since.push(value.to_owned()),
            "until" => {
                let time = time::moment(value, now)
                    .ok_or_else(|| wrong(": it is a time, or a duration such as 24h"))?;
                self.until = Some(self.until.map_or(time, |other| other.min(time)));
            }
            _ => {
                return Err(FilterError {
                    name: name.to_owned(),
                    value: None,
                    hint: ": there are dangling, label, label!, reference, before, since and until",
                });
            }
        }
        Ok(())
    }

    /// Adds a condition that is written as `name=value`.
    ///
    /// # Errors
    /// When it is not, or makes no sense.
    pub fn add_text(&mut self, text: &str, now: Timestamp) -> Result<(), FilterError> {
        let (name, value) = text.split_once('=').ok_or_else(|| FilterError {
            name: text.to_owned(),
            value: None,
            hint: ": it looks like dangling=true",
        })?;
        self.add(name.trim(), value.trim(), now)
    }

    /// Whether images are chosen by their names.
    pub(crate) fn has_references(&self) -> bool {
        !self.references.is_empty()
    }

    /// Whether an image with these labels, made at this time, is meant, as far as these say it.
    pub(crate) fn fits(&self, labels: &[(String, String)], created: Option<Timestamp>) -> bool {
        let has = |label: &Label| {
            labels.iter().any(|(key, value)| {
                *key == label.key && label.value.as_ref().is_none_or(|wanted| wanted == value)
            })
        };
        let in_time = self
            .until
            .is_none_or(|until| created.is_some_and(|created| created < until));
        in_time && self.labels.iter().all(|label| has(label) == label.wanted)
    }

    /// Whether a name is meant, with or without what Docker leaves out, and with or without its tag.
    pub(crate) fn fits_name(&self, name: &Reference) -> bool {
        let forms = [
            name.familiar(),
            name.familiar_name(),
            name.to_string(),
            name.name(),
        ];
        let fits = |glob: &Glob| forms.iter().any(|form| glob.fits(form));
        self.references.is_empty() || self.references.iter().any(fits)
    }
}

fn label(text: &str, wanted: bool) -> Label {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    Label {
        key: key.to_owned(),
        value,
        wanted,
    }
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "1" | "true" | "True" | "TRUE" | "t" | "T" => Some(true),
        "0" | "false" | "False" | "FALSE" | "f" | "F" => Some(false),
        _ => None,
    }
}
