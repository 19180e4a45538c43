//! `hull daemon`: the Docker Engine API on Unix sockets, and on TCP for those who have a certificate.

mod hosts;

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use hull_engine::supervisor::Supervisor;
use hull_engine_api::{Api, Listener, TlsFiles};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::log::{Format, Level, Log};
use hosts::Host;

/// Serve the Docker Engine API, for `docker` and its like
///
/// Each container is a microVM with a process of its own: when the daemon ends, containers go on, and the next daemon finds them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull daemon\n  \
    docker -H unix:///run/hull/hull.sock run --rm --network none busybox echo hello\n  \
    export DOCKER_HOST=unix:///run/hull/hull.sock\n  \
    hull daemon -H unix:///run/hull/hull.sock -H tcp://0.0.0.0:2376 \\\n    \
        --tlsverify --tlscacert ca.pem --tlscert server.pem --tlskey server-key.pem\n  \
    docker --tlsverify --tlscacert ca.pem --tlscert cert.pem --tlskey key.pem -H tcp://host:2376 ps\n\n\
    Whoever may write to the socket, or has a certificate, is as powerful as the user that the daemon runs as.")]
pub(crate) struct Args {
    /// Where to listen; may be given more than once
    ///
    /// By default /run/hull/hull.sock for root and $XDG_RUNTIME_DIR/hull.sock for others; HULL_RUN moves it. A socket that the service
    /// manager hands over (LISTEN_FDS) takes the place of all unix:// ones. Without a port tcp:// means 2376.
    #[arg(short = 'H', long, value_name = "unix://PATH|tcp://ADDRESS[:PORT]", value_parser = Host::parse)]
    host: Vec<Host>,
    /// The group that may use the socket
    ///
    /// By default `hull`, if there is such a group, and else nobody but the user.
    #[arg(short = 'G', long, value_name = "GROUP")]
    group: Option<String>,
    /// Serve clients on tcp:// that show a certificate of --tlscacert, and nobody else
    #[arg(long, requires_all = ["tlscacert", "tlscert", "tlskey"])]
    tlsverify: bool,
    /// The certificates that sign those of clients, in PEM
    #[arg(long, value_name = "FILE", requires = "tlsverify")]
    tlscacert: Option<PathBuf>,
    /// The daemon's certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tlsverify")]
    tlscert: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tlsverify")]
    tlskey: Option<PathBuf>,
    /// Show metrics to Prometheus at http://ADDRESS:PORT/metrics
    ///
    /// Whoever reaches it sees the names of containers. The API's own sockets have /metrics, too.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_addr: Option<SocketAddr>,
    /// How much is logged: by default what HULL_LOG says, else info
    #[arg(short = 'l', long, value_enum, value_name = "LEVEL")]
    log_level: Option<Level>,
    /// How it is logged
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    log_format: Format,
    /// Go into the background as soon as it listens, and log to daemon.log in the directory of Hull's files
    ///
    /// So other commands start the daemon where none listens.
    #[arg(long)]
    background: bool,
}

impl Args {
    /// How the daemon logs.
    pub(crate) fn log(&self) -> Log {
        Log {
            asked: self.log_level,
            usual: Level::Info,
            format: self.log_format,
            timed: self.background,
        }
    }

    fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            ca: self.tlscacert.clone()?,
            cert: self.tlscert.clone()?,
            key: self.tlskey.clone()?,
        })
    }
}

pub(crate) async fn run(mut args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    if args.host.is_empty() {
        args.host.push(Host::Unix(ctx.paths().socket()));
    }
    if args.background {
        // It fails only for one who leads a group already, as a person who types this does.
        let _ = rustix::process::setsid();
    }
    let tls = args.tls();
    hosts::check(&args.host, tls.as_ref())?;
    let program = std::env::current_exe().context("hull does not find its own program")?;
    // Before anything listens: it is the daemon of its directory now, or there is another one.
    let supervisor = Supervisor::open(ctx.paths().clone(), program).await?;
    let api = Api::new(supervisor);
    if let Some(address) = args.metrics_addr {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("metrics cannot be shown at {address}"))?;
        tracing::info!(address = %listener.local_addr()?, "metrics are at /metrics");
        tokio::spawn(api.metrics().serve(listener));
    }
    let mut made = Vec::new();
    let listeners = listen(&args, tls.as_ref(), &mut made).await;
    let served = match listeners {
        Ok(listeners) if args.background => match background(ctx) {
            Ok(()) => serve(&api, listeners).await,
            Err(error) => Err(error),
        },
        Ok(listeners) => serve(&api, listeners).await,
        Err(error) => Err(error),
    };
    for path in made {
        let _ = fs::remove_file(path);
    }
    served?;
    Ok(ExitCode::SUCCESS)
}

/// Tells whoever started this that it listens, and lets go of them: what is logged goes to a file from now on.
fn background(ctx: &Context) -> anyhow::Result<()> {
    let path = ctx.paths().daemon_log();
    let log = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("the log {} cannot be written", path.display()))?;
    rustix::stdio::dup2_stderr(&log)?;
    rustix::io::write(rustix::stdio::stdout(), b"listening\n")?;
    rustix::stdio::dup2_stdout(&log)?;
    Ok(())
}

/// Listens everywhere; the sockets that were made for it.
async fn listen(
    args: &Args,
    tls: Option<&TlsFiles>,
    made: &mut Vec<PathBuf>,
) -> anyhow::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    let inherited = inherited()?;
    let is_inherited = inherited.is_some();
    if let Some(listener) = inherited {
        tracing::info!("listening on the socket that was handed over");
        listeners.push(listener.into());
    }
    for host in &args.host {
        match (host, tls) {
            (Host::Tcp(address), Some(files)) => listeners.push(hosts::tcp(address, files).await?),
            // It was refused before.
            (Host::Tcp(_), None) => {}
            (Host::Unix(_), _) if is_inherited => {}
            (Host::Unix(path), _) => {
                listeners.push(hosts::unix(path, args.group.as_deref())?.into());
                made.push(path.clone());
            }
        }
    }
    Ok(listeners)
}

/// Serves all of them until the daemon is told to end.
async fn serve(api: &Api, listeners: Vec<Listener>) -> anyhow::Result<()> {
    let end = CancellationToken::new();
    let asked = asked_to_end()?;
    tokio::spawn({
        let end = end.clone();
        async move {
            asked.await;
            end.cancel();
        }
    });
    let all = listeners
        .into_iter()
        .map(|listener| api.serve(listener, end.cancelled()));
    try_join_all(all).await.context("the API's socket failed")?;
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// The socket that a service manager has made (sd_listen_fds(3)).
fn inherited() -> anyhow::Result<Option<UnixListener>> {
    let mut sockets = listenfd::ListenFd::from_env();
    let taken = sockets.take_unix_listener(0);
    let Some(listener) = taken.context("the socket that was handed over")? else {
        return Ok(None);
    };
    listener.set_nonblocking(true)?;
    Ok(Some(UnixListener::from_std(listener)?))
}
