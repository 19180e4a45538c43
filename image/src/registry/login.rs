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
                    let token = self.token(realm, service.as_deref(), scope.as_deref(), what);
                    format!("Bearer {}", token.await?)
                }
            };
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| self.nonsense("a token that no header can carry".to_owned()))?;
            value.set_sensitive(true);
            return Ok(value);
        }
        let why = match self.credentials {
            Credentials::Anonymous => format!(
                "it wants credentials; log in with docker login {}",
                self.registry
            ),
            _ => "it does not accept the credentials of docker login".to_owned(),
        };
        Err(self.denied(what, why))
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
        what: &str,
    ) -> Result<String, Error> {
        let mut url = self.url(realm)?;
        if url.scheme() != "https" && !self.may_be_plain {
            let wrong = "a token server without TLS, which gets no credentials";
            return Err(self.nonsense(wrong.to_owned()));
        }
        let default = format!("repository:{}:pull", self.repository);
        let scope = scope.unwrap_or(&default);
        let request = if let Credentials::IdentityToken(token) = &self.credentials {
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service.unwrap_or_default()),
                ("scope", scope),
                ("client_id", CLIENT_ID),
                ("refresh_token", token),
            ];
            self.http.post(url).form(&form)
        } else {
            let mut query = url.query_pairs_mut();
            query.append_pair("scope", scope);
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            if let Credentials::Password { user, .. } = &self.credentials {
                query.append_pair("account", user);
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
        serde_json::from_slice::<TokenAnswer>(&bytes)
            .ok()
            .and_then(TokenAnswer::into_token)
            .ok_or_else(|| self.nonsense("no token where one was due".to_owned()))
    }
}
