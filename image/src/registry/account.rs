//! Whether a registry lets someone in, and what it finds: `docker login` and `docker search`.

use http::header::{HeaderValue, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde::Deserialize;

use super::auth::{Challenge, basic, challenges};
use super::client::Client;
use super::config::Config;
use super::credentials::Credentials;
use super::error::Error;
use super::request::Ask;
use crate::reference::DEFAULT_REGISTRY;

/// Where Docker Hub is searched.
const HUB_INDEX: &str = "index.docker.io";
/// Largest list of findings that is read, in bytes.
const MAX_FOUND: u64 = 4 << 20;
/// Findings where nobody says how many.
const DEFAULT_LIMIT: u32 = 25;
/// Most findings that can be asked for.
const MAX_LIMIT: u32 = 100;

/// What came of logging in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoggedIn {
    /// What may take the place of the password from now on, if the registry gives such out.
    pub identity_token: Option<String>,
}

/// What to search for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// A word, perhaps with a registry before it.
    pub term: String,
    /// At most so many, from 1 to 100; 25 if it is not given.
    pub limit: Option<u32>,
    /// Only those that are, or are not, the registry's own.
    pub official: Option<bool>,
    /// Only those that were, or were not, built by the registry.
    pub automated: Option<bool>,
    /// Only those with at least so many stars.
    pub stars: u64,
}

/// A repository that was found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// What it says about itself.
    #[serde(default)]
    pub description: String,
    /// How many like it.
    #[serde(default, rename = "star_count")]
    pub stars: u64,
    /// Whether it is the registry's own.
    #[serde(default, rename = "is_official")]
    pub official: bool,
    /// Whether the registry built it.
    #[serde(default, rename = "is_automated")]
    pub automated: bool,
}

/// The registry of an address as `docker login` has them, such as `https://index.docker.io/v1/`.
#[must_use]
pub fn registry_of(address: &str) -> String {
    let host = address
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    match host {
        "" | HUB_INDEX | "registry-1.docker.io" => DEFAULT_REGISTRY.to_owned(),
        host => host.to_owned(),
    }
}

/// Asks whether `registry` lets someone in.
///
/// # Errors
/// When it does not, or cannot be asked.
pub async fn login(
    registry: &str,
    credentials: Credentials,
    config: &Config,
) -> Result<LoggedIn, Error> {
    let config = Config {
        explicit: Some(credentials),
        ..config.clone()
    };
    let mut client = Client::to_registry(&registry_of(registry), &config).await?;
    client.wants_identity = true;
    let url = client.url(&format!("{}/v2/", client.base().await?))?;
    let ask = Ask::new(Method::GET, url);
    let response = client.send(&ask, None).await?;
    let what = "its API";
    if response.status() != StatusCode::UNAUTHORIZED {
        client.check(response, what).await?;
        return Ok(LoggedIn::default());
    }
    let offered = response.headers().get_all(WWW_AUTHENTICATE);
    let offered: Vec<Challenge> = offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(challenges)
        .collect();
    let (value, identity_token) = client.log_in(&offered, what).await?;
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| client.nonsense("a token that no header can carry".to_owned()))?;
    value.set_sensitive(true);
    let response = client.send(&ask, Some(&value)).await?;
    client.check(response, what).await?;
    Ok(LoggedIn { identity_token })
}

impl Client {
    /// What `Authorization` says from now on, and what takes the place of the password.
    async fn log_in(
        &self,
        offered: &[Challenge],
        what: &str,
    ) -> Result<(String, Option<String>), Error> {
        for challenge in offered {
            match (challenge, &self.credentials) {
                (Challenge::Basic, Credentials::Password { user, password }) => {
                    return Ok((basic(user, password), None));
                }
                (Challenge::Bearer { .. }, Credentials::RegistryToken(token)) => {
                    return Ok((format!("Bearer {token}"), None));
                }
                (Challenge::Bearer { realm, service, .. }, _) => {
                    let answer = self.token(realm, service.as_deref(), &[], what).await?;
                    let identity = answer.identity();
                    let none = || self.nonsense("no token where one was due".to_owned());
                    let token = answer.into_token().ok_or_else(none)?;
                    return Ok((format!("Bearer {token}"), identity));
                }
                (Challenge::Basic, _) => {}
            }
        }
        let why = "it knows no way to log in with these credentials";
        Err(self.denied(what, why.to_owned()))
    }
}

/// Searches the registry that the term names, Docker Hub if it names none.
///
/// # Errors
/// When the limit makes no sense, or the registry has no search or fails.
pub async fn search(search: &Search, config: &Config) -> Result<Vec<Found>, Error> {
    let limit = search
        .limit
        .filter(|limit| *limit != 0)
        .unwrap_or(DEFAULT_LIMIT);
    if limit > MAX_LIMIT {
        return Err(Error::Search(format!(
            "limit {limit} is outside the range of [1, {MAX_LIMIT}]"
        )));
    }
    if search.term.contains("://") {
        let term = &search.term;
        let what =
            format!("invalid repository name: repository name ({term}) should not have a scheme");
        return Err(Error::Search(what));
    }
    let (registry, term) = match search.term.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => (HUB_INDEX, search.term.as_str()),
    };
    let registry = match registry {
        DEFAULT_REGISTRY => HUB_INDEX,
        other => other,
    };
    let term = match registry {
        HUB_INDEX => term.strip_prefix("library/").unwrap_or(term),
        _ => term,
    };
    let client = Client::to_registry(registry, config).await?;
    let mut url = client.url(&format!("{}/v1/search", client.base().await?))?;
    url.query_pairs_mut()
        .append_pair("q", term)
        .append_pair("n", &limit.to_string());
    let what = "a search";
    let response = client.exchange(&Ask::new(Method::GET, url), what).await?;
    if matches!(
        response.status(),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
    ) {
        return Err(Error::Search(format!(
            "registry {registry} cannot be searched: it has no /v1/search"
        )));
    }
    let response = client.check(response, what).await?;
    let bytes = client.read(response, MAX_FOUND, "findings").await?;
    let found: Findings = serde_json::from_slice(&bytes)
        .map_err(|_| client.nonsense("findings that are none".to_owned()))?;
    let fits = |found: &Found| {
        search
            .official
            .is_none_or(|wanted| found.official == wanted)
            && search
                .automated
                .is_none_or(|wanted| found.automated == wanted)
            && found.stars >= search.stars
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut found: Vec<Found> = found.results.into_iter().filter(fits).take(limit).collect();
    // It is shown on terminals.
    for one in &mut found {
        one.name.retain(|c| !c.is_control());
        one.description.retain(|c| !c.is_control());
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Findings {
    #[serde(default)]
    results: Vec<Found>,
}
