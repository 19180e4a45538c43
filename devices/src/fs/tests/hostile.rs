//! Requests as a fuzzer would write them.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::client::{O_RDWR, ROOT};
use super::place::{Place, read_host};
use super::reply::{Args, u32_at, u64_at};
use crate::fs::wire::op;
use crate::testing::desc;

const REQUEST: u64 = 0x1_0000;
const REPLY: u64 = 0x10_0000;

/// Numbers that mean something here and there, and some that don't.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0_u64..8,
        2 => 0_u64..0x2000,
        1 => any::<u64>(),
        1 => Just(u64::MAX),
        1 => Just(i64::MAX.cast_unsigned()),
    ]
}

fn arguments() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        4 => number().prop_map(|number| number.to_ne_bytes().to_vec()),
        4 => number().prop_map(|number| number.to_ne_bytes()[..4].to_vec()),
        3 => "[a-c]{1,2}".prop_map(|name| Args::new().name(&name).0),
        1 => Just(b"..\0".to_vec()),
        1 => Just(b"user.x\0".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

#[test]
fn any_request_is_answered_well_and_nothing_breaks() {
    let place = Place::new();
    let mut client = place.client();
    let (file, fh) = client.create(ROOT, "a", O_RDWR, 0o644).unwrap();
    client.opendir(ROOT).unwrap();
    client.mkdir(ROOT, "b", 0o755).unwrap();
    client.put(file.node, fh, 0, &[1; 5000]).unwrap();
    let client = RefCell::new(client);
    let opcode = prop_oneof![8 => 1_u32..53, 1 => any::<u32>()];
    let rooms = prop_oneof![
        Just(0_usize),
        Just(15),
        Just(16),
        17_usize..300,
        Just(0x1_0000)
    ];
    let lie =
        prop_oneof![6 => Just(0_i64), 1 => -64_i64..64, 1 => any::<i32>().prop_map(i64::from)];
    let cases = (opcode, number(), arguments(), rooms, lie, 0_usize..200);
    let mut runner = TestRunner::new(Config {
        cases: 4096,
        failure_persistence: None,
        ..Config::default()
    });
    let survived = runner.run(&cases, |(opcode, node, args, room, lie, cut)| {
        let client = &mut *client.borrow_mut();
        // These would end all that the other requests stand on.
        prop_assume!(opcode != op::DESTROY && opcode != op::INIT);
        let mut request = client.header(opcode, node, args.len());
        let unique = u64_at(&request, 8);
        let len = i64::from(u32_at(&request, 0)).saturating_add(lie);
        let len = u32::try_from(len & 0xffff_ffff).unwrap();
        request[..4].copy_from_slice(&len.to_ne_bytes());
        request.extend(&args);
        client.driver.put(REQUEST, &request);
        client.driver.put(REPLY, &[0xa5; 16]);
        // In two pieces that need not lie where a header ends.
        let cut = cut.min(request.len());
        let second = REQUEST + u64::try_from(cut).unwrap();
        let mut buffers = vec![
            desc(REQUEST, cut, false),
            desc(second, request.len() - cut, false),
        ];
        buffers.push(desc(REPLY, room.min(7), true));
        buffers.push(desc(REPLY + 7, room.saturating_sub(7), true));
        buffers.retain(|(_, len, _)| *len > 0);
        let Some(written) = client.driver.request(1, &buffers) else {
            // It waits for a lock.
            prop_assert_eq!(opcode, op::SETLKW);
            client.tell(0, op::INTERRUPT, 0, &Args::new().u64(unique));
            client.driver.rings[1].used();
            return Ok(());
        };
        prop_assert!(usize::try_from(written).unwrap() <= room);
        if written > 0 {
            let head = client.driver.get(REPLY, 16);
            prop_assert_eq!(u32_at(&head, 0), written);
            prop_assert_eq!(u64_at(&head, 8), unique);
            let error = i32::from_ne_bytes(head[4..8].try_into().unwrap());
            prop_assert!((-511..=0).contains(&error));
            prop_assert!(error == 0 || written == 16);
        } else {
            let silent = [op::FORGET, op::BATCH_FORGET, op::INTERRUPT].contains(&opcode);
            prop_assert!(silent || room < 16, "no reply to {}", opcode);
        }
        prop_assert!(!client.driver.is_lost());
        Ok(())
    });
    survived.unwrap();
    assert_eq!(
        read_host(&place.dir.path().join("outside/secret")),
        b"secret"
    );
    let outside = std::fs::read_dir(place.dir.path()).unwrap().count();
    assert_eq!(outside, 2);
    client.borrow_mut().getattr(ROOT).unwrap();
}

#[test]
fn buffers_outside_of_memory_are_errors() {
    let place = Place::new();
    let mut client = place.client();
    let (file, fh) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
    let beyond = 1 << 40;
    let args = Args::new().u64(fh).u64(0).u32(4096).u32(0).bytes(&[0; 16]);
    // Data to write, and room for data that is read.
    for opcode in [op::WRITE, op::READ] {
        let data = if opcode == op::WRITE { 4096 } else { 0 };
        client.put(file.node, fh, 0, &[1; 4096]).unwrap();
        let mut request = client.header(opcode, file.node, args.0.len() + data);
        request.extend(&args.0);
        client.driver.put(REQUEST, &request);
        let mut buffers = vec![desc(REQUEST, 80, false)];
        if data > 0 {
            buffers.push(desc(beyond, data, false));
        }
        buffers.push(desc(REPLY, 16, true));
        if data == 0 {
            buffers.push(desc(beyond, 4096, true));
        }
        let written = client.driver.request(1, &buffers);
        assert_eq!(written, Some(16));
        let head = client.driver.get(REPLY, 16);
        let error = i32::from_ne_bytes(head[4..8].try_into().unwrap());
        assert_eq!(error, -super::number(rustix::io::Errno::FAULT));
    }
    // The arguments, the header, and the reply.
    let names = client.header(op::LOOKUP, ROOT, 10);
    client.driver.put(REQUEST, &names);
    for buffers in [
        [
            desc(REQUEST, 40, false),
            desc(beyond, 10, false),
            desc(REPLY, 100, true),
        ],
        [
            desc(beyond, 40, false),
            desc(REQUEST, 10, false),
            desc(REPLY, 100, true),
        ],
        [
            desc(REQUEST, 40, false),
            desc(REQUEST, 10, false),
            desc(beyond, 100, true),
        ],
    ] {
        assert!(client.driver.request(1, &buffers).is_some());
    }
    client.getattr(ROOT).unwrap();
}
