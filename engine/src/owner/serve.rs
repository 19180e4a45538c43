//! The owner's end of its socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc, watch};

use super::exec::{self, Base, ExecSpec, Execs, Started};
use super::hub::{Hub, Piece};
use super::wire::{
    Answer, Ask, Attach, DETACH, END_OF_INPUT, Failed, Happening, LONGEST_PIECE, read_line,
    write_line,
};
use crate::ErrorKind;
use crate::container::{ContainerId, Directory};
use crate::engine::{Claimed, Engine, Origin};
use crate::error::sentence;
use crate::prepare::Sockets;
use crate::session::Request;

/// A container that nobody starts is given up after so long, if nobody is connected.
const PATIENCE: Duration = Duration::from_secs(60);
/// At the end those who are attached get so long to take what there is.
pub(super) const LINGER: Duration = Duration::from_secs(30);
/// Happenings that wait for one who watches.
const AHEAD: usize = 256;
/// The exit code of an exec whose machine ended under it.
const KILLED: u8 = 137;

/// One container, its process and its execs.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) engine: Engine,
    id: ContainerId,
    base: Base,
    vsock: PathBuf,
    hub: Arc<Hub>,
    execs: Mutex<Execs>,
    happenings: broadcast::Sender<Happening>,
    phase: watch::Sender<Phase>,
    /// How many connections there are.
    connections: watch::Sender<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It may be started.
    Claimed,
    /// Its machine runs without its process.
    Visited,
    Starting,
    Started,
    /// It was not started, and will not be.
    Over,
}

impl Owner {
    pub(super) fn new(engine: Engine, claimed: Claimed, hub: Arc<Hub>) -> Self {
        let config = claimed.record.config;
        let runtime = engine.shelf().runtime(&claimed.record.id);
        Self {
            engine,
            id: claimed.record.id,
            base: Base {
                merged: claimed.merged,
                groups: config.group_add,
                no_new_privileges: config.no_new_privileges,
                oom_score_adj: config.oom_score_adj,
            },
            vsock: Sockets::below(&runtime).vsock,
            hub,
            execs: Mutex::default(),
            happenings: broadcast::Sender::new(AHEAD),
            phase: watch::Sender::new(Phase::Claimed),
            connections: watch::Sender::new(0),
        }
    }

    /// Waits until the container runs; false if it will not.
    pub(super) async fn wait_started(&self) -> bool {
        let mut phase = self.phase.subscribe();
        loop {
            let over = phase.wait_for(|phase| matches!(phase, Phase::Started | Phase::Over));
            tokio::select! {
                reached = over => {
                    return reached.is_ok_and(|phase| *phase == Phase::Started);
                }
                () = self.deserted() => {
                    self.advance(Phase::Claimed, Phase::Over);
                }
            }
        }
    }

    /// Waits until nobody was connected for a while.
    async fn deserted(&self) {
        let mut connections = self.connections.subscribe();
        loop {
            let _ = connections.wait_for(|count| *count == 0).await;
            let came = connections.wait_for(|count| *count > 0);
            if tokio::time::timeout(PATIENCE, came).await.is_err() {
                return;
            }
        }
    }

