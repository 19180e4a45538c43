//! How data flows, and how connections end.

use std::collections::HashMap;

use super::*;

#[test]
fn each_direction_ends_by_itself() {
    let (host, mut driver) = start();
    let mut far = connect(&mut driver, &host, 1);
    // The guest has said all; the host may still answer.
    send(&mut driver, 1, SERVICE, Op::Data, 0, b"question");
    send(&mut driver, 1, SERVICE, Op::Shutdown, NO_SEND, b"");
    assert_eq!(read(&mut far), b"question");
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
    far.write_all(b"answer").unwrap();
    driver.run();
    assert_eq!(only(receive(&mut driver)).1, b"answer");
    // And the other way round.
    let mut far = connect(&mut driver, &host, 2);
    far.write_all(b"all").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    driver.run();
    let packets = receive(&mut driver);
    assert_eq!(packets[0].1, b"all");
    let end = packets[1].0;
    assert_eq!((end.op, end.flags), (Op::Shutdown as u16, NO_SEND));
    send(&mut driver, 2, SERVICE, Op::Data, 0, b"still here");
    assert_eq!(read(&mut far), b"still here");
}

#[test]
fn what_the_host_sent_before_it_closed_arrives_before_the_end() {
    let (host, mut driver) = start();
    let mut far = connect(&mut driver, &host, 1);
    far.write_all(&[7; 10_000]).unwrap();
    drop(far);
    driver.run();
    let packets = receive(&mut driver);
    let total: usize = packets.iter().map(|(_, data)| data.len()).sum();
    assert_eq!(total, 10_000);
    let (last, _) = packets.last().unwrap();
    assert_eq!(
        (last.op, last.flags),
        (Op::Shutdown as u16, NO_SEND | NO_RECEIVE)
    );
    send(&mut driver, 1, SERVICE, Op::Reset, 0, b"");
    connect(&mut driver, &host, 1);
}

#[test]
fn what_the_guest_sent_before_it_vanished_still_arrives() {
    let (host, mut driver) = start();
    let mut far = connect(&mut driver, &host, 1);
    let piece = vec![5; 0x8000];
    let total = usize::try_from(BUFFER).unwrap();
    for _ in 0..total / piece.len() {
        send(&mut driver, 1, SERVICE, Op::Data, 0, &piece);
    }
    send(
        &mut driver,
        1,
        SERVICE,
        Op::Shutdown,
        NO_SEND | NO_RECEIVE,
        b"",
    );
    send(&mut driver, 1, SERVICE, Op::Reset, 0, b"");
    receive(&mut driver);
    // Its name is free while the rest drains.
    connect(&mut driver, &host, 1);
    let mut seen = 0;
    loop {
        match far.read(&mut [0; 0x1000]) {
            Ok(0) => break,
            Ok(count) => seen += count,
            Err(error) => panic!("{error} after {seen} bytes"),
        }
        driver.run();
    }
    assert_eq!(seen, total);
}

#[test]
fn a_slow_reader_stops_only_its_own_connection_and_credit_is_enforced() {
    let (host, mut driver) = start();
    let mut slow = connect(&mut driver, &host, 1);
    let mut quick = connect(&mut driver, &host, 2);
    let piece = vec![5; 0x8000];
    // A socket's own buffer, and then the credit.
    let mut sent = 0;
    let told = loop {
        send(&mut driver, 1, SERVICE, Op::Data, 0, &piece);
        sent += piece.len();
        send(&mut driver, 1, SERVICE, Op::CreditRequest, 0, b"");
        let (header, _) = only(receive(&mut driver));
        assert_eq!(header.op, Op::CreditUpdate as u16);
        assert_eq!(header.buf_alloc, BUFFER);
        if sent - usize::try_from(header.fwd_cnt).unwrap() + piece.len()
            > usize::try_from(BUFFER).unwrap()
        {
            break header.fwd_cnt;
        }
    };
    send(&mut driver, 2, SERVICE, Op::Data, 0, b"not held up");
    assert_eq!(read(&mut quick), b"not held up");
    // Reading gives credit back, without being asked.
    let mut seen = 0;
    while seen < sent {
        let more = read(&mut slow).len();
        assert_ne!(more, 0, "stalled after {seen} of {sent} bytes");
        seen += more;
        driver.run();
    }
    let (header, _) = receive(&mut driver).pop().unwrap();
    assert_eq!(header.op, Op::CreditUpdate as u16);
    assert!(header.fwd_cnt > told);
    // Who ignores the credit loses the connection.
    let overflow = (0..200).any(|_| {
        send(&mut driver, 1, SERVICE, Op::Data, 0, &piece);
        receive(&mut driver)
            .iter()
            .any(|(header, _)| header.op == Op::Reset as u16)
    });
    assert!(overflow, "credit is not enforced");
}

