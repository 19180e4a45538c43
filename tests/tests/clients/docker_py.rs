//! docker-py, as it is installed, against `hull daemon`.

use std::process::Command;

use hull_tests::network::enter_own_network;
use hull_tests::process::run;
use hull_tests::{Daemon, Home, kvm};

use super::client;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/docker_py.py");

#[test]
fn docker_py_looks_after_containers_images_volumes_and_networks() {
    if !kvm() {
        return;
    }
    // The daemon is in the same one.
    let networks = match enter_own_network() {
        true => "networks",
        false => "no networks",
    };
    let home = Home::with_image("busybox");
    let daemon = Daemon::start(&home);
    let archive = home.scratch().join("busybox.tar");
    let _ = home
        .run(&["image", "save", "-o", &archive.to_string_lossy(), "busybox"])
        .success();
    let output = run(Command::new(client("python"))
        .arg(SCRIPT)
        .arg(format!("unix://{}", daemon.socket().display()))
        .arg(archive)
        .arg(networks)
        .env("DOCKER_CONFIG", home.scratch().join("docker")));
    assert_eq!(output.code(), 0, "{}\n{}", output.text(), output.stderr);
    assert_eq!(output.text().lines().last(), Some("done"));
    let said = daemon.stop();
    assert!(!said.contains("panicked"), "{said}");
    home.assert_clean();
}