    /// Goes from one phase to another, if it is in that.
    fn advance(&self, from: Phase, to: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let goes = *phase == from;
            if goes {
                *phase = to;
            }
            goes
        })
    }

    /// The container's process has ended, and with it all others.
    pub(super) fn exited(&self) {
        self.tell(Happening::Exited);
    }

    /// Waits until those who are connected have got everything.
    pub(super) async fn served(&self) {
        let mut connections = self.connections.subscribe();
        let gone = connections.wait_for(|count| *count == 0);
        let _ = tokio::time::timeout(LINGER, gone).await;
    }

    /// Tells those who watch.
    pub(super) fn tell(&self, happening: Happening) {
        let _ = self.happenings.send(happening);
    }

    /// The container's directory.
    pub(super) fn directory(&self) -> Directory {
        self.engine.shelf().directory(&self.id)
    }

    /// What its execs have in common.
    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    /// Where its agent is asked.
    pub(super) fn vsock(&self) -> &Path {
        &self.vsock
    }

    fn execs(&self) -> MutexGuard<'_, Execs> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hub_of(&self, exec: Option<&str>) -> Option<Arc<Hub>> {
        match exec {
            None => Some(Arc::clone(&self.hub)),
            Some(id) => self.execs().get(id).map(|exec| Arc::clone(&exec.hub)),
        }
    }

    async fn start(&self, origin: Origin, checkpoint: Option<&str>) -> Answer {
        if !self.advance(Phase::Claimed, Phase::Starting) {
            return refused("the container was started before", 125);
        }
        let started = async {
            if let Some(checkpoint) = checkpoint {
                self.engine.go_back(&self.id, checkpoint)?;
            }
            self.engine.start(&self.id, origin).await
        };
        match started.await {
            Ok(timing) => {
                self.phase.send_modify(|phase| {
                    *phase = Phase::Started;
                    // Before its end can be told.
                    self.tell(Happening::Started);
                });
                let micros = |time: &Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                let steps = timing.steps().iter();
                Answer::Started {
                    from: timing.from(),
                    steps: steps
                        .map(|(name, time)| ((*name).to_owned(), micros(time)))
                        .collect(),
                }
            }
            Err(error) => {
                self.advance(Phase::Starting, Phase::Over);
                failed(&error)
            }
        }
    }

    /// Gives the container up if it was not started.
    async fn leave(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase != Phase::Visited).await;
        self.advance(Phase::Claimed, Phase::Over);
    }

    /// Does something with the container that this process has claimed, so that it is known.
    fn on_handle(&self, what: impl FnOnce(&Engine, &ContainerId) -> Result<(), crate::Error>) {
        if let Err(error) = what(&self.engine, &self.id) {
            tracing::warn!(%error, "a container is not known to its owner");
        }
    }

    fn resize(&self, exec: Option<&str>, rows: u16, columns: u16) -> Answer {
        let size = hull_agent_protocol::TtySize { rows, columns };
        let done = match exec {
            None => self.engine.resize(&self.id, rows, columns).is_ok(),
            Some(id) => self
                .execs()
                .get(id)
                .is_some_and(|exec| exec.requests.send(Request::Resize(size)).is_ok()),
        };
        match done {
            true => Answer::Done,
            false => refused("it does not run", 125),
        }
    }

    /// Starts an exec; its streams and the pieces of its output, if somebody wants them.
    async fn exec(
        self: &Arc<Self>,
        id: String,
        spec: ExecSpec,
        size: Option<(u16, u16)>,
        attach: Option<Attach>,
    ) -> (Answer, Option<(Arc<Hub>, mpsc::Receiver<Piece>)>) {
        if *self.phase.borrow() != Phase::Started {
            return (refused("the container does not run", 126), None);
        }
        let started = exec::start(&self.vsock, &self.base, id.clone(), spec, size).await;
        let Started {
            mut session,
            exec,
            output,
        } = match started {
            Ok(started) => started,
            Err(error) => {
                return (failed(&crate::Error::Session(error)), None);
            }
        };
        let attached = attach.map(|what| (Arc::clone(&exec.hub), exec.hub.attach(what)));
        if attach.is_none_or(|what| !what.stdin) {
            exec.hub.end_input();
        }
        let pumping = tokio::spawn(Arc::clone(&exec.hub).pump(output, None));
        let pid = exec.seen.pid;
        self.execs().insert(exec);
        let owner = Arc::clone(self);
        tokio::spawn(async move {
            let code = match session.ended().await {
                Ok(end) => end.status.code(),
                Err(_) => KILLED,
            };
            // The code is known before the streams end.
            owner.execs().note_end(&id, code);
            owner.tell(Happening::ExecExited { id, code });
            drop(session);
            let _ = pumping.await;
        });
        (Answer::Runs(pid), attached)
    }
}

/// What is refused whatever is wrong with the container.
fn refused(message: &str, code: u8) -> Answer {
    Answer::Failed(Failed {
        message: message.to_owned(),
        code,
        kind: ErrorKind::Internal,
    })
}

fn failed(error: &crate::Error) -> Answer {
    Answer::Failed(Failed {
        message: sentence(error),
        code: error.exit_code(),
        kind: error.kind(),
    })
}

/// Serves all who come.
pub(super) async fn serve(listener: UnixListener, owner: Arc<Owner>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                owner.connections.send_modify(|count| *count += 1);
                let owner = Arc::clone(&owner);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &owner).await {
                        tracing::debug!(%error, "a connection to a container's owner broke");
                    }
                    owner.connections.send_modify(|count| *count -= 1);
                });
            }
            // Of one connection, or of too many open files for a moment.
            Err(error) => {
                tracing::warn!(%error, "a connection to a container's owner was lost");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, owner: &Arc<Owner>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let Some(ask) = read_line::<Ask>(&mut read).await? else {
        return Ok(());
    };
    match ask {
        Ask::Start { origin, measure } => {
            if measure {
                owner.on_handle(Engine::measure);
            }
            let answer = owner.start(origin, None).await;
            write_line(&mut write, &answer).await
        }
        Ask::StartFrom(checkpoint) => {
            let answer = owner.start(Origin::Nearest, Some(&checkpoint)).await;
            write_line(&mut write, &answer).await
        }
        Ask::End => {
            owner.on_handle(Engine::kill);
            write_line(&mut write, &Answer::Done).await
        }
        Ask::Visit { wired } => visited(read, write, owner, wired).await,
        Ask::Leave => {
            owner.leave().await;
            write_line(&mut write, &Answer::Done).await
        }
        Ask::Resize {
            exec,
            rows,
            columns,
        } => {
            let answer = owner.resize(exec.as_deref(), rows, columns);
            write_line(&mut write, &answer).await
        }
        Ask::Watch => watch(read, write, owner).await,
        Ask::Attach { exec, what } => match owner.hub_of(exec.as_deref()) {
            Some(hub) => {
                // Attached before it is said: nothing is missed.
                let pieces = hub.attach(what);
                write_line(&mut write, &Answer::Done).await?;
                streams(read, write, &hub, what, pieces).await
            }
            None => write_line(&mut write, &refused("there is no such exec", 125)).await,
        },
        Ask::Exec {
            id,
            spec,
            size,
            attach,
        } => {
            let (answer, attached) = owner.exec(id, *spec, size, attach).await;
            write_line(&mut write, &answer).await?;
            match (attached, attach) {
                (Some((hub, pieces)), Some(what)) => streams(read, write, &hub, what, pieces).await,
                _ => Ok(()),
            }
        }
    }
}

