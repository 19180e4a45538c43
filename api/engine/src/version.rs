//! Versions of the API: the prefix `/vMAJOR.MINOR` of a path, which every route may have.

use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use crate::error::ApiError;

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion(pub(crate) u32, pub(crate) u32);

/// The oldest version that is served.
pub(crate) const OLDEST: ApiVersion = ApiVersion(1, 24);
/// The version that is meant where a request names none.
pub(crate) const NEWEST: ApiVersion = ApiVersion(1, 51);

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Takes the version from the request's path and puts it into its extensions.
///
/// # Errors
/// When this version is not served.
pub(crate) fn strip(request: &mut Request) -> Result<(), ApiError> {
    let Some((version, rest)) = split(request.uri().path()) else {
        request.extensions_mut().insert(NEWEST);
        return Ok(());
    };
    let known = parse(version)
        .ok_or_else(|| ApiError::invalid(format!("{version:?} is no version of the API")))?;
    if known > NEWEST {
        return Err(ApiError::invalid(format!(
            "client version {version} is too new. Maximum supported API version is {NEWEST}"
        )));
    }
    if known < OLDEST {
        return Err(ApiError::invalid(format!(
            "client version {version} is too old. Minimum supported API version is {OLDEST}, \
             please upgrade your client to a newer version"
        )));
    }
    let path = match request.uri().query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    let path: PathAndQuery = path
        .parse()
        .map_err(|_| ApiError::invalid(format!("{path:?} is no path")))?;
    *request.uri_mut() = Uri::from(path);
    request.extensions_mut().insert(known);
    Ok(())
}

/// `/v1.43/info` is `1.43` and `/info`; a path without a version is nothing.
fn split(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v")?;
    let end = rest.find('/')?;
    let (version, rest) = rest.split_at(end);
    let digits = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let is_version =
        version.starts_with(|c: char| c.is_ascii_digit()) && version.bytes().all(digits);
    is_version.then_some((version, rest))
}

fn parse(text: &str) -> Option<ApiVersion> {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    Some(ApiVersion(major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn stripped(uri: &str) -> Result<(String, ApiVersion), String> {
        let mut request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        strip(&mut request).map_err(|error| error.message)?;
        let version = *request.extensions().get::<ApiVersion>().unwrap();
        Ok((request.uri().to_string(), version))
    }

    #[test]
    fn the_prefix_goes_and_the_query_stays() {
        let ok = |uri: &str, version| Ok((uri.to_owned(), version));
        assert_eq!(stripped("/v1.43/info"), ok("/info", ApiVersion(1, 43)));
        assert_eq!(stripped("/info?a=1"), ok("/info?a=1", NEWEST));
        assert_eq!(
            stripped("/v1.24/containers/json?all=1&filters=%7B%7D"),
            ok("/containers/json?all=1&filters=%7B%7D", OLDEST)
        );
        // What only looks like a version is a name.
        assert_eq!(stripped("/volumes/v1.2"), ok("/volumes/v1.2", NEWEST));
        assert_eq!(stripped("/version"), ok("/version", NEWEST));
    }

    #[test]
    fn versions_out_of_range_are_refused_in_docker_s_words() {
        assert_eq!(
            stripped("/v1.52/info").unwrap_err(),
            "client version 1.52 is too new. Maximum supported API version is 1.51"
        );
        assert!(stripped("/v2.0/info").unwrap_err().contains("too new"));
        assert!(stripped("/v1.23/info").unwrap_err().contains("too old"));
        assert!(stripped("/v1.2.3/info").unwrap_err().contains("no version"));
        assert!(
            stripped("/v1.99999999999/x")
                .unwrap_err()
                .contains("no version")
        );
    }
}
