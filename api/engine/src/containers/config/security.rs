//! Privileges.

use hull_engine::ContainerConfig;
use serde_json::Value;

use super::body::HostConfigBody;
use crate::containers::fields::unsupported;
use crate::error::ApiError;

pub(super) fn convert(host: &HostConfigBody, config: &mut ContainerConfig) -> Result<(), ApiError> {
    config.privileged = host.privileged;
    config.cap_add.clone_from(&host.cap_add);
    config.cap_drop.clone_from(&host.cap_drop);
    config.group_add.clone_from(&host.group_add);
    for option in &host.security_opt {
        // Both signs were used over the years.
        match option.replacen(':', "=", 1).as_str() {
            "no-new-privileges" | "no-new-privileges=true" => config.no_new_privileges = true,
            "no-new-privileges=false" => config.no_new_privileges = false,
            "seccomp=unconfined" | "apparmor=unconfined" | "label=disable" => (),
            _ => {
                return Err(unsupported(
                    "HostConfig.SecurityOpt",
                    &Value::from(option.clone()),
                ));
            }
        }
    }
    Ok(())
}
