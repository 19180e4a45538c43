//! What the server does with clients of all kinds.

use std::io::{ErrorKind, Write};
use std::thread;
use std::time::Duration;

use hull_vm_api::server::Limits;
use hull_vm_api::{Reply, Request};
use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, poll};

use crate::vmm::{Vmm, next_call, serve, socket_in};
use crate::wire::{Wire, bare, with_body};

/// Long enough for a thread to be scheduled, short enough to wait for.
const SHORT: Duration = Duration::from_millis(50);

#[test]
fn answers_look_like_those_of_firecracker() {
    let vmm = Vmm::start();
    let mut wire = Wire::connect(&vmm.socket());
    let get = wire.ask(bare("GET /machine-config"));
    assert_eq!(get.status, 200);
    assert_eq!(
        get.head,
        "HTTP/1.1 200 OK\r\nServer: Hull API\r\nConnection: keep-alive\r\n\
         Content-Type: application/json\r\nContent-Length: 93\r\n\r\n"
    );
    assert_eq!(
        get.body,
        r#"{"vcpu_count":1,"mem_size_mib":128,"smt":false,"track_dirty_pages":false,"huge_pages":"None"}"#
            .replace(' ', "")
    );
    let put = wire.ask(with_body(
        "PUT /boot-source",
        r#"{"kernel_image_path":"/k"}"#,
    ));
    assert_eq!(
        put.head,
        "HTTP/1.1 204 No Content\r\nServer: Hull API\r\nConnection: keep-alive\r\n\r\n"
    );
    let wrong = wire.ask(with_body(
        "PUT /vsock",
        r#"{"guest_cid":2,"uds_path":"/v"}"#,
    ));
    assert_eq!(wrong.status, 400);
    assert_eq!(
        wrong.body,
        r#"{"fault_message":"vsock.guest_cid is 2; it must be from 3 to 4294967294"}"#
    );
    let old = wire.ask(with_body(
        "PUT /vsock",
        r#"{"guest_cid":3,"uds_path":"/v","vsock_id":"v"}"#,
    ));
    assert!(old.head.contains("\r\nDeprecation: true\r\n"), "{old:?}");
}

