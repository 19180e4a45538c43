use hull_agent_protocol::{Stream, ToAgent};
use rustix::process::Signal;

use super::*;
use crate::container::{Removal, Status};
use crate::testing::{Agent, Got, Home};

const WAITS: &str = "exec sleep 1000";

fn config(name: &str) -> ContainerConfig {
    ContainerConfig {
        image: "tiny".to_owned(),
        name: Some(name.to_owned()),
        auto_remove: true,
        ..ContainerConfig::default()
    }
}

/// Starts a container and its agent's part of it.
async fn start(home: &Home, engine: &Engine, config: ContainerConfig) -> (ContainerId, Agent) {
    let id = engine.create(config).await.unwrap().id;
    let come_up = async {
        let mut agent = home.agent(&id).await;
        agent.come_up().await;
        agent
    };
    let (started, agent) = tokio::join!(engine.start(&id, Origin::Boot), come_up);
    started.unwrap();
    (id, agent)
}

#[tokio::test]
async fn a_container_lives_and_ends_in_docker_s_order() {
    let home = Home::new().await;
    let engine = home.engine(WAITS);
    let id = engine.create(config("web")).await.unwrap().id;
    let mut client = engine.attach(&id).unwrap();
    assert!(engine.attach(&id).is_err(), "there is one client");
    let come_up = async {
        let mut agent = home.agent(&id).await;
        agent.come_up().await;
        agent
    };
    let (started, mut agent) = tokio::join!(engine.start(&id, Origin::Boot), come_up);
    assert!(
        started
            .unwrap()
            .steps()
            .iter()
            .any(|(name, _)| *name == "boot")
    );
    assert!(
        engine.start(&id, Origin::Boot).await.is_err(),
        "it is started once"
    );
    let listed = engine.list().unwrap();
    assert_eq!(listed[0].state.status, Status::Running);
    assert_eq!(listed[0].command, ["/bin/true"]);
    let vmm = listed[0].state.vmm.unwrap();
    assert!(std::fs::read_dir(format!("/proc/{}", vmm.pid)).is_ok());

    engine.signal(&id, 15).unwrap();
    assert_eq!(agent.next().await, Got::Message(ToAgent::Signal(15)));
    agent.print(Stream::Stdout, b"last words").await;
    agent.exit(3).await;
    let exit = engine.wait(&id, WaitFor::Exit).await.unwrap();
    assert_eq!((exit.code, exit.error.as_str()), (3, ""));
    assert_eq!(client.output.next().await.unwrap().data, b"last words");
    assert!(client.output.next().await.is_none());
    assert_eq!(engine.wait(&id, WaitFor::Removal).await.unwrap().code, 3);
    assert!(home.left().is_empty(), "{:?}", home.left());
    assert!(std::fs::read_dir(format!("/proc/{}", vmm.pid)).is_err());
}

#[tokio::test]
async fn without_removal_the_guest_is_asked_to_power_off_and_the_state_stays() {
    let home = Home::new().await;
    let engine = home.engine(WAITS);
    let kept = ContainerConfig {
        auto_remove: false,
        ..config("kept")
    };
    let (id, mut agent) = start(&home, &engine, kept).await;
    agent.exit(0).await;
    engine.wait(&id, WaitFor::Exit).await.unwrap();
    assert_eq!(agent.next().await, Got::Message(ToAgent::Shutdown));
    let vmm = engine.list().unwrap()[0].state.vmm;
    assert_eq!(
        vmm, None,
        "the process has ended, whatever its machine still does"
    );
    engine.kill(&id).unwrap();
    engine.wait(&id, WaitFor::Removal).await.unwrap();
    let listed = engine.list().unwrap();
    assert_eq!(
        (listed[0].state.status, listed[0].state.exit_code),
        (Status::Exited, Some(0))
    );

    let error = engine.create(config("kept")).await.unwrap_err();
    assert!(error.to_string().contains("already in use"), "{error}");
    let removed = engine.shelf().remove_unowned(&id).unwrap();
    assert_eq!(removed, Removal::Removed);
    assert!(home.left().is_empty(), "{:?}", home.left());
}

