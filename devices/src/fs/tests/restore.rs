//! A share that is saved and restored, on a directory that may have changed.

use proptest::prelude::*;

use super::client::{Client, LINUX_FLAGS, O_RDWR, ROOT};
use super::place::{Place, backend, config, make_host};
use super::reply::Args;
use super::{number, restored};
use crate::VirtioDevice;
use crate::fs::wire::op;
use crate::fs::{Fs, FsCache, FsConfig, FsRestoreError, FsState};
use crate::{DeviceState, TransportState};
use rustix::io::Errno;

fn state_of(client: &mut Client) -> FsState {
    client.driver.transport.pause();
    let TransportState { device, .. } = client.driver.transport.save();
    client.driver.transport.resume();
    client.driver.run();
    match device {
        DeviceState::Fs(state) => state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_guest_knew_and_had_open_goes_on() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("a/b")).unwrap();
    make_host(&place.path("a/b/file"), b"contents");
    let mut client = place.client();
    let dir = client.walk("a/b").unwrap().node;
    let file = client.lookup(dir, "file").unwrap().node;
    let (fh, _) = client.open(file, O_RDWR).unwrap();
    let listing = client.opendir(dir).unwrap();
    // A parent with a higher number than its child.
    let new = client.mkdir(ROOT, "new", 0o755).unwrap().node;
    client.rename((ROOT, "a"), (new, "a"), 0).unwrap();
    let mut client = client.restored(|state| restored(state, &place));
    assert_eq!(client.read(file, fh, 0, 100).unwrap(), b"contents");
    client.put(file, fh, 0, b"CONTENTS").unwrap();
    assert_eq!(client.lookup(dir, "file").unwrap().node, file);
    let entries = client.readdir_at((dir, listing), 0, 4096, false).unwrap();
    assert_eq!(entries.len(), 3);
    client.release(file, fh).unwrap();
    // Both what was looked up before and after counts.
    client.forget(file, 1);
    client.getattr(file).unwrap();
    client.forget(file, 1);
    assert_eq!(client.getattr(file), Err(number(Errno::STALE)));
    // New ones have new numbers.
    let (other, _) = client.create(ROOT, "other", O_RDWR, 0o644).unwrap();
    assert!(other.node > new);
}

#[test]
fn what_is_gone_is_stale_and_the_rest_works() {
    let place = Place::new();
    for name in ["gone", "kind", "open", "stays"] {
        make_host(&place.path(name), name.as_bytes());
    }
    let mut client = place.client();
    let [gone, kind, open, stays] =
        ["gone", "kind", "open", "stays"].map(|name| client.lookup(ROOT, name).unwrap().node);
    let (handle, _) = client.open(gone, 0).unwrap();
    let (nameless, _) = client.open(open, O_RDWR).unwrap();
    client.unlink(ROOT, "open").unwrap();
    // A new file where an open one was: the old handle must not come to mean it.
    make_host(&place.path("open"), b"new");
    let mut client = client.restored(|state| {
        std::fs::remove_file(place.path("gone")).unwrap();
        std::fs::remove_file(place.path("kind")).unwrap();
        std::fs::create_dir(place.path("kind")).unwrap();
        restored(state, &place)
    });
    let stale = number(Errno::STALE);
    assert_eq!(client.getattr(gone), Err(stale));
    assert_eq!(client.getattr(kind), Err(stale));
    assert_eq!(client.getattr(open), Err(stale));
    assert_eq!(client.read(gone, handle, 0, 10), Err(stale));
    assert_eq!(client.put(open, nameless, 0, b"x"), Err(stale));
    assert_eq!(super::place::read_host(&place.path("open")), b"new");
    client.release(gone, handle).unwrap();
    assert_eq!(client.getattr(stays).unwrap().size, 5);
    // What was lost is lost in the next snapshot as well, without harm.
    let mut client = client.restored(|state| restored(state, &place));
    assert_eq!(client.getattr(gone), Err(stale));
    client.forget(gone, 1);
    assert_eq!(client.getattr(stays).unwrap().size, 5);
}

#[test]
fn another_configuration_is_refused() {
    let place = Place::new();
    let mut client = place.client();
    let state = state_of(&mut client);
    for change in [
        |config: &mut FsConfig| config.read_only = true,
        |config: &mut FsConfig| config.tag = "other".into(),
        |config: &mut FsConfig| config.queues = 2,
        |config: &mut FsConfig| config.cache = FsCache::Never,
    ] {
        let mut given = config();
        change(&mut given);
        let error = Fs::restore(given, &state, backend(&place.share())).unwrap_err();
        assert!(matches!(error, FsRestoreError::Config { .. }), "{error}");
    }
}

