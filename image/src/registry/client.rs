//! Requests to one repository of one registry.

use std::time::Duration;

use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Method, StatusCode};
use reqwest::{Response, Url};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::timeout;

use super::auth::{Challenge, challenges};
use super::config::{Config, is_loopback};
use super::credentials::{self, Credentials};
use super::error::{Error, cause};
use super::request::{Ask, Body, FilePart};
use super::transport::http_client;
use crate::digest::Digest;
use crate::manifest;
use crate::reference::{DEFAULT_REGISTRY, Reference};

/// Docker Hub's registry does not live where its name says.
const HUB_HOST: &str = "registry-1.docker.io";
/// Limits for what is read into memory, in bytes.
const MAX_DETAIL: u64 = 64 << 10;

/// A repository, with what it takes to be let in.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) http: reqwest::Client,
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) may_be_plain: bool,
    pub(super) stall: Duration,
    pub(super) credentials: Credentials,
    /// What tokens must allow, besides what the registry names when it asks for one.
    pub(super) scopes: Vec<String>,
    /// Ask the token server for a token that takes the place of the password.
    pub(super) wants_identity: bool,
    base: OnceCell<String>,
    authorization: Mutex<Option<HeaderValue>>,
}

/// The rest of a blob, piece by piece.
#[derive(Debug)]
pub(crate) struct Blob<'a> {
    client: &'a Client,
    response: Response,
    /// Where in the blob the first piece belongs: what was asked for, or 0 if the registry knows no ranges.
    pub(crate) offset: u64,
}

impl Client {
    /// Finds credentials for the registry of `reference`; no request is made yet.
    pub(crate) async fn new(reference: &Reference, config: &Config) -> Result<Self, Error> {
        let mut client = Self::to_registry(reference.registry(), config).await?;
        reference.repository().clone_into(&mut client.repository);
        Ok(client)
    }

    /// The same for requests that are about no repository.
    pub(super) async fn to_registry(registry: &str, config: &Config) -> Result<Self, Error> {
        let registry = registry.to_owned();
        let file = config.credentials.clone();
        let credentials = match &config.explicit {
            Some(credentials) => credentials.clone(),
            None => {
                let name = registry.clone();
                tokio::task::spawn_blocking(move || credentials::find(file.as_deref(), &name))
                    .await
                    .map_err(|e| Error::Credentials {
                        registry: registry.clone(),
                        why: e.to_string(),
                    })??
            }
        };
        let may_be_plain = config.may_be_plain(&registry);
        Ok(Self {
            http: http_client(may_be_plain, is_loopback(&registry), config.stall)?,
            repository: String::new(),
            scopes: Vec::new(),
            wants_identity: false,
            may_be_plain,
            stall: config.stall,
            credentials,
            base: OnceCell::new(),
            authorization: Mutex::new(None),
            registry,
        })
    }

