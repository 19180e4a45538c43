//! Containers in networks, by Docker's own client: each test is in a network namespace of its own, which is their host.

use hull_tests::network::{end, enter_own_network, fetch};
use hull_tests::{Daemon, Home, has_docker, kvm};
use serde_json::Value;

fn usable() -> bool {
    kvm() && has_docker() && enter_own_network()
}

fn inspect(daemon: &Daemon<'_>, name: &str) -> Value {
    let mut all: Value = serde_json::from_str(&daemon.ok(&["inspect", name])).unwrap();
    all[0].take()
}

const SERVE: &str =
    "mkdir /www; echo hello from $HOSTNAME > /www/index.html; exec httpd -f -p 80 -h /www";

#[test]
fn a_container_is_in_the_default_network_and_its_ports_are_the_host_s() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox").with_networks();
    let daemon = Daemon::start(&home);
    let run = [
        "run",
        "-d",
        "--name=web",
        "--hostname=web",
        "--domainname=example.org",
        "-p8080:80",
        "-p127.0.0.1::81/udp",
        "--expose=82",
        "--mac-address=02:00:00:00:00:99",
        "--add-host=db:192.0.2.9",
        "--add-host=host:host-gateway",
        "--dns=192.0.2.53",
        "--dns-search=example.net",
        "--dns-option=timeout:1",
        "busybox",
        "sh",
        "-c",
        SERVE,
    ];
    daemon.ok(&run);
    assert!(fetch(8080, "/", "hello from").ends_with("\r\nhello from web\n"));

    let shown = inspect(&daemon, "web");
    let settings = &shown["NetworkSettings"];
    let place = &settings["Networks"]["bridge"];
    let address = place["IPAddress"].as_str().unwrap().to_owned();
    let gateway = place["Gateway"].as_str().unwrap().to_owned();
    assert_eq!(settings["IPAddress"], *address);
    assert_eq!(place["MacAddress"], "02:00:00:00:00:99");
    assert_eq!(shown["HostConfig"]["NetworkMode"], "bridge");
    let ports = &settings["Ports"];
    assert_eq!(ports["80/tcp"][0]["HostPort"], "8080");
    assert_eq!(ports["80/tcp"][0]["HostIp"], "0.0.0.0");
    assert_eq!(ports["81/udp"][0]["HostIp"], "127.0.0.1");
    assert_eq!(ports["82/tcp"], Value::Null);
    assert_eq!(daemon.ok(&["port", "web", "80"]), "0.0.0.0:8080");
    let listed = daemon.ok(&["ps", "--format", "{{.Ports}}", "--filter", "publish=8080"]);
    assert!(listed.contains("0.0.0.0:8080->80/tcp"), "{listed}");

    let look = "ip -o addr show eth0; ip route; cat /etc/resolv.conf /etc/hosts; cat /proc/sys/kernel/domainname; \
        ls /sys/class/net";
    let seen = daemon.ok(&["exec", "web", "sh", "-c", look]);
    for expected in [
        &format!("inet {address}/20"),
        &format!("default via {gateway}"),
        "nameserver 192.0.2.53\nsearch example.net\noptions timeout:1\n",
        "192.0.2.9\tdb\n",
        &format!("{gateway}\thost\n"),
        &format!("{address}\tweb.example.org web\n"),
        "\nexample.org\n",
    ] {
        assert!(seen.contains(expected), "{expected:?} is not in {seen}");
    }

    let again = ["run", "--rm", "-p8080:80", "busybox", "true"];
    daemon.run(&again).fails_with(
        125,
        &["Bind for 0.0.0.0:8080 failed: port is already allocated"],
    );
    let ping = format!("ping -c 1 -W 20 {address} && ping -c 1 -W 20 {gateway}");
    daemon.ok(&["run", "--rm", "busybox", "sh", "-c", &ping]);
    let alone = [
        "run",
        "--rm",
        "--network=none",
        "busybox",
        "ls",
        "/sys/class/net",
    ];
    assert_eq!(daemon.ok(&alone), "lo");

    // Ports are free again with the container's end.
    daemon.ok(&["rm", "-f", "web"]);
    let _ = daemon.run(&again).success();
    end(daemon);
}

