//! The functions that Docker adds to Go's templates.

use std::sync::Arc;

use gotmpl::{Result, Template, TemplateError, Value};

use super::template::Of;
use super::values;

/// Adds them to a template.
pub(super) fn add(template: Template, of: Of) -> Template {
    let template = template
        .func("join", |args| {
            let (list, separator) = two("join", args)?;
            let Value::List(list) = list else {
                return Ok(Value::String("".into()));
            };
            let words: Vec<String> = list.iter().map(|word| text(word).to_string()).collect();
            Ok(string(words.join(&text(separator))))
        })
        .func("split", |args| {
            let (whole, separator) = two("split", args)?;
            let (whole, separator) = (text(whole), text(separator));
            // Without anything in between, Go splits after each character.
            let parts: Vec<Value> = match &*separator {
                "" => whole.chars().map(|part| string(part.to_string())).collect(),
                separator => whole
                    .split(separator)
                    .map(|part| string(part.to_owned()))
                    .collect(),
            };
            Ok(Value::List(parts.into()))
        })
        .func("index", index)
        .func("pad", move |args| match (of, args) {
            (Of::Headers, [source, _, _]) => Ok(source.clone()),
            (_, [source, before, after]) => Ok(string(padded(source, before, after))),
            _ => Err(wrong("pad", 3, args)),
        });
    let template = match of {
        Of::Values => template
            .func("json", |args| {
                Ok(string(values::json(one("json", args)?).to_string()))
            })
            .func("truncate", |args| {
                let (source, length) = two("truncate", args)?;
                let length = usize::try_from(length.as_int().unwrap_or(0)).unwrap_or(0);
                Ok(string(text(source).chars().take(length).collect()))
            }),
        Of::Headers => template
            .func("json", |args| one("json", args).cloned())
            .func("truncate", |args| Ok(two("truncate", args)?.0.clone())),
    };
    [
        ("lower", lower as fn(&str) -> String),
        ("upper", upper),
        ("title", title),
    ]
    .into_iter()
    .fold(template, |template, (name, change)| {
        template.func(name, move |args| match of {
            Of::Values => Ok(string(change(&text(one(name, args)?)))),
            Of::Headers => one(name, args).cloned(),
        })
    })
}

/// Go's, except that what a map of texts does not have is an empty text, as in Docker's maps.
fn index(args: &[Value]) -> Result<Value> {
    let Some((whole, keys)) = args.split_first() else {
        return Err(wrong("index", 1, args));
    };
    keys.iter().try_fold(whole.clone(), |value, key| {
        let found = match &value {
            Value::Nil => Value::Nil,
            value => value.index(key)?,
        };
        let texts = |value: &Value| {
            matches!(value, Value::Map(all) if all.values().all(|one| matches!(one, Value::String(_))))
        };
        Ok(match found {
            Value::Nil if matches!(value, Value::Nil) || texts(&value) => string(String::new()),
            found => found,
        })
    })
}

fn lower(text: &str) -> String {
    text.to_lowercase()
}

fn upper(text: &str) -> String {
    text.to_uppercase()
}

/// The first letter of each word large.
fn title(text: &str) -> String {
    let mut begins = true;
    let letter = |letter: char| {
        let large = begins;
        begins = !(letter.is_alphanumeric() || letter == '_');
        match large {
            true => letter.to_uppercase().collect::<String>(),
            false => letter.to_string(),
        }
    };
    text.chars().map(letter).collect()
}

fn padded(source: &Value, before: &Value, after: &Value) -> String {
    let source = text(source);
    if source.is_empty() {
        return String::new();
    }
    let spaces = |count: &Value| {
        let count = usize::try_from(count.as_int().unwrap_or(0)).unwrap_or(0);
        " ".repeat(count.min(1024))
    };
    format!("{}{source}{}", spaces(before), spaces(after))
}

fn text(value: &Value) -> Arc<str> {
    match value {
        Value::String(text) => Arc::clone(text),
        other => other.to_string().into(),
    }
}

fn string(text: String) -> Value {
    Value::String(text.into())
}

fn one<'a>(name: &str, args: &'a [Value]) -> Result<&'a Value> {
    match args {
        [one] => Ok(one),
        _ => Err(wrong(name, 1, args)),
    }
}

fn two<'a>(name: &str, args: &'a [Value]) -> Result<(&'a Value, &'a Value)> {
    match args {
        [first, second] => Ok((first, second)),
        _ => Err(wrong(name, 2, args)),
    }
}

fn wrong(name: &str, expected: usize, args: &[Value]) -> TemplateError {
    TemplateError::ArgCount {
        name: name.to_owned(),
        expected,
        got: args.len(),
    }
}
