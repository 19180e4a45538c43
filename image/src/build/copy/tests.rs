use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use proptest::prelude::*;

use super::super::{
    Action, Building, Copy, Copying, Files, Ignore, PlanOptions, change, parse, plan,
};
use crate::digest::Digest;
use crate::layer::tests::archive::Archive;
use crate::layer::tests::scratch;
use crate::testing::{gzip, noise};

/// Files of these archives, the lowest first, in a directory of their own.
fn files(dir: &Path, archives: &[Vec<u8>]) -> Files {
    let layers = archives.iter().enumerate().map(|(number, archive)| {
        let dir = dir.join(number.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let imported = crate::layer::import(archive.as_slice(), &dir).unwrap();
        (imported.index, imported.blob)
    });
    Files::open(&layers.collect::<Vec<_>>()).unwrap()
}

fn copy(line: &str) -> Copy {
    let file = parse(&format!("FROM a\nWORKDIR /srv\n{line}")).unwrap();
    let plan = plan(&file, &PlanOptions::default()).unwrap();
    let stage = &plan.stages[0];
    let mut building = Building::new(&plan, stage, change::Config::new(), &Digest::of(b""));
    building.step(&stage.instructions[0]).unwrap();
    match building.step(&stage.instructions[1]).unwrap() {
        Some(Action::Copy(copy)) => copy,
        other => panic!("{other:?}"),
    }
}

/// A member of the layer that came of it: owner, mode, and what it is.
fn members(archive: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(archive);
    let members = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let header = entry.header().clone();
        let mut text = String::new();
        let content = match header.entry_type() {
            tar::EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                match bytes.len() {
                    0..100 => String::from_utf8_lossy(&bytes).into_owned(),
                    length => format!("{length} bytes"),
                }
            }
            tar::EntryType::Directory => "dir".to_owned(),
            kind => format!("{kind:?} {:?}", entry.link_name().unwrap().unwrap()),
        };
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        text.push_str(&format!(
            "{}:{} {:o} {content}",
            owner.0,
            owner.1,
            header.mode().unwrap()
        ));
        (path, text)
    });
    members.collect()
}

/// A context with a little of everything.
fn context() -> Vec<u8> {
    let inner = Archive::new().file("in/side", b"unpacked").finish();
    Archive::new()
        .file("a.txt", b"a")
        .file("b.txt", b"b")
        .file("big.bin", &noise(300_000, 1))
        .dir("src/")
        .file("src/main.rs", b"main")
        .file("src/deep/x.md", b"x")
        .file("src/deep/y.rs", b"y")
        .symlink("src/link", "main.rs")
        .hard_link("src/other.rs", "src/main.rs")
        .symlink("alias", "src/main.rs")
        .symlink("out", "../../../../etc/passwd")
        .file("secret", b"secret")
        .file("inner.tar.gz", &gzip(&inner))
        .file("fake.gz", &[0x1f, 0x8b, 8, 0, 1, 2, 3])
        .finish()
}

/// What lies below: a directory, a link to it, users.
fn image() -> Vec<u8> {
    Archive::new()
        .file("etc/passwd", b"root:x:0:0::/:\nweb:x:33:34::/:\n")
        .file("etc/group", b"root:x:0:\nstaff:x:50:\n")
        .dir("srv/")
        .dir("real/dir/")
        .symlink("lib", "/real")
        .file("file", b"file")
        .finish()
}

fn run(line: &str) -> Result<(Digest, Vec<u8>), String> {
    with(&context(), line, "secret\n")
}

fn with(context: &[u8], line: &str, ignore: &str) -> Result<(Digest, Vec<u8>), String> {
    let dir = scratch();
    let from = files(&dir.path().join("from"), &[context.to_vec()]);
    let below = files(&dir.path().join("below"), &[image()]);
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let ignore = Ignore::parse(ignore).unwrap();
    let copying = Copying {
        from: &from,
        below: &below,
        ignore: Some(&ignore),
        scratch: &work,
        now: 1_700_000_000,
    };
    let mut out = Vec::new();
    let digest = copying
        .write(&copy(line), &mut out)
        .map_err(|error| error.to_string())?;
    Ok((digest, out))
}

#[track_caller]
fn makes(line: &str, expected: &[(&str, &str)]) {
    let found = members(&run(line).unwrap().1);
    let expected = expected
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    assert_eq!(found, expected.collect(), "{line}");
}

#[test]
fn files_go_where_docker_puts_them() {
    makes("COPY a.txt .", &[("srv/a.txt", "0:0 644 a")]);
    makes("COPY a.txt name", &[("srv/name", "0:0 644 a")]);
    makes(
        "COPY a.txt /new/",
        &[("new/", "0:0 755 dir"), ("new/a.txt", "0:0 644 a")],
    );
    makes("COPY a.txt /lib/dir", &[("real/dir/a.txt", "0:0 644 a")]);
    makes("COPY a.txt /file", &[("file", "0:0 644 a")]);
    makes(
        "COPY *.txt /srv/",
        &[("srv/a.txt", "0:0 644 a"), ("srv/b.txt", "0:0 644 b")],
    );
    makes(
        "COPY --link a.txt /lib/dir/",
        &[
            ("lib/", "0:0 755 dir"),
            ("lib/dir/", "0:0 755 dir"),
            ("lib/dir/a.txt", "0:0 644 a"),
        ],
    );
    makes("COPY alias /srv/", &[("srv/alias", "0:0 644 main")]);
    makes(
        "COPY ../../big.bin /srv/",
        &[("srv/big.bin", "0:0 644 300000 bytes")],
    );
}