#[test]
fn containers_find_each_other_by_name_and_come_and_go_while_they_run() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox").with_networks();
    let daemon = Daemon::start(&home);
    let create = [
        "network",
        "create",
        "--subnet=10.66.0.0/24",
        "--gateway=10.66.0.7",
        "--label=tier=front",
        "front",
    ];
    let id = daemon.ok(&create);
    daemon
        .run(&["network", "create", "front"])
        .fails_with(1, &["network with name front already exists"]);
    daemon
        .run(&["network", "create", "--subnet=10.66.0.0/25", "other"])
        .fails_with(1, &["Pool overlaps with other one on this address space"]);
    daemon.ok(&["network", "create", "--internal", "back"]);
    let names = daemon.ok(&["network", "ls", "--format", "{{.Name}} {{.Driver}}"]);
    assert_eq!(
        names,
        "back bridge\nbridge bridge\nfront bridge\nhost host\nnone null"
    );
    assert_eq!(
        daemon.ok(&["network", "ls", "--quiet", "--filter=label=tier=front"]),
        id
    );

    let web = daemon.ok(&[
        "run",
        "-d",
        "--name=web",
        "--network=front",
        "--network-alias=www",
        "--ip=10.66.0.99",
        "busybox",
        "sh",
        "-c",
        SERVE,
    ]);
    let talker = [
        "run",
        "-d",
        "--name=talker",
        "--network=front",
        "busybox",
        "sleep",
        "100000",
    ];
    daemon.ok(&talker);
    let talks = |command: &str| daemon.ok(&["exec", "talker", "sh", "-c", command]);
    for name in ["web", "www", "web.front", &web[..12]] {
        let said = talks(&format!("nslookup {name}"));
        assert!(said.contains("10.66.0.99"), "{name}: {said}");
    }
    assert!(talks("cat /etc/resolv.conf").starts_with("nameserver 10.66.0.7\n"));
    assert_eq!(talks("wget -qO- http://www/ | wc -l"), "1");
    let shown: Value = serde_json::from_str(&daemon.ok(&["network", "inspect", &id[..4]])).unwrap();
    assert_eq!(shown[0]["Containers"][&web]["IPv4Address"], "10.66.0.99/24");
    daemon
        .run(&["network", "rm", "front"])
        .fails_with(1, &["has active endpoints"]);
    daemon.run(&["network", "rm", "bridge"]).fails_with(
        1,
        &["bridge is a pre-defined network and cannot be removed"],
    );

    // A container that runs comes into another network, and its name with it; the daemon's death changes nothing.
    daemon.ok(&["network", "connect", "--alias=store", "back", "web"]);
    daemon
        .run(&["network", "connect", "back", "web"])
        .fails_with(
            1,
            &["endpoint with name web already exists in network back"],
        );
    daemon.kill();
    let daemon = Daemon::start(&home);
    let talks = |command: &str| daemon.ok(&["exec", "talker", "sh", "-c", command]);
    daemon.ok(&["network", "disconnect", "front", "talker"]);
    assert_eq!(
        talks("ls /sys/class/net; ip -o -4 addr | grep -c eth || true"),
        "eth0\neth1\nlo\n0"
    );
    daemon.ok(&["network", "connect", "back", "talker"]);
    let back = inspect(&daemon, "web")["NetworkSettings"]["Networks"]["back"]["IPAddress"].take();
    let back = back.as_str().unwrap();
    let said = talks("nslookup store; wget -qO- http://store/");
    assert!(said.contains(back), "{said}");
    assert!(
        said.ends_with("hello from \n") || said.contains("hello from"),
        "{said}"
    );
    daemon.ok(&["rename", "web", "shop"]);
    assert!(talks("nslookup shop").contains(back));

    let events = daemon.ok(&[
        "events",
        "--since=10m",
        "--until=0s",
        "--filter=type=network",
        "--filter=network=back",
        "--format={{.Action}}",
    ]);
    assert_eq!(events, "connect");
    daemon.ok(&["rm", "-f", "shop", "talker"]);
    let pruned = daemon.ok(&["network", "prune", "--force"]);
    assert!(
        pruned.contains("back") && pruned.contains("front"),
        "{pruned}"
    );
    end(daemon);
}