#[tokio::test]
async fn a_vmm_that_ends_at_once_is_quoted_and_nothing_is_left() {
    let home = Home::new().await;
    let engine = home.engine("echo 'hull-vmm: this is no kernel' >&2; exit 4");
    let id = engine.create(config("web")).await.unwrap().id;
    let error = engine.start(&id, Origin::Boot).await.unwrap_err();
    assert!(error.to_string().contains("this is no kernel"), "{error}");
    assert_eq!(error.exit_code(), 125);
    assert!(home.left().is_empty(), "{:?}", home.left());
}

#[tokio::test]
async fn a_machine_that_is_killed_ends_its_container_with_137() {
    let home = Home::new().await;
    let engine = home.engine(WAITS);
    let (id, agent) = start(&home, &engine, config("web")).await;
    engine.list().unwrap()[0]
        .state
        .vmm
        .unwrap()
        .signal(Signal::KILL);
    drop(agent);
    let exit = engine.wait(&id, WaitFor::Removal).await.unwrap();
    assert_eq!(exit.code, 137);
    assert!(
        exit.error.contains("ended under its container"),
        "{}",
        exit.error
    );
    assert!(home.left().is_empty(), "{:?}", home.left());
}

#[tokio::test]
async fn an_agent_that_talks_nonsense_ends_its_container() {
    use tokio::io::AsyncWriteExt;
    let home = Home::new().await;
    let engine = home.engine(WAITS);
    let (id, mut agent) = start(&home, &engine, config("web")).await;
    agent.stream.write_all(&[0xff; 100]).await.unwrap();
    let exit = engine.wait(&id, WaitFor::Removal).await.unwrap();
    assert_eq!(exit.code, 137);
    assert!(home.left().is_empty(), "{:?}", home.left());
}

#[tokio::test]
async fn a_start_can_be_interrupted() {
    let home = Home::new().await;
    let engine = home.engine(WAITS);
    let id = engine.create(config("web")).await.unwrap().id;
    let interrupt = async {
        // Connected but silent: the start waits for the agent's answer.
        let agent = home.agent(&id).await;
        engine.kill(&id).unwrap();
        agent
    };
    let (started, _agent) = tokio::join!(engine.start(&id, Origin::Boot), interrupt);
    let error = started.unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error:?}");
    assert_eq!(
        error.kind(),
        crate::ErrorKind::Conflict,
        "it is no failure of the engine"
    );
    assert!(home.left().is_empty(), "{:?}", home.left());
}

#[tokio::test]
async fn a_container_is_not_removed_while_another_process_owns_it() {
    let home = Home::new().await;
    let engine = home.engine(WAITS);
    let kept = ContainerConfig {
        auto_remove: false,
        ..config("kept")
    };
    let (id, mut agent) = start(&home, &engine, kept).await;
    let other = home.engine(WAITS);
    let remove = || other.shelf().remove_unowned(&id).unwrap();
    assert_eq!(remove(), Removal::Owned, "it runs");
    agent.exit(0).await;
    engine.wait(&id, WaitFor::Exit).await.unwrap();
    assert_eq!(agent.next().await, Got::Message(ToAgent::Shutdown));
    assert_eq!(remove(), Removal::Owned, "its machine powers off");
    engine.kill(&id).unwrap();
    engine.wait(&id, WaitFor::Removal).await.unwrap();
    assert_eq!(remove(), Removal::Removed);
    assert_eq!(remove(), Removal::Gone);
    assert!(home.left().is_empty(), "{:?}", home.left());
}

#[tokio::test]
async fn images_that_containers_need_are_known() {
    let home = Home::new().await;
    let engine = home.engine(WAITS);
    let created = engine.create(config("web")).await.unwrap();
    let uses = Engine::uses(&home.paths);
    assert_eq!(uses.len(), 1);
    assert!(uses[0].by.contains("web"));
    engine.leave(&created.id).unwrap();
    engine.shelf().remove_unowned(&created.id).unwrap();
    assert!(Engine::uses(&home.paths).is_empty());
    assert!(matches!(
        engine
            .create(ContainerConfig {
                image: "absent".into(),
                ..config("other")
            })
            .await,
        Err(Error::Image(hull_image::store::Error::NotFound(_)))
    ));
    assert!(home.left().is_empty());
}

