//! Checks of a container's well-being.

use bollard::models::HealthConfig;

use crate::run::args::Health;

/// What to check, and when; nothing where nothing is said, which leaves it to the image.
pub(super) fn check(args: &Health) -> Option<HealthConfig> {
    let test = match &args.health_cmd {
        Some(command) => Some(vec!["CMD-SHELL".to_owned(), command.clone()]),
        None => args.no_healthcheck.then(|| vec!["NONE".to_owned()]),
    };
    let check = HealthConfig {
        test,
        interval: args.health_interval,
        timeout: args.health_timeout,
        retries: args.health_retries,
        start_period: args.health_start_period,
        start_interval: args.health_start_interval,
    };
    (check != HealthConfig::default()).then_some(check)
}

/// A duration such as `1m30s`, in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    let duration = hull_image::go_duration(text);
    duration
        .and_then(|duration| i64::try_from(duration.as_nanos()).ok())
        .ok_or_else(|| "a number with a unit is expected, such as 500ms, 30s or 1m30s".to_owned())
}
