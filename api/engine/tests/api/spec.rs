//! Docker's specification of the API, where there is a copy of it: its schemas decide whether an answer has the right form.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// The specification; says so where it is missing.
pub(crate) fn load() -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/specs/docker-engine-v1.51.yaml");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("SKIPPED: there is no {}", path.display());
        return None;
    };
    // It ends flow mappings where the one around them is, which not every reader of YAML takes.
    Some(serde_yaml_ng::from_str(&text).unwrap())
}

/// Checks an answer against the schema that the specification has for it: `GET /info`, status 200.
#[allow(dead_code, reason = "unit tests read the specification only")]
pub(crate) fn check(method: &str, path: &str, status: u16, answer: &Value) {
    let Some(spec) = load() else {
        return;
    };
    let operation = &spec["paths"][path][method.to_lowercase()];
    assert!(
        operation.is_object(),
        "the specification has no {method} {path}"
    );
    let schema = &operation["responses"][status.to_string()]["schema"];
    assert!(
        schema.is_object(),
        "the specification has no schema for {status} of {method} {path}"
    );
    let mut root = nullable(schema, true);
    root["definitions"] = Value::Object(
        spec["definitions"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, schema)| (name.clone(), nullable(schema, true)))
            .collect(),
    );
    let validator = jsonschema::validator_for(&root).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(answer)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(
        errors.is_empty(),
        "{method} {path} {status}: {errors:#?}\n{answer:#}"
    );
}

/// A Swagger 2.0 schema as JSON Schema. What need not be there may also be null, since Go writes missing pointers, lists and maps so.
fn nullable(schema: &Value, required: bool) -> Value {
    let mut out = Map::new();
    for (key, value) in schema.as_object().unwrap() {
        match key.as_str() {
            "properties" => {
                let needed = schema["required"].as_array();
                let is_needed =
                    |name: &String| needed.is_some_and(|names| names.contains(&json!(name)));
                let properties = value.as_object().unwrap().iter();
                let properties = properties
                    .map(|(name, schema)| (name.clone(), nullable(schema, is_needed(name))));
                out.insert(key.clone(), Value::Object(properties.collect()));
            }
            "items" | "additionalProperties" if value.is_object() => {
                out.insert(key.clone(), nullable(value, true));
            }
            "allOf" => {
                let parts = value.as_array().unwrap().iter();
                out.insert(
                    key.clone(),
                    parts.map(|part| nullable(part, true)).collect(),
                );
            }
            // Examples and formats are no conditions; `default` and `enum` of empty objects are Go's, not JSON's.
            "type" | "$ref" | "enum" | "required" | "minimum" | "maximum" | "minItems"
            | "maxItems" | "pattern" => {
                out.insert(key.clone(), value.clone());
            }
            _ => (),
        }
    }
    let schema = Value::Object(out);
    if required && schema.get("x-nullable").is_none() {
        schema
    } else {
        json!({ "anyOf": [schema, { "type": "null" }] })
    }
}
