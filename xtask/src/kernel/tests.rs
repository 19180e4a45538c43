use std::fs;

use super::fragment::refused;
use super::place;

const CONFIG: &str = "# Linux/x86 6.12 Kernel Configuration\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=32\nCONFIG_D=\"x\"\n";

#[test]
fn what_kconfig_did_as_told_is_not_reported() {
    let fragment = "# A comment = with a sign\nCONFIG_A=y\n# CONFIG_B is not set\n\nCONFIG_C=32\nCONFIG_D=\"x\"\n";
    assert_eq!(refused(fragment, CONFIG), Vec::<String>::new());
}

#[test]
fn an_option_that_kconfig_dropped_changed_or_forced_is_named() {
    assert_eq!(
        refused("CONFIG_UNKNOWN=y", CONFIG),
        ["CONFIG_UNKNOWN=y became CONFIG_UNKNOWN=n"]
    );
    assert_eq!(
        refused("CONFIG_C=8\nCONFIG_B=y", CONFIG),
        [
            "CONFIG_C=8 became CONFIG_C=32",
            "CONFIG_B=y became CONFIG_B=n"
        ]
    );
    assert_eq!(
        refused("# CONFIG_A is not set", CONFIG),
        ["CONFIG_A=n became CONFIG_A=y"]
    );
    assert_eq!(
        refused("# CONFIG_GONE is not set", CONFIG),
        Vec::<String>::new()
    );
}

#[test]
fn a_kernel_is_placed_once_and_again_only_when_it_differs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let from = dir.path().join("built");
    let to = dir.path().join("guest/vmlinux");
    fs::write(&from, "one").expect("write");
    assert!(place(&from, &to).expect("placed"));
    assert!(!place(&from, &to).expect("nothing to do"));
    fs::write(&from, "two").expect("write");
    assert!(place(&from, &to).expect("placed again"));
    assert_eq!(fs::read(&to).expect("read"), b"two");
    assert_eq!(
        fs::read_dir(dir.path().join("guest"))
            .expect("list")
            .count(),
        1
    );
}