#[test]
fn tampered_states_lead_nowhere() {
    let place = Place::new();
    make_host(&place.path("file"), b"");
    std::fs::create_dir(place.path("dir")).unwrap();
    let mut client = place.client();
    let file = client.lookup(ROOT, "file").unwrap().node;
    client.lookup(ROOT, "dir").unwrap();
    let (fh, _) = client.open(file, 0).unwrap();
    let args = Args::new().u64(fh).u64(1).u64(0).u64(9).u64(1).u64(0);
    client.call(op::SETLK, file, &args).unwrap();
    let good = state_of(&mut client);
    let restore = |change: &dyn Fn(&mut FsState)| {
        let mut state = good.clone();
        change(&mut state);
        Fs::restore(config(), &state, backend(&place.share()))
    };
    assert!(restore(&|_| {}).is_ok());
    let name = |state: &mut FsState, name: &[u8]| state.nodes[0].place = Some((1, name.to_vec()));
    for bad in [
        &b".."[..],
        b".",
        b"",
        b"a/b",
        b"../outside",
        b"nul\0",
        &[b'x'; 256],
    ] {
        let error = restore(&|state| name(state, bad)).unwrap_err();
        assert!(matches!(error, FsRestoreError::Broken(_)), "{bad:?}");
    }
    let broken: &[&dyn Fn(&mut FsState)] = &[
        &|state| state.session = None,
        &|state| state.next_node = 2,
        &|state| state.next_node = 0,
        &|state| state.next_node = u64::MAX,
        &|state| state.next_handle = u64::MAX,
        &|state| state.nodes[0].id = ROOT,
        &|state| state.nodes[0].id = 0,
        &|state| state.nodes[1].id = state.nodes[0].id,
        &|state| state.nodes[0].lookups = 0,
        &|state| state.nodes[0].kind = 0o17_0000,
        &|state| state.nodes[0].kind = u32::MAX,
        &|state| state.nodes = vec![state.nodes[0].clone(); 5000],
        &|state| state.handles[0].flock = Some(2),
        &|state| state.next_handle = 0,
        &|state| state.handles = vec![state.handles[0].clone(); 2],
        &|state| state.locks[0].kind = 2,
        &|state| state.locks[0].first = -1,
        &|state| state.locks[0].last = -5,
    ];
    for (index, change) in broken.iter().enumerate() {
        let error = restore(change).unwrap_err();
        assert!(
            matches!(error, FsRestoreError::Broken(_)),
            "{index}: {error}"
        );
    }
    // These can be, and are stale.
    let stale: &[&dyn Fn(&mut FsState)] = &[
        &|state| state.nodes[0].place = Some((u64::MAX, b"file".to_vec())),
        &|state| state.nodes[0].place = Some((state.nodes[0].id, b"file".to_vec())),
        &|state| state.nodes[0].place = None,
        &|state| state.handles[0].node = 99,
        &|state| state.handles[0].directory = true,
        &|state| state.handles[0].flags = u32::MAX,
        &|state| state.locks[0].node = 99,
    ];
    for (index, change) in stale.iter().enumerate() {
        let device = restore(change);
        assert!(device.is_ok(), "{index}: {device:?}");
        let _ = device.unwrap().save();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_gives_an_error_or_a_share_that_works(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let place = Place::new();
        make_host(&place.path("file"), b"contents");
        let mut client = place.client();
        let file = client.lookup(ROOT, "file").unwrap().node;
        let (fh, _) = client.open(file, O_RDWR).unwrap();
        let lock = |owner| Args::new().u64(fh).u64(owner).u64(0).u64(9).u32(1).u32(0).u64(0);
        client.call(op::SETLK, file, &lock(1)).unwrap();
        client.send(op::SETLKW, file, &lock(2), 0x9000, 16);
        client.driver.transport.pause();
        let mut whole = client.driver.transport.save();
        let DeviceState::Fs(state) = &whole.device else {
            panic!("{whole:?}");
        };
        let mut bytes = postcard::to_stdvec(state).unwrap();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] ^= byte;
        }
        let Ok(state) = postcard::from_bytes::<FsState>(&bytes) else {
            return Ok(());
        };
        client.driver.write(0x70, 0);
        let Ok(device) = Fs::restore(config(), &state, backend(&place.share())) else {
            return Ok(());
        };
        whole.device = DeviceState::Fs(state);
        let mut client = client.restored_with(&whole, device);
        // It goes on with what it has, or finds that a request was not the driver's.
        // The request that waits may be answered at any time, so replies are not told apart.
        if !client.driver.is_lost() {
            let handle = Args::new().u64(fh).u64(0).u64(8).u64(0).u64(0);
            for (opcode, node, args) in [
                (op::LOOKUP, ROOT, Args::new().name("file")),
                (op::GETATTR, file, Args::new().u64(0).u64(0)),
                (op::READ, file, handle.clone()),
                (op::RELEASE, file, handle),
            ] {
                client.send(opcode, node, &args, 0x8000, 4096);
                client.driver.rings[1].used();
            }
        }
        client.driver.start(u64::MAX);
        client.init(LINUX_FLAGS);
        let entry = client.lookup(ROOT, "file").unwrap();
        prop_assert_eq!(entry.attr.size, 8);
    }
}
