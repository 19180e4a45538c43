//! Health checks.

use std::time::Duration;

use hull_engine::HealthCheck;

use super::body::CreateBody;
use crate::error::ApiError;

/// Docker's smallest duration of a health check.
const LEAST: Duration = Duration::from_millis(1);

/// The health check that a configuration asks for, which may be its image's; none where it says `NONE`, or nothing.
///
/// # Errors
/// In Docker's words.
pub(crate) fn health(body: &CreateBody) -> Result<Option<HealthCheck>, ApiError> {
    let check = &body.healthcheck;
    let wrong = || ApiError::invalid(format!("unknown type {:?} of health check", check.test));
    let duration = |name: &str, nanoseconds: i64, usual: Duration| match u64::try_from(nanoseconds)
    {
        Ok(0) => Ok(usual),
        Ok(given) if Duration::from_nanos(given) >= LEAST => Ok(Duration::from_nanos(given)),
        _ => Err(ApiError::invalid(format!(
            "{name} in Healthcheck cannot be less than 1ms"
        ))),
    };
    let (usual, none) = (Duration::from_secs(30), Duration::ZERO);
    let interval = duration("Interval", check.interval, usual)?;
    let timeout = duration("Timeout", check.timeout, usual)?;
    let start_period = duration("StartPeriod", check.start_period, none)?;
    let start_interval = duration(
        "StartInterval",
        check.start_interval,
        Duration::from_secs(5),
    )?;
    let retries = match u32::try_from(check.retries) {
        Ok(0) => 3,
        Ok(count) => count,
        Err(_) => {
            return Err(ApiError::invalid(
                "Retries in Healthcheck cannot be negative",
            ));
        }
    };
    let test = match check.test.split_first() {
        None => return Ok(None),
        Some((kind, rest)) => match (kind.as_str(), rest) {
            ("NONE", _) => return Ok(None),
            ("CMD", [_, ..]) => rest.to_vec(),
            ("CMD-SHELL", [command, ..]) => {
                let usual = ["/bin/sh", "-c"].map(str::to_owned);
                let shell = match body.shell.as_slice() {
                    [] => usual.as_slice(),
                    own => own,
                };
                shell.iter().chain([command]).cloned().collect()
            }
            _ => return Err(wrong()),
        },
    };
    Ok(Some(HealthCheck {
        test,
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::body::typed;

    fn of(check: Value) -> Result<Option<HealthCheck>, String> {
        let body: CreateBody = typed(json!({ "Healthcheck": check })).map_err(|e| e.message)?;
        health(&body).map_err(|error| error.message)
    }

    #[test]
    fn a_check_has_docker_s_defaults() {
        assert_eq!(of(json!({})), Ok(None));
        assert_eq!(of(json!({ "Test": ["NONE"] })), Ok(None));
        let check = of(json!({ "Test": ["CMD-SHELL", "exit 1"], "Retries": 2 }));
        let check = check.unwrap().unwrap();
        assert_eq!(check.test, ["/bin/sh", "-c", "exit 1"]);
        assert_eq!((check.interval.as_secs(), check.retries), (30, 2));
        assert_eq!(check.start_period, Duration::ZERO);
        let check = of(json!({ "Test": ["CMD", "ping", "x"], "Interval": 1_000_000 }));
        let check = check.unwrap().unwrap();
        assert_eq!((check.test.len(), check.interval), (2, LEAST));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (check, words) in [
            (json!({ "Test": ["CMD"] }), "unknown type"),
            (json!({ "Test": ["RUN", "x"] }), "unknown type"),
            (
                json!({ "Test": ["CMD", "x"], "Interval": 999 }),
                "Interval in Healthcheck cannot be less than 1ms",
            ),
            (
                json!({ "Test": ["CMD", "x"], "Timeout": -1 }),
                "Timeout in Healthcheck cannot",
            ),
            (
                json!({ "Retries": -1 }),
                "Retries in Healthcheck cannot be negative",
            ),
        ] {
            let error = of(check).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
