//! Tar streams that are made again from what a layer was imported into.

use std::io::Cursor;

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::archive::{Archive, header};
use super::{scratch, with_import};
use crate::digest::Digest;
use crate::layer::{Imported, Index, import, tar_len, write_canonical, write_tar};

/// Makes the stream again.
fn again(imported: &Imported) -> Vec<u8> {
    let mut out = Vec::new();
    write_tar(&imported.blob, &imported.index, &imported.headers, &mut out).expect("it is whole");
    let announced = tar_len(&imported.headers, &imported.diff_id).expect("headers");
    assert_eq!(announced, out.len() as u64);
    out
}

#[track_caller]
fn comes_back(bytes: &[u8]) {
    with_import(bytes, |imported, _| {
        let made = again(&imported.expect("it is sound"));
        assert!(made == bytes, "{} bytes came back otherwise", bytes.len());
    });
}

#[test]
fn a_layer_goes_out_as_it_came() {
    let mut archive = Archive::new();
    archive
        .dir("./")
        .dir("etc/")
        .file("etc/tiny", b"inside of the index")
        .file("etc/empty", b"")
        .file("etc/zeros", &[0; 300_000])
        .file("etc/block", &[7; 4096])
        .file("etc/odd", &[8; 70_001])
        .symlink("etc/link", "tiny")
        .hard_link("etc/other", "etc/odd")
        .file("etc/.wh.gone", b"with content, which nobody needs")
        .file(".wh..wh.plnk/1", &[3; 200_000])
        .file("etc/tiny", b"again");
    let mut bytes = archive.finish();
    comes_back(&bytes);
    // What follows the archive is a part of the layer, too.
    bytes.extend([0; 5000]);
    bytes.extend([9; 100_000]);
    comes_back(&bytes);
    comes_back(&[0; 1024]);
    comes_back(&[]);
}

#[test]
fn a_sparse_file_goes_out_as_it_came() {
    let mut member = header(EntryType::GNUSparse);
    let mut bytes = member.as_mut_bytes().to_owned();
    // Two parts of 512 bytes in a file of 1 MiB.
    bytes[386..398].copy_from_slice(b"00000000000\0");
    bytes[398..410].copy_from_slice(b"00000001000\0");
    bytes[410..422].copy_from_slice(b"00002000000\0");
    bytes[422..434].copy_from_slice(b"00000001000\0");
    bytes[483..495].copy_from_slice(b"00004000000\0");
    let mut member = Header::from_byte_slice(&bytes).clone();
    member.set_size(1024);
    member.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_data(&mut member, "sparse", Cursor::new([5; 1024]))
        .expect("a member");
    comes_back(&builder.into_inner().expect("an archive"));
}

#[test]
fn headers_take_little_room() {
    let mut archive = Archive::new();
    for file in 0..1000 {
        archive.file(
            &format!("usr/share/doc/package-{file}/copyright"),
            &[1; 2000],
        );
    }
    let bytes = archive.finish();
    with_import(bytes.as_slice(), |imported, _| {
        let imported = imported.expect("it is sound");
        let rest = imported.tar_len - 2000 * 1000;
        assert!(
            imported.headers_len * 20 < rest,
            "{} of {rest}",
            imported.headers_len
        );
    });
}

#[test]
fn headers_that_are_not_the_layers_are_noticed() {
    let one = Archive::new().file("a", &[1; 5000]).finish();
    let other = Archive::new().file("a", &[2; 5000]).finish();
    let (first, second) = (scratch(), scratch());
    let one = import(one.as_slice(), first.path()).expect("sound");
    let other = import(other.as_slice(), second.path()).expect("sound");
    let mut out = Vec::new();
    let mixed = write_tar(&other.blob, &one.index, &one.headers, &mut out);
    let error = mixed.expect_err("the content is another").to_string();
    assert!(error.contains("does not make the layer"), "{error}");
    let error = tar_len(&one.headers, &other.diff_id)
        .expect_err("another layer")
        .to_string();
    assert!(error.contains("belongs to another layer"), "{error}");
    let whole = std::fs::read(&one.headers).expect("headers");
    for length in 0..whole.len() {
        std::fs::write(&one.headers, &whole[..length]).expect("written");
        let cut = write_tar(&one.blob, &one.index, &one.headers, &mut Vec::new());
        assert!(cut.is_err(), "cut at {length}");
    }
}

/// The records of a layer, as text.
fn records(imported: &Imported) -> Vec<String> {
    let index = Index::read(&imported.index).expect("an index");
    let entries = index
        .entries()
        .map(|entry| format!("{:?}", entry.expect("a record")));
    entries.collect()
}

/// A member with much of what a header can say.
fn member() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let path = prop_oneof![
        "[a-c]{1,3}(/[a-c]{1,3}){0,3}",
        "[a-d]{90,120}/[a-d]{1,200}",
        "[ä-ö]{1,20}",
        Just("./".to_owned()),
        "[a-b]/\\.wh\\.[a-c]",
        "[a-b]/\\.wh\\.\\.wh\\.\\.opq",
    ];
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000),
        (0_usize..200_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        (0_usize..300_000).prop_map(|zeros| [vec![1; 10], vec![0; zeros], vec![2; 10]].concat()),
    ];
    let kind = prop_oneof![
        Just(EntryType::Regular),
        Just(EntryType::Directory),
        Just(EntryType::Symlink),
        Just(EntryType::Link),
        Just(EntryType::Fifo),
        Just(EntryType::Char),
    ];
    let meta = (
        0_u32..0o10000,
        0_u32..5_000_000,
        -2_000_000_000_000_i64..2_000_000_000_000,
    );
    let xattr = prop::option::of(prop::collection::vec(any::<u8>(), 0..300));
    (path, content, kind, meta, xattr).prop_map(|(path, content, kind, meta, xattr)| {
        let kind = if path == "./" {
            EntryType::Directory
        } else {
            kind
        };
        let mut header = header(kind);
        header.set_mode(meta.0);
        header.set_device_major(1).expect("of ustar");
        header.set_device_minor(3).expect("of ustar");
        let (owner, time) = (meta.1.to_string(), format!("{}.25", meta.2));
        let mut records = vec![("uid", owner.as_bytes()), ("mtime", time.as_bytes())];
        records.push(("linkpath", b"a/target"));
        if let Some(value) = &xattr {
            records.push(("SCHILY.xattr.user.x", value));
        }
        let mut archive = Archive::new();
        let all = archive
            .add(&header, path.as_bytes(), &records, &content)
            .finish();
        (all[..all.len() - 1024].to_vec(), content)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_layer_goes_out_as_it_came(members in prop::collection::vec(member(), 0..8), tail in 0_usize..2000) {
        let mut bytes: Vec<u8> = members.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        bytes.extend(vec![0; 1024 + tail]);
        let dir = scratch();
        let imported = import(bytes.as_slice(), dir.path());
        prop_assume!(imported.is_ok());
        let imported = imported.unwrap();
        prop_assert!(again(&imported) == bytes);
        // Without its headers it goes out in another form, which means the same.
        let mut canonical = Vec::new();
        let made = write_canonical(&imported.blob, &imported.index, &mut canonical).unwrap();
        prop_assert_eq!(made, (Digest::of(&canonical), canonical.len() as u64));
        let other = scratch();
        let copy = import(canonical.as_slice(), other.path()).unwrap();
        prop_assert_eq!(records(&imported), records(&copy));
        let blob = |imported: &Imported| std::fs::read(&imported.blob).unwrap();
        prop_assert!(blob(&imported) == blob(&copy));
    }
}
