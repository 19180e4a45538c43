use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// A root with a directory beside it that nothing may reach.
fn root() -> (tempfile::TempDir, OwnedFd) {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("root")).unwrap();
    fs::create_dir(base.path().join("outside")).unwrap();
    let root = fs::File::open(base.path().join("root")).unwrap().into();
    (base, root)
}

fn outside_is_empty(base: &Path) -> bool {
    fs::read_dir(base.join("outside")).unwrap().next().is_none()
        && fs::read_dir(base).unwrap().count() == 2
}

#[test]
fn missing_directories_are_made() {
    let (base, root) = root();
    assert!(directory(&root, "/a/b/c").unwrap().made);
    assert!(base.path().join("root/a/b/c").is_dir());
    assert!(!directory(&root, "/a/./b//c/").unwrap().made);
}

#[test]
fn links_lead_inside_however_they_point() {
    let (base, root) = root();
    symlink("/outside", base.path().join("root/absolute")).unwrap();
    symlink("../../outside", base.path().join("root/relative")).unwrap();
    directory(&root, "/absolute/x").unwrap();
    directory(&root, "/relative/y").unwrap();
    file(&root, "/relative/z").unwrap();
    assert!(base.path().join("root/outside/x").is_dir());
    assert!(base.path().join("root/outside/y").is_dir());
    assert!(base.path().join("root/outside/z").is_file());
    assert!(outside_is_empty(base.path()));
}

#[test]
fn a_dangling_link_gets_its_target() {
    let (base, root) = root();
    fs::create_dir(base.path().join("root/etc")).unwrap();
    symlink(
        "../run/systemd/stub.conf",
        base.path().join("root/etc/resolv.conf"),
    )
    .unwrap();
    file(&root, "/etc/resolv.conf").unwrap();
    assert!(base.path().join("root/run/systemd/stub.conf").is_file());
}

#[test]
fn a_circle_of_links_and_a_file_in_the_way_are_errors() {
    let (base, root) = root();
    symlink("b", base.path().join("root/a")).unwrap();
    symlink("a", base.path().join("root/b")).unwrap();
    assert!(directory(&root, "/a/x").is_err());
    fs::write(base.path().join("root/f"), "").unwrap();
    let error = directory(&root, "/f/x").unwrap_err();
    assert!(error.message.contains("f/x"), "{}", error.message);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever links there are, nothing is made outside of the root.
    #[test]
    fn nothing_leaves_the_root(
        links in proptest::collection::vec(("[ab]", "(/|\\.\\./){0,3}([ab]|outside)?(/[ab.]{1,2}){0,2}"), 0..4),
        path in "(/([ab]|\\.\\.|outside)){1,5}",
    ) {
        let (base, root) = root();
        for (name, target) in links {
            if !target.is_empty() {
                let _ = symlink(target, base.path().join("root").join(name));
            }
        }
        let _ = directory(&root, &path);
        let _ = file(&root, &format!("{path}/file"));
        prop_assert!(outside_is_empty(base.path()));
    }
}
