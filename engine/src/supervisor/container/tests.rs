//! Owners, played by tests, and what a daemon makes of what they say.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::container::{Held, RestartPolicy, Status};
use crate::engine;
use crate::owner::SOCKET;
use crate::owner::wire::{Answer, Ask, Failed, Happening, read_line, write_line};
use crate::running::make_runtime;
use crate::testing::Home;

/// What is awaited comes at once; this ends a test for which it does not.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, what).await;
    done.expect("it does not come")
}

/// A container's owner, as far as its daemon can see.
struct Owner {
    held: Held,
    listener: UnixListener,
}

/// A question to it.
struct Asked {
    ask: Ask,
    stream: BufReader<UnixStream>,
}

impl Owner {
    /// Takes a container that nobody has.
    fn of(home: &Home, id: &ContainerId) -> Self {
        let shelf = Shelf::at(home.paths.clone());
        // Another test's child, until it has become another program, may still hold the lock of the one before.
        shelf.directory(id).wait_released().unwrap();
        let (held, ..) = shelf.hold(id).unwrap().unwrap();
        let runtime = make_runtime(&shelf, id).unwrap();
        Self {
            held,
            listener: UnixListener::bind(runtime.join(SOCKET)).unwrap(),
        }
    }

    fn be(&self, status: Status) {
        let mut state = self.held.directory().state().unwrap();
        state.status = status;
        self.held.write_state(&state).unwrap();
    }

    async fn asked(&self) -> Asked {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let ask = soon(read_line(&mut stream)).await.unwrap().unwrap();
        Asked { ask, stream }
    }
}

impl Asked {
    async fn say(&mut self, what: &impl Serialize) {
        write_line(self.stream.get_mut(), what).await.unwrap();
    }
}

/// A container of the daemon's.
fn made(home: &Home, config: ContainerConfig) -> ContainerId {
    let shelf = Shelf::open(home.paths.clone()).unwrap();
    let store = hull_image::Store::open(&home.paths.images()).unwrap();
    let config = ContainerConfig {
        image: "tiny".to_owned(),
        ..config
    };
    let plan = engine::make(&shelf, &store, config, Some(serde_json::Value::Null)).unwrap();
    plan.record.id
}

/// A daemon whose program for owners is this shell script.
async fn daemon(home: &Home, script: &str) -> Arc<Supervisor> {
    let program = home.dir.path().join("hull");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let opened = Supervisor::open(home.paths.clone(), program);
    soon(opened).await.unwrap()
}

#[tokio::test]
async fn an_owner_that_is_not_understood_holds_no_daemon_up_and_its_end_is_noticed() {
    let home = Home::new().await;
    let id = made(&home, ContainerConfig::default());
    let owner = Owner::of(&home, &id);
    owner.be(Status::Running);
    let answering = async {
        let mut asked = owner.asked().await;
        assert_eq!(asked.ask, Ask::Watch);
        asked.say(&"what?").await;
    };
    let (daemon, ()) = tokio::join!(daemon(&home, "false"), answering);
    let container = daemon.find(id.as_str()).unwrap();
    assert_eq!(container.state().status, Status::Running);
    let ended = container.wait(WaitCondition::NotRunning);
    drop(owner);
    assert_eq!(soon(ended).await.unwrap().code, 137);
}

/// A named pipe, by which a script and its test tell each other how far they are.
fn pipe(home: &Home, name: &str) -> PathBuf {
    let path = home.dir.path().join(name);
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
    path
}

/// The end of a pipe where its test hears the script, which may come and go.
fn heard(path: &Path) -> Receiver {
    let mut options = OpenOptions::new();
    options.read_write(true).open_receiver(path).unwrap()
}

