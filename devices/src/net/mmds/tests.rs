//! The metadata service without a network: data, tokens, and requests as bytes.

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::exchange::Exchange;
use super::token;
use super::{DEFAULT_LIMIT, Mmds, MmdsConfig, MmdsError, Version};

const NOW: Duration = Duration::from_secs(5000);

fn data() -> Value {
    json!({
        "latest": {
            "meta-data": {
                "ami-id": "ami-12345678",
                "network": { "ipv4": "10.9.0.2" },
                "count": 3,
                "tags": ["a", "b"],
                "a/b": "with a slash",
            },
            "user-data": "line 1\nline 2",
        },
        "empty": {},
    })
}

fn mmds(version: Version, imds_compat: bool) -> Mmds {
    let config = MmdsConfig {
        version,
        imds_compat,
        ..MmdsConfig::default()
    };
    let mmds = Mmds::new(config).unwrap();
    mmds.put(data()).unwrap();
    mmds
}

/// Sends bytes as one connection; what comes back, and whether the connection is at its end.
fn exchange(mmds: &Mmds, bytes: &[u8], now: Duration) -> (String, bool) {
    let mut exchange = Exchange::default();
    let mut answers = Vec::new();
    let mut rest = bytes;
    loop {
        while !exchange.output().is_empty() {
            let part = exchange.output().len().min(1000);
            answers.extend(&exchange.output()[..part]);
            exchange.sent(part, mmds, now);
        }
        let part = rest.len().min(exchange.room());
        if part == 0 {
            break;
        }
        exchange.take(&rest[..part], mmds, now);
        rest = &rest[part..];
    }
    (String::from_utf8(answers).unwrap(), exchange.is_over())
}

/// Does one request; the code, the type and the body of the answer.
fn request(mmds: &Mmds, request: &str) -> (u16, String, String) {
    request_at(mmds, request, NOW)
}

fn request_at(mmds: &Mmds, request: &str, now: Duration) -> (u16, String, String) {
    let (answer, _) = exchange(mmds, format!("{request}\r\n\r\n").as_bytes(), now);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().to_owned()
    };
    assert_eq!(field("Content-Length: "), body.len().to_string());
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, field("Content-Type: "), body.to_owned())
}

fn get(mmds: &Mmds, path: &str) -> (u16, String) {
    let (code, _, body) = request(mmds, &format!("GET {path} HTTP/1.1"));
    (code, body)
}

fn ok(body: &str) -> (u16, String) {
    (200, body.into())
}

#[test]
fn text_lists_keys_and_shows_strings() {
    let mmds = mmds(Version::V1, false);
    assert_eq!(get(&mmds, "/"), ok("empty/\nlatest/"));
    assert_eq!(get(&mmds, "/latest"), ok("meta-data/\nuser-data"));
    let keys = "a/b\nami-id\ncount\nnetwork/\ntags";
    assert_eq!(get(&mmds, "/latest/meta-data/"), ok(keys));
    assert_eq!(get(&mmds, "//latest///meta-data//"), ok(keys));
    assert_eq!(get(&mmds, "/latest/meta-data/ami-id"), ok("ami-12345678"));
    assert_eq!(get(&mmds, "/latest/meta-data/a~1b"), ok("with a slash"));
    assert_eq!(get(&mmds, "/latest/user-data?x=/y"), ok("line 1\nline 2"));
    assert_eq!(
        get(&mmds, "http://169.254.169.254/latest/meta-data/ami-id"),
        ok("ami-12345678")
    );
    assert_eq!(get(&mmds, "http://169.254.169.254"), ok("empty/\nlatest/"));
    assert_eq!(get(&mmds, "/empty"), ok(""));
    assert_eq!(get(&mmds, "/latest/meta-data/count").0, 501);
    assert_eq!(get(&mmds, "/latest/meta-data/tags").0, 501);
    assert_eq!(get(&mmds, "/latest/nothing").0, 404);
    assert_eq!(get(&mmds, "/latest/user-data/below").0, 404);
    assert_eq!(get(&Mmds::new(MmdsConfig::default()).unwrap(), "/").0, 404);
}

