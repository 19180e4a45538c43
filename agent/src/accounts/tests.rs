use proptest::prelude::*;

use super::*;

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
    # a comment\n\
    broken line\n\
    bad:x:notanumber:1::/:\n\
    daemon:x:1:1::/usr/sbin:/bin/false\n\
    app:x:1000:1000:App:/home/app:/bin/sh\n\
    homeless:x:1001:100\n";
const GROUP: &[u8] =
    b"root:x:0:\nwheel:x:10:root,app\nusers:x:100:app\napp:x:1000:\n\xff\xfe:x:7:app\n";

fn user(spec: &str) -> User {
    resolve(spec, &[], PASSWD, GROUP).unwrap()
}

fn error(spec: &str, groups: &[&str]) -> String {
    let groups: Vec<_> = groups.iter().map(|&name| name.to_owned()).collect();
    resolve(spec, &groups, PASSWD, GROUP).unwrap_err().message
}

#[test]
fn nothing_means_root_with_its_groups() {
    let root = User {
        uid: 0,
        gid: 0,
        groups: vec![0, 10],
        home: "/root".into(),
    };
    for spec in ["", "0", "root"] {
        assert_eq!(user(spec), root, "{spec:?}");
    }
}

#[test]
fn names_and_ids_find_the_same_user() {
    let app = User {
        uid: 1000,
        gid: 1000,
        groups: vec![10, 100, 1000],
        home: "/home/app".into(),
    };
    assert_eq!(user("app"), app);
    assert_eq!(user("1000"), app);
}

#[test]
fn a_group_replaces_the_users_own_groups() {
    let app = user("app:users");
    assert_eq!((app.gid, app.groups), (100, vec![100]));
    assert_eq!(user("app:4242").gid, 4242);
    assert_eq!(user(":users").gid, 100);
}

#[test]
fn a_number_needs_no_entry() {
    let nobody = User {
        uid: 77,
        gid: 0,
        groups: vec![0],
        home: "/".into(),
    };
    assert_eq!(user("77"), nobody);
    assert_eq!(user("77:88").gid, 88);
    assert_eq!(resolve("5", &[], b"", b"").unwrap().uid, 5);
}

#[test]
fn a_user_without_home_has_the_root_directory() {
    assert_eq!(user("homeless").home, "/");
}

#[test]
fn added_groups_are_names_or_numbers() {
    let user = resolve(
        "77",
        &["users".into(), "9".into(), "9".into()],
        PASSWD,
        GROUP,
    )
    .unwrap();
    assert_eq!(user.groups, [0, 9, 100]);
}

#[test]
fn what_is_not_there_is_said_in_dockers_words() {
    let user = "unable to find user stranger: no matching entries in passwd file";
    assert_eq!(error("stranger", &[]), user);
    let group = "unable to find group guests: no matching entries in group file";
    assert_eq!(error("app:guests", &[]), group);
    assert_eq!(error("app", &["guests"]), group);
    assert!(
        error("bad", &[]).contains("bad"),
        "a malformed line is no entry"
    );
    assert!(
        error("4294967296", &[]).contains("4294967296"),
        "too large to be an id"
    );
    assert!(error("-1", &[]).contains("-1"));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(spec in "[a-z0-9:]{0,8}", passwd: Vec<u8>, group: Vec<u8>) {
        let _ = resolve(&spec, &[], &passwd, &group);
    }

    /// Lines that look right are found among any that do not.
    #[test]
    fn a_good_line_is_found_among_bad_ones(noise in "([^\n]{0,20}\n){0,5}", uid in 1_u32..60_000) {
        let passwd = format!("{noise}target-user:x:{uid}:5::/home/t:\n");
        prop_assume!(!noise.contains("target-user"));
        let user = resolve("target-user", &[], passwd.as_bytes(), b"").unwrap();
        prop_assert_eq!((user.uid, user.gid), (uid, 5));
    }
}
