//! Applications of several services by Debian's docker-compose 1.29, in a network namespace that is their host.

mod project;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hull_tests::network::{enter_own_network, sh};
use hull_tests::{Daemon, Home, PATIENCE, has_docker, kvm};
use project::{Project, has_compose};

fn usable() -> bool {
    kvm() && has_docker() && has_compose() && enter_own_network()
}

/// Ends the daemon and asserts that nothing is left of it, and nothing of its networks in the kernel.
#[track_caller]
fn end(daemon: Daemon<'_>, home: &Home) {
    assert_eq!(daemon.ok(&["ps", "--all", "--quiet"]), "");
    let said = daemon.stop();
    assert!(!said.contains("panicked"), "{said}");
    home.assert_clean();
    let taps = sh("ip -br link | grep -c hullt- || true");
    assert_eq!(taps.trim(), "0", "TAPs are left");
}

/// What a web server at a port of the host answers, its head and its body, as soon as that contains `expected`: it may be about to come up.
#[track_caller]
fn fetch(port: u16, path: &str, expected: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    loop {
        let fetched = TcpStream::connect(at).and_then(|mut stream| {
            write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            Ok(said)
        });
        match fetched {
            Ok(said) if said.contains(expected) => return said,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A page that one service writes and another one serves, both from the same volume.
const PAGES: &str = r#"
version: "3"
services:
  web:
    image: busybox
    command: httpd -f -p 80 -h /pages
    volumes: ["pages:/pages"]
    ports: ["8080:80"]
  writer:
    image: busybox
    command: sleep 100000
    volumes: ["pages:/pages"]
    depends_on: [web]
volumes:
  pages:
"#;

#[test]
fn two_services_go_up_and_down_and_their_volume_stays() {
    if !usable() {
        return;
    }
    let home = Home::with_image("busybox").with_networks();
    let daemon = Daemon::start(&home);
    let project = Project::new(&daemon, &home, "site", PAGES);
    project.ok(&["up", "-d"]);
    let shown = project.ok(&["ps"]);
    for expected in [
        "site_web_1",
        "site_writer_1",
        "0.0.0.0:8080->80/tcp",
        " Up ",
    ] {
        assert!(shown.contains(expected), "{expected:?} is not in {shown}");
    }

    // What one service writes the other one serves, and the next replica finds.
    let write = "echo first > /pages/index.html; echo written; exit 5";
    let written = project.run(&["exec", "-T", "writer", "sh", "-c", write]);
    assert_eq!((written.text().trim(), written.code()), ("written", 5));
    fetch(8080, "/", "\r\nfirst\n");
    project.ok(&["up", "-d", "--scale", "writer=2"]);
    let look = "cat /pages/index.html; wget -qO- http://web/";
    assert_eq!(
        project.ok(&["exec", "-T", "--index=2", "writer", "sh", "-c", look]),
        "first\nfirst"
    );

    project.ok(&["restart", "web"]);
    fetch(8080, "/", "\r\nfirst\n");
    let others = ["site_writer_1 running", "site_writer_2 running"];
    project.ok(&["stop", "web"]);
    assert_eq!(
        project.states(),
        [&["site_web_1 exited"], &others[..]].concat()
    );
    project.ok(&["start", "web"]);
    fetch(8080, "/", "\r\nfirst\n");
    assert_eq!(
        project.states(),
        [&["site_web_1 running"], &others[..]].concat()
    );

    // The application goes, and the data is there for the next one.
    project.ok(&["down"]);
    assert_eq!(project.states(), [""; 0]);
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "site_pages");
    let networks = ["network", "ls", "-q", "--filter", "name=site_default"];
    assert_eq!(daemon.ok(&networks), "");
    project.ok(&["up", "-d", "web"]);
    fetch(8080, "/", "\r\nfirst\n");
    project.ok(&["down", "-v"]);
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "");
    end(daemon, &home);
}
