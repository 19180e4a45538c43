use super::*;

fn set(names: &[&str]) -> CapabilitySet {
    CapabilitySet::named(names).unwrap()
}

#[test]
fn dockers_default_is_its_documented_list() {
    let documented = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SYS_CHROOT",
        "MKNOD",
        "AUDIT_WRITE",
        "SETFCAP",
    ];
    assert_eq!(CapabilitySet::DOCKER_DEFAULT, set(&documented));
}

#[test]
fn adding_and_dropping_follow_docker() {
    let docker = |add: &[&str], drop: &[&str]| CapabilitySet::docker(add, drop).unwrap();
    assert_eq!(docker(&[], &[]), CapabilitySet::DOCKER_DEFAULT);
    assert_eq!(docker(&["cap_sys_admin"], &["ALL"]), set(&["SYS_ADMIN"]));
    assert!(docker(&["NET_ADMIN"], &[]).contains(12));
    assert!(!docker(&[], &["Chown"]).contains(0));
    assert_eq!(
        docker(&["ALL"], &["SYS_ADMIN"]).0,
        CapabilitySet::ALL.0 & !(1 << 21)
    );
    assert_eq!(docker(&["all"], &[]), CapabilitySet::ALL);
}

#[test]
fn an_unknown_name_is_named_in_the_error() {
    let error = CapabilitySet::docker(&["NET_ADMON"], &[]).unwrap_err();
    assert!(error.to_string().contains("NET_ADMON"), "{error}");
}
