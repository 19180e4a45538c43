//! Where `login` keeps credentials and `logout` forgets them: Docker's configuration file, or the credential helper that it names.
//!
//! The file is Docker's own, so whatever else is in it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::account::registry_of;
use super::credentials::{self, Credentials};
use super::error::Error;
use super::helper::Helper;
use crate::reference::DEFAULT_REGISTRY;

/// The credentials of a user.
#[derive(Clone, Debug)]
pub struct Keyring {
    file: PathBuf,
    /// Who keeps credentials where the file does not say it.
    usual: Option<&'static str>,
}

/// Where credentials were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the configuration file, for whoever can read it.
    InFile(PathBuf),
    /// By a credential helper.
    ByHelper(String),
}

impl Keyring {
    /// The one that `DOCKER_CONFIG` or the home directory says; `None` where there is neither.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        let file = credentials::docker_config()?;
        let usual = Helper::usual();
        Some(Self { file, usual })
    }

    /// The one of this configuration file, which alone says who keeps credentials.
    #[must_use]
    pub fn at(file: PathBuf) -> Self {
        Self { file, usual: None }
    }

    /// What a registry is shown. May run a helper.
    ///
    /// # Errors
    /// The file or the helper fails.
    pub fn find(&self, registry: &str) -> Result<Credentials, Error> {
        credentials::find(Some(&self.file), registry)
    }

    /// Everything that is shown to any registry, by its name. One whose helper fails is left out, since it may not be needed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn all(&self) -> Result<BTreeMap<String, Credentials>, Error> {
        let config = self.read("all registries")?;
        let keys = |section: &str| {
            let section = config.get(section).and_then(Value::as_object);
            section
                .into_iter()
                .flat_map(|section| section.keys().cloned())
        };
        let mut servers: BTreeSet<String> = keys("auths").chain(keys("credHelpers")).collect();
        if let Some(name) = text(&config, "credsStore") {
            match Helper::named(name).list() {
                Ok(known) => servers.extend(known.into_keys()),
                Err(error) => tracing::debug!(error, "a credential helper was passed over"),
            }
        }
        let mut all = BTreeMap::new();
        for registry in servers.iter().map(|server| registry_of(server)) {
            match self.find(&registry) {
                Ok(Credentials::Anonymous) => {}
                Ok(found) => drop(all.insert(registry, found)),
                Err(error) => tracing::debug!(%error, registry, "a registry was passed over"),
            }
        }
        Ok(all)
    }

    /// Keeps what is to be shown to a registry from now on, and says where.
    ///
    /// # Errors
    /// The file or the helper fails.
    pub fn keep(&self, registry: &str, credentials: &Credentials) -> Result<Kept, Error> {
        let mut config = self.read(registry)?;
        let server = key(registry);
        // Where nobody has chosen, a helper that is installed is better than a file.
        if config.get("auths").is_none_or(is_empty)
            && text(&config, "credsStore").is_none()
            && let Some(usual) = self.usual
        {
            config.insert("credsStore".to_owned(), json!(usual));
        }
        let helper = helper_for(&config, &server).map(str::to_owned);
        let entry = match &helper {
            Some(name) => {
                let stored = Helper::named(name).store(&server, credentials);
                stored.map_err(|why| failed(registry, why))?;
                // That there is something is said without the secret, as Docker does.
                json!({})
            }
            None => entry(credentials),
        };
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        match auths.as_object_mut() {
            Some(auths) => drop(auths.insert(server, entry)),
            None => return Err(self.wrong(registry, "its \"auths\" is no object")),
        }
        self.write(registry, &config)?;
        Ok(helper.map_or_else(|| Kept::InFile(self.file.clone()), Kept::ByHelper))
    }

    /// Forgets what was shown to a registry, whether or not there was anything.
    ///
    /// # Errors
    /// The file or the helper fails.
    pub fn forget(&self, registry: &str) -> Result<(), Error> {
        let mut config = self.read(registry)?;
        let server = key(registry);
        let mut servers = vec![server.clone()];
        if registry != DEFAULT_REGISTRY {
            servers.extend(["http", "https"].map(|scheme| format!("{scheme}://{server}")));
        }
        // It is known to its helper under one of these, which may say of the others that it cannot forget them.
        let erase = |server: &String| {
            let helper = helper_for(&config, server);
            helper.map_or(Ok(()), |name| Helper::named(name).erase(server))
        };
        let erased: Vec<Result<(), String>> = servers.iter().map(erase).collect();
        if erased.iter().all(Result::is_err) {
            let why = erased.into_iter().find_map(Result::err);
            return Err(failed(registry, why.unwrap_or_default()));
        }
        let auths = config.get_mut("auths").and_then(Value::as_object_mut);
        let Some(auths) = auths else { return Ok(()) };
        let before = auths.len();
        auths.retain(|known, _| !servers.contains(known));
        if auths.len() != before {
            self.write(registry, &config)?;
        }
        Ok(())
    }

    fn read(&self, registry: &str) -> Result<Map<String, Value>, Error> {
        match fs::read(&self.file) {
            Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Ok(Map::new()),
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| self.wrong(registry, error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
            Err(error) => Err(self.wrong(registry, error)),
        }
    }

    /// In one step, for the owner's eyes alone. A link stays one.
    fn write(&self, registry: &str, config: &Map<String, Value>) -> Result<(), Error> {
        let path = fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone());
        let directory = path.parent().unwrap_or(Path::new("."));
        let write = || {
            if !directory.exists() {
                fs::create_dir_all(directory)?;
                fs::set_permissions(directory, Permissions::from_mode(0o700))?;
            }
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            let mode = fs::metadata(&path).map_or(0o600, |meta| meta.permissions().mode() & 0o777);
            let mut json = Vec::new();
            let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
            let mut to = serde_json::Serializer::with_formatter(&mut json, indent);
            serde::Serialize::serialize(config, &mut to)?;
            file.write_all(&json)?;
            file.as_file()
                .set_permissions(Permissions::from_mode(mode))?;
            file.persist(&path)?;
            Ok::<_, io::Error>(())
        };
        write().map_err(|error| self.wrong(registry, error))
    }

    fn wrong(&self, registry: &str, why: impl std::fmt::Display) -> Error {
        failed(registry, format!("{}: {why}", self.file.display()))
    }
}

