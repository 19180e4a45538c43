//! What an image says, put under what a client says: the configuration that `inspect` shows, whatever becomes of the image.

use hull_image::store::Details;
use serde_json::{Map, Value};

use super::fields::is_zero;

/// Fields that the image's value is taken for where the client has none.
const REPLACED: [&str; 5] = ["User", "WorkingDir", "StopSignal", "Healthcheck", "Shell"];
/// Maps to which the image's members are added.
const ADDED: [&str; 3] = ["Labels", "ExposedPorts", "Volumes"];

/// Completes a client's configuration with its image's.
pub(super) fn with_image(client: &mut Value, image: &Details) {
    let Some(members) = client.as_object_mut() else {
        return;
    };
    // As it came, since it holds what the OCI specification does not know, such as health checks.
    let document: Value = serde_json::from_slice(image.config.bytes()).unwrap_or_default();
    let Some(config) = document.get("config").and_then(Value::as_object) else {
        return;
    };
    for name in REPLACED {
        if let Some(value) = config.get(name).filter(|value| !is_zero(value))
            && members.get(name).is_none_or(is_zero)
        {
            members.insert(name.to_owned(), value.clone());
        }
    }
    for name in ADDED {
        if let Some(Value::Object(more)) = config.get(name) {
            let known = members
                .entry(name)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(known) = known {
                for (key, value) in more {
                    known.entry(key).or_insert_with(|| value.clone());
                }
            }
        }
    }
    merge_command(members, config);
    merge_env(members, config);
}

/// A command is taken from the image unless the client has an entrypoint, an entrypoint unless it has an empty one.
fn merge_command(members: &mut Map<String, Value>, image: &Map<String, Value>) {
    let empty = |value: Option<&Value>| value.is_none_or(is_zero);
    if !empty(members.get("Entrypoint")) {
        return;
    }
    if empty(members.get("Cmd"))
        && let Some(command) = image.get("Cmd")
    {
        members.insert("Cmd".to_owned(), command.clone());
    }
    if !members.contains_key("Entrypoint")
        && let Some(entrypoint) = image.get("Entrypoint")
    {
        members.insert("Entrypoint".to_owned(), entrypoint.clone());
    }
}

/// The client's variables, then those of the image that the client does not name.
fn merge_env(members: &mut Map<String, Value>, image: &Map<String, Value>) {
    let list = |value: Option<&Value>| -> Vec<String> {
        let texts = value.and_then(Value::as_array).into_iter().flatten();
        texts
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let own = list(members.get("Env"));
    let more = list(image.get("Env"));
    let more = more
        .into_iter()
        .filter(|entry| own.iter().all(|known| name(known) != name(entry)));
    // A name without a value took the image's away, and is no variable.
    let kept = own.iter().filter(|entry| entry.contains('=')).cloned();
    let all: Vec<Value> = kept.chain(more).map(Value::String).collect();
    members.insert("Env".to_owned(), Value::Array(all));
}
