//! JSON as templates have it, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::Value;
use serde_json::Value as Json;

/// What a template sees of JSON.
pub(super) fn of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (_, Some(number)) => Value::Uint(number),
            _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(text.as_str().into()),
        Json::Array(all) => Value::List(all.iter().map(of).collect()),
        Json::Object(all) => {
            let members = all
                .iter()
                .map(|(key, value)| (key.as_str().into(), of(value)));
            Value::Map(Arc::new(members.collect::<BTreeMap<Arc<str>, Value>>()))
        }
    }
}

/// The JSON of a template's value. Functions are none of an object's fields.
pub(super) fn json(value: &Value) -> Json {
    match value {
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Int(number) => (*number).into(),
        Value::Uint(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::String(text) => Json::String(text.to_string()),
        Value::List(all) => Json::Array(all.iter().map(json).collect()),
        Value::Map(all) => {
            let members = all.iter().filter(|(_, value)| !value.is_function());
            Json::Object(
                members
                    .map(|(key, value)| (key.to_string(), json(value)))
                    .collect(),
            )
        }
        _ => Json::Null,
    }
}