#[test]
fn a_connection_stays_for_many_requests_also_at_once() {
    let vmm = Vmm::start();
    let mut wire = Wire::connect(&vmm.socket());
    let mut requests = String::new();
    for vcpus in 1..=32 {
        let body = format!(r#"{{"vcpu_count":{vcpus},"mem_size_mib":128}}"#);
        requests += &with_body("PUT /machine-config", &body);
        requests += &bare("GET /machine-config");
    }
    wire.send(requests);
    for vcpus in 1..=32 {
        assert_eq!(wire.answer().status, 204);
        let body = wire.answer().body;
        assert!(
            body.starts_with(&format!(r#"{{"vcpu_count":{vcpus},"#)),
            "{body}"
        );
    }
    let last = wire.ask("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(last.head.contains("\r\nConnection: close\r\n"));
    assert!(wire.end().is_empty());
}

#[test]
fn bytes_can_come_one_by_one() {
    let vmm = Vmm::start();
    let mut wire = Wire::connect(&vmm.socket());
    for byte in with_body("PUT /entropy", "{}").bytes() {
        wire.send([byte]);
    }
    assert_eq!(wire.answer().status, 204);
}

#[test]
fn a_body_is_asked_for() {
    let vmm = Vmm::start();
    let mut wire = Wire::connect(&vmm.socket());
    wire.send("PUT /entropy HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(wire.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(wire.ask("{}").status, 204);
    let chunked =
        "PUT /entropy HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
    assert_eq!(wire.ask(chunked).status, 204);
}

#[test]
fn a_large_body_is_refused_before_it_comes() {
    let vmm = Vmm::start();
    let mut wire = Wire::connect(&vmm.socket());
    let answer = wire.ask("PUT /mmds HTTP/1.1\r\nContent-Length: 51201\r\n\r\n");
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .body
            .contains("size 51201 is larger than the limit of 51200"),
        "{answer:?}"
    );
    assert!(wire.end().is_empty());

    let limits = Limits {
        max_payload: 100_000,
        ..Limits::default()
    };
    let vmm = Vmm::with(limits);
    let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(90_000));
    let mut wire = Wire::connect(&vmm.socket());
    assert_eq!(wire.ask(with_body("PUT /mmds", &body)).status, 204);
    assert_eq!(wire.ask(bare("GET /mmds")).body, body);
}

#[test]
fn verbs_that_nobody_knows_are_refused_and_the_connection_stays() {
    let vmm = Vmm::start();
    let mut wire = Wire::connect(&vmm.socket());
    for verb in ["POST", "OPTIONS", "TRACE", "BREW"] {
        let answer = wire.ask(with_body(&format!("{verb} /"), "{}"));
        assert_eq!(answer.status, 400);
        assert!(
            answer.body.contains("Unsupported HTTP method"),
            "{answer:?}"
        );
    }
    wire.send(bare("HEAD /"));
    assert!(wire.head().starts_with("HTTP/1.1 400 Bad Request"));
    assert_eq!(wire.ask(bare("GET /")).status, 200);
    let unknown = wire.ask(bare("GET /nowhere"));
    assert_eq!(
        unknown.body,
        r#"{"fault_message":"Invalid request method and/or path: GET nowhere."}"#
    );
    assert_eq!(wire.ask(bare("CONNECT localhost:1")).status, 400);
    assert!(wire.end().is_empty());
}

#[test]
fn what_is_no_http_is_told_so_and_closed() {
    let vmm = Vmm::start();
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"{}\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut wire = Wire::connect(&vmm.socket());
        assert_eq!(wire.ask(bytes).status, 400);
        wire.finish();
        assert!(wire.end().is_empty());
    }
}

#[test]
fn a_request_that_never_ends_is_given_up() {
    let limits = Limits {
        request_time: SHORT,
        ..Limits::default()
    };
    let vmm = Vmm::with(limits);
    for start in ["G", "PUT /entropy HTTP/1.1\r\nContent-Length: 2\r\n\r\n{"] {
        let mut wire = Wire::connect(&vmm.socket());
        let answer = wire.ask(start);
        assert_eq!(answer.status, 408);
        assert!(answer.body.contains("within 50ms"), "{answer:?}");
        assert!(wire.end().is_empty());
    }
    // Between requests there is all the time in the world.
    let mut idle = Wire::connect(&vmm.socket());
    assert_eq!(idle.ask(bare("GET /")).status, 200);
    let mut slow = Wire::connect(&vmm.socket());
    assert_eq!(slow.ask("G").status, 408);
    assert_eq!(idle.ask(bare("GET /")).status, 200);
}

#[test]
fn clients_that_go_away_do_no_harm() {
    let vmm = Vmm::start();
    let request = with_body("PUT /entropy", "{}");
    for length in 0..request.len() {
        let mut wire = Wire::connect(&vmm.socket());
        wire.send(&request[..length]);
    }
    for _ in 0..50 {
        Wire::connect(&vmm.socket()).send(bare("GET /vm/config"));
    }
    // One that only says that it is done wants its answer all the same.
    let mut wire = Wire::connect(&vmm.socket());
    wire.send(bare("GET /"));
    wire.finish();
    assert_eq!(wire.answer().status, 200);
    assert!(wire.end().is_empty());
}

#[test]
fn a_client_that_takes_no_answers_is_given_up() {
    let limits = Limits {
        write_time: SHORT,
        ..Limits::default()
    };
    let vmm = Vmm::with(limits);
    let wire = Wire::connect(&vmm.socket());
    let mut stream = wire.stream();
    stream.set_nonblocking(true).unwrap();
    let requests = bare("GET /vm/config").repeat(100);
    loop {
        match stream.write(requests.as_bytes()) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(&stream, PollFlags::OUT)];
                poll(&mut fds, None).unwrap();
            }
            Err(error) => {
                let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
                assert!(gone.contains(&error.kind()), "{error}");
                break;
            }
        }
    }
    assert!(vmm.client().instance().is_ok());
}

