//! `hull login` and `hull logout`: who one is to registries, as Docker keeps it.

mod logout;
mod prompt;

use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use hull_image::registry::{Credentials, Kept, Keyring, registry_of};
use serde::Deserialize;
use serde_json::json;

use crate::client::Daemon;
use crate::context::Context;
use crate::out;

pub(crate) use logout::{Args as LogoutArgs, run as logout};

/// Docker Hub, where nobody says another one.
const HUB: &str = "https://index.docker.io/v1/";
/// The longest password that is read from standard input, in bytes.
const LONGEST: u64 = 1 << 20;

/// Log in to a registry
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The credentials are kept where Docker keeps them: in config.json in DOCKER_CONFIG (~/.docker by\n\
    default), or by the credential helper that is named there. hull pull, push and build use them, and\n\
    so does Docker.\n\n\
    Examples:\n  \
    hull login                                                  to Docker Hub\n  \
    hull login -u me --password-stdin registry.example < token"
)]
pub(crate) struct Args {
    /// The user's name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password, or an access token; who lists processes sees it, so that --password-stdin is better
    #[arg(
        short,
        long,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// The registry; Docker Hub if not given
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// What the daemon says of credentials that are good.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    status: String,
    #[serde(default)]
    identity_token: String,
}

pub(crate) async fn run(mut args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    ensure!(
        !args.password_stdin || args.username.is_some(),
        "the --password-stdin option requires --username to be set"
    );
    let server = args.server.take().unwrap_or_else(|| HUB.to_owned());
    let registry = registry_of(&server);
    let keyring = keyring()?;
    if args.password.is_some() {
        anstream::eprintln!(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin."
        );
    }
    if args.password_stdin {
        args.password = Some(tokio::task::spawn_blocking(from_stdin).await??);
    }
    let daemon = Daemon::connect(ctx).await?;
    if args.username.is_none() && args.password.is_none() {
        let known = known(&keyring, &registry).await?;
        if let Some(known) = known {
            out::line("Authenticating with existing credentials...")?;
            match check(&daemon, &server, &known).await {
                Ok(answer) => return done(&keyring, &registry, known, answer).await,
                Err(error) if !std::io::stdin().is_terminal() => return Err(error),
                Err(error) => anstream::eprintln!("hull: {error:#}"),
            }
        }
    }
    let given = ask(args, &registry).await?;
    let answer = check(&daemon, &server, &given).await?;
    done(&keyring, &registry, given, answer).await
}

fn keyring() -> anyhow::Result<Keyring> {
    Keyring::from_env().context("nobody says where credentials are kept: set HOME or DOCKER_CONFIG")
}

/// What is known of a registry. It may take a helper.
async fn known(keyring: &Keyring, registry: &str) -> anyhow::Result<Option<Credentials>> {
    let (keyring, registry) = (keyring.clone(), registry.to_owned());
    let found = tokio::task::spawn_blocking(move || keyring.find(&registry)).await??;
    Ok(Some(found).filter(|found| *found != Credentials::Anonymous))
}

fn from_stdin() -> anyhow::Result<String> {
    let mut password = String::new();
    std::io::stdin()
        .take(LONGEST)
        .read_to_string(&mut password)
        .context("the password cannot be read from standard input")?;
    let line = password.strip_suffix('\n').unwrap_or(&password);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Asks the person at the terminal for what was not given.
async fn ask(args: Args, registry: &str) -> anyhow::Result<Credentials> {
    let (user, password) = match (args.username, args.password) {
        (Some(user), Some(password)) => (user, password),
        (user, password) => {
            if !std::io::stdin().is_terminal() {
                bail!(
                    "Cannot perform an interactive login from a non TTY device: give --username and --password-stdin"
                );
            }
            if user.is_none() && registry == "docker.io" {
                anstream::eprintln!(
                    "Log in with your Docker ID. An access token is better than a password: \
                     https://docs.docker.com/go/access-tokens/"
                );
            }
            let user = match user {
                Some(user) => user,
                None => prompt::line("Username: ").await?,
            };
            ensure!(!user.is_empty(), "a username is needed");
            let password = match password {
                Some(password) => password,
                None => prompt::secret("Password: ").await?,
            };
            (user, password)
        }
    };
    ensure!(!password.is_empty(), "a password is needed");
    Ok(Credentials::Password { user, password })
}

/// Whether the registry lets one in.
async fn check(daemon: &Daemon, server: &str, credentials: &Credentials) -> anyhow::Result<Answer> {
    let mut body = credentials.to_json();
    body["serveraddress"] = json!(server);
    daemon.post("/auth", &body).await
}

/// Keeps what is good from now on.
async fn done(
    keyring: &Keyring,
    registry: &str,
    given: Credentials,
    answer: Answer,
) -> anyhow::Result<ExitCode> {
    let credentials = match answer.identity_token {
        token if token.is_empty() => given,
        token => Credentials::IdentityToken(token),
    };
    let (keyring, registry) = (keyring.clone(), registry.to_owned());
    let keep = move || keyring.keep(&registry, &credentials);
    if let Kept::InFile(path) = tokio::task::spawn_blocking(keep).await?? {
        anstream::eprintln!(
            "WARNING! Your credentials are stored unencrypted in '{}'.\n\
             Configure a credential helper to remove this warning. See\n\
             https://docs.docker.com/go/credential-store/\n",
            path.display()
        );
    }
    out::line(&answer.status)?;
    Ok(ExitCode::SUCCESS)
}
