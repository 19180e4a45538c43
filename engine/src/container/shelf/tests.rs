use tempfile::TempDir;

use super::*;
use crate::container::ContainerConfig;

fn shelf() -> (TempDir, Shelf) {
    let dir = TempDir::new().unwrap();
    let paths = Paths::new(dir.path().join("root"), dir.path().join("run"));
    let shelf = Shelf::open(paths).unwrap();
    (dir, shelf)
}

fn make(shelf: &Shelf, name: Option<&str>, auto_remove: bool) -> Result<(Held, Record), NameTaken> {
    let config = ContainerConfig {
        auto_remove,
        ..ContainerConfig::default()
    };
    let record = |id, name| Record {
        id,
        name,
        image_id: "sha256:00".into(),
        command: vec!["true".into()],
        stop_signal: 15,
        config,
        supervised: false,
        client: serde_json::Value::Null,
        from: None,
    };
    shelf.make(name, record).unwrap()
}

fn run(held: &Held) {
    let mut state = held.directory().state().unwrap();
    state.status = Status::Running;
    held.write_state(&state).unwrap();
}

/// An owner dies. Another test's child, until it has become another program, may still hold the lock.
fn die(held: Held) {
    let directory = held.directory().clone();
    drop(held);
    directory.wait_released().unwrap();
}

#[test]
fn two_containers_cannot_have_one_name() {
    let (_dir, shelf) = shelf();
    let (held, record) = make(&shelf, Some("web"), false).unwrap();
    let taken = make(&shelf, Some("web"), false).unwrap_err();
    assert_eq!(taken.0, record.id);
    shelf.remove(held, &record).unwrap();
    make(&shelf, Some("web"), false).expect("a removed container's name is free");
}

#[test]
fn of_many_that_want_one_name_one_gets_it() {
    let (_dir, shelf) = shelf();
    let wins: usize = std::thread::scope(|scope| {
        let shelf = &shelf;
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(move || make(shelf, Some("web"), false).is_ok()))
            .collect();
        threads
            .into_iter()
            .map(|thread| usize::from(thread.join().unwrap()))
            .sum()
    });
    assert_eq!(wins, 1);
    assert_eq!(shelf.records().unwrap().len(), 1);
}

#[test]
fn recovery_leaves_the_living_alone() {
    let (_dir, shelf) = shelf();
    let (held, record) = make(&shelf, None, true).unwrap();
    run(&held);
    shelf.recover().unwrap();
    assert_eq!(held.directory().state().unwrap().status, Status::Running);
    assert_eq!(shelf.records().unwrap().len(), 1);
    assert_eq!(shelf.named(&record.name).unwrap(), Some(record.id));
}

#[test]
fn recovery_marks_the_dead_and_removes_what_was_to_go() {
    let (_dir, shelf) = shelf();
    let (kept, kept_record) = make(&shelf, Some("kept"), false).unwrap();
    let (gone, gone_record) = make(&shelf, Some("gone"), true).unwrap();
    for held in [&kept, &gone] {
        run(held);
    }
    let runtime = shelf.runtime(&gone_record.id);
    fs::create_dir_all(&runtime).unwrap();
    die(kept);
    die(gone);

    shelf.recover().unwrap();
    let records = shelf.records().unwrap();
    let [(record, state)] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(
        (&record.id, state.status),
        (&kept_record.id, Status::Exited)
    );
    assert_eq!(state.exit_code, Some(137));
    assert!(!runtime.exists());
    make(&shelf, Some("gone"), true).expect("the name of a removed container is free");
}

#[test]
fn recovery_removes_runtime_files_whatever_their_container_did() {
    let (_dir, shelf) = shelf();
    for status in [Status::Created, Status::Running, Status::Exited] {
        let (held, record) = make(&shelf, None, false).unwrap();
        let mut state = held.directory().state().unwrap();
        state.status = status;
        held.write_state(&state).unwrap();
        let runtime = shelf.runtime(&record.id);
        fs::create_dir_all(runtime.join("v")).unwrap();
        shelf.recover().unwrap();
        assert!(runtime.exists(), "its owner lives");
        die(held);
        shelf.recover().unwrap();
        assert!(!runtime.exists(), "{status:?}");
    }
}

#[test]
fn what_was_half_made_is_removed() {
    let (_dir, shelf) = shelf();
    let id = ContainerId::random().unwrap();
    fs::create_dir(shelf.directory(&id).path()).unwrap();
    symlink(id.as_str(), shelf.paths.names().join("web")).unwrap();
    shelf.recover().unwrap();
    assert!(!shelf.directory(&id).path().exists());
    make(&shelf, Some("web"), false).expect("its name is free");
}

/// A machine that is complete in a container's files.
fn seal(held: &Held) {
    let suspended = held.directory().suspended();
    fs::create_dir_all(&suspended).unwrap();
    for name in ["state", "memory"] {
        fs::write(suspended.join(name), name).unwrap();
    }
    suspended::seal(held.directory()).unwrap();
}

#[test]
fn recovery_takes_a_container_for_suspended_if_its_machine_is_complete_and_only_then() {
    let (_dir, shelf) = shelf();
    let mut made = Vec::new();
    for (name, auto_remove, status, is_sealed) in [
        // Killed when it was written, and before that was written down.
        ("saved", false, Status::Running, true),
        ("saved-rm", true, Status::Paused, true),
        ("resting", true, Status::Suspended, true),
        // Killed when a machine was about to be made of it.
        ("begun", false, Status::Suspended, false),
        ("begun-rm", true, Status::Suspended, false),
        // Killed while it was written.
        ("half", false, Status::Running, false),
        // Killed when a machine of another moment came up, whose disk was to take the place of its own.
        ("back", false, Status::Running, true),
    ] {
        let (held, record) = make(&shelf, Some(name), auto_remove).unwrap();
        seal(&held);
        if !is_sealed {
            drop(suspended::break_seal(held.directory()).unwrap());
        }
        fs::write(held.directory().disk(), "own").unwrap();
        fs::write(held.directory().next_disk(), "next").unwrap();
        let mut state = held.directory().state().unwrap();
        state.status = status;
        held.write_state(&state).unwrap();
        made.push((held.directory().clone(), record.name));
        die(held);
    }
    shelf.recover().unwrap();
    for (directory, name) in made {
        let state = directory.state().map(|state| state.status);
        assert!(!directory.next_disk().exists(), "{name}");
        if directory.path().exists() {
            assert_eq!(fs::read(directory.disk()).unwrap(), b"own", "{name}");
        }
        match name.as_str() {
            "begun-rm" => assert!(!directory.path().exists()),
            "begun" | "half" => {
                assert_eq!(state.unwrap(), Status::Exited, "{name}");
                assert!(
                    !directory.suspended().exists(),
                    "{name} keeps what is of no use"
                );
            }
            _ => {
                assert_eq!(state.unwrap(), Status::Suspended, "{name}");
                assert!(suspended::is_sealed(&directory), "{name}");
            }
        }
    }
}
