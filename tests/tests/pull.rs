//! `hull run --pull`: an image that comes from a registry on the way to its container.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_tests::{Home, Registry, Running, image, kvm};
use rustix::process::Signal;

/// The image busybox with a variable of its own, as an OCI layout.
fn variant(home: &Home, value: &str) -> PathBuf {
    let layout = home.scratch().join(format!("variant-{value}"));
    let copied = Command::new("cp")
        .arg("-rL")
        .args([&image("busybox"), &layout])
        .status();
    assert!(copied.expect("cp runs").success());
    let configured = Command::new("umoci")
        .args(["config", "--image", &layout.to_string_lossy()])
        .args(["--config.env", &format!("WHICH={value}")])
        .status();
    assert!(configured.expect("umoci runs").success());
    layout
}

fn push(registry: &Registry, layout: &Path) -> String {
    registry.push(layout, "app:latest")
}

#[test]
fn an_image_is_pulled_when_it_is_missing_and_again_when_asked() {
    if !kvm() {
        return;
    }
    let Some(registry) = Registry::start() else {
        return;
    };
    let home = Home::new();
    let app = push(&registry, &variant(&home, "first"));
    let run = |pull: &str| {
        let output = home.run(&[
            "run",
            "--rm",
            "--pull",
            pull,
            &app,
            "sh",
            "-c",
            "echo $WHICH",
        ]);
        assert_eq!(output.code(), 0, "{}", output.stderr);
        (output.text(), output.stderr)
    };
    home.run(&["run", "--rm", "--pull", "never", &app, "true"])
        .fails_with(125, &[&app]);
    assert_eq!(registry.blobs_served("app"), 0);

    // What is told of the pull is on standard error; standard output is the program's.
    let (text, told) = run("missing");
    assert_eq!(text, "first\n");
    assert!(
        told.contains(&format!("Unable to find image '{app}' locally")) && told.contains("Pull"),
        "{told}"
    );
    let served = registry.blobs_served("app");
    assert!(served >= 2, "{served} blobs");

    let app_again = push(&registry, &variant(&home, "second"));
    assert_eq!(app_again, app);
    assert_eq!(run("missing"), ("first\n".to_owned(), String::new()));
    assert_eq!(registry.blobs_served("app"), served);

    let (text, told) = run("always");
    assert_eq!(text, "second\n", "{told}");
    // The layer is the same; only the configuration came.
    assert_eq!(registry.blobs_served("app"), served + 1);
    home.assert_clean();
}

#[test]
fn a_pull_that_fails_is_one_sentence_and_125() {
    let Some(registry) = Registry::start() else {
        return;
    };
    let home = Home::new();
    let none = registry.reference("none");
    for pull in ["missing", "always"] {
        let output = home.run(&["run", "--rm", "--pull", pull, &none, "true"]);
        output.fails_with(125, &["cannot be pulled", &none]);
        assert_eq!(output.text(), "");
        let words: Vec<&str> = output
            .stderr
            .lines()
            .filter(|line| line.starts_with("hull: "))
            .collect();
        assert_eq!(words.len(), 1, "{}", output.stderr);
    }
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("its address")
    };
    home.run(&["run", "--rm", &format!("{nobody}/app"), "true"])
        .fails_with(125, &["cannot be pulled", &nobody.to_string()]);
    home.assert_clean();
}

#[test]
fn an_interrupt_in_the_pull_leaves_no_container_and_no_image() {
    let home = Home::new();
    // A registry that accepts and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("{}/app", listener.local_addr().expect("its address"));
    let client = home.start(&["run", "--name", "web", &silent, "true"]);
    let (connection, _) = listener.accept().expect("it connects");
    client.signal(Signal::INT);
    assert_eq!(client.finish().code(), 130);
    drop(connection);
    home.assert_clean();

    // In the middle of a layer.
    let Some(registry) = Registry::start() else {
        return;
    };
    let debian = registry.push(&image("debian"), "debian:latest");
    let hull = home.hull(&["run", "--name", "web", &debian, "true"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" 2>&1", "sh"]);
    shell.arg(hull.get_program()).args(hull.get_args());
    for (name, value) in hull.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let mut client = Running::start(&mut shell);
    client.wait_for("Downloading");
    client.signal(Signal::INT);
    assert_eq!(client.finish().code(), 130);
    assert_eq!(home.run(&["images", "-q"]).success(), "");
    home.assert_clean();
}
