//! Where a daemon listens: `unix://PATH` and `tcp://ADDRESS:PORT`, as many as there are of `--host`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use hull_engine_api::{Listener, TlsFiles};
use tokio::net::{TcpListener, UnixListener};

/// Who may use the socket beside its owner: this group and the owner, to read and to write.
const MODE: u32 = 0o660;
/// Docker's, of a daemon with TLS.
const PORT: u16 = 2376;

/// One `--host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Unix(PathBuf),
    /// Address, or name, and port.
    Tcp(String),
}

impl Host {
    /// Reads `unix:///run/hull.sock`, `tcp://127.0.0.1:2376`, `tcp://[::1]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(path.into())),
                false => Err("an absolute path behind unix:// is expected".to_owned()),
            };
        }
        let Some(address) = text.strip_prefix("tcp://") else {
            return Err("unix://PATH or tcp://ADDRESS[:PORT] is expected".to_owned());
        };
        let (name, port) = match address.rsplit_once(':') {
            // The colons of an IPv6 address are inside its brackets.
            Some((name, port)) if !port.contains(']') => match port.parse() {
                Ok(port) => (name, port),
                Err(_) => return Err(format!("{port:?} is no port")),
            },
            _ => (address, PORT),
        };
        let bare = name.starts_with('[') == name.ends_with(']') && !name.contains('/');
        let colons = name.contains(':') && !name.starts_with('[');
        if name.is_empty() || !bare || colons {
            return Err(
                "an address or a name behind tcp:// is expected, with an IPv6 address in brackets"
                    .to_owned(),
            );
        }
        Ok(Self::Tcp(format!("{name}:{port}")))
    }
}

/// Refuses to listen where anybody could come, and certificates that nobody is asked for.
pub(super) fn check(hosts: &[Host], tls: Option<&TlsFiles>) -> anyhow::Result<()> {
    let tcp = hosts.iter().find_map(|host| match host {
        Host::Tcp(address) => Some(address),
        Host::Unix(_) => None,
    });
    match (tcp, tls) {
        (Some(address), None) => bail!(
            "tcp://{address} would make everybody who reaches it as powerful as this user: only clients with certificates are served \
             there, by --tlsverify with --tlscacert, --tlscert and --tlskey"
        ),
        (None, Some(_)) => bail!("--tlsverify is for --host tcp://ADDRESS:PORT, and none is given"),
        _ => Ok(()),
    }
}

/// Listens on TCP.
pub(super) async fn tcp(address: &str, files: &TlsFiles) -> anyhow::Result<Listener> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("tcp://{address} cannot be listened on"))?;
    // Port 0 is one that is free.
    let at = listener.local_addr()?;
    let listener = Listener::tls(listener, files)?;
    tracing::info!(address = %at, "listening, for clients with certificates");
    Ok(listener)
}

/// Makes the socket. It takes its name when it is as it shall be.
pub(super) fn unix(path: &Path, group: Option<&str>) -> anyhow::Result<UnixListener> {
    let group = match group.unwrap_or("hull") {
        name if group.is_none() => uzers::get_group_by_name(name),
        name => match uzers::get_group_by_name(name) {
            None => bail!("there is no group {name}: make it with groupadd, or leave --group away"),
            found => found,
        },
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    let failed = || format!("the socket {} cannot be made", path.display());
    fs::create_dir_all(directory).with_context(failed)?;
    let unfinished = path.with_extension("new");
    let _ = fs::remove_file(&unfinished);
    let listener = UnixListener::bind(&unfinished).with_context(failed)?;
    let finish = || {
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
        if let Some(group) = group {
            chown(&unfinished, None, Some(group.gid()))?;
        }
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(MODE))?;
        fs::rename(&unfinished, path)
    };
    finish().with_context(failed)?;
    tracing::info!(socket = %path.display(), "listening");
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read() {
        let tcp = |text: &str| Ok(Host::Tcp(text.to_owned()));
        assert_eq!(Host::parse("tcp://127.0.0.1:1"), tcp("127.0.0.1:1"));
        assert_eq!(Host::parse("tcp://[::1]:0"), tcp("[::1]:0"));
        assert_eq!(Host::parse("tcp://[::1]"), tcp("[::1]:2376"));
        assert_eq!(Host::parse("tcp://host"), tcp("host:2376"));
        assert_eq!(Host::parse("unix:///a"), Ok(Host::Unix("/a".into())));
        for text in [
            "",
            "unix://a",
            "/a",
            "tcp://",
            "tcp://:1",
            "tcp://a:99999",
            "tcp://::1",
            "tcp://[::1",
            "tcp://a/b",
            "http://a",
        ] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tcp_is_never_open_to_everybody() {
        let files = TlsFiles {
            ca: "ca".into(),
            cert: "cert".into(),
            key: "key".into(),
        };
        let (unix, tcp) = (Host::Unix("/a".into()), Host::Tcp("a:1".to_owned()));
        let error = check(&[unix.clone(), tcp.clone()], None).unwrap_err();
        assert!(error.to_string().contains("--tlsverify"), "{error}");
        assert!(check(std::slice::from_ref(&unix), Some(&files)).is_err());
        assert!(check(std::slice::from_ref(&unix), None).is_ok());
        assert!(check(&[unix, tcp], Some(&files)).is_ok());
    }
}