#[test]
fn idle_connections_make_room_and_busy_ones_do_not() {
    let limits = Limits {
        max_connections: 3,
        place_time: SHORT,
        ..Limits::default()
    };
    let vmm = Vmm::with(limits);
    let connect = || {
        let mut wire = Wire::connect(&vmm.socket());
        assert_eq!(wire.ask(bare("GET /")).status, 200);
        wire
    };
    let mut wires = [connect(), connect(), connect()];
    assert_eq!(wires[0].ask(bare("GET /")).status, 200);
    let mut fourth = connect();
    assert!(
        wires[1].end().is_empty(),
        "the one that was idle for longest is closed"
    );

    // Each is in the middle of a request; that it is known shows in the server's asking for the rest.
    let busy = "PUT /entropy HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    for wire in [&mut wires[0], &mut fourth] {
        wire.send(busy);
        assert!(wire.head().contains("100 Continue"));
    }
    wires[2].send(busy);
    assert!(wires[2].head().contains("100 Continue"));
    let mut refused = Wire::connect(&vmm.socket());
    let answer = refused.answer();
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("Too many open connections"),
        "{answer:?}"
    );
    assert!(refused.end().is_empty());
    assert_eq!(fourth.ask("{}").status, 204);
}

#[test]
fn a_crowd_is_served_one_after_the_other() {
    let limits = Limits {
        max_connections: 2,
        place_time: Duration::from_secs(60),
        ..Limits::default()
    };
    let vmm = Vmm::with(limits);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut wire = Wire::connect(&vmm.socket());
                assert_eq!(wire.ask(bare("GET /")).status, 200);
            });
        }
    });
}

#[test]
fn connections_do_not_wait_for_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let (server, calls) = serve(&socket_in(directory.path()), Limits::default());
    let mut slow = Wire::connect(&socket_in(directory.path()));
    slow.send(bare("GET /vm/config"));
    let held = next_call(&calls);
    let mut quick = Wire::connect(&socket_in(directory.path()));
    quick.send(bare("GET /mmds"));
    let call = next_call(&calls);
    assert_eq!(call.request(), &Request::GetMmds);
    call.answer(Ok(Reply::Done));
    assert_eq!(quick.answer().status, 204);
    assert!(calls.next_call().is_none());

    // What is under way is still sent at the end, and only that.
    held.answer(Ok(Reply::Done));
    server.stop().unwrap();
    assert_eq!(slow.answer().status, 204);
    assert!(slow.end().is_empty() && quick.end().is_empty());
}

#[test]
fn a_vmm_that_does_not_answer_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits {
        answer_time: SHORT,
        ..Limits::default()
    };
    let (server, calls) = serve(&socket_in(directory.path()), limits);
    let mut wire = Wire::connect(&socket_in(directory.path()));
    wire.send(bare("GET /"));
    let late = next_call(&calls);
    let answer = wire.answer();
    assert_eq!(answer.status, 500);
    assert!(
        answer.body.contains("did not answer within 50ms"),
        "{answer:?}"
    );
    late.answer(Ok(Reply::Done));
    server.stop().unwrap();
}

#[test]
fn a_vmm_that_goes_away_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let (server, calls) = serve(&socket_in(directory.path()), Limits::default());
    let mut wire = Wire::connect(&socket_in(directory.path()));
    wire.send(bare("GET /"));
    drop(next_call(&calls));
    let answer = wire.answer();
    assert_eq!(answer.status, 500);
    assert!(
        answer.body.contains("ended before it answered"),
        "{answer:?}"
    );
    drop(calls);
    assert_eq!(wire.ask(bare("GET /")).status, 500);
    server.stop().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn no_client_upsets_the_server(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 0..40_usize) {
        let vmm = Vmm::start();
        let mut wire = Wire::connect(&vmm.socket());
        wire.send(&with_body("PUT /entropy", "{}").as_bytes()[..cut]);
        // The server may have closed already.
        let _ = wire.stream().write_all(&bytes);
        let _ = wire.stream().shutdown(std::net::Shutdown::Write);
        wire.end();
        prop_assert!(vmm.client().instance().is_ok());
    }
}
