//! What answers say of a volume.

use hull_engine::supervisor::Supervisor;
use hull_engine::volume::{Volume, usage};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::words;

/// A volume.
pub(super) fn volume(volume: &Volume) -> Value {
    json!({
        "Name": volume.name,
        "Driver": "local",
        "Mountpoint": volume.mountpoint.display().to_string(),
        "CreatedAt": words::time(Some(volume.created)),
        "Labels": volume.spec.labels,
        "Scope": "local",
        "Options": volume.spec.options,
    })
}

/// All volumes with what they take and how many containers use them, for `/system/df`. Blocking.
pub(crate) fn all_with_usage(supervisor: &Supervisor) -> Result<Value, ApiError> {
    let users = supervisor.volume_users();
    let with_usage = |one: &Volume| {
        let mut shown = volume(one);
        shown["UsageData"] = json!({
            "Size": usage(&one.mountpoint),
            "RefCount": users.get(&one.name).map_or(0, Vec::len),
        });
        shown
    };
    let all = supervisor.volumes().list()?;
    Ok(Value::Array(all.iter().map(with_usage).collect()))
}
