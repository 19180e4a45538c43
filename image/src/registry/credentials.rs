//! Who we are to a registry: Docker's configuration file and its credential helpers.

use std::env;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use docker_credential::{CredentialRetrievalError, DockerCredential};

use super::error::Error;
use crate::reference::DEFAULT_REGISTRY;

/// The key of Docker Hub in Docker's files.
pub(super) const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What to show a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing.
    Anonymous,
    /// A name and its password.
    Password {
        /// The name.
        user: String,
        /// Its password.
        password: String,
    },
    /// A refresh token of the registry's token server.
    IdentityToken(String),
    /// A token that the registry itself takes.
    RegistryToken(String),
}

/// The fields of Docker's `AuthConfig` that say who someone is.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "lowercase")]
struct AuthConfig {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

impl Credentials {
    /// What the header `X-Registry-Auth` of Docker's API says: base64url of an `AuthConfig`. As with Docker, a header that makes
    /// no sense says nothing.
    #[must_use]
    pub fn from_header(header: &str) -> Option<Self> {
        let text = header.trim().trim_end_matches('=');
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .or_else(|| STANDARD_NO_PAD.decode(text).ok())?;
        Self::from_json(&bytes)
    }

    /// The `AuthConfig` that says the same, for a daemon.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Anonymous => serde_json::json!({}),
            Self::Password { user, password } => {
                serde_json::json!({ "username": user, "password": password })
            }
            Self::IdentityToken(token) => serde_json::json!({ "identitytoken": token }),
            Self::RegistryToken(token) => serde_json::json!({ "registrytoken": token }),
        }
    }

    /// What the JSON text of an `AuthConfig` says.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let config: AuthConfig = serde_json::from_slice(bytes).ok()?;
        let AuthConfig {
            username: mut user,
            mut password,
            auth,
            identitytoken,
            registrytoken,
        } = config;
        if user.is_empty()
            && let Ok(plain) = STANDARD_NO_PAD.decode(auth.trim_end_matches('='))
            && let Ok(plain) = String::from_utf8(plain)
            && let Some((first, second)) = plain.split_once(':')
        {
            (user, password) = (first.to_owned(), second.to_owned());
        }
        if !registrytoken.is_empty() {
            Some(Self::RegistryToken(registrytoken))
        } else if !identitytoken.is_empty() {
            Some(Self::IdentityToken(identitytoken))
        } else if !user.is_empty() {
            Some(Self::Password { user, password })
        } else {
            None
        }
    }
}

// Secrets must not end up in a log.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Password { .. } => "Password",
            Self::IdentityToken(_) => "IdentityToken",
            Self::RegistryToken(_) => "RegistryToken",
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