#[tokio::test]
async fn a_stop_ends_a_start_that_is_under_way() {
    let home = Home::new().await;
    let id = made(&home, ContainerConfig::default());
    let daemon = daemon(&home, "echo ready").await;
    let container = daemon.find(id.as_str()).unwrap();
    let owner = Owner::of(&home, &id);
    let starter = Arc::clone(&container);
    let start = tokio::spawn(async move { starter.start().await });
    let mut watch = owner.asked().await;
    watch.say(&Answer::Execs(Vec::new())).await;
    let mut order = owner.asked().await;
    assert!(matches!(order.ask, Ask::Start { .. }));
    let stopper = Arc::clone(&container);
    let stop = tokio::spawn(async move { stopper.stop(Stop::default()).await });
    let mut end = owner.asked().await;
    assert_eq!(end.ask, Ask::End);
    end.say(&Answer::Done).await;
    let failed = Failed {
        message: "the start was interrupted".to_owned(),
        code: 125,
        kind: crate::ErrorKind::Conflict,
    };
    order.say(&Answer::Failed(failed)).await;
    drop((owner, watch));
    assert!(soon(start).await.unwrap().is_err());
    assert!(soon(stop).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_stop_ends_a_start_of_which_no_owner_knows_yet() {
    let home = Home::new().await;
    let config = ContainerConfig {
        restart: RestartPolicy::Always,
        ..ContainerConfig::default()
    };
    let id = made(&home, config);
    Owner::of(&home, &id).be(Status::Exited);
    let (asked, go) = (pipe(&home, "asked"), pipe(&home, "go"));
    let mut hears = heard(&asked);
    let mut says = OpenOptions::new()
        .read_write(true)
        .open_sender(&go)
        .unwrap();
    let script = format!(
        "echo asked >{}; read go <{}; echo ready",
        asked.display(),
        go.display()
    );
    // It is to be started with its daemon.
    let daemon = daemon(&home, &script).await;
    let container = daemon.find(id.as_str()).unwrap();
    soon(hears.read_u8()).await.unwrap();
    let owner = Owner::of(&home, &id);
    let mut stop = std::pin::pin!(container.stop(Stop::default()));
    let early = tokio::time::timeout(Duration::from_millis(10), &mut stop).await;
    assert!(early.is_err(), "its start is not over");
    says.write_all(b"go\n").await.unwrap();
    let owning = async {
        let mut watch = owner.asked().await;
        watch.say(&Answer::Execs(Vec::new())).await;
        let mut leave = owner.asked().await;
        assert_eq!(leave.ask, Ask::Leave);
        leave.say(&Answer::Done).await;
        drop((owner, watch));
    };
    let (stopped, ()) = tokio::join!(soon(stop), owning);
    assert!(stopped.unwrap());
    assert_eq!(container.state().status, Status::Exited);
    assert!(!container.is_restarting());
}

/// A daemon that finds this owner, which it asks to leave, and the connection on which the owner tells it what happens.
async fn found_by_daemon(home: &Home, owner: &Owner, script: &str) -> (Arc<Supervisor>, Asked) {
    let owning = async {
        let mut watch = owner.asked().await;
        assert_eq!(watch.ask, Ask::Watch);
        watch.say(&Answer::Execs(Vec::new())).await;
        let mut leave = owner.asked().await;
        assert_eq!(leave.ask, Ask::Leave);
        leave.say(&Answer::Done).await;
        watch
    };
    tokio::join!(daemon(home, script), owning)
}

#[tokio::test]
async fn a_container_that_had_just_ended_is_started_again_by_the_next_daemon() {
    let home = Home::new().await;
    let config = ContainerConfig {
        restart: RestartPolicy::Always,
        ..ContainerConfig::default()
    };
    let id = made(&home, config);
    let owner = Owner::of(&home, &id);
    owner.be(Status::Exited);
    let started = pipe(&home, "started");
    let mut hears = heard(&started);
    let script = format!("echo started >{}", started.display());
    let (daemon, watch) = found_by_daemon(&home, &owner, &script).await;
    let container = daemon.find(id.as_str()).unwrap();
    assert!(
        hears.try_read(&mut [0]).is_err(),
        "its machine powers off, and it is started"
    );
    drop((owner, watch));
    soon(hears.read_u8()).await.unwrap();
    let how = Remove {
        force: true,
        volumes: false,
    };
    soon(container.remove(how)).await.unwrap();
}

#[tokio::test]
async fn a_start_that_an_earlier_daemon_ordered_is_one() {
    let home = Home::new().await;
    let id = made(&home, ContainerConfig::default());
    let owner = Owner::of(&home, &id);
    let (daemon, mut watch) = found_by_daemon(&home, &owner, "false").await;
    let container = daemon.find(id.as_str()).unwrap();
    let mut start = std::pin::pin!(container.start());
    let early = tokio::time::timeout(Duration::from_millis(10), &mut start).await;
    assert!(early.is_err(), "one start is under way");
    owner.be(Status::Running);
    watch.say(&Happening::Started).await;
    assert!(!soon(start).await.unwrap(), "it runs already");
    assert_eq!(container.state().status, Status::Running);
    let ended = container.wait(WaitCondition::NotRunning);
    owner.be(Status::Exited);
    watch.say(&Happening::Exited).await;
    soon(ended).await.unwrap();
}

#[tokio::test]
async fn a_start_that_an_earlier_daemon_ordered_ends_when_its_container_is_removed() {
    let home = Home::new().await;
    let id = made(&home, ContainerConfig::default());
    let owner = Owner::of(&home, &id);
    let (daemon, watch) = found_by_daemon(&home, &owner, "false").await;
    let container = daemon.find(id.as_str()).unwrap();
    let how = Remove {
        force: true,
        volumes: false,
    };
    let owning = async {
        let mut end = owner.asked().await;
        assert_eq!(end.ask, Ask::End);
        end.say(&Answer::Done).await;
        drop((owner, watch));
    };
    let (removed, ()) = tokio::join!(soon(container.remove(how)), owning);
    removed.unwrap();
    assert!(daemon.list().is_empty());
}
