//! Locks between processes, guests and the host.

use std::os::fd::AsRawFd;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::client::{Client, O_RDWR, ROOT};
use super::number;
use super::place::{Place, make_host};
use super::reply::{Args, u32_at, u64_at};
use crate::fs::host::{LockKind, Range, lock_range};
use crate::fs::wire::op;
use std::os::fd::AsFd;

const READ: u32 = 0;
const WRITE: u32 = 1;
const UNLOCK: u32 = 2;
const ALL: (u64, u64) = (0, i64::MAX.cast_unsigned());

fn args(fh: u64, owner: u64, (first, last): (u64, u64), kind: u32, flock: bool) -> Args {
    Args::new()
        .u64(fh)
        .u64(owner)
        .u64(first)
        .u64(last)
        .u32(kind)
        .u32(pid(owner))
        .u32(flock.into())
        .u32(0)
}

/// The process that asks for an owner's locks.
fn pid(owner: u64) -> u32 {
    u32::try_from(owner).unwrap() + 1000
}

/// A file with two handles.
fn setup(place: &Place) -> (Client, u64, [u64; 2]) {
    make_host(&place.path("file"), &[0; 100]);
    let mut client = place.client();
    let file = client.lookup(ROOT, "file").unwrap().node;
    let handles = [(); 2].map(|()| client.open(file, O_RDWR).unwrap().0);
    (client, file, handles)
}

#[test]
fn ranges_are_shared_or_exclusive() {
    let place = Place::new();
    let (mut client, file, [one, two]) = setup(&place);
    let mut set = |fh, owner, range, kind| {
        let args = args(fh, owner, range, kind, false);
        client.call(op::SETLK, file, &args).map(drop)
    };
    let taken = Err(number(Errno::AGAIN));
    assert_eq!(set(one, 1, (0, 9), WRITE), Ok(()));
    assert_eq!(set(two, 2, (5, 14), READ), taken);
    assert_eq!(set(two, 2, (10, 14), WRITE), Ok(()));
    assert_eq!(set(one, 1, (0, 9), READ), Ok(()));
    assert_eq!(set(two, 2, (0, 4), READ), Ok(()));
    assert_eq!(set(one, 1, (4, 4), WRITE), taken);
    // One owner is never in its own way, through whatever handle.
    assert_eq!(set(two, 1, (5, 9), WRITE), Ok(()));
    assert_eq!(set(two, 2, ALL, UNLOCK), Ok(()));
    assert_eq!(set(one, 1, ALL, WRITE), Ok(()));
    assert_eq!(set(one, 3, ALL, UNLOCK), Ok(()));
    assert_eq!(set(one, 1, (5, 4), WRITE), Err(number(Errno::INVAL)));
    assert_eq!(
        set(one, 1, (u64::MAX, u64::MAX), WRITE),
        Err(number(Errno::INVAL))
    );
    assert_eq!(set(one, 1, ALL, 7), Err(number(Errno::INVAL)));
    assert_eq!(set(99, 1, ALL, WRITE), Err(number(Errno::BADF)));
}

#[test]
fn conflicts_are_shown() {
    let place = Place::new();
    let (mut client, file, [one, two]) = setup(&place);
    let set = args(one, 1, (10, 19), WRITE, false);
    client.call(op::SETLK, file, &set).unwrap();
    let mut get = |owner| {
        let args = args(two, owner, ALL, READ, false);
        let reply = client.call(op::GETLK, file, &args).unwrap();
        let (first, last) = (u64_at(&reply, 0), u64_at(&reply, 8));
        (first, last, u32_at(&reply, 16), u32_at(&reply, 20))
    };
    // With the process that asked for the lock.
    assert_eq!(get(2), (10, 19, WRITE, pid(1)));
    assert_eq!(get(1), (0, ALL.1, UNLOCK, 0));
    // A lock of the host's, which is no process of the guest.
    let host = std::fs::File::options()
        .write(true)
        .open(place.path("file"))
        .unwrap();
    let range = Range { first: 0, last: 5 };
    lock_range(host.as_fd(), LockKind::Write, range).unwrap();
    assert_eq!(get(1), (0, 5, WRITE, 0));
}

#[test]
fn closing_gives_all_of_a_process_locks_up() {
    let place = Place::new();
    let (mut client, file, [one, two]) = setup(&place);
    for owner in [1, 2] {
        let range = (owner * 10, owner * 10 + 9);
        let set = args(one, owner, range, WRITE, false);
        client.call(op::SETLK, file, &set).unwrap();
    }
    client.flush(file, two, 1).unwrap();
    let first = args(two, 3, (10, 19), WRITE, false);
    client.call(op::SETLK, file, &first).unwrap();
    let second = args(two, 3, (20, 29), WRITE, false);
    let taken = client.call(op::SETLK, file, &second);
    assert_eq!(taken, Err(number(Errno::AGAIN)));
}

