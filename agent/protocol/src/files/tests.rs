use proptest::prelude::*;

use super::*;

#[test]
fn modes_are_gos() {
    let go = |mode| {
        let stat = FileStat {
            mode,
            ..FileStat::default()
        };
        stat.go_mode()
    };
    assert_eq!(go(0o100_644), 0o644);
    assert_eq!(go(0o040_755), 0x8000_0000 | 0o755);
    assert_eq!(go(0o041_777), 0x8010_0000 | 0o777);
    assert_eq!(go(0o120_777), 0x0800_0000 | 0o777);
    assert_eq!(go(0o104_755), 0x0080_0000 | 0o755);
    assert_eq!(go(0o102_755), 0x0040_0000 | 0o755);
    assert_eq!(go(0o020_666), 0x0420_0000 | 0o666);
    assert_eq!(go(0o060_660), 0x0400_0000 | 0o660);
    assert_eq!(go(0o010_600), 0x0200_0000 | 0o600);
    assert_eq!(go(0o140_600), 0x0100_0000 | 0o600);
}

#[test]
fn a_stat_comes_back_as_it_was() {
    let stat = FileStat {
        name: "x".into(),
        size: u64::MAX,
        mode: 0o120_777,
        modified: Clock {
            seconds: -1,
            nanoseconds: 7,
        },
        link_target: "/y".into(),
    };
    assert_eq!(FileStat::decode(&stat.encode()), Ok(stat));
    assert!(FileStat::decode(b"").is_err());
}

#[test]
fn changes_that_are_none_are_refused() {
    for bad in [&b"\x03/x\0"[..], b"\x01x\0", b"\x01\0"] {
        assert!(Changes::default().received(bad).is_err(), "{bad:?}");
    }
    let mut long = vec![1, b'/'];
    long.resize(MAX_PATH + 3, b'x');
    assert!(Changes::default().received(&long).is_err());
}

proptest! {
    #[test]
    fn changes_come_back_however_they_are_cut(
        paths in proptest::collection::vec((0_u8..3, "/[^\0]{0,20}"), 0..20),
        size in 1_usize..50,
    ) {
        let kinds = [ChangeKind::Modified, ChangeKind::Added, ChangeKind::Deleted];
        let all: Vec<Change> = paths
            .into_iter()
            .map(|(kind, path)| Change { kind: kinds[usize::from(kind)], path: path.into_bytes() })
            .collect();
        let mut bytes = Vec::new();
        all.iter().for_each(|change| change.encode(&mut bytes));
        let mut changes = Changes::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(size) {
            seen.extend(changes.received(piece).unwrap());
        }
        prop_assert!(changes.is_complete());
        prop_assert_eq!(seen, all);
    }

    #[test]
    fn hostile_changes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Changes::default().received(&bytes);
        let _ = FileStat::decode(&bytes);
    }
}
