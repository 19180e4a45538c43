//! Guests that break the rules.

use super::*;

#[test]
fn what_the_guest_asks_for_wrongly_is_reset() {
    let (_host, mut driver) = start();
    let reset = |driver: &mut Driver| only(receive(driver)).0;
    send(&mut driver, 1, 99, Op::Request, 0, b"");
    let header = reset(&mut driver);
    assert_eq!(
        (header.op, header.src_port, header.dst_port),
        (Op::Reset as u16, 99, 1)
    );
    send(&mut driver, 1, SERVICE, Op::Data, 0, b"to nobody");
    assert_eq!(reset(&mut driver).op, Op::Reset as u16);
    send(&mut driver, 1, SERVICE, Op::Reset, 0, b"");
    assert!(receive(&mut driver).is_empty(), "a reset was answered");
    let mut other = Header {
        src_cid: CID,
        dst_cid: 7,
        kind: 1,
        op: 1,
        ..Header::default()
    };
    send_raw(&mut driver, other, b"");
    assert_eq!(reset(&mut driver).src_cid, 7);
    (other.dst_cid, other.kind) = (2, 2);
    send_raw(&mut driver, other, b"");
    assert_eq!(reset(&mut driver).kind, 2);
    (other.kind, other.len) = (1, 100);
    send_raw(&mut driver, other, b"short");
    assert_eq!(reset(&mut driver).op, Op::Reset as u16);
    other.src_cid = 4;
    send_raw(&mut driver, other, b"");
    assert!(receive(&mut driver).is_empty(), "someone else was answered");
}

#[test]
fn an_end_that_has_no_room_with_the_guest_does_not_keep_the_host_busy() {
    let (host, mut driver) = start();
    let mut far = connect(&mut driver, &host, 1);
    // It takes the last buffer of the guest.
    far.write_all(b"data").unwrap();
    driver.run();
    send(&mut driver, 1, SERVICE, Op::Shutdown, NO_SEND, b"");
    drop(far);
    // It would panic if the event loop never came to rest.
    driver.run();
    let ops: Vec<_> = receive(&mut driver).iter().map(|got| got.0.op).collect();
    assert_eq!(ops, [Op::Data as u16, Op::Shutdown as u16]);
}

#[test]
fn a_second_request_on_a_connection_resets_it() {
    let (host, mut driver) = start();
    let mut far = connect(&mut driver, &host, 1);
    send(&mut driver, 1, SERVICE, Op::Request, 0, b"");
    assert_eq!(only(receive(&mut driver)).0.op, Op::Reset as u16);
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
    connect(&mut driver, &host, 1);
}

#[test]
fn refusals_without_room_hold_up_the_guest_and_not_the_host() {
    let (_host, mut driver) = start();
    let header = Header {
        src_cid: CID,
        dst_cid: 2,
        src_port: 1,
        dst_port: 1,
        kind: 1,
        op: Op::Data as u16,
        ..Header::default()
    };
    driver.put(TX_AT, &header.to_bytes());
    for _ in 0..255 {
        driver.rings[TX].add(&[desc(TX_AT, HEADER, false)]);
    }
    driver.kick(1);
    assert_eq!(driver.rings[TX].used().len(), 255);
    for _ in 0..255 {
        driver.rings[TX].add(&[desc(TX_AT, HEADER, false)]);
    }
    driver.kick(1);
    assert_eq!(driver.rings[TX].used().len(), 1);
    assert_eq!(receive(&mut driver).len(), 510);
    assert_eq!(driver.rings[TX].used().len(), 254);
}

fn any_header() -> impl Strategy<Value = Header> {
    let cid = || prop_oneof![8 => Just(CID), 8 => Just(2), 1 => any::<u64>()];
    let port = || prop_oneof![8 => 0_u32..4, 4 => Just(SERVICE), 4 => 1 << 30..(1_u32 << 30) + 4, 1 => any::<u32>()];
    let number = || prop_oneof![4 => 0_u32..512, 1 => any::<u32>()];
    let tail = (
        prop_oneof![8 => Just(1_u16), 1 => any::<u16>()],
        prop_oneof![8 => 0_u16..8, 1 => any::<u16>()],
        number(),
        number(),
        number(),
    );
    (cid(), cid(), port(), port(), number(), tail).prop_map(
        |(src_cid, dst_cid, src_port, dst_port, len, (kind, op, flags, buf_alloc, fwd_cnt))| {
            Header {
                src_cid,
                dst_cid,
                src_port,
                dst_port,
                len,
                kind,
                op,
                flags,
                buf_alloc,
                fwd_cnt,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn headers_survive_the_wire(header in any_header()) {
        prop_assert_eq!(Header::from_bytes(&header.to_bytes()), header);
    }

    /// Whatever packets come, and whatever clients and services do meanwhile, the device works afterwards.
    #[test]
    fn random_packets_are_harmless(steps in prop::collection::vec((any_header(), 0_usize..512, 0_u8..6), 1..64)) {
        let (mut host, mut driver) = start();
        let mut clients = Vec::new();
        for (header, len, step) in steps {
            match step {
                0 => {
                    let mut client = host.client();
                    let _ = writeln!(client, "CONNECT {}", header.dst_port);
                    clients.push(client);
                }
                1 => { clients.pop(); }
                2 => { host.services.accepted.lock().unwrap().pop(); }
                3 => for far in host.services.accepted.lock().unwrap().iter_mut() {
                    let _ = far.write(&[1; 700]);
                },
                4 => { receive(&mut driver); }
                _ => send_raw(&mut driver, header, &vec![1; len]),
            }
            driver.run();
        }
        driver.start(u64::MAX);
        host.use_it(&mut driver);
    }
}
