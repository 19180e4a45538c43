//! Guests in a network of Hull's: they ping, and copy megabytes to each other and to the host; what they forge goes nowhere. All of it
//! is in a network namespace that the test makes and that goes with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

pub(crate) use hull_tests::network::{enter_own_network, sh};
use hull_tests::{Home, Running, kvm};

use super::guest::initramfs_with;
use super::{assert_none_left, json};

const HOST: &str = "10.77.0.1";
const A: &str = "10.77.0.2";
const B: &str = "10.77.0.3";
/// Addresses that are nobody's.
const FORGED: &str = "10.77.0.99";
const FORGED_MAC: &str = "02:66:6f:72:67:65";

/// A guest whose shell reads what it is to do.
struct Guest {
    shell: Running,
    steps: u32,
}

impl Guest {
    fn start(home: &Home, initrd: &str, name: &str, address: &str) -> Self {
        let net = format!("--net=talk,ip={address}");
        let run = [
            "vm", "run", "--name", name, "--initrd", initrd, &net, "-m", "128m",
        ];
        let mut shell = home.start(&[&run[..], &["--cmdline", "quiet"]].concat());
        shell.wait_for("guest is up");
        let mut guest = Self { shell, steps: 0 };
        guest.does(&format!(
            "busybox ip addr add {address}/24 dev eth0 && busybox ip link set eth0 up"
        ));
        guest
    }

    /// Runs a command, and waits for its end; whether it went well.
    fn tries(&mut self, command: &str) -> bool {
        self.steps += 1;
        let step = self.steps;
        // What is typed may be echoed: the numbers tell it from what is printed.
        let line = format!("if {command}; then echo step {step} ok; else echo step {step} no; fi");
        self.shell
            .write(line.replace("step ", "step''_ ").as_bytes());
        self.shell.write(b"\n");
        self.shell
            .wait_for_any(&[&format!("step_ {step} ok"), &format!("step_ {step} no")])
            == 0
    }

    #[track_caller]
    fn does(&mut self, command: &str) {
        assert!(self.tries(command), "{command}");
    }
}

/// Makes the program that copies, for guests and the host alike.
fn copy_program(home: &Home) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/copy.c");
    let program = home.scratch().join("copy");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-static", "-o"]).arg(&program).arg(source);
    assert!(cc.status().expect("a C compiler").success(), "{cc:?}");
    program
}

#[test]
fn two_guests_ping_and_copy_and_what_they_forge_goes_nowhere() {
    if !kvm() || !enter_own_network() {
        return;
    }
    let home = Home::new();
    let program = copy_program(&home);
    let initrd = initramfs_with(&home, &[("copy", &program)]);
    let before = sh("nft list ruleset; ip -br link | wc -l");
    let create = ["network", "create", "--subnet", "10.77.0.0/24", "talk"];
    let _ = home.run(&create).success();
    let mut a = Guest::start(&home, &initrd, "a", A);
    let mut b = Guest::start(&home, &initrd, "b", B);

    a.does(&format!("busybox ping -c 2 -W 20 {B}"));
    b.does(&format!("busybox ping -c 2 -W 20 {HOST}"));
    let shown = json(&home.run(&["network", "inspect", "talk"]).success());
    let guests = shown[0]["Containers"].as_object().expect("guests");
    let own = guests.values().find(|one| one["Name"] == "a");
    let own = own
        .and_then(|own| own["MacAddress"].as_str())
        .expect("a MAC");
    forges(own, &mut a, &mut b);
    copies(&program, &mut a, &mut b);

    for guest in [a, b] {
        let mut shell = guest.shell;
        shell.write(b"busybox poweroff -f\n");
        let _ = shell.finish().success();
    }
    let shown = json(&home.run(&["network", "inspect", "talk"]).success());
    assert_eq!(shown[0]["Containers"], serde_json::json!({}));
    let _ = home.run(&["network", "rm", "talk"]).success();
    assert_eq!(sh("nft list ruleset; ip -br link | wc -l"), before);
    assert_none_left(&home);
}

/// 8 MB each, all of which is compared: from the host to A, from A to B, from B to the host.
fn copies(program: &Path, a: &mut Guest, b: &mut Guest) {
    // Nothing tells the host when a guest begins to listen.
    let host = |what: String| {
        let command = format!("until {} {what}; do sleep 0.2; done", program.display());
        thread::spawn(move || sh(&command))
    };
    let sender = host(format!("connect 9000 send {A}"));
    a.does("copy listen 9000 check");
    sender.join().expect("the sender");

    b.does("{ copy listen 9000 check & copy=$!; }");
    a.does(&format!(
        "until copy connect 9000 send {B}; do busybox sleep 0.2; done"
    ));
    b.does("wait $copy");

    let reader = host(format!("connect 9001 check {B}"));
    b.does("copy listen 9001 send");
    reader.join().expect("the reader");
}

/// A takes another address, and sends frames in the name of others: neither its neighbour nor the host hears of them.
fn forges(own: &str, a: &mut Guest, b: &mut Guest) {
    a.does(&format!("busybox ip addr add {FORGED}/24 dev eth0"));
    for to in [B, HOST] {
        let ping = format!("busybox ping -c 2 -W 3 -I {FORGED} {to}");
        assert!(!a.tries(&ping), "{to} answered");
    }
    a.does(&format!("busybox ip addr del {FORGED}/24 dev eth0"));
    let hears = |b: &mut Guest, of: &str| {
        let guest = b.tries(&format!("busybox grep -q {of} /proc/net/arp"));
        [guest, sh("ip neigh show").contains(of)]
    };
    assert_eq!(hears(b, FORGED), [false, false], "an address was forged");

    // Whoever is asked where it is remembers who asked.
    let ask = |a: &mut Guest, (source, sender): (&str, &str), address: &str| {
        for to in [B, HOST] {
            a.does(&format!("copy forge {source} {sender} {address} {to}"));
        }
    };
    ask(a, (FORGED_MAC, FORGED_MAC), A);
    ask(a, (FORGED_MAC, own), A);
    ask(a, (own, FORGED_MAC), A);
    ask(a, (own, own), FORGED);
    ask(a, (own, FORGED_MAC), FORGED);
    // It may not even take such an address.
    let _ = a.tries(&format!("busybox ip link set eth0 address {FORGED_MAC}"));
    // What is honest does arrive, and behind all of the above.
    let _ = sh(&format!("ip neigh flush to {A}"));
    b.does(&format!("busybox ip neigh flush to {A} dev eth0"));
    a.does(&format!("busybox ip link set eth0 address {own} || true"));
    ask(a, (own, own), A);
    a.does(&format!("busybox ping -c 2 -W 20 {B}"));
    for _ in 0..2 {
        assert_eq!(hears(b, FORGED_MAC), [false, false], "a MAC was forged");
        assert_eq!(hears(b, FORGED), [false, false], "an address was forged");
    }
    assert_eq!(hears(b, own), [true, true], "what is honest is heard");
}
