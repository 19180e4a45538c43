//! `openapi.yaml` beside the server: every path, field, choice and range of the one is the other's.

mod firecracker;
mod yaml;

use std::collections::BTreeSet;

use hull_vm_api::config::{Balloon, MachineConfig};
use hull_vm_api::reply::{
    BalloonStatistics, HintingStatus, InstanceInfo, MemoryHotplugStatus, Version,
};
use hull_vm_api::request::{Method, ROUTES};
use hull_vm_api::{Draft, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use yaml::{Document, Operation};

fn method(operation: &Operation<'_>) -> Method {
    Method::named(&operation.method.to_uppercase()).unwrap()
}

/// What the server says of a body, with the id of the path taken from it. No words if it is right.
fn judgement(operation: &Operation<'_>, body: &Value) -> String {
    let mut path = operation.path.to_owned();
    if let Some((start, id)) = operation.path.split_once("/{") {
        let id = body[id.trim_end_matches('}')].as_str().unwrap_or("x");
        path = format!("{start}/{id}");
    }
    let parsed = Request::parse(method(operation), &path, body.to_string().as_bytes());
    parsed.err().map(|fault| fault.message).unwrap_or_default()
}

/// The words in backticks behind `expected` in what serde says.
fn expected(sentence: &str) -> BTreeSet<String> {
    let list = sentence.split_once("expected").map_or("", |(_, list)| list);
    list.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn names(object: &Value) -> BTreeSet<String> {
    object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect()
}

#[test]
fn paths_and_methods_are_those_of_the_server() {
    let ours = Document::ours();
    let described: BTreeSet<_> = ours
        .operations()
        .iter()
        .map(|operation| format!("{} {}", method(operation), operation.path))
        .collect();
    let served: BTreeSet<_> = ROUTES.iter().map(|route| format!("{route:?}")).collect();
    assert_eq!(described, served);
}

/// A place in an example: an object, and the schema of it.
struct Place<'a> {
    pointer: String,
    schema: &'a Value,
}

/// All objects of an example that have fields of their own.
fn places<'a>(
    document: &'a Document,
    schema: &'a Value,
    value: &Value,
    pointer: &str,
    found: &mut Vec<Place<'a>>,
) {
    let schema = document.follow(schema);
    if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            places(
                document,
                &schema["items"],
                item,
                &format!("{pointer}/{index}"),
                found,
            );
        }
    }
    let Some(properties) = schema.get("properties") else {
        return;
    };
    for (name, value) in value.as_object().into_iter().flatten() {
        places(
            document,
            &properties[name],
            value,
            &format!("{pointer}/{name}"),
            found,
        );
    }
    found.push(Place {
        pointer: pointer.to_owned(),
        schema,
    });
}

/// Calls `check` with every object of every body's example: the operation, the example, and the place.
fn each_place(mut check: impl FnMut(&Document, &Operation<'_>, &Value, &Place<'_>)) {
    let ours = Document::ours();
    for operation in ours.operations() {
        let Some(body) = ours.body(&operation).map(|body| ours.follow(body)) else {
            continue;
        };
        let example = body
            .get("example")
            .unwrap_or_else(|| panic!("{operation:?}"));
        if body["additionalProperties"] == true {
            assert_eq!(judgement(&operation, example), "");
            continue;
        }
        let mut found = Vec::new();
        places(&ours, body, example, "", &mut found);
        for place in &found {
            check(&ours, &operation, example, place);
        }
    }
}

fn with(example: &Value, place: &Place<'_>, name: &str, value: Value) -> Value {
    let mut body = example.clone();
    body.pointer_mut(&place.pointer).unwrap()[name] = value;
    body
}

#[test]
fn fields_are_those_of_the_server() {
    each_place(|_, operation, example, place| {
        let sentence = judgement(operation, example);
        let cut = place.pointer.is_empty() && operation.path == "/snapshot/load";
        assert!(sentence.is_empty() || cut, "{operation:?}: {sentence}");
        let properties = names(&place.schema["properties"]);
        let there = names(example.pointer(&place.pointer).unwrap());
        // The two ways to name the memory exclude each other.
        let missing: Vec<_> = properties
            .difference(&there)
            .filter(|name| *name != "mem_file_path" && *name != "parts" && *name != "socket")
            .collect();
        assert!(
            missing.is_empty(),
            "the example of {} lacks {missing:?}",
            operation.path
        );

        let odd = judgement(operation, &with(example, place, "no_such_field", json!(1)));
        assert!(odd.contains("unknown field `no_such_field`"), "{odd}");
        assert_eq!(
            expected(&odd),
            properties,
            "{} at {:?}",
            operation.path,
            place.pointer
        );
        assert_eq!(place.schema["additionalProperties"], false, "{operation:?}");

        let required = place.schema.get("required").and_then(Value::as_array);
        for name in &there {
            let mut body = example.clone();
            let object = body.pointer_mut(&place.pointer).unwrap();
            object.as_object_mut().unwrap().remove(name);
            let missing = judgement(operation, &body).contains(&format!("missing field `{name}`"));
            let must = required.is_some_and(|required| required.contains(&json!(name)));
            assert_eq!(missing, must, "{}: {name}", operation.path);
        }
    });
}

