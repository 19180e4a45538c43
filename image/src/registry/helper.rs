//! Credential helpers: programs `docker-credential-NAME` that keep secrets, spoken to by
//! standard input and output (the protocol of docker-credential-helpers).

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::credentials::Credentials;

/// The user's name that says that the secret is an identity token.
const TOKEN: &str = "<token>";
/// What a helper says of a registry that it does not know. It has no other way to say it.
const UNKNOWN: &str = "credentials not found";

/// One of them.
#[derive(Debug)]
pub(super) struct Helper {
    program: String,
}

impl Helper {
    pub(super) fn named(name: &str) -> Self {
        Self {
            program: format!("docker-credential-{name}"),
        }
    }

    /// The one that Docker takes where nobody has chosen one, if it is installed.
    pub(super) fn usual() -> Option<&'static str> {
        let name = match installed("pass") {
            true => "pass",
            false => "secretservice",
        };
        installed(&format!("docker-credential-{name}")).then_some(name)
    }

    /// Keeps what is shown to a registry.
    pub(super) fn store(&self, server: &str, credentials: &Credentials) -> Result<(), String> {
        let (user, secret) = match credentials {
            Credentials::Password { user, password } => (user.as_str(), password),
            Credentials::IdentityToken(token) => (TOKEN, token),
            Credentials::Anonymous | Credentials::RegistryToken(_) => return Ok(()),
        };
        let entry = json!({ "ServerURL": server, "Username": user, "Secret": secret });
        self.ask("store", &entry.to_string()).map(drop)
    }

    /// Forgets a registry. That it knows nothing of it is no failure.
    pub(super) fn erase(&self, server: &str) -> Result<(), String> {
        match self.ask("erase", server) {
            Err(said) if !said.contains(UNKNOWN) => Err(said),
            _ => Ok(()),
        }
    }

    /// All registries that it knows, with the name that one has there.
    pub(super) fn list(&self) -> Result<BTreeMap<String, String>, String> {
        let said = self.ask("list", "")?;
        serde_json::from_str(&said).map_err(|_| format!("{} lists no registries", self.program))
    }

    fn ask(&self, action: &str, input: &str) -> Result<String, String> {
        let program = &self.program;
        let failed = |error: io::Error| format!("{program} cannot be run: {error}");
        let mut child = Command::new(program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(input.as_bytes()) {
                // It did not want to know; its status says what that means.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    return Err(failed(error));
                }
                _ => {}
            }
        }
        let output = child.wait_with_output().map_err(failed)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let said = [text(&output.stdout), text(&output.stderr)].join(" ");
        Err(format!("{program} says {:?}", said.trim()))
    }
}

fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| is_program(&directory.join(program)))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
