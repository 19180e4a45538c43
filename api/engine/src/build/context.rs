//! Where a build's files come from: the request's body, or an address.

use std::io::{self, Cursor, Read};

use axum::body::Body;
use futures_util::TryStreamExt;
use hull_image::build::MAX_DOCKERFILE;
use hull_image::registry;
use hull_image::store::Context;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::error::{ApiError, blocking, sentence};
use crate::images::registries;
use crate::router::Shared;

/// A header of a tar archive.
const BLOCK: usize = 512;
/// Where it says that it is one.
const MAGIC: std::ops::Range<usize> = 257..262;

pub(super) async fn take(
    supervisor: &Shared,
    remote: Option<&str>,
    body: Body,
) -> Result<Context, ApiError> {
    let store = supervisor.images().clone();
    let stream: Box<dyn Read + Send> = match remote {
        None => {
            let bytes = body.into_data_stream().map_err(io::Error::other);
            Box::new(SyncIoBridge::new(StreamReader::new(Box::pin(bytes))))
        }
        Some(address) => {
            if !is_file(address) {
                return Err(ApiError::invalid(format!(
                    "the parameter remote is not supported for {address:?}: it is an address of a tar archive or of a \
                     Dockerfile, and git repositories are not fetched"
                )));
            }
            let found = registry::remote(address, &registries::anonymous()?).await;
            let found = found.map_err(|error| {
                ApiError::invalid(format!(
                    "failed to download remote context: {}",
                    sentence(&error)
                ))
            })?;
            let plain = blocking(move || {
                archived(found).map_err(|error| {
                    ApiError::invalid(format!("failed to download remote context: {error}"))
                })
            });
            plain.await?
        }
    };
    blocking(move || {
        store.context(stream).map_err(|error| {
            ApiError::invalid(format!(
                "the build's context cannot be read: {}",
                sentence(&error)
            ))
        })
    })
    .await
}

/// Whether an address leads to a file, and not to a repository.
fn is_file(address: &str) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let is_http = path.starts_with("http://") || path.starts_with("https://");
    is_http && !path.ends_with(".git")
}

/// An archive as it is; any other text as the Dockerfile of an archive that has nothing else.
fn archived(remote: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut plain = hull_image::decompress(remote)?;
    let mut first = Vec::with_capacity(BLOCK);
    let limit = u64::try_from(BLOCK).unwrap_or(u64::MAX);
    plain.by_ref().take(limit).read_to_end(&mut first)?;
    if first.get(MAGIC) == Some(b"ustar") {
        return Ok(Box::new(Cursor::new(first).chain(plain)));
    }
    let limit = u64::try_from(MAX_DOCKERFILE).unwrap_or(u64::MAX);
    plain.take(limit).read_to_end(&mut first)?;
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(first.len()).unwrap_or(u64::MAX));
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "Dockerfile", first.as_slice())?;
    Ok(Box::new(Cursor::new(archive.into_inner()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_an_archive_or_to_a_dockerfile() {
        assert!(is_file("https://host/context.tar.gz?a=b"));
        assert!(!is_file("https://host/repository.git#main"));
        assert!(!is_file("git@host:repository"));
        let mut archive = Vec::new();
        let mut plain = archived(Cursor::new(b"FROM scratch\n".to_vec())).unwrap();
        plain.read_to_end(&mut archive).unwrap();
        assert!(archive.starts_with(b"Dockerfile\0"));
        let mut again = Vec::new();
        let mut same = archived(Cursor::new(archive.clone())).unwrap();
        same.read_to_end(&mut again).unwrap();
        assert!(archive == again);
    }
}