#[test]
fn directories_are_copied_by_what_is_in_them() {
    makes(
        "COPY src /app",
        &[
            ("app/", "0:0 755 dir"),
            ("app/main.rs", "0:0 644 main"),
            ("app/other.rs", "0:0 644 Link \"app/main.rs\""),
            ("app/link", "0:0 777 Symlink \"main.rs\""),
            ("app/deep/", "0:0 755 dir"),
            ("app/deep/x.md", "0:0 644 x"),
            ("app/deep/y.rs", "0:0 644 y"),
        ],
    );
    makes(
        "COPY --exclude=**/*.md --exclude=o* --exclude=li* --parents src /app",
        &[
            ("app/", "0:0 755 dir"),
            ("app/src/", "0:0 755 dir"),
            ("app/src/main.rs", "0:0 644 main"),
            ("app/src/deep/", "0:0 755 dir"),
            ("app/src/deep/y.rs", "0:0 644 y"),
        ],
    );
    let all = members(&run("COPY . /").unwrap().1);
    assert!(all.contains_key("src/deep/x.md") && !all.contains_key("secret"));
}

#[test]
fn what_is_left_out_is_not_there() {
    let error = run("COPY secret /").unwrap_err();
    assert!(error.contains("excluded by .dockerignore"), "{error}");
    assert!(
        run("COPY secre* /")
            .unwrap_err()
            .contains("no source files")
    );
    let but = with(&context(), "COPY . /", "src\n!src/deep/y.rs\n*.gz\n*.bin").unwrap();
    let found: Vec<String> = members(&but.1).into_keys().collect();
    assert_eq!(
        found,
        [
            "a.txt",
            "alias",
            "b.txt",
            "out",
            "secret",
            "src/",
            "src/deep/",
            "src/deep/y.rs"
        ]
    );
}

#[test]
fn owners_and_permissions_are_given() {
    let file = |owner: &str| [("srv/a.txt", owner.to_owned())];
    for (flag, expected) in [
        ("--chown=5", "5:5 644 a"),
        ("--chown=5:6", "5:6 644 a"),
        ("--chown=web", "33:34 644 a"),
        ("--chown=web:staff", "33:50 644 a"),
        ("--chmod=0700", "0:0 700 a"),
    ] {
        let found = members(&run(&format!("COPY {flag} a.txt .")).unwrap().1);
        let expected: Vec<_> = file(expected)
            .map(|(path, text)| (path.to_owned(), text))
            .to_vec();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{flag}");
    }
}

#[test]
fn add_unpacks_archives() {
    makes(
        "ADD inner.tar.gz /new",
        &[
            ("new/", "0:0 755 dir"),
            ("new/in/", "0:0 755 dir"),
            ("new/in/side", "0:0 644 unpacked"),
        ],
    );
    let plain = members(&run("COPY inner.tar.gz /x").unwrap().1);
    assert!(plain["x"].ends_with("bytes"), "{plain:?}");
    let found = members(&run("ADD a.txt /srv/").unwrap().1);
    assert_eq!(found["srv/a.txt"], "0:0 644 a");
    assert!(
        run("ADD fake.gz /srv/").unwrap().1.len() > 1024,
        "it only looks compressed"
    );
    assert!(
        run("ADD http://h/x /srv/")
            .unwrap_err()
            .contains("was not fetched")
    );
}

/// What `ADD x /srv/` makes of a file, or why it does not.
fn added(content: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let context = Archive::new().file("x", content).finish();
    with(&context, "ADD x /srv/", "").map(|(_, layer)| members(&layer))
}

#[test]
fn a_damaged_archive_is_no_file_like_others() {
    let inner = Archive::new()
        .file("first", &noise(3000, 1))
        .file("second", &noise(300_000, 2))
        .finish();
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    for (whole, what) in [
        (inner.clone(), "plain"),
        (gzip(&inner), "gzip"),
        (zstd(&inner), "zstd"),
    ] {
        assert!(added(&whole).unwrap().contains_key("srv/second"), "{what}");
        // Of small files as of large ones: where one is cut off depends on who cut it.
        for length in [1100, 2000, 200_000, whole.len() - 2000] {
            let refused = added(&whole[..length]).unwrap_err();
            assert!(
                refused.contains("ADD failed: x cannot be unpacked"),
                "{what}, {length}: {refused}"
            );
        }
    }
    let mut unknown = inner.clone();
    // The type of the first member behind its PAX header, with a checksum that fits.
    let header = &mut unknown[1024..1536];
    assert_eq!(header[156], b'0');
    header[156] = b'V';
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert!(added(&unknown).unwrap_err().contains("cannot be unpacked"));
}