    /// The manifest that a tag or a digest names, with its media type if the registry says it.
    pub(crate) async fn manifest(
        &self,
        reference: &str,
    ) -> Result<(Vec<u8>, Option<String>), Error> {
        let what = format!("manifest {} of {}", reference, self.repository);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(manifest::ACCEPT));
        let path = format!("manifests/{reference}");
        let response = self.get(&path, headers, &what).await?;
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            Some(value.to_str().ok()?.to_owned())
        };
        let kind = header("content-type");
        let claimed = header("docker-content-digest");
        let bytes = self.read(response, manifest::MAX_MANIFEST, &what).await?;
        if let Some(claimed) = claimed.and_then(|text| text.parse::<Digest>().ok())
            && claimed != Digest::of(&bytes)
        {
            return Err(self.nonsense(format!(
                "{what} with digest {} where it announced {claimed}",
                Digest::of(&bytes)
            )));
        }
        Ok((bytes, kind))
    }

    /// A blob that is small enough for memory.
    pub(crate) async fn small_blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, Error> {
        let what = format!("blob {digest}");
        let path = format!("blobs/{digest}");
        let response = self.get(&path, HeaderMap::new(), &what).await?;
        self.read(response, size, &what).await
    }

    /// A blob from byte `offset` on.
    pub(crate) async fn blob(&self, digest: &Digest, offset: u64) -> Result<Blob<'_>, Error> {
        let what = format!("blob {digest}");
        let mut headers = HeaderMap::new();
        if offset > 0 {
            let range = HeaderValue::try_from(format!("bytes={offset}-"));
            headers.insert(RANGE, range.map_err(|_| self.nonsense(what.clone()))?);
        }
        let response = self.get(&format!("blobs/{digest}"), headers, &what).await?;
        let offset = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get(CONTENT_RANGE);
                let start = range.and_then(|value| range_start(value.to_str().ok()?));
                if start != Some(offset) {
                    return Err(self.nonsense(format!("another range of {what} than asked for")));
                }
                offset
            }
            _ => 0,
        };
        Ok(Blob {
            client: self,
            response,
            offset,
        })
    }

    /// GET below `/v2/<repository>/`, authenticated as the registry asks. Success statuses only.
    async fn get(&self, path: &str, headers: HeaderMap, what: &str) -> Result<Response, Error> {
        let url = self.path(path).await?;
        let ask = Ask::new(Method::GET, url).with_headers(headers);
        let response = self.exchange(&ask, what).await?;
        self.check(response, what).await
    }

    /// The address of something of this repository.
    pub(super) async fn path(&self, path: &str) -> Result<Url, Error> {
        let base = self.base().await?;
        self.url(&format!("{base}/v2/{}/{path}", self.repository))
    }

    /// Where the registry's API is, without a slash at the end.
    pub(super) async fn base(&self) -> Result<&str, Error> {
        let base = self.base.get_or_try_init(|| self.find_base()).await?;
        Ok(base)
    }

    /// Makes a request, and makes it again with what `Authorization` must say if the registry wants that. Any status.
    pub(super) async fn exchange(&self, ask: &Ask, what: &str) -> Result<Response, Error> {
        // Where uploads go may be another host, which has no business with what we are to this one.
        let ours: Url = self.url(self.base().await?)?;
        if ours.origin() != ask.url.origin() {
            return self.send(ask, None).await;
        }
        let used = self.authorization.lock().await.clone();
        let response = self.send(ask, used.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let offered = response.headers().get_all(WWW_AUTHENTICATE);
        let offered: Vec<Challenge> = offered
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenges)
            .collect();
        // Transfers that run side by side share one token: only the first to be refused asks.
        let mut authorization = self.authorization.lock().await;
        if *authorization == used {
            *authorization = Some(self.authorize(&offered, what).await?);
        }
        let fresh = authorization.clone();
        drop(authorization);
        self.send(ask, fresh.as_ref()).await
    }

    pub(super) async fn send(
        &self,
        ask: &Ask,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Error> {
        let mut request = self.http.request(ask.method.clone(), ask.url.clone());
        request = request.headers(ask.headers.clone());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        let sending = match &ask.body {
            Body::Empty => request,
            Body::Bytes(bytes) => request.body(bytes.clone()),
            Body::File(part) => {
                let body = part.open().await.map_err(|e| self.unreadable(part, &e))?;
                request.header(CONTENT_LENGTH, part.length).body(body)
            }
        };
        let patience = ask.patience.unwrap_or(self.stall);
        let response = match &ask.body {
            Body::File(part) => part.moved.while_moving(patience, sending.send()).await,
            _ => timeout(patience, sending.send()).await.ok(),
        };
        match response {
            None => Err(self.stalled()),
            Some(Ok(response)) => Ok(response),
            Some(Err(e)) => Err(self.transport(e)),
        }
    }

    /// `http` or `https` and the host. A registry that may be spoken to without TLS is asked which it speaks.
    async fn find_base(&self) -> Result<String, Error> {
        let host = match self.registry.as_str() {
            DEFAULT_REGISTRY => HUB_HOST,
            other => other,
        };
        let secure = format!("https://{host}");
        if !self.may_be_plain {
            return Ok(secure);
        }
        let plain = format!("http://{host}");
        let ping =
            |base: &str| Ok::<_, Error>(Ask::new(Method::GET, self.url(&format!("{base}/v2/"))?));
        let failure = match self.send(&ping(&plain)?, None).await {
            // What a TLS server answers to a request in the clear, if it answers at all.
            Ok(response) if response.status() == StatusCode::BAD_REQUEST => None,
            Ok(_) => return Ok(plain),
            Err(e @ Error::Broken { .. }) => Some(e),
            Err(e) => return Err(e),
        };
        match self.send(&ping(&secure)?, None).await {
            Ok(_) => Ok(secure),
            // Where the plain connection just broke, that is what should be tried again.
            Err(e) => Err(failure.unwrap_or(e)),
        }
    }

    /// Turns statuses that are no success into errors.
    pub(super) async fn check(&self, response: Response, what: &str) -> Result<Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let registry = self.registry.clone();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let detail = self.detail(response).await;
        let what = what.to_owned();
        Err(match status {
            StatusCode::NOT_FOUND => Error::NotFound { registry, what },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let why = if detail.is_empty() {
                    "it does not accept the credentials".to_owned()
                } else {
                    detail
                };
                self.denied(&what, why)
            }
            StatusCode::TOO_MANY_REQUESTS => Error::TooMany {
                registry,
                retry_after: retry_after.map(Duration::from_secs),
            },
            _ => {
                let detail = if detail.is_empty() {
                    detail
                } else {
                    format!(" ({detail})")
                };
                if status.is_server_error() {
                    Error::Server {
                        registry,
                        status,
                        detail,
                    }
                } else {
                    Error::Unexpected {
                        registry,
                        status,
                        what,
                        detail,
                    }
                }
            }
        })
    }

    /// The messages of an OCI error body, made fit for a terminal.
    async fn detail(&self, response: Response) -> String {
        #[derive(serde::Deserialize)]
        struct Body {
            errors: Vec<One>,
        }
        #[derive(serde::Deserialize)]
        struct One {
            #[serde(default)]
            message: String,
        }
        let Ok(bytes) = self.read(response, MAX_DETAIL, "an error").await else {
            return String::new();
        };
        let Ok(body) = serde_json::from_slice::<Body>(&bytes) else {
            return String::new();
        };
        let messages: Vec<String> = body.errors.into_iter().map(|one| one.message).collect();
        let text = messages.join("; ");
        let printable = text.chars().filter(|c| !c.is_control());
        printable.take(200).collect()
    }

    /// Reads a body of at most `limit` bytes.
    pub(super) async fn read(
        &self,
        mut response: Response,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            let length = u64::try_from(bytes.len() + chunk.len()).unwrap_or(u64::MAX);
            if length > limit {
                return Err(Error::TooLong {
                    registry: self.registry.clone(),
                    what: what.to_owned(),
                    limit,
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    async fn chunk(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, Error> {
        match timeout(self.stall, response.chunk()).await {
            Err(_) => Err(self.stalled()),
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(e)) => Err(Error::Broken {
                registry: self.registry.clone(),
                why: cause(&e.without_url()).0,
            }),
        }
    }

    /// More came of a blob than its descriptor says.
    pub(crate) fn too_long(&self, digest: &Digest, limit: u64) -> Error {
        Error::TooLong {
            registry: self.registry.clone(),
            what: format!("blob {digest}"),
            limit,
        }
    }

    /// The connection was closed in good order before the end of a blob.
    pub(crate) fn ended_early(&self, digest: &Digest) -> Error {
        Error::EndedEarly {
            registry: self.registry.clone(),
            what: format!("blob {digest}"),
        }
    }

    pub(super) fn url(&self, text: &str) -> Result<Url, Error> {
        text.parse()
            .map_err(|_| self.nonsense(format!("the address {text:?}, which is none")))
    }

    pub(super) fn transport(&self, error: reqwest::Error) -> Error {
        let registry = self.registry.clone();
        let redirect = error.is_redirect();
        let connect = error.is_connect();
        // Addresses carry signatures that are as good as credentials.
        let (why, passing) = cause(&error.without_url());
        if redirect {
            self.nonsense(format!("a redirection that must not be followed ({why})"))
        } else if connect {
            Error::Connect {
                registry,
                why,
                passing,
            }
        } else {
            Error::Broken { registry, why }
        }
    }

    fn unreadable(&self, part: &FilePart, error: &std::io::Error) -> Error {
        Error::Local {
            path: part.path.clone(),
            why: error.to_string(),
        }
    }

    pub(super) fn stalled(&self) -> Error {
        Error::Stalled {
            registry: self.registry.clone(),
            after: self.stall,
        }
    }

    pub(super) fn denied(&self, what: &str, why: String) -> Error {
        Error::Denied {
            registry: self.registry.clone(),
            what: what.to_owned(),
            why,
        }
    }

    pub(crate) fn nonsense(&self, what: String) -> Error {
        Error::Nonsense {
            registry: self.registry.clone(),
            what,
        }
    }
}

impl Blob<'_> {
    /// The next piece, or `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<bytes::Bytes>, Error> {
        self.client.chunk(&mut self.response).await
    }

    /// How many bytes are to come, if the registry says it.
    pub(crate) fn announced(&self) -> Option<u64> {
        let length = self.response.headers().get(CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    }
}

/// `bytes 100-199/200` starts at 100.
fn range_start(value: &str) -> Option<u64> {
    let range = value.trim().strip_prefix("bytes")?.trim_start();
    range.split_once('-')?.0.trim().parse().ok()
}
