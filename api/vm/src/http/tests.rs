use proptest::prelude::*;

use super::*;
use crate::fault::Fault;

const HEAD: usize = 2048;
const BODY: usize = 1000;

/// All that comes of bytes given in pieces.
fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut parser = Parser::new(HEAD, BODY);
    let mut events = Vec::new();
    for piece in pieces {
        parser.feed(piece);
        loop {
            match parser.next_event() {
                Event::Incomplete => break,
                // Whether it is asked for depends on how much there is already.
                Event::Continue => {}
                event => events.push(event),
            }
        }
    }
    events
}

fn requests(bytes: &[u8]) -> Vec<HttpRequest> {
    let requests = events([bytes]).into_iter().map(|event| match event {
        Event::Request(request) => request,
        event => panic!("{event:?}"),
    });
    requests.collect()
}

fn fault(bytes: &str) -> Fault {
    match events([bytes.as_bytes()]).pop() {
        Some(Event::Fault(fault)) => fault,
        event => panic!("{event:?} of {bytes:?}"),
    }
}

/// Three requests of all kinds, one after the other.
const STREAM: &[u8] = b"PUT /a HTTP/1.1\r\nHost: localhost\r\ncontent-length: 5\r\nExpect: 100-continue\r\n\r\nhello\
    \r\nPATCH /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n02\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n\
    GET / HTTP/1.1\r\nConnection: close\r\n\r\n";

#[test]
fn requests_are_read_one_after_the_other() {
    let [put, patch, get] = &requests(STREAM)[..] else {
        panic!("there are three");
    };
    assert_eq!((put.method.as_str(), put.path.as_str()), ("PUT", "/a"));
    assert_eq!((&put.body[..], put.keep_alive), (&b"hello"[..], true));
    assert_eq!(
        (patch.path.as_str(), &patch.body[..]),
        ("/b", &b"hello"[..])
    );
    assert_eq!((get.body.is_empty(), get.keep_alive), (true, false));
    let old = &requests(b"GET / HTTP/1.0\r\n\r\n")[0];
    assert!(!old.keep_alive);
    assert!(requests(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")[0].keep_alive);
}

#[test]
fn it_does_not_matter_where_the_bytes_are_cut() {
    let whole = events([STREAM]);
    for at in 0..=STREAM.len() {
        let (left, right) = STREAM.split_at(at);
        assert_eq!(events([left, right]), whole, "cut at {at}");
    }
    assert_eq!(events(STREAM.chunks(1)), whole);
}

#[test]
fn a_body_that_is_held_back_is_asked_for_once() {
    let mut parser = Parser::new(HEAD, BODY);
    parser.feed(b"PUT / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n");
    assert_eq!(parser.next_event(), Event::Continue);
    assert_eq!(parser.next_event(), Event::Incomplete);
    assert!(parser.in_request());
    parser.feed(b"x");
    assert!(matches!(parser.next_event(), Event::Request(request) if request.body == b"x"));
    assert!(!parser.in_request());
    // None that is too long, and none for nothing.
    parser.feed(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n");
    assert!(matches!(parser.next_event(), Event::Request(_)));
    parser.feed(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n");
    assert!(matches!(parser.next_event(), Event::Fault(_)));
}

#[test]
fn limits_are_told() {
    let large = fault("PUT / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n");
    assert_eq!(
        large.message,
        "Request payload with size 1001 is larger than the limit of 1000 allowed by server."
    );
    let huge = format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", u64::MAX);
    assert!(fault(&huge).message.contains("18446744073709551615"));
    let chunks = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n".to_owned();
    let chunks = chunks + &"x".repeat(1000) + "\r\n1\r\n";
    assert!(fault(&chunks).message.contains("size 1001"));
    assert!(
        fault(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(HEAD)))
            .message
            .contains("more than 2048 bytes")
    );
    // Without an end, too.
    assert!(
        fault(&format!("GET /{}", "x".repeat(HEAD)))
            .message
            .contains("more than 2048 bytes")
    );
    let fields = "GET / HTTP/1.1\r\n".to_owned() + &"a:\r\n".repeat(65) + "\r\n";
    assert!(fault(&fields).message.contains("more than 64"));
}

#[test]
fn what_could_mean_two_things_is_refused() {
    for fields in [
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Content-Length: +1",
        "Content-Length: 1, 1",
        "Content-Length:",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Expect: 200-ok",
        "no field",
        "a b: c",
    ] {
        let fault = fault(&format!("PUT / HTTP/1.1\r\n{fields}\r\n\r\n"));
        assert!(fault.message.starts_with("Invalid "), "{fields}: {fault}");
    }
    for chunks in [
        "x\r\n",
        "-1\r\n",
        "\r\n",
        "1\n",
        "1\r\nab\r\n",
        "1 1\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let request = format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert!(fault(&request).message.contains("chunks"), "{chunks:?}");
    }
    for line in [
        "GET / HTTP/2.0",
        "GET /",
        "\u{16}\u{3}\u{1}",
        "GET / HTTP/1.1 x",
    ] {
        assert!(
            fault(&format!("{line}\r\n\r\n"))
                .message
                .starts_with("Invalid request"),
            "{line}"
        );
    }
}

#[test]
fn nothing_is_read_after_a_fault() {
    let mut parser = Parser::new(HEAD, BODY);
    parser.feed(b"\0\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    assert!(matches!(parser.next_event(), Event::Fault(_)));
    assert_eq!(parser.next_event(), Event::Incomplete);
    parser.feed(STREAM);
    assert_eq!(parser.next_event(), Event::Incomplete);
}

proptest! {
    #[test]
    fn no_bytes_upset_the_parser(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..10)) {
        events(pieces.iter().map(Vec::as_slice));
    }

    #[test]
    fn no_damage_upsets_the_parser(at in 0..STREAM.len(), byte: u8, cut in 0..STREAM.len(), pieces in 1..50_usize) {
        let mut stream = STREAM.to_vec();
        stream[at] = byte;
        stream.truncate(cut.max(at + 1));
        let whole = events([&stream[..]]);
        prop_assert_eq!(events(stream.chunks(pieces)), whole);
    }

    #[test]
    fn bodies_arrive_whole(body in proptest::collection::vec(any::<u8>(), 0..BODY), sizes in proptest::collection::vec(1..200_usize, 1..5), cut in 1..300_usize) {
        let mut stream = b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let (mut rest, mut sizes) = (&body[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let size = rest.len().min(*sizes.next().unwrap());
            stream.extend(format!("{size:X}\r\n").bytes());
            stream.extend(&rest[..size]);
            stream.extend(b"\r\n");
            rest = &rest[size..];
        }
        stream.extend(b"0\r\n\r\n");
        let found = events(stream.chunks(cut));
        prop_assert!(matches!(&found[..], [Event::Request(request)] if request.body == body));
    }
}