#[test]
fn an_archive_that_wants_too_much_memory_is_refused() {
    let inner = Archive::new().file("f", b"f").finish();
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.include_contentsize(false).unwrap();
    std::io::Write::write_all(&mut encoder, &inner).unwrap();
    let refused = added(&encoder.finish().unwrap()).unwrap_err();
    assert!(refused.contains("cannot be unpacked"), "{refused}");
}

#[test]
fn an_archive_is_unpacked_once_for_what_is_written_twice() {
    let dir = scratch();
    let from = files(&dir.path().join("from"), &[context()]);
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let copying = Copying {
        from: &from,
        below: &Files::default(),
        ignore: None,
        scratch: &work,
        now: 1_700_000_000,
    };
    let write = || {
        let mut out = Vec::new();
        let add = copy("ADD inner.tar.gz a.txt /new/");
        (copying.write(&add, &mut out).unwrap(), out)
    };
    let first = write();
    assert!(members(&first.1).contains_key("new/in/side"));
    let made = |path: &str| std::fs::metadata(work.join(path)).unwrap().modified();
    let before = made("archive-0/blob").unwrap();
    assert_eq!(write(), first);
    assert_eq!(made("archive-0/blob").unwrap(), before);
}

#[test]
fn what_is_no_archive_is_copied() {
    for content in [
        &b""[..],
        b"x",
        &noise(5000, 3),
        &[0; 2048],
        &gzip(&noise(5000, 3)),
        &gzip(&noise(5000, 3))[..2000],
        &zstd::encode_all(&noise(5000, 3)[..], 1).unwrap(),
        b"\x28\xb5\x2f\xfd and no more than that",
    ] {
        let found = added(content).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["srv/x"]);
    }
}

#[test]
fn documents_are_files() {
    makes(
        "COPY <<one <<two /in/\n1\none\n2\ntwo",
        &[
            ("in/", "0:0 755 dir"),
            ("in/one", "0:0 644 1\n"),
            ("in/two", "0:0 644 2\n"),
        ],
    );
}

#[test]
fn what_cannot_be_copied_is_refused() {
    for (line, words) in [
        ("COPY nothing /", "stat nothing: file does not exist"),
        ("COPY out /", "stat out: file does not exist"),
        ("COPY a.txt /file/", "cannot copy to non-directory"),
        ("COPY a.txt /file/x", "cannot copy to non-directory"),
        ("COPY a* /x", "must be a directory"),
        ("COPY --chown=nobody a.txt /", "unable to find user"),
        (
            "COPY --chown=0:nobody a.txt /",
            "unable to find user or group \"nobody\"",
        ),
        ("COPY --chmod=9 a.txt /", "invalid chmod parameter"),
        ("COPY --chmod=u+x a.txt /", "invalid chmod parameter"),
        ("COPY [a /", "syntax error in pattern"),
    ] {
        let found = run(line).map(|_| ()).unwrap_err();
        assert!(found.contains(words), "{line}: {found}");
    }
    let loops = Archive::new().symlink("x", "y").symlink("y", "x").finish();
    assert!(
        with(&loops, "COPY x /", "")
            .unwrap_err()
            .contains("in circles")
    );
}

#[test]
fn what_is_copied_has_a_digest_without_times() {
    let of = |time: u64, content: &[u8]| {
        let mut header = crate::layer::tests::archive::header(tar::EntryType::Regular);
        header.set_mtime(time);
        let archive = Archive::new().add(&header, b"f", &[], content).finish();
        with(&archive, "COPY f /x", "").unwrap().0
    };
    assert_eq!(of(1, b"same"), of(2, b"same"));
    assert_ne!(of(1, b"same"), of(1, b"other"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_copied_is_a_layer(
        links in prop::collection::vec(("[a-c](/[a-c]){0,3}", "\\.{0,2}/?[a-c](/(\\.\\.|[a-c])){0,4}"), 0..6),
        names in prop::collection::vec("[a-c](/[a-c]){0,3}", 1..6),
        source in "[a-c.*?/]{1,6}",
        target in "/?[a-c./]{1,6}",
    ) {
        let mut archive = Archive::new();
        for name in &names {
            archive.file(name, name.as_bytes());
        }
        for (name, target) in &links {
            archive.symlink(name, target);
        }
        let archive = archive.finish();
        let dir = scratch();
        prop_assume!(crate::layer::import(archive.as_slice(), dir.path()).is_ok());
        if let Ok((_, layer)) = with(&archive, &format!("COPY {source} {target}"), "a/b\n!a/b/c\n") {
            let dir = scratch();
            let imported = crate::layer::import(layer.as_slice(), dir.path()).unwrap();
            let all = Files::open(&[(imported.index, imported.blob)]).unwrap();
            prop_assert!(all.tree().is_ok());
        }
    }
}
