//! Bad input to a real process: of every body in `openapi.yaml` every field missing, unknown, doubled, of a wrong type and out of its
//! range. Each is refused with the status and a sentence that names it, nothing is changed, and the machine boots afterwards.

#[path = "../../../api/vm/tests/api/openapi/yaml.rs"]
#[allow(dead_code)]
mod yaml;

use std::path::Path;

use serde_json::{Map, Value, json};
use yaml::{Document, Operation};

use crate::common::guest::Code;
use crate::common::{Vm, no_kvm};
use crate::{Raw, powers_off, waiting};

/// A body that must be refused, and what the sentence must have in it.
struct Bad {
    body: String,
    says: String,
}

impl Bad {
    fn new(body: &Value, says: impl Into<String>) -> Self {
        Self {
            body: body.to_string(),
            says: says.into(),
        }
    }
}

/// The path with the id that the example has.
fn path(operation: &Operation<'_>, example: &Value) -> String {
    match operation.path.split_once("/{") {
        Some((start, id)) => {
            let id = example[id.trim_end_matches('}')].as_str();
            format!("{start}/{}", id.unwrap_or("x"))
        }
        None => operation.path.to_owned(),
    }
}

fn with(example: &Value, field: &str, value: Value) -> Value {
    let mut body = example.clone();
    body[field] = value;
    body
}

/// The example with one field twice.
fn doubled(example: &Map<String, Value>, field: &str) -> String {
    let whole = Value::Object(example.clone()).to_string();
    let again = json!({ field: example[field] }).to_string();
    format!("{},{}", &whole[..whole.len() - 1], &again[1..])
}

/// What can be wrong with a body.
fn bad_bodies(document: &Document, schema: &Value, example: &Value) -> Vec<Bad> {
    let fields = example.as_object().unwrap();
    let mut bad = vec![
        Bad::new(
            &with(example, "no_such_field", json!(1)),
            "unknown field `no_such_field`",
        ),
        Bad::new(&json!([1, 2]), "invalid type"),
        Bad::new(&json!("text"), "invalid type"),
        Bad {
            body: example.to_string()[1..].to_owned(),
            says: "json".to_owned(),
        },
        Bad {
            body: format!("{example}x"),
            says: "trailing characters".to_owned(),
        },
        Bad {
            body: example.to_string().trim_end_matches('}').to_owned(),
            says: "EOF".to_owned(),
        },
        Bad {
            body: "[".repeat(1000),
            says: "json".to_owned(),
        },
    ];
    let required = schema.get("required").and_then(Value::as_array);
    for field in required.into_iter().flatten().filter_map(Value::as_str) {
        let mut without = example.clone();
        without.as_object_mut().unwrap().remove(field);
        bad.push(Bad::new(&without, format!("missing field `{field}`")));
    }
    for (field, schema) in schema["properties"].as_object().unwrap() {
        let schema = document.follow(schema);
        if fields.contains_key(field) {
            bad.push(Bad {
                body: doubled(fields, field),
                says: format!("duplicate field `{field}`"),
            });
        }
        let wrong = match schema["type"].as_str() {
            Some("object" | "array") => json!(7),
            _ => json!({ "a": [1] }),
        };
        bad.push(Bad::new(&with(example, field, wrong), ""));
        if let Some(least) = schema.get("minimum").and_then(Value::as_i64) {
            let value = with(example, field, json!(least - 1));
            bad.push(Bad::new(&value, least.to_string()));
        }
        if let Some(most) = schema.get("maximum").and_then(Value::as_i64) {
            let value = with(example, field, json!(most + 1));
            bad.push(Bad::new(&value, most.to_string()));
            let huge = example.to_string().replace(
                &format!("\"{field}\":{}", example[field]),
                &format!("\"{field}\":1e400"),
            );
            bad.push(Bad {
                body: huge,
                says: String::new(),
            });
        }
        if schema.get("enum").is_some() {
            bad.push(Bad::new(&with(example, field, json!("no such choice")), ""));
        }
    }
    bad
}

#[test]
fn every_bad_body_is_refused_and_the_machine_boots_afterwards() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    let (running, client) = waiting(&vm);
    let config = client.config().unwrap();
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/vm/openapi.yaml");
    let document = Document::read(&description).unwrap();
    let mut raw = Raw::connect(&vm);
    let mut count = 0;
    for operation in document.operations() {
        let Some(schema) = document.body(&operation).map(|body| document.follow(body)) else {
            continue;
        };
        // Metadata is any object.
        if schema["additionalProperties"] == true {
            continue;
        }
        let example = &schema["example"];
        let (method, path) = (operation.method.to_uppercase(), path(&operation, example));
        for bad in bad_bodies(&document, schema, example) {
            // These two need none, and whatever it says does not matter.
            if path == "/balloon/hinting/stop" {
                continue;
            }
            let answer = raw.ask(&method, &path, &bad.body);
            let Bad { body, says } = &bad;
            assert_eq!(answer.status, 400, "{method} {path} {body}: {answer:?}");
            assert!(
                answer.message().contains(says) && answer.message().len() > 20,
                "{method} {path} {body}: {answer:?} does not say {says}"
            );
            count += 1;
        }
    }
    assert!(count > 300, "only {count} bodies");
    assert_eq!(client.config().unwrap(), config);
    client.start().unwrap();
    powers_off(running);
}

#[test]
fn bad_paths_and_methods_are_refused() {
    let vm = Vm::empty();
    let (running, client) = vm.serve(crate::common::Configured::ByApi);
    let mut raw = Raw::connect(&vm);
    let long = format!("/drives/{}", "x".repeat(65));
    let refused = [
        ("GET", "/nothing", "", "Invalid request method and/or path"),
        (
            "PUT",
            "/nothing",
            "{}",
            "Invalid request method and/or path",
        ),
        ("DELETE", "/vsock", "", "Invalid request method and/or path"),
        (
            "PATCH",
            "/boot-source",
            "{}",
            "Invalid request method and/or path",
        ),
        (
            "GET",
            "/version/x",
            "",
            "Invalid request method and/or path",
        ),
        ("GET", "/version", "{}", "GET request cannot have a body"),
        ("PUT", "/boot-source", "", "Empty PUT request"),
        ("PATCH", "/vm", "", "Empty PATCH request"),
        (
            "DELETE",
            "/drives/d",
            "{}",
            "DELETE request cannot have a body",
        ),
        ("PUT", "/drives/", "{}", "The ID cannot be empty"),
        (
            "PUT",
            "/drives/a-b",
            "{}",
            "alphanumeric characters and underscores",
        ),
        ("DELETE", &long, "", "1 to 64 letters"),
        (
            "PUT",
            "/drives/a",
            r#"{"drive_id": "b", "path_on_host": "/d", "is_root_device": false}"#,
            "does not match the id from the body",
        ),
        ("POST", "/drives/a", "{}", "Unsupported HTTP method"),
        ("PUT", "/mmds", "[1]", "invalid type"),
        ("PUT", "/mmds", r#"{"a": 1, "a": 2}"#, "duplicate field `a`"),
        ("PATCH", "/mmds", r#"{"a": 1}"#, "not initialized"),
    ];
    for (method, path, body, says) in refused {
        let answer = raw.ask(method, path, body);
        assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
        assert!(
            answer.message().contains(says),
            "{method} {path}: {answer:?}"
        );
    }
    let counted = client.metrics().unwrap();
    assert!(
        counted.contains("hull_invalid_api_invalid_count_total{vm=\"hull\"} 6\n"),
        "{counted}"
    );
    crate::interrupt(running);
}
