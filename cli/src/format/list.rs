//! Lists: a table, or one line for each entry.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::bail;
use gotmpl::{TemplateError, Value};
use serde_json::Value as Json;
use tabwriter::TabWriter;

use super::template::Of;
use super::{Template, values};
use crate::out;

/// What the entries of a list have, and which of it is shown when nobody says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    /// The table, as a template of one row.
    pub(crate) table: &'static str,
    /// What `--quiet` shows.
    pub(crate) quiet: &'static str,
    /// Each field with what is above its column.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

/// One entry of a list.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    fields: Json,
    labels: BTreeMap<String, String>,
}

/// How a list is printed.
#[derive(Clone, Debug)]
pub(crate) struct List {
    row: Template,
    /// The line above a table.
    header: Option<String>,
}

impl Row {
    /// An entry with these fields, which are what `{{json .}}` shows.
    pub(crate) fn new(fields: Json) -> Self {
        Self {
            fields,
            labels: BTreeMap::new(),
        }
    }

    /// The same with what `{{.Label "key"}}` finds.
    pub(crate) fn with_labels(
        mut self,
        labels: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        self.labels.extend(labels);
        self
    }

    fn value(&self, is_cell: bool) -> Value {
        let mut value = values::of(&self.fields);
        if let Value::Map(fields) = &mut value {
            let fields = Arc::make_mut(fields);
            if is_cell {
                for field in fields.values_mut() {
                    calm(field);
                }
            }
            let labels = self.labels.clone();
            let label = move |args: &[Value]| match args {
                [Value::String(key)] => {
                    let found = labels.get(&**key).map_or("", String::as_str);
                    Ok(Value::String(found.into()))
                }
                _ => Err(TemplateError::Exec("Label takes one text".to_owned())),
            };
            fields.insert("Label".into(), Value::Function(Arc::new(label)));
        }
        value
    }
}

/// Takes away what would steer a terminal or make two cells of one.
fn calm(value: &mut Value) {
    if let Value::String(text) = value
        && text.contains(char::is_control)
    {
        let calmed: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        *text = calmed.into();
    }
}

impl List {
    /// Reads `--format`: `table`, `json`, `table TEMPLATE` or `TEMPLATE`; `--quiet` comes before it.
    pub(crate) fn new(
        columns: &Columns,
        format: Option<&str>,
        quiet: bool,
    ) -> anyhow::Result<Self> {
        let plain = |template: &str| -> anyhow::Result<Self> {
            Ok(Self {
                row: Template::parse(template)?,
                header: None,
            })
        };
        let table = |template: &str| -> anyhow::Result<Self> {
            let header = Template::parse_of(template, Of::Headers)?;
            Ok(Self {
                row: Template::parse(template)?,
                header: Some(header.render_value(&headers(columns))?),
            })
        };
        match format.unwrap_or("table") {
            _ if quiet => plain(columns.quiet),
            "" => bail!("invalid --format: it is empty"),
            "table" => table(columns.table),
            "json" => plain("{{json .}}"),
            text => match text.strip_prefix("table ") {
                Some(template) => table(template.trim_start()),
                None => plain(text),
            },
        }
    }

    /// What is printed of these entries.
    pub(crate) fn render<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a Row>,
    ) -> anyhow::Result<String> {
        let mut text = String::new();
        if let Some(header) = &self.header {
            text.push_str(header);
            text.push('\n');
        }
        for row in rows {
            text.push_str(&self.row.render_value(&row.value(self.header.is_some()))?);
            text.push('\n');
        }
        match self.header {
            Some(_) => aligned(&text),
            None => Ok(text),
        }
    }

    /// Prints them.
    pub(crate) fn print<'a>(&self, rows: impl IntoIterator<Item = &'a Row>) -> anyhow::Result<()> {
        out::print(&self.render(rows)?)
    }
}

/// What a table's template finds instead of values when the line above it is made.
fn headers(columns: &Columns) -> Value {
    let named = columns.headers.iter();
    let mut all: BTreeMap<Arc<str>, Value> = named
        .map(|(field, name)| (Arc::from(*field), Value::String((*name).into())))
        .collect();
    let label = |args: &[Value]| match args {
        [Value::String(key)] => {
            let last = key.rsplit('.').next().unwrap_or_default();
            let name = last.replace(['-', '_'], " ").to_uppercase();
            Ok(Value::String(name.into()))
        }
        _ => Err(TemplateError::Exec("Label takes one text".to_owned())),
    };
    all.insert("Label".into(), Value::Function(Arc::new(label)));
    Value::Map(Arc::new(all))
}

/// Columns, of cells between tabs, one below the other.
fn aligned(text: &str) -> anyhow::Result<String> {
    let mut writer = TabWriter::new(Vec::new()).minwidth(7).padding(3);
    writer.write_all(text.as_bytes())?;
    writer.flush()?;
    let written = writer
        .into_inner()
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(String::from_utf8(written)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: Columns = Columns {
        table: "{{.ID}}\t{{.Name}}",
        quiet: "{{.ID}}",
        headers: &[("ID", "BOX ID"), ("Name", "NAME")],
    };

    fn printed(format: Option<&str>, quiet: bool) -> String {
        let labels = [("com.example.my-key".to_owned(), "value".to_owned())];
        let rows = [
            Row::new(json!({"ID": "0123456789", "Name": "a\tb\u{1b}"})).with_labels(labels),
            Row::new(json!({"ID": "1", "Name": "long"})),
        ];
        let list = List::new(&COLUMNS, format, quiet).unwrap();
        list.render(&rows).unwrap()
    }

    #[test]
    fn tables_have_aligned_columns_and_their_headers() {
        let table = "BOX ID       NAME\n0123456789   a b \n1            long\n";
        assert_eq!(printed(None, false), table);
        assert_eq!(printed(Some("table"), false), table);
        assert_eq!(
            printed(
                Some(r#"table {{.ID}}\t{{.Label "com.example.my-key"}}"#),
                false
            ),
            "BOX ID       MY KEY\n0123456789   value\n1            \n"
        );
    }

    #[test]
    fn lines_are_as_their_template_says() {
        assert_eq!(printed(Some("json"), true), "0123456789\n1\n");
        assert_eq!(
            printed(Some("json"), false),
            "{\"ID\":\"0123456789\",\"Name\":\"a\\tb\\u001b\"}\n{\"ID\":\"1\",\"Name\":\"long\"}\n"
        );
        assert_eq!(
            printed(Some(r#"{{.ID}}={{.Label "com.example.my-key"}}"#), false),
            "0123456789=value\n1=\n"
        );
        assert!(List::new(&COLUMNS, Some("table {{.Nmae}}"), false).is_err());
    }
}
