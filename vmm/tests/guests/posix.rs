//! What POSIX and Linux say of files, of a share: a guest's program tries it by the guest's own system calls.

use std::fs;

use crate::common::no_kvm;
use crate::shell::Machine;

/// What is tried, one kind after the other.
const SECTIONS: [(&str, &str); 11] = [
    ("links", include_str!("posix/links.pl")),
    ("locks", include_str!("posix/locks.pl")),
    ("modes", include_str!("posix/modes.pl")),
    ("names", include_str!("posix/names.pl")),
    ("open", include_str!("posix/open.pl")),
    ("rename", include_str!("posix/rename.pl")),
    ("space", include_str!("posix/space.pl")),
    ("sticky", include_str!("posix/sticky.pl")),
    ("times", include_str!("posix/times.pl")),
    ("unlink", include_str!("posix/unlink.pl")),
    ("xattrs", include_str!("posix/xattrs.pl")),
];

/// How many results are looked at; a section that ends early is noticed.
const TRIED: u32 = 242;

fn program() -> String {
    let sections = SECTIONS.map(|(name, text)| format!("{{ section '{name}';\n{text}}}\n"));
    let start = include_str!("posix/start.pl");
    format!("{start}{}print \"$tried tried\\n\";\n", sections.concat())
}

#[test]
fn a_share_behaves_as_file_systems_do() {
    if no_kvm() {
        return;
    }
    let machine = Machine::with(1, 192, "acpi=off", &[("posix.pl", &program())]);
    let work = machine.path("work");
    fs::create_dir(&work).unwrap();
    let mut guest = machine
        .programs_of_the_host()
        .share("work", &work, false)
        .boot();
    guest.sh("mount -t virtiofs usr /usr; mount -t virtiofs work /mnt; chmod 755 /mnt");
    let tried = guest.sh("/usr/bin/perl /bin/posix.pl /mnt");
    let names = SECTIONS.map(|(name, _)| format!("{name}\n"));
    assert_eq!(tried, format!("{}{TRIED} tried\n", names.concat()));
    guest.power_off();
}
