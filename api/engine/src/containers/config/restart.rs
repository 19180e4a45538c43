//! What happens after a container's end.

use hull_engine::{ContainerConfig, RestartPolicy};

use super::body::{HostConfigBody, RestartPolicyBody};
use crate::error::ApiError;

pub(super) fn convert(host: &HostConfigBody, config: &mut ContainerConfig) -> Result<(), ApiError> {
    config.auto_remove = host.auto_remove;
    config.restart = restart_policy(&host.restart_policy)?;
    if config.auto_remove && config.restart != RestartPolicy::No {
        return Err(ApiError::invalid(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    Ok(())
}

/// A policy in the engine's words.
///
/// # Errors
/// In Docker's words.
pub(crate) fn restart_policy(body: &RestartPolicyBody) -> Result<RestartPolicy, ApiError> {
    let count = body.maximum_retry_count;
    if count < 0 {
        return Err(ApiError::invalid(
            "invalid restart policy: maximum retry count cannot be negative",
        ));
    }
    let policy = match body.name.as_str() {
        "" | "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => {
            let maximum = u32::try_from(count).unwrap_or(u32::MAX);
            return Ok(RestartPolicy::OnFailure {
                maximum: (maximum > 0).then_some(maximum),
            });
        }
        other => {
            return Err(ApiError::invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )));
        }
    };
    if count > 0 {
        return Err(ApiError::invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ));
    }
    Ok(policy)
}
