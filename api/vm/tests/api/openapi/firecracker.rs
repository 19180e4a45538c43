//! `openapi.yaml` beside Firecracker's own description: what differs is in `DIFFERENCES.md`, and nothing else is there.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::names;
use super::yaml::Document;

/// Schemas whose content is the other's business: there is only one of it in Firecracker.
const SPLIT: &[(&str, &str)] = &[("MachineConfigurationUpdate", "MachineConfiguration")];

/// Firecracker's description: `HULL_FIRECRACKER_API`, or a file in `shared/specs` beside the project or above it.
fn description() -> Option<Document> {
    let given = env::var_os("HULL_FIRECRACKER_API").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let beside = above.map(|folder| folder.join("shared/specs/firecracker-vm-api.yaml"));
    given
        .into_iter()
        .chain(beside)
        .find_map(|path| Document::read(&path))
}

/// The first cells of the tables in `DIFFERENCES.md`.
fn documented() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("DIFFERENCES.md");
    let text = std::fs::read_to_string(path).unwrap();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `"));
    cells
        .map(|cell| cell.split('`').next().unwrap().to_owned())
        .collect()
}

#[test]
fn differences_are_documented() {
    let Some(theirs) = description() else {
        println!(
            "SKIPPED: Firecracker's description of its API is not here; HULL_FIRECRACKER_API names it"
        );
        return;
    };
    let ours = Document::ours();
    let mut found = BTreeSet::new();
    operations(&ours, &theirs, &mut found);
    schemas(&ours, &theirs, &mut found);
    let documented = documented();
    let unsaid: Vec<_> = found.difference(&documented).collect();
    let unfounded: Vec<_> = documented.difference(&found).collect();
    assert!(
        unsaid.is_empty() && unfounded.is_empty(),
        "DIFFERENCES.md does not say {unsaid:#?}, and says what is not so: {unfounded:#?}"
    );
}

fn operations(ours: &Document, theirs: &Document, found: &mut BTreeSet<String>) {
    let known = theirs.operations();
    for operation in ours.operations() {
        let name = format!("{} {}", operation.method.to_uppercase(), operation.path);
        let Some(their) = known
            .iter()
            .find(|o| o.path == operation.path && o.method == operation.method)
        else {
            found.insert(format!("+ {name}"));
            continue;
        };
        if operation.value["operationId"] != their.value["operationId"] {
            found.insert(format!("~ {name} operationId"));
        }
        let schema = |document: &Document, value: Option<&Value>| {
            let value = value?;
            let name = value
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|name| name.rsplit('/').next());
            let name = name.unwrap_or(if value["additionalProperties"] == true {
                "MmdsContentsObject"
            } else {
                "?"
            });
            let split = SPLIT.iter().find(|(ours, _)| *ours == name);
            assert!(document.schemas().contains_key(name), "{name}");
            Some(split.map_or(name, |(_, theirs)| theirs).to_owned())
        };
        if schema(ours, ours.body(&operation)) != schema(theirs, theirs.body(their)) {
            found.insert(format!("~ {name} body"));
        }
        if schema(ours, ours.answer(&operation)) != schema(theirs, theirs.answer(their)) {
            found.insert(format!("~ {name} answer"));
        }
        for status in names(&their.value["responses"]) {
            if operation.value["responses"].get(&status).is_none() {
                found.insert(format!("- {name} {status}"));
            }
        }
    }
    for their in &known {
        if !ours
            .operations()
            .iter()
            .any(|o| o.path == their.path && o.method == their.method)
        {
            found.insert(format!("- {} {}", their.method.to_uppercase(), their.path));
        }
    }
}

fn schemas(ours: &Document, theirs: &Document, found: &mut BTreeSet<String>) {
    for (name, their) in theirs.schemas() {
        if name == "CpuTemplate" {
            // A name for one field of another.
            continue;
        }
        let Some(our) = ours.schemas().get(name) else {
            found.insert(format!("- {name}"));
            continue;
        };
        let (mine, known) = (names(&our["properties"]), names(&their["properties"]));
        found.extend(
            mine.difference(&known)
                .map(|field| format!("+ {name}.{field}")),
        );
        found.extend(
            known
                .difference(&mine)
                .map(|field| format!("- {name}.{field}")),
        );
        for field in mine.intersection(&known) {
            let my = ours.follow(&our["properties"][field]);
            let other = theirs.follow(&their["properties"][field]);
            if my["type"] != other["type"] {
                found.insert(format!("~ {name}.{field} type"));
            }
            let choices = |value: &Value| -> BTreeSet<String> {
                let choices = value.get("enum").and_then(Value::as_array);
                choices
                    .into_iter()
                    .flatten()
                    .map(Value::to_string)
                    .collect()
            };
            let (mine, known) = (choices(my), choices(other));
            for choice in mine.symmetric_difference(&known) {
                let sign = if known.contains(choice) { '-' } else { '+' };
                found.insert(format!(
                    "{sign} {name}.{field} {}",
                    choice.trim_matches('"')
                ));
            }
            for bound in ["minimum", "maximum"] {
                // Firecracker has ranges that it does not write down; one that it does must be ours.
                if other.get(bound).is_some() && my.get(bound) != other.get(bound) {
                    found.insert(format!("~ {name}.{field} {bound}"));
                }
            }
        }
        let required = |value: &Value| -> BTreeSet<String> {
            let required = value.get("required").and_then(Value::as_array);
            required
                .into_iter()
                .flatten()
                .map(Value::to_string)
                .collect()
        };
        for field in required(our).symmetric_difference(&required(their)) {
            found.insert(format!("~ {name}.{} required", field.trim_matches('"')));
        }
    }
    for name in ours.schemas().keys() {
        let named =
            theirs.schemas().contains_key(name) || SPLIT.iter().any(|(split, _)| split == name);
        if !named {
            found.insert(format!("+ {name}"));
        }
    }
}