/// Lets the container's machine run without its process for as long as the other end wants that.
async fn visited(
    mut read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    owner: &Owner,
    wired: bool,
) -> io::Result<()> {
    if !owner.advance(Phase::Claimed, Phase::Visited) {
        return write_line(
            &mut write,
            &refused("the container was started before", 125),
        )
        .await;
    }
    let visit = match owner.engine.visit(&owner.id, wired).await {
        Ok(visit) => visit,
        Err(error) => {
            owner.advance(Phase::Visited, Phase::Over);
            let answer = failed(&error);
            return write_line(&mut write, &answer).await;
        }
    };
    let began = write_line(&mut write, &Answer::Done).await;
    if began.is_ok() {
        let mut nothing = [0];
        tokio::select! {
            _ = read.read(&mut nothing) => {}
            _ = visit.machine.ended() => {}
        }
    }
    visit.end().await;
    let is_alone = *owner.connections.borrow() <= 1;
    let (phase, answer) = match is_alone {
        true => (Phase::Over, Answer::Left),
        false => (Phase::Claimed, Answer::Done),
    };
    owner.advance(Phase::Visited, phase);
    write_line(&mut write, &answer).await
}

/// Tells what happens until the other end is gone.
async fn watch(
    mut read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    owner: &Owner,
) -> io::Result<()> {
    let mut happenings = owner.happenings.subscribe();
    let execs = owner.execs().seen();
    write_line(&mut write, &Answer::Execs(execs)).await?;
    // Nobody waits for those who only watch.
    owner.connections.send_modify(|count| *count -= 1);
    let told = tell(&mut read, &mut write, &mut happenings).await;
    owner.connections.send_modify(|count| *count += 1);
    told
}

async fn tell(
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
    happenings: &mut broadcast::Receiver<Happening>,
) -> io::Result<()> {
    let mut nothing = [0];
    loop {
        tokio::select! {
            happening = happenings.recv() => match happening {
                Ok(happening) => write_line(write, &happening).await?,
                // Who is that slow asks again.
                Err(_) => return Ok(()),
            },
            _ = read.read(&mut nothing) => return Ok(()),
        }
    }
}

/// Carries a process's streams until its output ends or the client is gone.
async fn streams(
    read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    hub: &Arc<Hub>,
    what: Attach,
    mut pieces: mpsc::Receiver<Piece>,
) -> io::Result<()> {
    let typing = take_input(read, hub, what.stdin);
    tokio::pin!(typing);
    loop {
        tokio::select! {
            piece = pieces.recv() => match piece {
                Some(piece) => tokio::select! {
                    written = write.write_all(&piece) => written?,
                    // One that is gone without reading what there is.
                    () = &mut typing => return Ok(()),
                },
                None => return write.shutdown().await,
            },
            () = &mut typing => return Ok(()),
        }
    }
}

/// Passes a client's input on; returns when the client is gone.
async fn take_input(mut read: BufReader<OwnedReadHalf>, hub: &Hub, types: bool) {
    let left = input(&mut read, hub, types).await;
    if types && !matches!(left, Ok(Left::Detached)) {
        hub.end_input();
    }
}

/// How a client left.
enum Left {
    Detached,
    Gone,
}

async fn input(read: &mut (impl AsyncRead + Unpin), hub: &Hub, types: bool) -> io::Result<Left> {
    loop {
        match read.read_u32().await {
            Ok(DETACH) => return Ok(Left::Detached),
            Ok(END_OF_INPUT) if types => hub.end_input(),
            Ok(END_OF_INPUT) => {}
            Ok(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > LONGEST_PIECE {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let mut data = vec![0; length];
                read.read_exact(&mut data).await?;
                if types {
                    hub.write(data).await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Left::Gone),
            Err(error) => return Err(error),
        }
    }
}
