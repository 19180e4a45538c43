use std::io::{Read, Seek, Write};
use std::process::Command;

use proptest::prelude::*;

use super::read::{Archive, Error};
use super::*;

fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn member(path: &[u8], kind: Kind) -> Member {
    Member {
        path: path.to_vec(),
        link: Vec::new(),
        kind,
        mode: 0o644,
        uid: 1,
        gid: 2,
        mtime: (1_700_000_000, 0),
        size: 0,
        device: (0, 0),
        xattrs: Vec::new(),
    }
}

fn archive(members: &[(Member, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (member, content) in members {
        write::header(member, &mut bytes);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    write::end(&mut bytes);
    bytes
}

/// All members with their contents.
fn all(bytes: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, Error> {
    let mut archive = Archive::new(file(bytes));
    let mut members = Vec::new();
    while let Some(member) = archive.next()? {
        let mut content = Vec::new();
        loop {
            let piece = archive.content()?;
            if piece.is_empty() {
                break;
            }
            content.extend_from_slice(piece);
        }
        members.push((member, content));
    }
    Ok(members)
}

fn arbitrary_member() -> impl Strategy<Value = (Member, Vec<u8>)> {
    let name = "[a-z]{1,60}(/[a-z]{1,120}){0,3}";
    let kind = proptest::sample::select(Kind::ALL.map(|(kind, _)| kind).to_vec());
    let content = proptest::collection::vec(any::<u8>(), 0..2000);
    let xattr = proptest::option::of((
        "[a-z.]{1,20}",
        proptest::collection::vec(any::<u8>(), 0..50),
    ));
    let ids = (
        any::<u32>(),
        any::<u32>(),
        -5_000_000_000..5_000_000_000_i64,
    );
    (name, name, kind, content, xattr, ids).prop_map(
        |(path, link, kind, content, xattr, (uid, gid, mtime))| {
            let content = if kind == Kind::Regular {
                content
            } else {
                Vec::new()
            };
            let slash = if kind == Kind::Directory { "/" } else { "" };
            let is_link = matches!(kind, Kind::HardLink | Kind::Symlink);
            let is_node = matches!(kind, Kind::Character | Kind::Block);
            let mut member = member(format!("{path}{slash}").as_bytes(), kind);
            member.link = if is_link {
                link.into_bytes()
            } else {
                Vec::new()
            };
            member.device = if is_node { (259, 65_536) } else { (0, 0) };
            (member.uid, member.gid, member.mtime) = (uid, gid, (mtime, 0));
            member.size = content.len() as u64;
            let xattr = xattr.map(|(name, value)| (name.into_bytes(), value));
            member.xattrs = xattr.into_iter().collect();
            (member, content)
        },
    )
}

#[test]
fn others_read_what_is_written() {
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(120));
    let mut members = vec![
        (member(b"dir/", Kind::Directory), Vec::new()),
        (member(long.as_bytes(), Kind::Regular), b"content".to_vec()),
        (member(b"link", Kind::Symlink), Vec::new()),
    ];
    members[1].0.size = 7;
    members[1].0.uid = 3_000_000;
    members[1].0.mtime = (-5, 0);
    members[2].0.link = "t".repeat(200).into_bytes();
    let listed = Command::new("tar")
        .args(["--numeric-owner", "--utc", "-tvf", "-"])
        .stdin(file(&archive(&members)))
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.success(), "{text}");
    assert!(
        text.contains(&long) && text.contains("3000000/2") && text.contains("1969-12-31"),
        "{text}"
    );
    assert!(
        text.contains(&format!("link -> {}", "t".repeat(200))),
        "{text}"
    );
}

#[test]
fn what_others_write_is_read() {
    let base = tempfile::tempdir().unwrap();
    let long = "n".repeat(180);
    std::fs::create_dir(base.path().join("d")).unwrap();
    std::fs::write(base.path().join("d").join(&long), "content").unwrap();
    std::os::unix::fs::symlink("l".repeat(150), base.path().join("d/s")).unwrap();
    std::fs::hard_link(base.path().join("d").join(&long), base.path().join("d/z")).unwrap();
    for format in ["gnu", "pax", "oldgnu"] {
        let made = Command::new("tar")
            .args(["--sort=name", "--format", format, "-C"])
            .arg(base.path())
            .args(["-cf", "-", "d"])
            .output()
            .unwrap();
        let members = all(&made.stdout).unwrap();
        let kinds: Vec<Kind> = members.iter().map(|(member, _)| member.kind).collect();
        let expected = [
            Kind::Directory,
            Kind::Regular,
            Kind::Symlink,
            Kind::HardLink,
        ];
        assert_eq!(kinds, expected, "{format}");
        assert_eq!(
            members[1].0.path,
            format!("d/{long}").as_bytes(),
            "{format}"
        );
        assert_eq!(members[1].1, b"content", "{format}");
        assert_eq!(members[2].0.link, "l".repeat(150).as_bytes(), "{format}");
        assert_eq!(
            members[3].0.link,
            format!("d/{long}").as_bytes(),
            "{format}"
        );
    }
}

#[test]
fn what_is_no_archive_is_refused_with_the_reason() {
    let good = archive(&[(member(b"x", Kind::Regular), Vec::new())]);
    let refused = |bytes: &[u8]| match all(bytes) {
        Err(Error::Malformed(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(&[b'x'; 1024]).contains("number"));
    assert!(refused(&good[..100]).contains("within a header"));
    let mut broken = good.clone();
    broken[0] = b'y';
    assert!(refused(&broken).contains("checksum"));
    let mut long = member(b"x", Kind::Regular);
    long.size = 5;
    let mut bytes = Vec::new();
    write::header(&long, &mut bytes);
    assert!(refused(&bytes).contains("within a file"));
    let huge = member(&[b'a'; 5000], Kind::Regular);
    assert!(refused(&archive(&[(huge, Vec::new())])).contains("4096"));
    assert_eq!(all(&[]), Ok(Vec::new()));
    assert_eq!(all(&good[..512]).unwrap().len(), 1, "an end is not needed");
}

#[test]
fn times_are_decimal_fractions() {
    assert_eq!(pax::time(b"12.5"), Some((12, 500_000_000)));
    assert_eq!(pax::time(b"-1.25"), Some((-2, 750_000_000)));
    assert_eq!(pax::time(b"7.1234567899"), Some((7, 123_456_789)));
    assert_eq!(pax::time(b"7"), Some((7, 0)));
    for bad in [&b""[..], b".5", b"1.x", b"1e5"] {
        assert_eq!(pax::time(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(members in proptest::collection::vec(arbitrary_member(), 0..8)) {
        prop_assert_eq!(all(&archive(&members)).unwrap(), members);
    }

    #[test]
    fn damage_is_survived(
        members in proptest::collection::vec(arbitrary_member(), 1..4),
        places in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..5),
        length in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = archive(&members);
        for (place, byte) in places {
            let index = place.index(bytes.len());
            bytes[index] = byte;
        }
        bytes.truncate(length.index(bytes.len()) + 1);
        let _ = all(&bytes);
    }

    #[test]
    fn records_say_their_own_length(name in "[a-z.]{1,20}", value in proptest::collection::vec(any::<u8>(), 0..1200)) {
        let mut bytes = Vec::new();
        pax::record(name.as_bytes(), &value, &mut bytes);
        let all: Vec<_> = pax::records(&bytes).collect();
        prop_assert_eq!(all, vec![Ok((name.as_bytes(), &value[..]))]);
    }
}

#[test]
fn contents_are_read_in_pieces_and_skipped() {
    let mut large = member(b"large", Kind::Regular);
    large.size = 200_000;
    let bytes = archive(&[
        (large, vec![7; 200_000]),
        (member(b"next", Kind::Fifo), Vec::new()),
    ]);
    let mut archive = Archive::new(file(&bytes));
    archive.next().unwrap();
    let mut start = [0; 10];
    archive.content().unwrap().read_exact(&mut start).unwrap();
    assert_eq!(start, [7; 10]);
    assert_eq!(archive.next().unwrap().unwrap().path, b"next");
    assert!(archive.next().unwrap().is_none());
}
