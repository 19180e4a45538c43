//! How connections begin, from either side.

use super::*;

#[test]
fn a_client_reaches_the_guest_and_data_right_behind_the_handshake_is_not_lost() {
    let (host, mut driver) = start();
    let mut client = host.client();
    client.write_all(b"CONNECT 52\nfirst words").unwrap();
    driver.run();
    let (request, _) = only(receive(&mut driver));
    send(&mut driver, 52, request.src_port, Op::Response, 0, b"");
    assert_eq!(
        read(&mut client),
        format!("OK {}\n", request.src_port).as_bytes()
    );
    let (header, data) = only(receive(&mut driver));
    assert_eq!(
        (header.op, data.as_slice()),
        (Op::Data as u16, &b"first words"[..])
    );
}

#[test]
fn a_handshake_may_come_in_pieces_and_nonsense_is_hung_up_on() {
    let (host, mut driver) = start();
    let mut slow = host.client();
    for piece in ["CONN", "ECT 7", "\n"] {
        assert!(receive(&mut driver).is_empty());
        slow.write_all(piece.as_bytes()).unwrap();
        driver.run();
    }
    assert_eq!(only(receive(&mut driver)).0.dst_port, 7);
    for nonsense in [
        "GET / HTTP/1.1\n",
        "CONNECT\n",
        "CONNECT 4294967296\n",
        "CONNECT 1 2\n",
        &"x".repeat(32),
    ] {
        let mut client = host.client();
        client.write_all(nonsense.as_bytes()).unwrap();
        driver.run();
        // Closed, or reset because something was left unread.
        let end = client.read(&mut [0]);
        let hung_up = match &end {
            Ok(count) => *count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(hung_up, "{nonsense}: {end:?}");
        assert!(receive(&mut driver).is_empty());
    }
}

#[test]
fn a_refusal_by_the_guest_ends_the_clients_stream() {
    let (host, mut driver) = start();
    let mut client = host.client();
    client.write_all(b"CONNECT 9\n").unwrap();
    driver.run();
    let (request, _) = only(receive(&mut driver));
    send(&mut driver, 9, request.src_port, Op::Reset, 0, b"");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_vmm_can_dial_the_guest() {
    let mut host = Host::new();
    let vsock = host.vsock();
    let dialer = vsock.dialer();
    let mut driver = Driver::new(Box::new(vsock));
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let dial = || {
        let (near, far) = UnixStream::pair().unwrap();
        let outcomes = Arc::clone(&outcomes);
        let told = Box::new(move |outcome| outcomes.lock().unwrap().push(outcome));
        dialer.dial(1025, near, told).unwrap();
        far
    };
    let heard = || std::mem::take(&mut *outcomes.lock().unwrap());
    let _early = dial();
    driver.run();
    assert_eq!(heard(), [DialOutcome::Refused], "there is no driver yet");
    driver.start(u64::MAX);
    let mut far = dial();
    driver.run();
    let (request, _) = only(receive(&mut driver));
    assert_eq!((request.op, request.dst_port), (Op::Request as u16, 1025));
    send(&mut driver, 1025, request.src_port, Op::Response, 0, b"");
    assert_eq!(heard(), [DialOutcome::Accepted]);
    far.write_all(b"x").unwrap();
    driver.run();
    assert_eq!(only(receive(&mut driver)).1, b"x");
    let _far = dial();
    driver.run();
    let (request, _) = only(receive(&mut driver));
    send(&mut driver, 1025, request.src_port, Op::Reset, 0, b"");
    assert_eq!(heard(), [DialOutcome::Refused]);
    let _far = dial();
    driver.run();
    driver.start(u64::MAX);
    assert_eq!(heard(), [DialOutcome::Refused], "the guest started again");
}

#[test]
fn the_first_connection_is_told_once() {
    let (host, mut driver) = start();
    assert_eq!(host.firsts.load(Ordering::SeqCst), 0);
    let _far = connect(&mut driver, &host, 1);
    let _far = connect(&mut driver, &host, 2);
    assert_eq!(host.firsts.load(Ordering::SeqCst), 1);
}

#[test]
fn services_are_found_by_path() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("v.sock_1024")).unwrap();
    let mut connector = UnixConnector::new(dir.path().join("v.sock"));
    let mut near = connector.connect(1024).unwrap();
    near.write_all(b"hi").unwrap();
    let mut bytes = [0; 2];
    listener.accept().unwrap().0.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hi");
    assert!(connector.connect(1025).is_err());
    assert!(UnixConnector::new("x".repeat(200)).connect(1).is_err());
}

#[test]
fn addresses_that_are_no_guests_are_refused() {
    for guest_cid in [0, 1, 2, u64::from(u32::MAX), u64::MAX] {
        let result = Vsock::new(VsockConfig { guest_cid }, Host::new().backend());
        assert!(matches!(result, Err(VsockError::Cid(cid)) if cid == guest_cid));
    }
}

#[test]
fn clients_that_never_say_a_word_do_not_keep_others_out() {
    let (host, mut driver) = start();
    let mut silent: Vec<_> = (0..256).map(|_| host.client()).collect();
    driver.run();
    let mut client = host.client();
    writeln!(client, "CONNECT 52").unwrap();
    let request = driver.run_until(|driver| receive(driver).pop());
    assert_eq!(request.0.dst_port, 52);
    // Only as many had to go as there were others for, and the oldest first.
    let is_open = |client: &mut UnixStream| {
        let read = client.read(&mut [0]);
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    let open: Vec<_> = silent.iter_mut().map(is_open).collect();
    assert!(!open[0] && open[1..].iter().all(|open| *open));
}
