//! What `push` needs of a registry: OCI distribution specification 1.1, section "Push".

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE,
};
use http::{Method, StatusCode};
use reqwest::{Response, Url};

use super::client::Client;
use super::error::Error;
use super::request::{Ask, Body, FilePart, Moved};
use crate::digest::Digest;

/// Registries that keep blobs elsewhere move them there when they are complete, and say nothing meanwhile.
const COMMIT: Duration = Duration::from_secs(300);
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// An upload that the registry has begun.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    location: Url,
}

/// A blob in a file of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalBlob<'a> {
    pub(crate) path: &'a Path,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Client {
    /// Asks for tokens that allow to push here, and to read what may be taken from the repositories `sources`.
    pub(crate) fn prepare_push(&mut self, sources: &[String]) {
        self.scopes = vec![format!("repository:{}:pull,push", self.repository)];
        let sources = sources.iter().filter(|source| **source != self.repository);
        let sources = sources.map(|source| format!("repository:{source}:pull"));
        self.scopes.extend(sources);
    }

    /// Whether the repository has the blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let url = self.path(&format!("blobs/{digest}")).await?;
        let what = format!("blob {digest}");
        let response = self.exchange(&Ask::new(Method::HEAD, url), &what).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        self.check(response, &what).await.map(|_| true)
    }

    /// Takes a blob from another repository of the same registry. That it does not work has many innocent reasons.
    pub(crate) async fn mount(&self, digest: &Digest, from: &str) -> Result<bool, Error> {
        let mut url = self.path("blobs/uploads/").await?;
        url.query_pairs_mut()
            .append_pair("mount", &digest.to_string())
            .append_pair("from", from);
        let what = format!("blob {digest} of {from}");
        let response = self.exchange(&empty(Method::POST, url), &what).await?;
        match response.status() {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => {
                // It has begun an upload instead, which this is not yet the time for.
                let upload = self.location(&response, None)?;
                let _ = self
                    .exchange(&empty(Method::DELETE, upload.location), &what)
                    .await;
                Ok(false)
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                self.check(response, &what).await.map(|_| false)
            }
            _ => Ok(false),
        }
    }

    /// Begins an upload.
    pub(crate) async fn begin_upload(&self) -> Result<Upload, Error> {
        let url = self.path("blobs/uploads/").await?;
        let what = format!("uploads to {}", self.repository);
        let response = self.exchange(&empty(Method::POST, url), &what).await?;
        let response = self.check(response, &what).await?;
        self.location(&response, None)
    }

    /// How many bytes of an upload the registry has.
    pub(crate) async fn received(&self, upload: &mut Upload) -> Result<u64, Error> {
        let what = "an upload that was interrupted";
        let ask = Ask::new(Method::GET, upload.location.clone());
        let response = self.exchange(&ask, what).await?;
        let response = self.check(response, what).await?;
        *upload = self.location(&response, Some(upload))?;
        Ok(range_end(&response))
    }

    /// Sends a blob from byte `offset` on.
    pub(crate) async fn send_rest(
        &self,
        upload: &mut Upload,
        blob: LocalBlob<'_>,
        offset: u64,
        moved: Moved,
    ) -> Result<(), Error> {
        let what = format!("blob {}", blob.digest);
        let mut ask = Ask::new(Method::PATCH, upload.location.clone());
        ask.headers.insert(CONTENT_TYPE, BINARY);
        if offset > 0 {
            let range = format!("{offset}-{}", blob.size.saturating_sub(1));
            let range = HeaderValue::try_from(range).map_err(|_| self.nonsense(what.clone()))?;
            ask.headers.insert(CONTENT_RANGE, range);
        }
        ask.body = Body::File(FilePart {
            path: blob.path.to_owned(),
            offset,
            length: blob.size.saturating_sub(offset),
            moved,
        });
        let response = self.exchange(&ask, &what).await?;
        let response = self.check(response, &what).await?;
        *upload = self.location(&response, Some(upload))?;
        if response.headers().contains_key(RANGE) && range_end(&response) < blob.size {
            return Err(Error::TookLess {
                registry: self.registry.clone(),
                what,
            });
        }
        Ok(())
    }

    /// Ends an upload, all of which the registry has.
    pub(crate) async fn commit(&self, upload: &Upload, digest: &Digest) -> Result<(), Error> {
        self.put_upload(upload, digest, Bytes::new()).await
    }

    /// Uploads a blob that is in memory.
    pub(crate) async fn put_small(&self, digest: &Digest, bytes: Bytes) -> Result<(), Error> {
        let upload = self.begin_upload().await?;
        self.put_upload(&upload, digest, bytes).await
    }

    async fn put_upload(
        &self,
        upload: &Upload,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let what = format!("blob {digest}");
        let mut url = upload.location.clone();
        url.query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let mut ask = Ask::new(Method::PUT, url);
        ask.headers.insert(CONTENT_TYPE, BINARY);
        ask.headers
            .insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        ask.body = Body::Bytes(bytes);
        ask.patience = Some(COMMIT.max(self.stall));
        let response = self.exchange(&ask, &what).await?;
        self.check(response, &what).await.map(|_| ())
    }

    /// Puts a manifest in place, all of whose blobs the repository has.
    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        kind: &str,
        bytes: Bytes,
    ) -> Result<(), Error> {
        let what = format!("manifest {name} of {}", self.repository);
        let url = self.path(&format!("manifests/{name}")).await?;
        let mut ask = Ask::new(Method::PUT, url);
        let kind = HeaderValue::try_from(kind).map_err(|_| self.nonsense(what.clone()))?;
        ask.headers.insert(CONTENT_TYPE, kind);
        let digest = Digest::of(&bytes);
        ask.body = Body::Bytes(bytes);
        ask.patience = Some(COMMIT.max(self.stall));
        let response = self.exchange(&ask, &what).await?;
        let response = self.check(response, &what).await?;
        let claimed = response.headers().get("docker-content-digest");
        let claimed = claimed.and_then(|value| value.to_str().ok()?.parse::<Digest>().ok());
        match claimed {
            Some(claimed) if claimed != digest => Err(self.nonsense(format!(
                "the digest {claimed} for a manifest that has {digest}"
            ))),
            _ => Ok(()),
        }
    }

    /// Where an upload goes on; where it was if the answer does not say.
    fn location(&self, response: &Response, before: Option<&Upload>) -> Result<Upload, Error> {
        let Some(header) = response.headers().get(LOCATION) else {
            let before = before.cloned();
            return before.ok_or_else(|| self.nonsense("no place for an upload".to_owned()));
        };
        let wrong = || self.nonsense("a place for an upload that is no address".to_owned());
        let text = header.to_str().map_err(|_| wrong())?;
        let location = response.url().join(text).map_err(|_| wrong())?;
        match location.scheme() {
            "https" => Ok(Upload { location }),
            "http" if self.may_be_plain => Ok(Upload { location }),
            _ => Err(self.nonsense("a place for an upload without TLS".to_owned())),
        }
    }
}

/// A request that says that nothing follows; some servers insist on it.
fn empty(method: Method, url: Url) -> Ask {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ask::new(method, url).with_headers(headers)
}

/// The number of bytes that `Range: 0-N` tells of. One byte looks like none, and is better sent again.
fn range_end(response: &Response) -> u64 {
    let range = response
        .headers()
        .get(RANGE)
        .and_then(|value| value.to_str().ok());
    let range = range.map(|range| range.trim_start_matches("bytes="));
    let end = range.and_then(|range| range.split_once('-')?.1.parse::<u64>().ok());
    end.filter(|end| *end > 0)
        .map_or(0, |end| end.saturating_add(1))
}