#[tokio::test]
async fn a_signal_from_another_process_is_the_container_s_whatever_it_is() {
    let home = Home::new().await;
    let engine = home.engine(WAITS);
    // None of these could be a signal to the owner, which is this process: the window's size changed, a real-time
    // signal, one that is not passed on, one that nobody can catch.
    for number in [28, 37, 23, 9] {
        let (id, mut agent) = start(&home, &engine, config("web")).await;
        let runtime = home.paths.run().join(id.short());
        let asked = control::ask(&runtime, control::Ask::Signal(number)).await;
        asked.unwrap();
        assert_eq!(agent.next().await, Got::Message(ToAgent::Signal(number)));
        agent.exit(3).await;
        let exit = engine.wait(&id, WaitFor::Removal).await.unwrap();
        assert_eq!(exit.code, 3, "{number}");
        assert!(home.left().is_empty(), "{:?}", home.left());
    }
}

#[tokio::test]
async fn a_signal_while_the_machine_boots_is_kept_for_the_process() {
    let home = Home::new().await;
    let engine = home.engine(WAITS);
    let id = engine.create(config("web")).await.unwrap().id;
    let obey = async {
        let mut agent = home.agent(&id).await;
        let control = home.paths.run().join(id.short());
        control::ask(&control, control::Ask::Signal(15))
            .await
            .unwrap();
        agent.come_up().await;
        assert_eq!(agent.next().await, Got::Message(ToAgent::Signal(15)));
        agent.exit(143).await;
    };
    let (started, ()) = tokio::join!(engine.start(&id, Origin::Boot), obey);
    started.unwrap();
    assert_eq!(engine.wait(&id, WaitFor::Removal).await.unwrap().code, 143);
    assert!(home.left().is_empty(), "{:?}", home.left());
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let home = Home::new().await;
    let engine = home.engine(WAITS);
    let (id, mut agent) = start(&home, &engine, config("web")).await;
    let control = home.paths.run().join(id.short()).join(control::SOCKET);
    for nonsense in [
        "",
        "\n",
        "{\"signal\":0}\n",
        "{\"signal\":65}\n",
        "{\"fly\":1}\n",
        "GET / HTTP/1.1\r\n",
    ] {
        let mut stream = tokio::net::UnixStream::connect(&control).await.unwrap();
        stream.write_all(nonsense.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("{\"refused\":"),
            "{nonsense:?}: {answer}"
        );
    }
    agent.exit(0).await;
    assert_eq!(engine.wait(&id, WaitFor::Removal).await.unwrap().code, 0);
    assert!(home.left().is_empty(), "{:?}", home.left());
}

#[tokio::test]
async fn another_process_can_end_the_machine() {
    let home = Home::new().await;
    let engine = home.engine(WAITS);
    let (id, _agent) = start(&home, &engine, config("web")).await;
    let runtime = home.paths.run().join(id.short());
    control::ask(&runtime, control::Ask::End).await.unwrap();
    let exit = engine.wait(&id, WaitFor::Removal).await;
    assert_eq!(exit.unwrap().code, 137);
    assert!(home.left().is_empty(), "{:?}", home.left());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_that_remove_and_recover_at_once_leave_nothing() {
    let home = Home::new().await;
    for round in 0..60 {
        let kept = ContainerConfig {
            auto_remove: false,
            ..config("web")
        };
        let owner = home.engine(WAITS);
        let id = owner.create(kept).await.unwrap().id;
        drop(owner);
        let removals: Vec<_> = (0..4)
            .map(|_| {
                let (id, paths) = (id.clone(), home.paths.clone());
                tokio::task::spawn_blocking(move || {
                    let engine = Engine::open(paths).unwrap();
                    let shelf = engine.shelf();
                    // Whoever else is at it has it for a moment.
                    while shelf.remove_unowned(&id)? == Removal::Owned {
                        shelf.directory(&id).wait_released()?;
                    }
                    Ok::<_, io::Error>(())
                })
            })
            .collect();
        for removal in removals {
            let removed = removal.await.unwrap();
            assert!(removed.is_ok(), "round {round}: {removed:?}");
        }
        assert!(home.left().is_empty(), "round {round}: {:?}", home.left());
    }
}
