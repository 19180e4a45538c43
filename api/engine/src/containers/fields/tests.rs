//! The table is complete, true, and what the documentation shows.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;

/// The tables of `REFUSED.md`.
fn tables() -> String {
    let mut text = String::from("| field | values | why |\n|---|---|---|\n");
    for (path, rule) in FIELDS {
        let _ = match rule {
            Refused([], why) => writeln!(text, "| `{path}` | all | {why} |"),
            Refused(neutral, why) => {
                writeln!(
                    text,
                    "| `{path}` | all but `{}` | {why} |",
                    neutral.join("`, `")
                )
            }
            Partly(why) => writeln!(text, "| `{path}` | some | {why} |"),
            Honoured | Kept => Ok(()),
        };
    }
    text.push_str("\n| parameter | why |\n|---|---|\n");
    for (parameter, why) in PARAMETERS {
        let _ = writeln!(text, "| `{parameter}` | {why} |");
    }
    text.push_str("\nKept and shown, as by Docker on Linux, without any other effect:");
    for (path, rule) in FIELDS {
        if matches!(rule, Kept) {
            let _ = write!(text, " `{path}`");
        }
    }
    text.push('\n');
    text
}

#[test]
fn the_documentation_has_this_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("REFUSED.md");
    let text = fs::read_to_string(path).unwrap();
    let tables = tables();
    assert!(
        text.ends_with(&tables),
        "api/engine/REFUSED.md does not end with:\n{tables}"
    );
}

#[test]
fn every_field_of_the_specification_is_in_the_table() {
    let Some(spec) = crate::spec_for_tests() else {
        return;
    };
    let names = |definition: &str| -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        collect(&spec, &spec["definitions"][definition], &mut names);
        names
    };
    let host = names("HostConfig")
        .into_iter()
        .map(|name| format!("HostConfig.{name}"));
    let networks = names("NetworkingConfig");
    let networks = networks
        .into_iter()
        .map(|name| format!("NetworkingConfig.{name}"));
    let specified: BTreeSet<String> = names("ContainerConfig")
        .into_iter()
        .chain(host)
        .chain(networks)
        .collect();
    let known: BTreeSet<String> = FIELDS.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(specified, known);
}

fn collect(spec: &Value, schema: &Value, names: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        collect(spec, spec.pointer(pointer).unwrap(), names);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        collect(spec, part, names);
    }
    names.extend(
        schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone()),
    );
}

#[test]
fn zero_and_the_default_are_taken_and_all_else_is_named() {
    let accepted = json!({
        "MacAddress": "",
        "HostConfig": {
            "Devices": [], "PidMode": "", "IpcMode": "private", "ShmSize": 67_108_864, "MemorySwappiness": -1,
            "OomKillDisable": false, "PortBindings": {}, "Isolation": "default", "BlkioWeight": 0, "Runtime": "hull",
        },
    });
    assert!(refuse(&accepted).is_ok());
    let open =
        json!({ "HostConfig": { "Privileged": true, "MaskedPaths": [], "ReadonlyPaths": [] } });
    assert!(refuse(&open).is_ok());
    for (field, value, words) in [
        (
            "PidMode",
            json!("host"),
            "HostConfig.PidMode host is not supported: each container has a kernel",
        ),
        (
            "MaskedPaths",
            json!([]),
            "HostConfig.MaskedPaths [] is not supported: what Docker masks is masked",
        ),
        (
            "BlkioWeight",
            json!(500),
            "HostConfig.BlkioWeight 500 is not supported",
        ),
        (
            "OomKillDisable",
            json!(true),
            "HostConfig.OomKillDisable true is not supported",
        ),
        (
            "Devices",
            json!([{ "PathOnHost": "/dev/kvm" }]),
            "HostConfig.Devices [{",
        ),
    ] {
        let error = refuse(&json!({ "HostConfig": { field: value } })).unwrap_err();
        assert!(error.message.starts_with(words), "{}", error.message);
    }
}
