use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;

/// A connection between a program and a service.
fn connection() -> (UnixStream, Connection, UnixStream) {
    let (program, inner) = UnixStream::pair().unwrap();
    let (service, outer) = UnixStream::pair().unwrap();
    let connection = Connection {
        inner: inner.into(),
        outer: outer.into(),
        connected: false,
        out: Way::default(),
        back: Way::default(),
    };
    (program, connection, service)
}

/// Waits and goes on until it is over.
fn finish(mut connection: Connection) {
    let mut buffer = vec![0; HELD];
    loop {
        let mut waiting: Vec<_> = connection.wanted().collect();
        assert!(!waiting.is_empty(), "it would wait for ever");
        poll(&mut waiting, None).unwrap();
        drop(waiting);
        if !connection.step(&mut buffer).unwrap() {
            return;
        }
    }
}

#[test]
fn each_direction_ends_by_itself_and_all_of_it_arrives() {
    let (mut program, mut connection, mut service) = connection();
    program.write_all(b"question").unwrap();
    program.shutdown(std::net::Shutdown::Write).unwrap();
    let mut buffer = vec![0; HELD];
    while !connection.out.shut {
        assert!(connection.step(&mut buffer).unwrap());
    }
    let mut asked = String::new();
    service.read_to_string(&mut asked).unwrap();
    assert_eq!(asked, "question");
    assert_eq!(
        connection.wanted().count(),
        1,
        "only an answer is waited for"
    );
    service.write_all(&[7; 3 * HELD]).unwrap();
    drop(service);
    let reader = std::thread::spawn(move || {
        let mut answer = Vec::new();
        program.read_to_end(&mut answer).unwrap();
        answer.len()
    });
    finish(connection);
    assert_eq!(reader.join().unwrap(), 3 * HELD);
}

#[test]
fn who_closes_early_is_heard() {
    let (mut program, connection, mut service) = connection();
    service.write_all(b"no").unwrap();
    drop(service);
    program.write_all(b"question").unwrap();
    finish(connection);
    let mut answer = String::new();
    program.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "no");
    assert!(program.write_all(b"more").is_err());
}

#[test]
fn a_program_that_is_gone_ends_its_connection() {
    let (program, connection, mut service) = connection();
    drop(program);
    service.write_all(b"unheard").unwrap();
    let ended = std::thread::spawn(move || finish(connection));
    let mut asked = String::new();
    service.read_to_string(&mut asked).unwrap();
    assert_eq!(asked, "");
    ended.join().unwrap();
}