#[test]
fn choices_and_ranges_are_those_of_the_server() {
    each_place(|document, operation, example, place| {
        for (name, schema) in place.schema["properties"].as_object().unwrap() {
            let schema = document.follow(schema);
            let judge = |value: Value| judgement(operation, &with(example, place, name, value));
            let at = format!("{} {}/{name}", operation.path, place.pointer);
            if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
                let odd = judge(json!("no such choice"));
                let choices: BTreeSet<_> = choices
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect();
                if odd.contains("is no level") {
                    assert!(
                        choices.iter().all(|choice| odd.contains(choice)),
                        "{at}: {odd}"
                    );
                } else {
                    assert_eq!(expected(&odd), choices, "{at}: {odd}");
                }
            }
            let out = |sentence: &str| {
                sentence.contains(" from ")
                    && (sentence.contains("it must be from")
                        || sentence.contains("a whole number from"))
            };
            if let Some(least) = schema.get("minimum").and_then(Value::as_i64) {
                assert!(
                    out(&judge(json!(least - 1))),
                    "{at}: {}",
                    judge(json!(least - 1))
                );
                assert!(!out(&judge(json!(least))), "{at}: {}", judge(json!(least)));
            }
            if let Some(most) = schema.get("maximum").and_then(Value::as_i64) {
                assert!(
                    out(&judge(json!(most + 1))),
                    "{at}: {}",
                    judge(json!(most + 1))
                );
                // The memory that a slot is a part of is too little for such a slot.
                let tied = name == "slot_size_mib";
                assert!(
                    tied || !out(&judge(json!(most))),
                    "{at}: {}",
                    judge(json!(most))
                );
            }
            let said = judge(Value::Null);
            let null = !said.contains("invalid type: null") && !said.contains("expected value");
            assert_eq!(
                null,
                schema["nullable"] == true,
                "{at}: {}",
                judge(Value::Null)
            );
            if schema["type"] == "integer" {
                assert!(schema.get("minimum").is_some(), "{at} has no range");
                assert!(out(&judge(json!("1"))) && out(&judge(json!(1.5))), "{at}");
            }
        }
    });
}

/// The example is what the type writes, with all of its fields.
fn answers_alike<T: Serialize + DeserializeOwned>(
    document: &Document,
    schema: &str,
    optional: &[&str],
) {
    let schema = &document.schemas()[schema];
    let example = &schema["example"];
    let value: T = serde_json::from_value(example.clone()).unwrap();
    assert_eq!(&serde_json::to_value(value).unwrap(), example);
    let properties = names(&schema["properties"]);
    let there = names(example);
    let missing: Vec<_> = properties.difference(&there).collect();
    assert_eq!(missing, optional);
    assert!(there.is_subset(&properties));
}

#[test]
fn answers_are_those_of_the_server() {
    let ours = Document::ours();
    answers_alike::<InstanceInfo>(&ours, "InstanceInfo", &[]);
    answers_alike::<Version>(&ours, "FirecrackerVersion", &[]);
    answers_alike::<MachineConfig>(&ours, "MachineConfiguration", &[]);
    answers_alike::<Balloon>(&ours, "Balloon", &[]);
    answers_alike::<BalloonStatistics>(&ours, "BalloonStats", &[]);
    answers_alike::<HintingStatus>(&ours, "BalloonHintingStatus", &[]);
    answers_alike::<MemoryHotplugStatus>(&ours, "MemoryHotplugStatus", &[]);
    answers_alike::<Draft>(&ours, "FullVmConfiguration", &[]);
    for operation in ours.operations() {
        let answer = ours.answer(&operation).is_some();
        assert_eq!(answer, method(&operation) == Method::Get, "{operation:?}");
    }
}