#[test]
fn json_is_for_those_who_accept_it() {
    let accept = |mmds: &Mmds, kind: &str| {
        let head = format!("GET /latest/meta-data/network HTTP/1.1\r\nAccept: {kind}");
        let (code, kind, body) = request(mmds, &head);
        assert_eq!(code, 200);
        (kind, body)
    };
    let json = (
        "application/json".to_owned(),
        r#"{"ipv4":"10.9.0.2"}"#.to_owned(),
    );
    let text = ("text/plain".to_owned(), "ipv4".to_owned());
    let plain = mmds(Version::V1, false);
    assert_eq!(accept(&plain, "application/json"), json);
    assert_eq!(
        accept(&plain, "text/html;q=0.5, Application/JSON;q=0.9"),
        json
    );
    assert_eq!(accept(&plain, "*/*"), text);
    assert_eq!(accept(&plain, "text/plain"), text);
    assert_eq!(accept(&mmds(Version::V1, true), "application/json"), text);
    let head = "GET /latest/meta-data/tags HTTP/1.1\r\nAccept: application/json";
    assert_eq!(request(&plain, head).2, r#"["a","b"]"#);
}

#[test]
fn version_2_wants_a_token_that_is_its_own_and_not_too_old() {
    let mmds = mmds(Version::V2, false);
    let put = |seconds: &str| {
        let head =
            format!("PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: {seconds}");
        request(&mmds, &head)
    };
    let with = |token: &str, now| {
        let head = format!("GET /latest/user-data HTTP/1.1\r\nX-Metadata-Token: {token}");
        request_at(&mmds, &head, now).0
    };
    let (code, kind, token) = put("60");
    assert_eq!((code, kind.as_str()), (200, "text/plain"));
    assert_eq!(get(&mmds, "/latest/user-data").0, 401);
    assert_eq!(with(&token, NOW), 200);
    assert_eq!(with(&token, NOW + Duration::from_secs(59)), 200);
    assert_eq!(with(&token, NOW + Duration::from_secs(60)), 401);
    for at in 0..token.len() {
        let mut other = token.clone().into_bytes();
        other[at] = if other[at] == b'0' { b'1' } else { b'0' };
        assert_eq!(with(&String::from_utf8(other).unwrap(), NOW), 401);
    }
    assert_eq!(with("", NOW), 401);
    assert_eq!(with(&token[..token.len() - 2], NOW), 401);
    for wrong in ["0", "21601", "-1", "+5", "x", "", "99999999999999999999"] {
        assert_eq!(put(wrong).0, 400, "{wrong}");
    }
    assert_eq!(put("21600").0, 200);
    // Another service's tokens are worth nothing here: each has a key of its own.
    let other = super::tests::mmds(Version::V2, false);
    let head = format!("GET / HTTP/1.1\r\nX-metadata-token: {token}");
    assert_eq!(request(&other, &head).0, 401);
    // EC2's names are the same.
    let ec2 = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60";
    let (_, _, token) = request(&mmds, ec2);
    let head = format!("GET /latest/user-data HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}");
    assert_eq!(request(&mmds, &head).0, 200);
}

#[test]
fn other_requests_are_refused() {
    let mmds = mmds(Version::V1, false);
    for method in ["POST", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
        let (answer, _) = exchange(
            &mmds,
            format!("{method} / HTTP/1.1\r\n\r\n").as_bytes(),
            NOW,
        );
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("\r\nAllow: GET, PUT\r\n"));
    }
    let code = |head: &str| request(&mmds, head).0;
    let ttl = "X-metadata-token-ttl-seconds: 60";
    assert_eq!(code(&format!("PUT /latest/api HTTP/1.1\r\n{ttl}")), 404);
    assert_eq!(code("PUT /latest/api/token HTTP/1.1"), 400);
    let forwarded = format!("PUT /latest/api/token HTTP/1.1\r\n{ttl}\r\nX-Forwarded-For: 1.2.3.4");
    assert_eq!(code(&forwarded), 400);
    assert_eq!(code("GET / HTTP/1.1\r\nTransfer-Encoding: chunked"), 400);
    assert_eq!(code("GET / HTTP/1.1\r\nContent-Length: 1000000000"), 400);
    assert_eq!(code("nonsense"), 400);
    assert_eq!(code(&format!("GET /{} HTTP/1.1", "a".repeat(5000))), 431);
    let many = "X: y\r\n".repeat(40);
    assert_eq!(code(&format!("GET / HTTP/1.1\r\n{}", many.trim_end())), 400);
}

#[test]
fn connections_stay_open_as_long_as_both_want() {
    let mmds = mmds(Version::V1, false);
    let get = "GET /latest/meta-data/ami-id HTTP/1.1\r\n\r\n";
    let put = "PUT /nowhere HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345";
    let (answers, over) = exchange(&mmds, [get, put, get].concat().as_bytes(), NOW);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!(answers.matches("HTTP/1.1 404 ").count(), 1);
    assert!(!over);
    let close = "GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
    for last in [close, "GET / HTTP/1.0\r\n\r\n", "rubbish\r\n\r\n"] {
        let (answers, over) = exchange(&mmds, [get, last, get].concat().as_bytes(), NOW);
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
        assert!(answers.contains("Connection: close"));
        assert!(over);
    }
}

