//! What a path means in the data, and how a value is shown.

use serde_json::{Map, Value};

/// How a guest wants a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As it is.
    Json,
    /// An object as the list of its keys, those of objects with a slash behind; a string without quotes.
    Text,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotFound {
    /// Nothing is there.
    Nothing,
    /// A number, a list, true, false or null, for which there is no text.
    NoText,
}

/// The value at `path`, whose parts are separated by any number of slashes.
pub(super) fn look_up(data: &Value, path: &str, format: Format) -> Result<String, NotFound> {
    let mut pointer = String::with_capacity(path.len() + 1);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        pointer.push('/');
        pointer.push_str(part);
    }
    let value = data.pointer(&pointer).ok_or(NotFound::Nothing)?;
    match (format, value) {
        (Format::Json, value) => Ok(value.to_string()),
        (Format::Text, Value::Object(object)) => Ok(list(object)),
        (Format::Text, Value::String(text)) => Ok(text.clone()),
        (Format::Text, _) => Err(NotFound::NoText),
    }
}

fn list(object: &Map<String, Value>) -> String {
    let mut list = String::new();
    for (key, value) in object {
        if !list.is_empty() {
            list.push('\n');
        }
        list.push_str(key);
        if value.is_object() {
            list.push('/');
        }
    }
    list
}

/// Applies a JSON merge patch (RFC 7396, section 2). It is as deep as the JSON parser lets it be.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
