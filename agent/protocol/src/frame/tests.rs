use proptest::prelude::*;

use super::*;
use crate::message::{FromAgent, ToAgent};
use crate::{Capabilities, Place, Start, Stdio};

fn encoded<M: Message>(message: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes).unwrap();
    bytes
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = raw_header(kind, body.len()).to_vec();
    bytes.extend_from_slice(body);
    bytes
}

fn start(argv: Vec<String>) -> ToAgent {
    ToAgent::Start(Box::new(Start {
        place: Place::NewContainer { init: false },
        argv,
        env: vec!["PATH=/bin".into()],
        user: "1000:100".into(),
        groups: vec![],
        cwd: "/".into(),
        stdio: Stdio::Pipes { stdin: true },
        rlimits: vec![],
        capabilities: Capabilities::default(),
        no_new_privileges: true,
        oom_score_adj: -5,
    }))
}

#[test]
fn hello_keeps_its_encoding() {
    assert_eq!(
        encoded(&ToAgent::Hello { version: 1 }),
        [2, 0, 0, 0, 0, 0, 1]
    );
    assert_eq!(
        encoded(&FromAgent::Hello { version: 1 }),
        [2, 0, 0, 0, 0, 0, 1]
    );
}

#[test]
fn headers_are_refused_before_the_body_arrives() {
    let header = |length: u32, kind| {
        let [a, b, c, d] = length.to_le_bytes();
        decode::<FromAgent>(&[a, b, c, d, kind]).map(|received| received.is_none())
    };
    assert!(header(65_536, 2).unwrap());
    assert!(matches!(
        header(65_537, 2),
        Err(FrameError::Length {
            limit: MAX_DATA,
            ..
        })
    ));
    assert!(matches!(header(0, 3), Err(FrameError::Length { .. })));
    assert!(matches!(
        header(u32::MAX, 0),
        Err(FrameError::Length { .. })
    ));
    assert!(
        matches!(header(10, 1), Err(FrameError::Kind(1))),
        "stdin never comes from the agent"
    );
    assert!(matches!(header(10, 200), Err(FrameError::Kind(200))));
}

#[test]
fn a_message_with_bytes_behind_it_is_refused() {
    let body = [0, 1, 99];
    assert!(matches!(
        decode::<FromAgent>(&frame(0, &body)),
        Err(FrameError::Trailing(1))
    ));
}

#[test]
fn a_message_that_promises_more_than_it_has_is_refused() {
    // A `Start` whose list of arguments claims 2^32 - 1 entries.
    let body = [2, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(matches!(
        decode::<ToAgent>(&frame(0, &body)),
        Err(FrameError::Message(_))
    ));
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let mut bytes = vec![7];
    let huge = start(vec!["x".repeat(ToAgent::MAX_LEN)]);
    assert!(matches!(
        encode(&huge, &mut bytes),
        Err(FrameError::Length { .. })
    ));
    assert_eq!(bytes, [7]);
}

proptest! {
    #[test]
    fn what_is_sent_is_what_arrives(argv in proptest::collection::vec(".*", 1..20), cut in 0.0..1.0_f64) {
        let message = start(argv);
        let bytes = encoded(&message);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let cut = (bytes.len() as f64 * cut) as usize;
        prop_assert_eq!(decode::<ToAgent>(&bytes[..cut]).unwrap(), None);
        let received = decode(&bytes).unwrap().unwrap();
        prop_assert_eq!(received.frame, Frame::Message(message));
        prop_assert_eq!(received.consumed, bytes.len());
    }

    #[test]
    fn a_stream_arrives_whole_and_in_order(data in proptest::collection::vec(any::<u8>(), 0..200_000)) {
        let mut bytes = Vec::new();
        encode_data(Stream::Stderr, &data, &mut bytes);
        let (mut rest, mut arrived) = (&bytes[..], Vec::new());
        while let Some(received) = decode::<FromAgent>(rest).unwrap() {
            let Frame::Data(Stream::Stderr, piece) = received.frame else { panic!("no data") };
            prop_assert!(piece.len() <= MAX_DATA);
            arrived.extend_from_slice(piece);
            rest = &rest[received.consumed..];
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(arrived, data);
    }

    /// Whatever comes, decoding neither panics nor takes more than it was given.
    #[test]
    fn garbage_is_survived(body in proptest::collection::vec(any::<u8>(), 0..300), kind in 0_u8..5, lie in any::<Option<u32>>()) {
        let mut bytes = frame(kind, &body);
        if let Some(length) = lie {
            bytes[..4].copy_from_slice(&length.to_le_bytes());
        }
        let to = decode::<ToAgent>(&bytes).map(|r| r.map(|r| r.consumed));
        let from = decode::<FromAgent>(&bytes).map(|r| r.map(|r| r.consumed));
        for consumed in [to, from].into_iter().flatten().flatten() {
            prop_assert!(consumed <= bytes.len());
        }
    }
}