#[test]
fn the_host_puts_patches_and_gets() {
    let mmds = Mmds::new(MmdsConfig::default()).unwrap();
    assert_eq!(mmds.get(), None);
    assert!(matches!(mmds.patch(&json!({})), Err(MmdsError::Empty)));
    assert!(matches!(mmds.put(json!("x")), Err(MmdsError::NotAnObject)));
    mmds.put(json!({ "a": { "b": 1, "c": 2 } })).unwrap();
    mmds.patch(&json!({ "a": { "b": null, "d": { "e": null, "f": 3 } } }))
        .unwrap();
    let expected = json!({ "a": { "c": 2, "d": { "f": 3 } } });
    assert_eq!(mmds.get(), Some(expected.clone()));
    assert!(matches!(
        mmds.patch(&json!([])),
        Err(MmdsError::NotAnObject)
    ));
    // What is too long changes nothing.
    let long = "x".repeat(DEFAULT_LIMIT);
    let too_long = json!({ "long": long });
    assert!(matches!(
        mmds.put(too_long.clone()),
        Err(MmdsError::TooLarge { .. })
    ));
    assert!(matches!(
        mmds.patch(&too_long),
        Err(MmdsError::TooLarge { .. })
    ));
    assert_eq!(mmds.get(), Some(expected));
    let fits = json!({ "": "x".repeat(DEFAULT_LIMIT - 7) });
    assert_eq!(fits.to_string().len(), DEFAULT_LIMIT);
    mmds.put(fits).unwrap();
    // All of it can be had.
    assert_eq!(get(&mmds, "/").0, 200);
    let head = "GET / HTTP/1.1\r\nAccept: application/json";
    assert_eq!(request(&mmds, head).2.len(), DEFAULT_LIMIT);
}

#[test]
fn merge_patches_are_those_of_the_specification() {
    // RFC 7396, appendix A, as far as both sides are objects.
    let cases = [
        (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
        (json!({"a":"b"}), json!({"a":null}), json!({})),
        (
            json!({"a":"b","b":"c"}),
            json!({"a":null}),
            json!({"b":"c"}),
        ),
        (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
        (
            json!({"a":{"b":"c"}}),
            json!({"a":{"b":"d","c":null}}),
            json!({"a":{"b":"d"}}),
        ),
        (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
        (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        (
            json!({}),
            json!({"a":{"bb":{"ccc":null}}}),
            json!({"a":{"bb":{}}}),
        ),
    ];
    for (target, patch, result) in cases {
        let mmds = Mmds::new(MmdsConfig::default()).unwrap();
        mmds.put(target).unwrap();
        mmds.patch(&patch).unwrap();
        assert_eq!(mmds.get(), Some(result));
    }
}

#[test]
fn addresses_are_link_local() {
    let with = |ipv4_address| {
        Mmds::new(MmdsConfig {
            ipv4_address,
            ..MmdsConfig::default()
        })
    };
    assert!(with(Ipv4Addr::new(169, 254, 1, 0)).is_ok());
    assert!(with(Ipv4Addr::new(169, 254, 254, 255)).is_ok());
    for wrong in [
        [169, 254, 0, 1],
        [169, 254, 255, 1],
        [169, 253, 1, 1],
        [10, 0, 0, 1],
    ] {
        assert!(matches!(with(wrong.into()), Err(MmdsError::Address(_))));
    }
}

#[test]
fn proofs_are_hmac_sha_256() {
    // RFC 4231, test cases 1 and 2.
    let key = |bytes: &[u8]| {
        let mut key = [0; 64];
        key[..bytes.len()].copy_from_slice(bytes);
        key
    };
    assert_eq!(
        hex::encode(token::prove(&key(&[0x0b; 20]), b"Hi There")),
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    );
    assert_eq!(
        hex::encode(token::prove(&key(b"Jefe"), b"what do ya want for nothing?")),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

/// Text that is nearly a request.
fn nearly_http() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "GET ",
        "PUT ",
        "/latest/api/token",
        "/",
        "*",
        " HTTP/1.1",
        " HTTP/1.0",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "X-metadata-token-ttl-seconds: ",
        "X-metadata-token: ",
        "Content-Length: ",
        "4096",
        "60",
        "Accept: application/json",
        "Connection: keep-alive",
        "Transfer-Encoding: chunked",
        "\0",
        "é",
        ":",
        "~1",
        "%2f",
    ]);
    let bytes = prop::collection::vec(any::<u8>(), 0..20);
    let piece = prop_oneof![4 => pieces.prop_map(|piece| piece.as_bytes().to_vec()), 1 => bytes];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever bytes come, in whatever portions: no panic, no growth, the same answers.
    #[test]
    fn any_bytes_can_come(bytes in nearly_http(), cuts in prop::collection::vec(1_usize..200, 1..10)) {
        let mmds = mmds(Version::V2, false);
        let mut exchange_in_parts = Exchange::default();
        let mut answers = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            answers.extend(exchange_in_parts.output());
            let count = exchange_in_parts.output().len();
            prop_assert!(count <= DEFAULT_LIMIT + 5000);
            exchange_in_parts.sent(count, &mmds, NOW);
            if !exchange_in_parts.output().is_empty() {
                continue;
            }
            let part = rest.len().min(exchange_in_parts.room()).min(*cut);
            if part == 0 {
                break;
            }
            exchange_in_parts.take(&rest[..part], &mmds, NOW);
            rest = &rest[part..];
        }
        let (at_once, over) = exchange(&mmds, &bytes, NOW);
        let codes = |answers: &str| answers.lines().filter(|line| line.starts_with("HTTP/")).map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(codes(&String::from_utf8(answers).unwrap()), codes(&at_once));
        prop_assert_eq!(exchange_in_parts.is_over(), over);
    }
}
