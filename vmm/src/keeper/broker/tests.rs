//! A machine's process that asks for what it likes.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

use hull_vm_api::config::PathUse;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

use super::super::ask::{MOST, ask, ask_all};
use super::*;
use crate::files::Access;

/// A keeper that answers in a thread until nobody can ask any more.
struct Kept {
    socket: OwnedFd,
    keeper: Option<JoinHandle<Broker>>,
}

impl Kept {
    fn new(named: &[(&std::path::Path, PathUse)]) -> Self {
        let (socket, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let mut broker = Broker::new(theirs, Opener::default());
        let named = named.iter().map(|(path, used)| NamedPath {
            path: HostPath::try_from(*path).unwrap(),
            used: *used,
        });
        broker.grant(named.collect());
        let keeper = thread::spawn(move || {
            use rustix::event::{PollFd, PollFlags, poll};
            loop {
                poll(&mut [PollFd::new(&broker, PollFlags::IN)], None).unwrap();
                if broker.serve().is_err() {
                    return broker;
                }
            }
        });
        Self {
            socket,
            keeper: Some(keeper),
        }
    }

    fn ask(&self, question: &Ask) -> Result<OwnedFd, Refusal> {
        ask(self.socket.as_fd(), question)
    }

    fn say(&self, packet: &[u8]) {
        send(&self.socket, packet, SendFlags::NOSIGNAL).unwrap();
    }

    fn end(mut self) -> Broker {
        drop(std::mem::replace(
            &mut self.socket,
            File::open("/dev/null").unwrap().into(),
        ));
        self.keeper.take().unwrap().join().unwrap()
    }
}

fn path(dir: &tempfile::TempDir, name: &str) -> HostPath {
    HostPath::try_from(dir.path().join(name).as_path()).unwrap()
}

#[test]
fn a_machine_gets_what_was_named_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::write(&disk, "contents").unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    let kept = Kept::new(&[(&disk, PathUse::Read)]);

    let file = kept.ask(&Ask::File(path(&dir, "disk"), Access::Read));
    let mut text = String::new();
    File::from(file.unwrap()).read_to_string(&mut text).unwrap();
    assert_eq!(text, "contents");

    let refused = [
        Ask::File(path(&dir, "disk"), Access::ReadWrite),
        Ask::File(path(&dir, "secret"), Access::Read),
        Ask::File(path(&dir, "../etc/passwd"), Access::Read),
        Ask::File(path(&dir, "new"), Access::Append),
        Ask::File("/etc/shadow".into(), Access::Read),
        Ask::File("fd:secret".into(), Access::Read),
        Ask::Directory("/".into()),
        Ask::Tap {
            name: "hull-none".into(),
            many: false,
        },
        Ask::Listener(path(&dir, "socket")),
        Ask::Connect(1),
        Ask::Log,
        Ask::Metrics,
    ];
    for question in refused {
        let answer = kept.ask(&question);
        assert_eq!(answer.unwrap_err(), Refusal::NotNamed, "{question:?}");
    }
    assert!(!dir.path().join("new").exists());
    kept.end();
}

#[test]
fn files_of_a_request_that_waits_aside_are_published_whatever_becomes_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let named = |name: &str| NamedPath {
        path: path(&dir, name),
        used: PathUse::Create,
    };
    let (_socket, theirs) = UnixStream::pair().unwrap();
    let mut broker = Broker::new(theirs.into(), Opener::default());
    broker.grant(Vec::new());
    for is_published in [true, false] {
        broker.lend(vec![named("one")]);
        let made = broker.answer(&Ask::Create(path(&dir, "one"))).unwrap();
        broker.set_aside();
        // It can have no more than it had.
        let late = broker.answer(&Ask::Create(path(&dir, "one")));
        assert_eq!(late.unwrap_err(), Refusal::NotNamed);
        broker.lend(vec![named("two")]);
        broker.answer(&Ask::Create(path(&dir, "two"))).unwrap();
        broker.take_back();
        if is_published {
            broker.answer(&Ask::Publish).unwrap();
        }
        broker.end_aside();
        drop(made);
        assert_eq!(dir.path().join("one").exists(), is_published);
        let _ = fs::remove_file(dir.path().join("one"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn connections_go_to_ports_of_the_machines_own_socket() {
    let dir = tempfile::tempdir().unwrap();
    let vsock = dir.path().join("v");
    let service = UnixListener::bind(dir.path().join("v_52")).unwrap();
    let kept = Kept::new(&[(&vsock, PathUse::Listen)]);
    // There is none before it listens itself.
    assert_eq!(kept.ask(&Ask::Connect(52)).unwrap_err(), Refusal::NotNamed);
    kept.ask(&Ask::Listener(path(&dir, "v"))).unwrap();
    assert!(vsock.exists());
    kept.ask(&Ask::Connect(52)).unwrap();
    service.accept().unwrap();
    let nobody = kept.ask(&Ask::Connect(53)).unwrap_err();
    assert_eq!(nobody, Refusal::Host(libc::ENOENT));
    // The file goes with the machine.
    drop(kept.end());
    assert!(!vsock.exists());
}

#[test]
fn last_words_are_kept_in_one_line_and_questions_go_on() {
    let kept = Kept::new(&[]);
    kept.say(b"openat\n\x1b[31m in a vCPU's thread");
    assert_eq!(kept.ask(&Ask::Log).unwrap_err(), Refusal::NotNamed);
    let broker = kept.end();
    assert_eq!(broker.note(), Some("openat  [31m in a vCPU's thread"));
}

#[test]
fn several_things_come_at_once_each_as_if_it_were_asked_for_alone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let kept = Kept::new(&[(&one, PathUse::Read), (&two, PathUse::Read)]);
    let file = |name| Ask::File(path(&dir, name), Access::Read);
    let questions = [file("two"), file("secret"), file("one"), file("two")];
    let given = ask_all(kept.socket.as_fd(), &questions.each_ref()).unwrap();
    let read = given.into_iter().map(|given| {
        let fd = given?.ok_or(Refusal::NoFile)?;
        let mut text = String::new();
        // Copies of one descriptor would be where the first reader left them.
        File::from(fd).read_to_string(&mut text).unwrap();
        Ok(text)
    });
    let read: Vec<Result<String, Refusal>> = read.collect();
    let text = |text: &str| Ok(text.to_owned());
    assert_eq!(
        read,
        [
            text("two"),
            Err(Refusal::NotNamed),
            text("one"),
            text("two")
        ]
    );
    // As many as there may be, and no more.
    let many = vec![file("one"); MOST];
    let all = ask_all(kept.socket.as_fd(), &many.iter().collect::<Vec<_>>()).unwrap();
    assert!(all.len() == MOST && all.iter().all(|given| matches!(given, Ok(Some(_)))));
    let more = vec![file("one"); MOST + 1];
    assert!(ask_all(kept.socket.as_fd(), &more.iter().collect::<Vec<_>>()).is_err());
    kept.say(serde_json::to_string(&more).unwrap().as_bytes());
    // Which is no question, and changes nothing.
    assert!(kept.ask(&file("one")).is_ok());
    kept.end();
}
