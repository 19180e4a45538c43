//! Applications of several services by Debian's docker-compose 1.29, in a network namespace that is their host.

mod application;
mod project;
mod versions;

use hull_tests::network::{end, enter_own_network, fetch};
use hull_tests::{Daemon, Home, has_docker, kvm};
use project::{Project, has_compose};

fn usable() -> bool {
    kvm() && has_docker() && has_compose() && enter_own_network()
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
    end(daemon);
}
