//! Names and what they are, a line for each, as `hull info` and `hull version` print them.

use std::fmt::Write as _;

use serde_json::Value;

/// Lines so far. What has no value has none.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: String,
    /// Where values begin; right behind their names if nothing is said.
    column: usize,
}

impl Lines {
    /// With values that begin in one column.
    pub(super) fn with_column(column: usize) -> Self {
        Self {
            column,
            ..Self::default()
        }
    }

    /// A line alone.
    pub(super) fn head(&mut self, indent: usize, text: &str) {
        // A string takes whatever is written to it.
        let _ = writeln!(self.text, "{:indent$}{text}", "");
    }

    /// A name and its value.
    pub(super) fn value(&mut self, indent: usize, name: &str, value: &Value) {
        let value = shown(value);
        if !value.is_empty() {
            let (name, width) = (format!("{name}:"), self.column.saturating_sub(indent + 1));
            self.head(indent, &format!("{name:width$} {value}"));
        }
    }

    /// A name, and each of its values in a line of its own.
    pub(super) fn values(&mut self, indent: usize, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.head(indent, &format!("{name}:"));
        }
        for value in values {
            self.head(indent + 1, value);
        }
    }

    pub(super) fn blank(&mut self) {
        self.text.push('\n');
    }

    pub(super) fn text(self) -> String {
        self.text
    }
}

/// A value without the marks of JSON; nothing where there is none.
pub(super) fn shown(value: &Value) -> String {
    match value {
        // What the other side says is not to steer the terminal.
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        Value::Null => String::new(),
        Value::Array(all) => all.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
