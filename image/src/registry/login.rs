//! How a client is let in: what it answers to the challenges of a registry.
//!
//! A password goes to the registry itself only for Basic authentication; otherwise the token server gets it, over TLS.

use http::header::{AUTHORIZATION, HeaderValue};
use tokio::time::timeout;

use super::auth::{Challenge, TokenAnswer, basic};
use super::client::Client;
use super::credentials::Credentials;
use super::error::Error;

/// Largest answer of a token server, in bytes.
const MAX_TOKEN: u64 = 1 << 20;
/// How OAuth 2 clients name themselves.
const CLIENT_ID: &str = "hull";

impl Client {
    /// Gets what `Authorization` must say.
    pub(super) async fn authorize(
        &self,
        offered: &[Challenge],
        what: &str,
    ) -> Result<HeaderValue, Error> {
        for challenge in offered {
            let value = match (challenge, &self.credentials) {
                (Challenge::Bearer { .. }, Credentials::RegistryToken(token)) => {
                    format!("Bearer {token}")
                }
                (Challenge::Basic, Credentials::Password { user, password }) => {
                    basic(user, password)
                }
                (Challenge::Basic, _) => continue,
                (
                    Challenge::Bearer {
                        realm,
                        service,
                        scope,
                    },
                    _,
                ) => {
                    let scopes = self.scopes(scope.as_deref());
                    let token = self.token(realm, service.as_deref(), &scopes, what);
                    let token = token.await?.into_token();
                    let none = || self.nonsense("no token where one was due".to_owned());
                    format!("Bearer {}", token.ok_or_else(none)?)
                }
            };
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| self.nonsense("a token that no header can carry".to_owned()))?;
            value.set_sensitive(true);
            return Ok(value);
        }
        let why = match self.credentials {
            Credentials::Anonymous => format!(
                "it wants credentials; log in with hull login {}, or with docker login",
                self.registry
            ),
            _ => "it does not accept the credentials of hull login or docker login".to_owned(),
        };
        Err(self.denied(what, why))
    }

    /// What a token must allow: what the registry asks for, and what is needed besides.
    fn scopes(&self, asked: Option<&str>) -> Vec<String> {
        let mut scopes = self.scopes.clone();
        // A scope for what we push names less than our own.
        let ours = format!("repository:{}:", self.repository);
        let ours_is_there = scopes.iter().any(|own| own.starts_with(&ours));
        let covered = |scope: &&str| {
            scopes.iter().any(|own| own == scope) || (ours_is_there && scope.starts_with(&ours))
        };
        let asked = asked.filter(|scope| !covered(scope)).map(str::to_owned);
        scopes.extend(asked);
        if scopes.is_empty() && !self.repository.is_empty() {
            scopes.push(format!("repository:{}:pull", self.repository));
        }
        scopes
    }

    pub(super) async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
        what: &str,
    ) -> Result<TokenAnswer, Error> {
        let mut url = self.url(realm)?;
        if url.scheme() != "https" && !self.may_be_plain {
            let wrong = "a token server without TLS, which gets no credentials";
            return Err(self.nonsense(wrong.to_owned()));
        }
        let request = if let Credentials::IdentityToken(token) = &self.credentials {
            let scopes = scopes.join(" ");
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service.unwrap_or_default()),
                ("scope", &scopes),
                ("client_id", CLIENT_ID),
                ("refresh_token", token),
            ];
            self.http.post(url).form(&form)
        } else {
            let mut query = url.query_pairs_mut();
            for scope in scopes {
                query.append_pair("scope", scope);
            }
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            if let Credentials::Password { user, .. } = &self.credentials {
                query.append_pair("account", user);
            }
            if self.wants_identity {
                query.append_pair("offline_token", "true");
                query.append_pair("client_id", CLIENT_ID);
            }
            drop(query);
            let request = self.http.get(url);
            match &self.credentials {
                Credentials::Password { user, password } => {
                    request.header(AUTHORIZATION, basic(user, password))
                }
                _ => request,
            }
        };
        let response = match timeout(self.stall, request.send()).await {
            Err(_) => return Err(self.stalled()),
            Ok(response) => response.map_err(|e| self.transport(e))?,
        };
        let response = self.check(response, what).await?;
        let bytes = self.read(response, MAX_TOKEN, "a token").await?;
        serde_json::from_slice(&bytes)
            .map_err(|_| self.nonsense("no token where one was due".to_owned()))
    }
}
