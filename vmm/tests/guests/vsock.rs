//! Sockets between host and guest: thousands of connections at once, of which one that stalls stalls only itself.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use crate::common::no_kvm;
use crate::shell::{Machine, await_that};

/// Connections that each side makes.
const EACH: usize = 1000;
/// What the connection carries that the guest does not read at first.
const UNREAD: usize = 2 << 20;

#[test]
fn thousands_of_connections_are_open_at_once_and_one_stalls_only_itself() {
    if no_kvm() {
        return;
    }
    let machine = Machine::with(
        1,
        192,
        "acpi=off",
        &[("vsock.pl", include_str!("vsock.pl"))],
    );
    let mut guest = machine.programs_of_the_host().boot();
    let before = guest.descriptors();
    let listener = UnixListener::bind(guest.path("vsock_5000")).unwrap();
    guest.sh("mount -t virtiofs usr /usr; ulimit -n 4096");
    guest.begin(&format!("/usr/bin/perl /bin/vsock.pl {EACH} {UNREAD}"));
    guest.await_line("listening");
    let mut theirs: Vec<_> = (0..EACH).map(|_| listener.accept().unwrap().0).collect();
    guest.await_line("connected");
    let mut mine = connect(&guest.path("vsock"));
    guest.await_line("accepted");
    assert!(guest.descriptors() >= before + 2 * EACH);
    round("all", &mut theirs, &mut mine);

    let (mut full, mut unread) = (theirs.remove(0), mine.remove(0));
    let stalled = guest.line("stalled after ");
    let writer = thread::spawn(move || unread.write_all(&vec![b'y'; UNREAD]));
    round("others", &mut theirs, &mut mine);
    guest.await_line("others went on");
    guest.await_line(&format!("took {UNREAD}"));
    writer.join().unwrap().unwrap();
    assert!(stalled > 0 && stalled < 1 << 20, "{stalled} bytes");
    let mut sent = Vec::new();
    full.read_to_end(&mut sent).unwrap();
    assert_eq!((sent.len(), sent[0]), (stalled, b'x'));
    assert_eq!(guest.status(), (0, String::new()));
    drop((theirs, mine, full));
    // What is left are files of the shared programs.
    await_that("all is closed", || guest.descriptors() < before + EACH / 10);
    guest.power_off();
}

/// Makes the host's half of the connections.
fn connect(socket: &Path) -> Vec<UnixStream> {
    // As many at a time as the device greets.
    const TURN: usize = 100;
    let mut all = Vec::new();
    while all.len() < EACH {
        let turn = (0..TURN).map(|_| {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.write_all(b"CONNECT 6000\n").unwrap();
            stream
        });
        let mut turn: Vec<_> = turn.collect();
        for stream in &mut turn {
            let greeting = line(stream);
            assert!(greeting.starts_with("OK "), "{greeting}");
        }
        all.append(&mut turn);
    }
    all
}

/// What the guest says on connections of its own comes back; on the others it is the guest that answers.
fn round(name: &str, theirs: &mut [UnixStream], mine: &mut [UnixStream]) {
    for (number, stream) in theirs.iter_mut().enumerate() {
        let said = line(stream);
        assert_eq!(said, format!("{name} {number}\n"));
        stream.write_all(said.as_bytes()).unwrap();
    }
    for (number, stream) in mine.iter_mut().enumerate() {
        stream
            .write_all(format!("host {number}\n").as_bytes())
            .unwrap();
    }
    for (number, stream) in mine.iter_mut().enumerate() {
        assert_eq!(line(stream), format!("host {number}\n"));
    }
}

fn line(stream: &mut UnixStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "it ended: {line:?}");
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}
