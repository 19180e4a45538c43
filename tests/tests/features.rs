//! What programs in containers expect of a kernel, used once each in one container: a firewall, networks of its own,
//! file systems, watches, rings, BPF, control groups.

use hull_tests::process::run;
use hull_tests::{Home, kvm};

/// One transaction: filter, address translation, sets, connection tracking.
const FIREWALL: &str = "table inet t {
  set ports { type inet_service; elements = { 80, 443 }; }
  chain in {
    type filter hook input priority 0; policy accept;
    ct state established counter accept
    tcp dport @ports limit rate 10/second counter log drop
    meta l4proto udp reject
  }
}
table ip n {
  chain post {
    type nat hook postrouting priority 100
    masquerade
  }
}
table bridge b {
  chain pass {
    type filter hook forward priority 0
    ether type arp accept
  }
}
";

/// A bridge with two ends of a cable, one in it, and a TAP; a VLAN and a macvlan on top.
const LINKS: &str = "link add br0 type bridge
link add v0 type veth peer name v1
link set v0 master br0
link set br0 up
link set v0 up
link set v1 up
address add 10.9.0.1/24 dev br0
tuntap add t0 mode tap
link set t0 master br0
link add link v1 name v1.7 type vlan id 7
link add link v1 name m0 type macvlan mode bridge
";

/// Everything that needs no program of its own: one line for each thing that does not work. System calls by their
/// numbers on x86-64.
const CALLS: &str = r#"
use strict; use Socket;
sub call { my @arguments = @_; syscall shift @arguments, @arguments }
sub check { my ($name, $result) = @_; print "$name: $!\n" unless defined $result && $result >= 0; $result }
sub put { open my $f, ">", $_[0] or return; syswrite $f, $_[1] }
sub works { my ($name, $result) = @_; print "$name: $!\n" unless $result }
my ($t, $empty) = ("/tmp/t", "");
mkdir $t; mkdir "$t/$_" for qw(low up work merged fuse tmp loop);
check "tmpfs", call(165, "tmpfs", "$t/tmp", "tmpfs", 0, $empty);
mkdir "$t/tmp/$_" for qw(low up work);
my $o = "lowerdir=$t/tmp/low,upperdir=$t/tmp/up,workdir=$t/tmp/work";
check "overlay", call(165, "o", "$t/merged", "overlay", 0, $o);
works "overlay write", put("$t/merged/file", "x") && -e "$t/tmp/up/file";
call(133, "/dev/fuse", 0020666, 10 << 8 | 229) unless -e "/dev/fuse";
works "/dev/fuse", open my $fuse, "+<", "/dev/fuse";
$o = "fd=" . fileno($fuse) . ",rootmode=40000,user_id=0,group_id=0";
check "fuse", call(165, "f", "$t/fuse", "fuse", 0, $o);
my $known = do { local $/; open my $p, "<", "/proc/filesystems"; <$p> };
$known =~ /\b$_\n/ or print "no $_\n" for qw(ext4 erofs virtiofs mqueue hugetlbfs);
my $params = "\0" x 120;
check "io_uring", call(425, 8, $params);
my $watch = check "inotify", call(294, 0);
check "inotify watch", call(254, $watch, "$t/tmp", 0x100);
open my $new, ">", "$t/tmp/new"; open my $events, "<&=", $watch;
works "inotify event", sysread($events, my $event, 4096) >= 16;
my $fan = check "fanotify", call(300, 0, 0);
check "fanotify mark", call(301, $fan, 1, 0x20, -100, "$t/tmp");
my $map = pack "L4 x112", 2, 4, 4, 1;
check "bpf map", call(321, 0, $map, length $map);
my ($code, $license) = (pack("Q2", 0xb7, 0x95), "GPL\0");
my $prog = pack "L2 P P x96", 1, 2, $code, $license;
check "bpf program", call(321, 5, $prog, length $prog);
works "ksm", put("/sys/kernel/mm/ksm/run", "1");
my $page = check "mmap", call(9, 0, 65536, 3, 0x22, -1, 0);
check "ksm advice", call(28, $page, 65536, 12);
works "huge pages", put("/proc/sys/vm/nr_hugepages", "1");
for my $c (qw(cpuset cpu io memory hugetlb pids)) {
  open my $g, "<", "/sys/fs/cgroup/cgroup.controllers"; <$g> =~ /\b$c\b/ or print "no controller $c\n" }
works "cgroup", mkdir "/sys/fs/cgroup/child";
my $action = pack "L", 0x7fff0000;
check "seccomp", call(317, 2, 0, $action);
check "userfaultfd", call(323, 1);
check "memfd", call(319, "m", 0);
check "pidfd", call(434, $$, 0);
socket(my $s, $_->[0], $_->[1], $_->[2]) or print "socket @$_: $!\n"
  for [1, 1, 0], [2, 1, 0], [10, 1, 0], [16, 3, 0], [17, 3, 0x300], [40, 1, 0], [2, 3, 255], [10, 3, 255];
for my $family (2, 10) {
  socket my $raw, $family, 3, 255; my $info = pack "a84", "filter"; my $size = pack "L", 84;
  check "iptables $family", call(55, fileno($raw), $family == 2 ? 0 : 41, 64, $info, $size) }
# The last one takes away what the others need.
for my $kind ([mount => 0x20000], [uts => 0x4000000], [ipc => 0x8000000], [net => 0x40000000], [cgroup => 0x2000000],
  [time => 0x80], [pid => 0x20000000], [user => 0x10000000]) {
  check "namespace $kind->[0]", call(272, $kind->[1]) }
print "done\n";
"#;

#[test]
fn a_kernel_has_what_programs_in_containers_expect() {
    if !kvm() {
        return;
    }
    let home = Home::with_image("debian");
    let script = format!(
        "set -e
nft -f - <<'END'
{FIREWALL}END
nft list ruleset | grep -E -c 'masquerade|@ports|reject|arp'
mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
ip -batch - <<'END'
{LINKS}END
ip -brief link show | cut -d' ' -f1 | sort | tr '\\n' ' '; echo
ip -brief address show br0 | grep -c 10.9.0.1/24
perl - <<'END'
{CALLS}END
"
    );
    let args = ["run", "--rm", "--privileged", "debian", "sh", "-c", &script];
    let finished = run(&mut home.hull(&args));
    assert_eq!(
        finished.text(),
        "4\nbr0 lo m0@v1 t0 v0@v1 v1.7@v1 v1@v0 \n1\ndone\n",
        "{}",
        finished.stderr
    );
    assert_eq!(finished.code(), 0);
    home.assert_clean();
}
