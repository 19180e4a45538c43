//! `openapi.yaml` beside Firecracker's own description: what differs is in `DIFFERENCES.md`, and nothing else is there. `cargo
//! xtask api-diff` prints the list.
//!
//! `firecracker-1.17.json` is what Firecracker's `firecracker.yaml` of that version says, without its prose: paths, parameters,
//! responses, and the schemas with their fields and bounds. `HULL_FIRECRACKER_API` names the whole file, against which
//! it is then checked.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::Path;

use serde_json::{Map, Value};

use super::names;
use super::yaml::{Document, Operation};

/// Schemas whose content is the other's business: there is only one of it in Firecracker.
const SPLIT: &[(&str, &str)] = &[("MachineConfigurationUpdate", "MachineConfiguration")];

/// What is compared of each field and schema, besides choices and what is required.
const FACTS: [&str; 14] = [
    "additionalProperties",
    "default",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "nullable",
    "pattern",
    "type",
];

/// What of a description is prose.
const PROSE: [&str; 14] = [
    "basePath",
    "consumes",
    "description",
    "example",
    "examples",
    "externalDocs",
    "host",
    "info",
    "produces",
    "schemes",
    "summary",
    "swagger",
    "tags",
    "title",
];

/// Differences by what `DIFFERENCES.md` calls them, with what each side says.
type Differences = BTreeMap<String, String>;

fn description() -> Document {
    let facts = include_str!("firecracker-1.17.json");
    Document(serde_json::from_str(facts).unwrap())
}

#[test]
fn differences_are_documented() {
    let (ours, theirs) = (Document::ours(), description());
    let mut found = Differences::new();
    operations(&ours, &theirs, &mut found);
    schemas(&ours, &theirs, &mut found);
    for (name, sides) in &found {
        println!("{name}{sides}");
    }
    println!("{} differences", found.len());
    let documented = documented();
    let unsaid: Vec<_> = found
        .iter()
        .filter(|(name, _)| !documented.iter().any(|pattern| fits(pattern, name)))
        .collect();
    let unfounded: Vec<_> = documented
        .iter()
        .filter(|pattern| !found.keys().any(|name| fits(pattern, name)))
        .collect();
    assert!(
        unsaid.is_empty() && unfounded.is_empty(),
        "DIFFERENCES.md does not say {unsaid:#?}, and says what is not so: {unfounded:#?}"
    );
}

#[test]
fn facts_are_those_of_the_whole_description() {
    let Some(path) = env::var_os("HULL_FIRECRACKER_API") else {
        return;
    };
    let whole = Document::read(Path::new(&path)).expect("HULL_FIRECRACKER_API names a description");
    assert_eq!(without_prose(&whole.0, false), description().0);
}

/// The same without prose. The names of fields, paths and schemas are none, whatever they are.
fn without_prose(value: &Value, is_names: bool) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields
                .iter()
                .filter(|(name, _)| is_names || !PROSE.contains(&name.as_str()));
            let kept = kept.map(|(name, value)| {
                let of_names = ["properties", "definitions", "paths", "responses"];
                let is_names = !is_names && of_names.contains(&name.as_str());
                (name.clone(), without_prose(value, is_names))
            });
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(items) => items
            .iter()
            .map(|item| without_prose(item, false))
            .collect(),
        other => other.clone(),
    }
}

/// The first cells of the tables in `DIFFERENCES.md`, in which `*` stands for any name.
fn documented() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("DIFFERENCES.md");
    let text = std::fs::read_to_string(path).unwrap();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `"));
    cells
        .map(|cell| cell.split('`').next().unwrap().to_owned())
        .collect()
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}

#[test]
fn patterns_stand_for_names() {
    assert!(fits("~ a.b type", "~ a.b type"));
    assert!(fits("~ *.id pattern", "~ Drive.id pattern"));
    assert!(!fits("~ *.id pattern", "~ Drive.name pattern"));
    assert!(!fits("ab*ba", "aba"));
}

/// Notes what only one side says, or both in another way.
fn note(found: &mut Differences, name: String, ours: Option<&Value>, theirs: Option<&Value>) {
    if ours == theirs {
        return;
    }
    let say = |side: Option<&Value>| side.map_or("nothing".to_owned(), Value::to_string);
    let sides = format!(": {} here, {} in Firecracker", say(ours), say(theirs));
    found.insert(name, sides);
}

fn operations(ours: &Document, theirs: &Document, found: &mut Differences) {
    let known = theirs.operations();
    for operation in ours.operations() {
        let name = format!("{} {}", operation.method.to_uppercase(), operation.path);
        match known
            .iter()
            .find(|o| o.path == operation.path && o.method == operation.method)
        {
            Some(their) => compare_operation(&name, (ours, &operation), (theirs, their), found),
            None => drop(found.insert(format!("+ {name}"), String::new())),
        }
    }
    for their in &known {
        if !ours
            .operations()
            .iter()
            .any(|o| o.path == their.path && o.method == their.method)
        {
            let name = format!("- {} {}", their.method.to_uppercase(), their.path);
            found.insert(name, String::new());
        }
    }
}