/// Under which name a registry is in Docker's files.
fn key(registry: &str) -> String {
    match registry {
        DEFAULT_REGISTRY => credentials::HUB_KEY.to_owned(),
        other => other.to_owned(),
    }
}

fn text<'a>(config: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let text = config.get(name)?.as_str()?;
    (!text.is_empty()).then_some(text)
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_none_or(Map::is_empty)
}

/// Who keeps the credentials of a server, if not the file.
fn helper_for<'a>(config: &'a Map<String, Value>, server: &str) -> Option<&'a str> {
    let own = config.get("credHelpers").and_then(|all| all.get(server));
    let own = own.and_then(Value::as_str).filter(|name| !name.is_empty());
    own.or_else(|| text(config, "credsStore"))
}

fn entry(credentials: &Credentials) -> Value {
    match credentials {
        Credentials::Password { user, password } => {
            json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
        }
        Credentials::IdentityToken(token) => json!({ "identitytoken": token }),
        Credentials::RegistryToken(token) => json!({ "registrytoken": token }),
        Credentials::Anonymous => json!({}),
    }
}

fn failed(registry: &str, why: String) -> Error {
    Error::Credentials {
        registry: registry.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn what_is_kept_is_found_and_forgotten_and_the_rest_of_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("docker/config.json");
        let keyring = Keyring::at(file.clone());
        assert_eq!(keyring.find("docker.io").unwrap(), Credentials::Anonymous);
        keyring.forget("docker.io").unwrap();
        assert!(!file.exists(), "nothing was to be forgotten");

        fs::create_dir(dir.path().join("docker")).unwrap();
        let before = r#"{"auths":{"https://b.example":{"auth":"YTpi"}},"detachKeys":"ctrl-e"}"#;
        fs::write(&file, before).unwrap();
        let (hub, own) = (password("me", "a:b"), password("you", "c"));
        let kept = keyring.keep("docker.io", &hub).unwrap();
        assert_eq!(kept, Kept::InFile(file.clone()));
        keyring.keep("a.example:5000", &own).unwrap();
        assert_eq!(keyring.find("docker.io").unwrap(), hub);
        let all = keyring.all().unwrap();
        assert_eq!(
            all.keys().collect::<Vec<_>>(),
            ["a.example:5000", "b.example", "docker.io"]
        );
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\"https://index.docker.io/v1/\""), "{text}");
        assert!(text.contains("\"detachKeys\": \"ctrl-e\""), "{text}");

        keyring.forget("docker.io").unwrap();
        keyring.forget("b.example").unwrap();
        assert_eq!(keyring.find("docker.io").unwrap(), Credentials::Anonymous);
        assert_eq!(keyring.find("b.example").unwrap(), Credentials::Anonymous);
        assert_eq!(keyring.find("a.example:5000").unwrap(), own);
    }

    #[test]
    fn secrets_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/config.json");
        let token = Credentials::IdentityToken("t".to_owned());
        Keyring::at(file.clone()).keep("a.example", &token).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(file.parent().unwrap()), 0o700);
        assert_eq!(Keyring::at(file).find("a.example").unwrap(), token);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        fs::write(&file, "{").unwrap();
        let keyring = Keyring::at(file.clone());
        assert!(keyring.keep("a.example", &password("a", "b")).is_err());
        assert!(keyring.forget("a.example").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "{");
    }
}