#[test]
fn the_hosts_locks_count() {
    let place = Place::new();
    let (mut client, file, [one, _]) = setup(&place);
    let host = std::fs::File::open(place.path("file")).unwrap();
    rustix::fs::flock(&host, FlockOperation::LockExclusive).unwrap();
    let flock = args(one, 1, ALL, READ, true);
    let taken = client.call(op::SETLK, file, &flock);
    assert_eq!(taken, Err(number(Errno::AGAIN)));
    rustix::fs::flock(&host, FlockOperation::Unlock).unwrap();
    client.call(op::SETLK, file, &flock).unwrap();
    let refused = rustix::fs::flock(&host, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(refused, Err(Errno::AGAIN));
    // Closing the handle is as good as unlocking.
    client.release(file, one).unwrap();
    rustix::fs::flock(&host, FlockOperation::NonBlockingLockExclusive).unwrap();
}

#[test]
fn a_file_that_is_just_being_closed_is_in_nobodys_way() {
    let place = Place::new();
    let (mut client, file, [one, two]) = setup(&place);
    let set = args(one, 1, ALL, WRITE, true);
    client.call(op::SETLK, file, &set).unwrap();
    // Two threads have the requests, and the second one is faster. Linux does not wait for the end of the first one.
    let close = Args::new().u64(one).u32(0).u32(2).u64(0);
    let closed = client.add(op::RELEASE, file, &close, (0x1_0000, 0x8000), 16);
    let other = args(two, 2, ALL, WRITE, true);
    let locked = client.add(op::SETLK, file, &other, (0x1_1000, 0x9000), 16);
    let transport = client.driver.transport.clone();
    let jobs = [(); 2].map(|()| transport.begin_kick(1));
    let [first, second] = jobs;
    transport.work(second);
    assert_eq!(client.driver.rings[1].used(), []);
    transport.work(first);
    let mut answered = client.driver.rings[1].used();
    answered.sort_unstable();
    let mut wanted = [(closed, 16), (locked, 16)];
    wanted.sort_unstable();
    assert_eq!(answered, wanted);
    assert_eq!(u32_at(&client.driver.get(0x9000, 16), 4), 0);
    client.waits_no_more(closed);
    client.waits_no_more(locked);

    // Closing another handle of the file changes nothing for who is refused.
    let (third, _) = client.open(file, O_RDWR).unwrap();
    let (fourth, _) = client.open(file, O_RDWR).unwrap();
    let close = Args::new().u64(third).u32(0).u32(0).u64(0);
    let closed = client.add(op::RELEASE, file, &close, (0x1_0000, 0x8000), 16);
    let other = args(fourth, 3, ALL, READ, true);
    let refused = client.add(op::SETLK, file, &other, (0x1_1000, 0x9000), 16);
    let [first, second] = [(); 2].map(|()| transport.begin_kick(1));
    transport.work(second);
    assert_eq!(client.driver.rings[1].used(), []);
    transport.work(first);
    assert_eq!(client.driver.rings[1].used(), [(closed, 16), (refused, 16)]);
    let error = client.driver.get(0x9000, 16);
    assert_eq!(u32_at(&error, 4), 0_u32.wrapping_sub(11));
}

#[test]
fn who_waits_gets_the_lock_when_it_is_free() {
    let place = Place::new();
    let (mut client, file, [one, two]) = setup(&place);
    for flock in [false, true] {
        let unlocking = |client: &mut Client, range| {
            let unlock = args(one, 1, range, UNLOCK, flock);
            client.send(op::SETLK, file, &unlock, 0x8000, 16)
        };
        let set = args(one, 1, ALL, WRITE, flock);
        client.call(op::SETLK, file, &set).unwrap();
        let wait = args(two, 2, ALL, WRITE, flock);
        let waits = client.send(op::SETLKW, file, &wait, 0x9000, 16);
        assert_eq!(client.take(waits), None);
        // All others go on meanwhile.
        client.getattr(file).unwrap();
        // The reply to the request that unlocks, and the one that waited.
        let unlock = unlocking(&mut client, ALL);
        let mut answered: Vec<_> = client.driver.rings[1].used();
        answered.sort_unstable();
        let mut wanted = vec![(unlock, 16), (waits, 16)];
        wanted.sort_unstable();
        assert_eq!(answered, wanted);
        assert_eq!(u32_at(&client.driver.get(0x9000, 16), 4), 0);
        client.waits_no_more(waits);
        client.waits_no_more(unlock);
        let taken = client.call(op::SETLK, file, &set);
        assert_eq!(taken, Err(number(Errno::AGAIN)));
        let unlock = args(two, 2, ALL, UNLOCK, flock);
        client.call(op::SETLK, file, &unlock).unwrap();
    }
}

#[test]
fn who_waits_for_the_host_gets_the_lock_in_the_end() {
    let place = Place::new();
    let (mut client, file, [one, _]) = setup(&place);
    let host = std::fs::File::options()
        .read(true)
        .write(true)
        .open(place.path("file"))
        .unwrap();
    let range = Range {
        first: 0,
        last: i64::MAX,
    };
    lock_range(host.as_fd(), LockKind::Write, range).unwrap();
    let wait = args(one, 1, (50, 50), WRITE, false);
    let waits = client.send(op::SETLKW, file, &wait, 0x9000, 16);
    assert_eq!(client.take(waits), None);
    lock_range(host.as_fd(), LockKind::Unlock, range).unwrap();
    assert!(host.as_raw_fd() >= 0);
    // The device's timer wakes the event loop.
    let reply = loop {
        client.driver.run();
        if let Some(reply) = client.take(waits) {
            break reply;
        }
        std::thread::yield_now();
    };
    assert_eq!(reply, Ok(Vec::new()));
    let refused = lock_range(host.as_fd(), LockKind::Write, range);
    assert_eq!(refused, Err(Errno::AGAIN));
}

#[test]
fn waiting_ends_with_the_handle_or_an_interrupt() {
    let place = Place::new();
    let (mut client, file, [one, two]) = setup(&place);
    let set = args(one, 1, ALL, WRITE, true);
    client.call(op::SETLK, file, &set).unwrap();
    let wait = args(two, 2, ALL, WRITE, true);
    let waits = client.send(op::SETLKW, file, &wait, 0x9000, 16);
    let unique = u64_at(&client.driver.get(0x1_0000, 16), 8);
    client.tell(0, op::INTERRUPT, 0, &Args::new().u64(unique + 100));
    assert_eq!(client.take(waits), None);
    client.tell(0, op::INTERRUPT, 0, &Args::new().u64(unique));
    assert_eq!(client.take(waits), Some(Err(number(Errno::INTR))));
}

#[test]
fn only_so_many_wait() {
    let place = Place::new();
    let (mut client, file, [one, two]) = setup(&place);
    let set = args(one, 1, ALL, WRITE, true);
    client.call(op::SETLK, file, &set).unwrap();
    let wait = args(two, 2, ALL, WRITE, true);
    // An eighth of the queue's 256 descriptors.
    for _ in 0..32 {
        let waits = client.send(op::SETLKW, file, &wait, 0x9000, 16);
        assert_eq!(client.take(waits), None);
    }
    let waits = client.send(op::SETLKW, file, &wait, 0x8000, 16);
    let refused = client.take(waits);
    assert_eq!(refused, Some(Err(number(Errno::NOLCK))));
    client.getattr(file).unwrap();
    // A reset forgets them all.
    client.driver.start(u64::MAX);
    client.driver.run();
    assert_eq!(client.driver.rings[1].used(), []);
}

#[test]
fn who_waits_is_saved_and_so_is_what_is_held() {
    let place = Place::new();
    let (mut client, file, [one, two]) = setup(&place);
    let held = args(one, 1, (0, 9), WRITE, false);
    client.call(op::SETLK, file, &held).unwrap();
    let wait = args(two, 2, (5, 5), WRITE, false);
    let waits = client.send(op::SETLKW, file, &wait, 0x9000, 16);
    assert_eq!(client.take(waits), None);
    let mut client = client.restored(|state| super::restored(state, &place));
    assert_eq!(client.take(waits), None);
    let other = args(two, 3, (9, 9), WRITE, false);
    let taken = client.call(op::SETLK, file, &other);
    assert_eq!(taken, Err(number(Errno::AGAIN)));
    let unlock = args(one, 1, ALL, UNLOCK, false);
    let head = client.send(op::SETLK, file, &unlock, 0x8000, 16);
    let answered = client.driver.rings[1].used();
    assert_eq!(answered, [(head, 16), (waits, 16)]);
    assert_eq!(u32_at(&client.driver.get(0x9000, 16), 4), 0);
}
