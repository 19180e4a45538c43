//! Who we are to a registry: Docker's configuration file and its credential helpers.

use std::env;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};

use super::error::Error;
use crate::reference::DEFAULT_REGISTRY;

/// The key of Docker Hub in Docker's files.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What to show a registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// Nothing.
    Anonymous,
    /// A name and its password.
    Password { user: String, password: String },
    /// A refresh token of the registry's token server.
    IdentityToken(String),
}

// Secrets must not end up in a log.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Password { .. } => "Password",
            Self::IdentityToken(_) => "IdentityToken",
        })
    }
}

/// Docker's configuration file, if the environment says where it would be.
pub(crate) fn docker_config() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".docker"));
    let dir = env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(home)?;
    Some(dir.join("config.json"))
}

/// What `file` holds for `registry`. Runs a credential helper if it says so, so this may block.
pub(crate) fn find(file: Option<&Path>, registry: &str) -> Result<Credentials, Error> {
    let Some(path) = file else {
        return Ok(Credentials::Anonymous);
    };
    let keys = if registry == DEFAULT_REGISTRY {
        vec![HUB_KEY.to_owned(), registry.to_owned()]
    } else {
        vec![registry.to_owned(), format!("https://{registry}")]
    };
    for key in keys {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Credentials::Anonymous),
            Err(e) => return Err(failed(registry, format!("{}: {e}", path.display()))),
        };
        match docker_credential::get_credential_from_reader(BufReader::new(file), &key) {
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                return Ok(Credentials::Password { user, password });
            }
            Ok(DockerCredential::IdentityToken(token)) => {
                return Ok(Credentials::IdentityToken(token));
            }
            Err(CredentialRetrievalError::NoCredentialConfigured) => (),
            // That a helper has nothing for this registry is no failure; helpers say it in words only.
            Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
                if [&stdout, &stderr]
                    .iter()
                    .any(|text| text.contains("credentials not found")) => {}
            Err(CredentialRetrievalError::HelperFailure {
                helper,
                stdout,
                stderr,
            }) => {
                let said = [stdout.trim(), stderr.trim()].join(" ");
                return Err(failed(registry, format!("{helper} says {:?}", said.trim())));
            }
            Err(CredentialRetrievalError::HelperCommunicationError) => {
                let why = format!(
                    "the credential helper that {} names cannot be run",
                    path.display()
                );
                return Err(failed(registry, why));
            }
            Err(e) => return Err(failed(registry, format!("{}: {e}", path.display()))),
        }
    }
    Ok(Credentials::Anonymous)
}

fn failed(registry: &str, why: String) -> Error {
    Error::Credentials {
        registry: registry.to_owned(),
        why,
    }
}
