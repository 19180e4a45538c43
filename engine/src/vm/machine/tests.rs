use std::io::Read;

use tempfile::TempDir;

use super::*;

/// A stand-in for `hull-vmm` that gets the same arguments.
fn script(dir: &TempDir, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.path().join("vmm");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn start(dir: &TempDir, program: &Path, descriptors: Vec<(String, OwnedFd)>) -> Machine {
    let launch = Launch {
        priority: None,
        program,
        arguments: Vec::new(),
        descriptors,
        log: File::create(dir.path().join("log")).unwrap(),
        runtime: dir.path(),
    };
    Machine::start(launch).await.unwrap()
}

fn log(dir: &TempDir) -> String {
    std::fs::read_to_string(dir.path().join("log")).unwrap()
}

#[tokio::test]
async fn descriptors_arrive_under_the_numbers_that_are_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("disk");
    std::fs::write(&file, "content of the disk").unwrap();
    let program = script(
        &dir,
        r#"while [ "$1" != --fd ]; do shift; done; cat "/proc/self/fd/${2#disk=}""#,
    );
    let disk = OwnedFd::from(File::open(file).unwrap());
    let machine = start(&dir, &program, vec![("disk".to_owned(), disk)]).await;
    assert!(machine.ended().await.as_ref().as_ref().unwrap().success());
    assert_eq!(log(&dir), "content of the disk");
}

#[tokio::test]
async fn dropping_it_ends_it() {
    let dir = TempDir::new().unwrap();
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let program = script(&dir, "exec sleep 1000");
    let machine = start(&dir, &program, vec![("held".to_owned(), writer)]).await;
    let process = machine.process();
    assert_eq!(HostProcess::of(process.pid), Some(process));
    drop(machine);
    // The last writer is gone when the process is: that ends the read.
    let mut reader = File::from(reader);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

#[tokio::test]
async fn a_recorded_machine_is_only_killed_if_it_is_the_one() {
    use std::os::unix::process::ExitStatusExt;
    let dir = TempDir::new().unwrap();
    let program = script(&dir, "exec sleep 1000");
    let machine = start(&dir, &program, Vec::new()).await;
    let process = machine.process();
    let other = HostProcess {
        start_time: process.start_time + 1,
        ..process
    };
    other.signal(Signal::KILL);
    assert!(
        HostProcess::of(process.pid).is_some(),
        "another process's number was taken for it"
    );
    process.signal(Signal::KILL);
    let ended = machine.ended().await;
    assert_eq!(ended.as_ref().as_ref().unwrap().signal(), Some(9));
}

#[tokio::test]
async fn a_program_that_is_missing_is_named() {
    let dir = TempDir::new().unwrap();
    let launch = Launch {
        priority: None,
        program: Path::new("/nowhere/hull-vmm"),
        arguments: Vec::new(),
        descriptors: Vec::new(),
        log: File::create(dir.path().join("log")).unwrap(),
        runtime: dir.path(),
    };
    let error = Machine::start(launch).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/hull-vmm"));
}