fn compare_operation(
    name: &str,
    (ours, our): (&Document, &Operation<'_>),
    (theirs, their): (&Document, &Operation<'_>),
    found: &mut Differences,
) {
    let ids = [our, their].map(|side| side.value.get("operationId"));
    note(found, format!("~ {name} operationId"), ids[0], ids[1]);
    let (mine, known) = (ours.body(our), theirs.body(their));
    if schema_name(ours, mine) != schema_name(theirs, known) {
        note(found, format!("~ {name} body"), mine, known);
    }
    let (mine, known) = (ours.answer(our), theirs.answer(their));
    if schema_name(ours, mine) != schema_name(theirs, known) {
        note(found, format!("~ {name} answer"), mine, known);
    }
    let needed = [ours.needs_body(our), theirs.needs_body(their)].map(Value::from);
    note(
        found,
        format!("~ {name} body required"),
        Some(&needed[0]),
        Some(&needed[1]),
    );
    let (mine, known) = (
        names(&our.value["responses"]),
        names(&their.value["responses"]),
    );
    for status in mine.symmetric_difference(&known) {
        let sign = if known.contains(status) { '-' } else { '+' };
        found.insert(format!("{sign} {name} {status}"), String::new());
    }
}

/// What a schema is called, with those that are one in Firecracker under the same name.
fn schema_name(document: &Document, schema: Option<&Value>) -> Option<String> {
    let schema = schema?;
    let reference = schema.get("$ref").and_then(Value::as_str);
    let name = reference.and_then(|name| name.rsplit('/').next());
    let name = name.unwrap_or(if schema["additionalProperties"] == true {
        "MmdsContentsObject"
    } else {
        "?"
    });
    let split = SPLIT.iter().find(|(ours, _)| *ours == name);
    assert!(document.schemas().contains_key(name), "{name}");
    Some(split.map_or(name, |(_, theirs)| theirs).to_owned())
}

fn schemas(ours: &Document, theirs: &Document, found: &mut Differences) {
    for (name, their) in theirs.schemas() {
        if name == "CpuTemplate" {
            // A name for one field of another.
            continue;
        }
        match ours.schemas().get(name) {
            Some(our) => compare_schema(name, (ours, our), (theirs, their), found),
            None => drop(found.insert(format!("- {name}"), String::new())),
        }
    }
    for name in ours.schemas().keys() {
        let named =
            theirs.schemas().contains_key(name) || SPLIT.iter().any(|(split, _)| split == name);
        if !named {
            found.insert(format!("+ {name}"), String::new());
        }
    }
}

fn compare_schema(
    name: &str,
    (ours, our): (&Document, &Value),
    (theirs, their): (&Document, &Value),
    found: &mut Differences,
) {
    for fact in FACTS {
        note(
            found,
            format!("~ {name} {fact}"),
            our.get(fact),
            their.get(fact),
        );
    }
    let (mine, known) = (names(&our["properties"]), names(&their["properties"]));
    for field in mine.symmetric_difference(&known) {
        let sign = if known.contains(field) { '-' } else { '+' };
        found.insert(format!("{sign} {name}.{field}"), String::new());
    }
    for field in mine.intersection(&known) {
        let my = ours.follow(&our["properties"][field]);
        let other = theirs.follow(&their["properties"][field]);
        // Schemas of their own are compared by their own names.
        if my.get("properties").is_none() && other.get("properties").is_none() {
            compare_field(&format!("{name}.{field}"), my, other, found);
        }
        if let (Some(my), Some(other)) = (my.get("items"), other.get("items")) {
            let (my, other) = (ours.follow(my), theirs.follow(other));
            if my.get("properties").is_none() && other.get("properties").is_none() {
                compare_field(&format!("{name}.{field}[]"), my, other, found);
            }
        }
    }
    for field in words(our, "required").symmetric_difference(&words(their, "required")) {
        found.insert(format!("~ {name}.{field} required"), String::new());
    }
}

fn compare_field(name: &str, my: &Value, other: &Value, found: &mut Differences) {
    for fact in FACTS {
        note(
            found,
            format!("~ {name} {fact}"),
            my.get(fact),
            other.get(fact),
        );
    }
    let (mine, known) = (words(my, "enum"), words(other, "enum"));
    for choice in mine.symmetric_difference(&known) {
        let sign = if known.contains(choice) { '-' } else { '+' };
        found.insert(format!("{sign} {name} {choice}"), String::new());
    }
}

/// The words in a list of a schema.
fn words(schema: &Value, list: &str) -> BTreeSet<String> {
    let list = schema.get(list).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .map(|word| {
            word.as_str()
                .map_or_else(|| word.to_string(), str::to_owned)
        })
        .collect()
}
