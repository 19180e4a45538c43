//! Platforms as clients say them.

use hull_image::Platform;
use serde_json::Value;

use crate::error::{ApiError, blocking};
use crate::params::Params;
use crate::router::Shared;

/// The parameter `platform`: JSON (`{"os":"linux","architecture":"amd64"}`), or text.
pub(super) fn wanted(params: &Params) -> Result<Option<Platform>, ApiError> {
    params.text("platform").map(parse).transpose()
}

fn parse(text: &str) -> Result<Platform, ApiError> {
    let wrong = || ApiError::invalid(format!("failed to parse platform {text:?}"));
    if !text.starts_with('{') {
        return text.parse().map_err(|_| wrong());
    }
    let value: Value = serde_json::from_str(text).map_err(|_| wrong())?;
    let part = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(Platform {
        os: part("os").ok_or_else(wrong)?,
        architecture: part("architecture").ok_or_else(wrong)?,
        variant: part("variant").filter(|variant| !variant.is_empty()),
    })
}

/// Refuses an image that is for another platform than the client wants.
pub(super) async fn check(
    supervisor: &Shared,
    name: &str,
    wanted: Option<&Platform>,
) -> Result<(), ApiError> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let (store, image) = (supervisor.images().clone(), name.to_owned());
    let found = blocking(move || store.inspect(&image)).await?;
    match wanted.rank(&found.config.platform()) {
        Some(_) => Ok(()),
        None => Err(ApiError::not_found(format!(
            "image with reference {name} was found but does not provide the specified platform ({wanted})"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_text_say_the_same() {
        let text = parse("linux/arm/v7").unwrap();
        let json = parse(r#"{"os":"linux","architecture":"arm","variant":"v7"}"#).unwrap();
        assert_eq!(text, json);
        for wrong in ["{", r#"{"os":"linux"}"#, "a/b/c/d"] {
            assert!(
                parse(wrong)
                    .unwrap_err()
                    .message
                    .contains("failed to parse platform")
            );
        }
    }
}
