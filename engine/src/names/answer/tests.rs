use hickory_proto::op::Query;
use proptest::prelude::*;

use super::*;
use crate::names::book::{Book, Entry, Page};
use crate::network::{Link, Tenant};

const A_CONTAINER: &str = "10.9.0.2";

fn entry(id: &str, names: &[&str], addresses: &[&str]) -> Entry {
    Entry {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        tenant: Some(Tenant {
            id: id.to_owned(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            servers: Vec::new(),
            links: Vec::new(),
        }),
    }
}

/// `a` is in `front` and `back`, which is internal; `b` in front, `c` in back, `d` in the default network with `a`.
fn book(here: &str) -> Book {
    let page = |id: &str, name: &str, internal, entries| Page {
        id: id.to_owned().try_into().unwrap(),
        name: name.to_owned(),
        internal,
        entries,
    };
    let alone = Entry {
        addresses: vec!["10.9.0.9".parse().unwrap()],
        tenant: None,
    };
    Book {
        here: here.to_owned().try_into().unwrap(),
        pages: vec![
            page(
                "00000001",
                "Front",
                false,
                vec![
                    entry("a", &["web", "aaaaaaaaaaaa"], &[A_CONTAINER, "fd00::2"]),
                    entry("b", &["b1", "pool"], &["10.9.0.3"]),
                    entry("e", &["b2", "pool"], &["10.9.0.4"]),
                    alone,
                ],
            ),
            page(
                "00000002",
                "back",
                true,
                vec![
                    entry("a", &["web"], &["10.8.0.2"]),
                    entry("c", &["db"], &["10.8.0.3"]),
                ],
            ),
            page(
                "00000003",
                "bridge",
                false,
                vec![
                    entry("a", &[], &["10.7.0.2"]),
                    entry("d", &["hidden"], &["10.7.0.3"]),
                ],
            ),
        ],
        servers: vec!["192.0.2.53".parse().unwrap()],
    }
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn ask(here: &str, asker: &str, name: &str, kind: RecordType) -> Verdict {
    let book = book(here);
    let view = book.view(asker.parse().unwrap()).unwrap();
    judge(&question(name, kind), &view, 512)
}

/// The data of an answer.
fn data(verdict: &Verdict) -> Vec<String> {
    let Verdict::Reply(bytes) = verdict else {
        panic!("{verdict:?}")
    };
    let message = Message::from_vec(bytes).unwrap();
    assert_eq!(message.metadata.id, 4711);
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    message
        .answers
        .iter()
        .map(|one| one.data.to_string())
        .collect()
}

fn code(verdict: &Verdict) -> ResponseCode {
    let Verdict::Reply(bytes) = verdict else {
        panic!("{verdict:?}")
    };
    Message::from_vec(bytes).unwrap().metadata.response_code
}

#[test]
fn a_container_finds_others_in_all_of_its_networks_and_in_no_other() {
    let front = |name: &str| ask("00000001", A_CONTAINER, name, RecordType::A);
    assert_eq!(data(&front("b1.")), ["10.9.0.3"]);
    assert_eq!(data(&front("B1.")), ["10.9.0.3"]);
    assert_eq!(data(&front("b1.front.")), ["10.9.0.3"]);
    assert_eq!(data(&front("db.")), ["10.8.0.3"]);
    assert_eq!(data(&front("aaaaaaaaaaaa.")), [A_CONTAINER]);
    // Names of the default network are nobody's, and what b is not in it does not know.
    let elsewhere = Verdict::Forward(vec!["192.0.2.53".parse().unwrap()]);
    assert_eq!(front("hidden."), elsewhere);
    assert_eq!(front("b1.back."), elsewhere);
    assert_eq!(ask("00000001", "10.9.0.3", "db.", RecordType::A), elsewhere);
    // A microVM that is no container's knows the names of its network.
    let alone = ask("00000001", "10.9.0.9", "b1.", RecordType::A);
    assert_eq!(data(&alone), ["10.9.0.3"]);
    // Whoever has no place in it knows nothing.
    assert!(
        book("00000001")
            .view("10.9.0.77".parse().unwrap())
            .is_none()
    );
}

#[test]
fn a_link_is_a_name_of_one_container_s_own() {
    let mut book = book("00000001");
    let link = |container: &str, alias: &str| Link {
        container: container.to_owned(),
        alias: alias.to_owned(),
    };
    let full = "aaaaaaaaaaaa0000000000000000000000000000000000000000000000000000";
    let links = vec![link("b2", "store"), link(full, "self"), link("x", "none")];
    if let Some(tenant) = &mut book.pages[0].entries[0].tenant {
        tenant.links = links;
    }
    let ask = |asker: &str, name: &str| {
        let view = book.view(asker.parse().unwrap()).unwrap();
        judge(&question(name, RecordType::A), &view, 512)
    };
    assert_eq!(data(&ask(A_CONTAINER, "store.")), ["10.9.0.4"]);
    assert_eq!(data(&ask(A_CONTAINER, "self.")), [A_CONTAINER]);
    assert!(matches!(ask(A_CONTAINER, "none."), Verdict::Forward(_)));
    assert!(matches!(ask("10.9.0.3", "store."), Verdict::Forward(_)));
}

#[test]
fn each_kind_of_address_has_its_own_answer_and_a_name_without_one_is_known_all_the_same() {
    let front = |name: &str, kind| ask("00000001", A_CONTAINER, name, kind);
    assert_eq!(data(&front("web.front.", RecordType::AAAA)), ["fd00::2"]);
    assert!(data(&front("b1.", RecordType::AAAA)).is_empty());
    assert!(data(&front("b1.", RecordType::MX)).is_empty());
    let mut both = data(&front("pool.", RecordType::A));
    both.sort();
    assert_eq!(both, ["10.9.0.3", "10.9.0.4"]);
    let back = front("3.0.9.10.in-addr.arpa.", RecordType::PTR);
    assert_eq!(data(&back), ["b1.Front."]);
    let other = front("1.2.0.192.in-addr.arpa.", RecordType::PTR);
    assert!(matches!(other, Verdict::Forward(_)));
}

#[test]
fn nothing_is_asked_outside_for_who_is_in_internal_networks_only() {
    let verdict = ask("00000002", "10.8.0.3", "example.org.", RecordType::A);
    assert_eq!(code(&verdict), ResponseCode::ServFail);
    let verdict = ask("00000002", "10.8.0.3", "web.", RecordType::A);
    assert_eq!(data(&verdict), ["10.8.0.2"]);
    // What is in another network, too, may.
    let verdict = ask("00000002", "10.8.0.2", "example.org.", RecordType::A);
    assert!(matches!(verdict, Verdict::Forward(_)));
}

#[test]
fn what_does_not_fit_is_cut_short_and_says_so() {
    let mut book = book("00000001");
    let many = (0..200).map(|last| entry("x", &["many"], &[&format!("10.9.1.{last}")]));
    book.pages[0].entries.extend(many);
    let view = book.view(A_CONTAINER.parse().unwrap()).unwrap();
    let asked = question("many.", RecordType::A);
    let Verdict::Reply(short) = judge(&asked, &view, room(&asked)) else {
        panic!()
    };
    assert!(short.len() <= 512);
    assert!(Message::from_vec(&short).unwrap().metadata.truncation);
    assert_eq!(data(&judge(&asked, &view, 65535)).len(), 200);
}

#[test]
fn what_is_no_question_is_refused_or_ignored() {
    let book = book("00000001");
    let view = book.view(A_CONTAINER.parse().unwrap()).unwrap();
    let plain = question("web.", RecordType::A);
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = plain.clone();
        change(&mut bytes);
        judge(&bytes, &view, 512)
    };
    assert_eq!(with(|bytes| bytes.truncate(11)), Verdict::Ignore);
    assert_eq!(with(|bytes| bytes[2] |= 0x80), Verdict::Ignore);
    assert_eq!(code(&with(|bytes| bytes[2] |= 0x28)), ResponseCode::NotImp);
    for broken in [
        with(|bytes| bytes[4] = 0xff),
        with(|bytes| bytes.truncate(14)),
        with(|bytes| bytes[12] = 0xc0),
    ] {
        assert_eq!(code(&broken), ResponseCode::FormErr);
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..600), plain in any::<bool>()) {
        let book = book("00000001");
        let view = book.view(A_CONTAINER.parse().unwrap()).unwrap();
        let mut bytes = bytes;
        if plain && bytes.len() >= HEADER {
            bytes[2..HEADER].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
        let room = room(&bytes);
        if let Verdict::Reply(answer) = judge(&bytes, &view, room) {
            prop_assert!(answer.len() <= room.max(bytes.len()));
        }
    }
}
