//! Two versions of one database, of two releases of Debian, beside each other on one host.

use hull_tests::network::{end, talk};
use hull_tests::{Daemon, Home};

use crate::project::Project;
use crate::usable;

const DATABASES: &str = r#"
version: "3"
services:
  old:
    image: redis
    ports: ["7001:6379"]
    volumes: ["old:/srv"]
  new:
    image: redis-trixie
    ports: ["7002:6379"]
    volumes: ["new:/srv"]
volumes:
  old:
  new:
"#;

/// What a Redis at a port of the host says to a command, as soon as it is up.
#[track_caller]
fn ask(port: u16, command: &str) -> String {
    talk(port, &format!("{command}\r\nQUIT\r\n"), |said| {
        said.ends_with("+OK\r\n") && !said.starts_with("-LOADING")
    })
}

#[test]
#[ignore = "takes minutes where guest kernels are emulated"]
fn two_versions_of_a_database_run_side_by_side() {
    if !usable() {
        return;
    }
    let home = Home::new()
        .with_networks()
        .load("redis")
        .load("redis-trixie");
    let daemon = Daemon::start(&home);
    let project = Project::new(&daemon, &home, "pair", DATABASES);
    project.ok(&["up", "-d"]);
    let both = [
        (7001, "redis_version:7.0.", "of bookworm"),
        (7002, "redis_version:8.0.", "of trixie"),
    ];
    for (port, version, text) in both {
        let said = ask(port, "INFO server");
        assert!(said.contains(version), "{version} is not in {said}");
        assert!(ask(port, &format!("SET who '{text}'")).starts_with("+OK"));
    }
    // Each has kept what was written to it.
    project.ok(&["restart", "-t", "120"]);
    for (port, _, text) in both {
        let said = ask(port, "GET who");
        assert!(said.contains(text), "{text} is not in {said}");
    }
    project.ok(&["down", "-t", "120", "-v"]);
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "");
    end(daemon);
}