#[test]
fn the_guests_credit_is_kept_to() {
    let (host, mut driver) = start();
    let mut far = connect(&mut driver, &host, 1);
    let credit = |op: Op, alloc, forwarded| Header {
        src_cid: CID,
        dst_cid: 2,
        src_port: 1,
        dst_port: SERVICE,
        kind: 1,
        op: op as u16,
        buf_alloc: alloc,
        fwd_cnt: forwarded,
        ..Header::default()
    };
    send_raw(&mut driver, credit(Op::CreditUpdate, 100, 0), b"");
    far.write_all(&[7; 150]).unwrap();
    driver.run();
    let packets = receive(&mut driver);
    assert_eq!(packets[0].1.len(), 100);
    assert_eq!(packets[1].0.op, Op::CreditRequest as u16);
    assert_eq!(packets.len(), 2);
    send_raw(&mut driver, credit(Op::CreditUpdate, 100, 30), b"");
    assert_eq!(receive(&mut driver)[0].1.len(), 30);
    // A count that can't be gives nothing.
    send_raw(&mut driver, credit(Op::CreditUpdate, 100, 5000), b"");
    assert!(receive(&mut driver).iter().all(|(_, data)| data.is_empty()));
    send_raw(&mut driver, credit(Op::CreditUpdate, 100, 130), b"");
    assert_eq!(receive(&mut driver)[0].1.len(), 20);
}

#[test]
fn connections_take_turns() {
    let (host, mut driver) = start();
    let mut first = connect(&mut driver, &host, 1);
    let mut second = connect(&mut driver, &host, 2);
    first.write_all(&[1; 40_000]).unwrap();
    second.write_all(&[2; 40_000]).unwrap();
    driver.run();
    let packets = receive(&mut driver);
    let ports: Vec<_> = packets.iter().map(|(header, _)| header.dst_port).collect();
    let changes = ports.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes >= 15, "{ports:?}");
}

#[test]
fn thousands_of_connections_work_at_once() {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit {
            current: limits.maximum,
            ..limits
        },
    )
    .unwrap();
    // Both ends of each are in this process.
    let count = limits.maximum.unwrap_or(u64::MAX).saturating_sub(500) / 2;
    let count = u32::try_from(count.min(4000)).unwrap();
    let all = usize::try_from(count).unwrap();
    assert!(count >= 1000, "this process may open too few files");
    let (host, mut driver) = start();
    let mut streams = HashMap::new();
    for port in 0..count {
        streams.insert(port, connect(&mut driver, &host, port));
    }
    for (port, stream) in &mut streams {
        stream.write_all(&port.to_le_bytes()).unwrap();
    }
    driver.run();
    let packets = receive(&mut driver);
    assert_eq!(packets.len(), all);
    for (header, data) in packets {
        assert_eq!(data, header.dst_port.to_le_bytes());
        send(&mut driver, header.dst_port, SERVICE, Op::Data, 0, &data);
        assert_eq!(read(streams.get_mut(&header.dst_port).unwrap()), data);
    }
    // A few that have much to say do not keep the many waiting: each has its turn before any has its second.
    for (port, stream) in &mut streams {
        let more = if *port < 10 { 12_000 } else { 1 };
        stream.write_all(&vec![1; more]).unwrap();
    }
    driver.run();
    let packets = receive(&mut driver);
    let mut first_round: Vec<_> = packets[..all].iter().map(|(h, _)| h.dst_port).collect();
    first_round.sort_unstable();
    assert!(first_round.into_iter().eq(0..count));
    drop(streams);
    driver.run();
    assert_eq!(receive(&mut driver).len(), all);
}

#[test]
fn the_more_connections_there_are_the_less_a_new_one_may_keep() {
    let (host, mut driver) = start();
    let mut streams = Vec::new();
    let mut granted = Vec::new();
    for port in 0..300 {
        send(&mut driver, port, SERVICE, Op::Request, 0, b"");
        granted.push(only(receive(&mut driver)).0.buf_alloc);
        streams.push(host.services.accepted.lock().unwrap().pop());
    }
    assert!(granted.is_sorted_by(|before, after| before >= after));
    assert_eq!((granted[0], granted[299]), (BUFFER, 8 << 10));
    // None of them is reset because the others' readers are slow.
    let piece = vec![5; 0x1000];
    for port in 0..300 {
        send(&mut driver, port, SERVICE, Op::Data, 0, &piece);
    }
    let packets = receive(&mut driver);
    assert!(
        packets
            .iter()
            .all(|(header, _)| header.op == Op::CreditUpdate as u16)
    );
}
