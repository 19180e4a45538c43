//! The daemon as something to operate: clients over TLS, metrics, logs, completions and manual pages.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use hull_tests::{Daemon, Home, Running, has_docker, kvm, run};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// An authority whose certificates are in files: `NAME-ca.pem`, and those that it makes.
struct Authority<'a> {
    directory: &'a Path,
    name: &'static str,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl<'a> Authority<'a> {
    fn new(directory: &'a Path, name: &'static str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        fs::write(directory.join(format!("{name}-ca.pem")), issuer.pem()).unwrap();
        Self {
            directory,
            name,
            issuer,
        }
    }

    fn ca(&self) -> String {
        self.path("ca")
    }

    fn path(&self, what: &str) -> String {
        let file = self.directory.join(format!("{}-{what}.pem", self.name));
        file.to_string_lossy().into_owned()
    }

    /// Paths of a certificate for 127.0.0.1 and of its key.
    fn certificate(&self, what: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, what);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (cert, at) = (self.path(what), self.path(&format!("{what}-key")));
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&at, key.serialize_pem()).unwrap();
        (cert, at)
    }
}

/// A port of 127.0.0.1 on which nobody listens now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What a plain HTTP request is answered with.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn clients_over_tcp_have_certificates_and_the_daemon_tells_what_it_does() {
    if !kvm() || !has_docker() {
        return;
    }
    let home = Home::with_image("busybox");
    let ours = Authority::new(home.scratch(), "ours");
    let foreign = Authority::new(home.scratch(), "foreign");
    let (cert, key) = ours.certificate("server", ExtendedKeyUsagePurpose::ServerAuth);
    let client = ours.certificate("client", ExtendedKeyUsagePurpose::ClientAuth);
    let stranger = foreign.certificate("client", ExtendedKeyUsagePurpose::ClientAuth);
    let (port, shown) = (free_port(), free_port());
    let unix = format!("unix://{}/hull.sock", home.runtime().display());
    let tcp = format!("tcp://127.0.0.1:{port}");
    let daemon = Daemon::start_with(
        &home,
        &[
            &["--host", &unix, "--host", &tcp, "--tlsverify"][..],
            &[
                "--tlscacert",
                &ours.ca(),
                "--tlscert",
                &cert,
                "--tlskey",
                &key,
            ],
            &["--metrics-addr", &format!("127.0.0.1:{shown}")],
            &["--log-level", "debug", "--log-format", "json"],
        ]
        .concat(),
    );
    let docker = |options: &[&str], args: &[&str]| {
        let mut command = Command::new("docker");
        command
            .args(["-H", &tcp])
            .args(options)
            .args(args)
            .env("DOCKER_CONFIG", home.scratch().join("docker"));
        run(&mut command)
    };
    let tls = |(cert, key): &(String, String)| {
        let files = ["--tlscert", cert, "--tlskey", key].map(str::to_owned);
        let ca = ["--tlsverify", "--tlscacert", &ours.ca()].map(str::to_owned);
        [&ca[..], &files].concat()
    };
    let with = |pair: &(String, String), args: &[&str]| {
        let options = tls(pair);
        docker(
            &options.iter().map(String::as_str).collect::<Vec<_>>(),
            args,
        )
    };

    // A whole container, with its streams, by one who may.
    let script = "read line; echo got $line; exit 3";
    let run = [
        "run", "-di", "--name", "seen", "busybox", "sh", "-c", script,
    ];
    assert_eq!(with(&client, &run).success().trim().len(), 64);
    // It runs, so that its microVM is shown.
    let metrics = get(shown, "/metrics");
    for line in [
        "hull_containers{state=\"running\"} 1",
        "hull_containers{state=\"exited\"} 0",
        "hull_api_requests_total{method=\"POST\",route=\"/containers/create\",code=\"201\"} 1",
        "hull_api_requests_total{method=\"POST\",route=\"/containers/{id}/start\",code=\"204\"} 1",
        "hull_container_start_failures_total 0",
        "hull_container_start_step_duration_seconds_count{step=\"guest: exec\"} 1",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }
    for part in [
        "hull_container_starts_total{origin=\"",
        "hull_container_cpu_seconds_total{id=\"",
        "\",name=\"seen\"} ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    ] {
        assert!(metrics.contains(part), "{part}: {metrics}");
    }
    let mut command = Command::new("docker");
    command.args(["-H", &tcp]).args(tls(&client));
    command.args(["attach", "seen"]);
    command.env("DOCKER_CONFIG", home.scratch().join("docker"));
    let mut attached = Running::start(&mut command);
    attached.write(b"typed\n");
    attached.wait_for("got typed\n");
    attached.finish().fails_with(3, &[]);
    assert_eq!(with(&client, &["rm", "seen"]).success(), "seen\n");

    // Those who may not get nothing; a server's certificate is no client's.
    let ca = ours.ca();
    let ca = ["--tls", "--tlscacert", &ca];
    for refused in [
        with(&stranger, &["version"]),
        with(&(cert, key), &["version"]),
        docker(&ca, &["version"]),
        docker(&[], &["version"]),
    ] {
        refused.fails_with(1, &[]);
        assert!(!refused.text().contains("Server:"), "{}", refused.text());
    }
    // Docker's client keeps a certificate of the wrong authority to itself; this one shows it.
    let request = b"GET /_ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for ((cert, key), is_served) in [(&client, true), (&stranger, false)] {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-quiet",
            "-connect",
            &format!("127.0.0.1:{port}"),
        ]);
        command.args(["-cert", cert, "-key", key]);
        let mut asking = Running::start(&mut command);
        asking.write(request);
        let answer = asking.finish().text();
        assert_eq!(answer.contains("HTTP/1.1 200"), is_served, "{answer}");
    }
    assert!(get(shown, "/info").starts_with("HTTP/1.1 404"));
    assert_eq!(with(&client, &["ps", "--all", "--quiet"]).success(), "");

    let said = daemon.stop();
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let started: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "started")
        .collect();
    assert_eq!(started.len(), 1, "{said}");
    for field in [
        "timestamp",
        "container",
        "origin",
        "total_ms",
        "disk_ms",
        "guest_exec_ms",
    ] {
        assert!(!started[0][field].is_null(), "{field}: {}", started[0]);
    }
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "{said}");
    home.assert_clean();
}

#[test]
fn plain_tcp_is_refused_with_what_to_do() {
    let home = Home::new();
    let daemon = |args: &[&str]| home.run(&[&["daemon"], args].concat());
    daemon(&["--host", "tcp://127.0.0.1:2375"])
        .fails_with(1, &["as powerful as this user", "--tlsverify"]);
    daemon(&["--host", "tcp://127.0.0.1:2375", "--tlsverify"]).fails_with(2, &["--tlscacert"]);
    let files = [
        "--tlscacert",
        "/no/ca",
        "--tlscert",
        "/no/c",
        "--tlskey",
        "/no/k",
    ];
    let tls = [&["--tlsverify"], &files[..]].concat();
    daemon(&tls).fails_with(1, &["tcp://"]);
    let tcp = ["--host", "tcp://127.0.0.1:0"];
    daemon(&[&tcp[..], &tls].concat()).fails_with(1, &["/no/ca"]);
    assert!(!home.runtime().join("hull.sock").exists());
}

#[test]
fn a_press_of_tab_finds_commands_containers_and_images() {
    let home = Home::with_image("busybox");
    for (shell, words) in [
        ("bash", "complete "),
        ("zsh", "#compdef hull"),
        ("fish", "complete "),
    ] {
        let script = home.run(&["completion", shell]).success();
        assert!(script.contains(words), "{script}");
    }
    let complete = |words: &[&str]| {
        let mut command = home.hull(&["--"]);
        command.args(words);
        let last = words.len() - 1;
        command
            .env("HULL_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", last.to_string())
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "false")
            .env("_CLAP_IFS", "\n");
        let found = run(&mut command).success();
        found.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["hull", "unpa"]), ["unpause"]);
    assert!(complete(&["hull", "rmi", "b"]).contains(&"busybox:latest".to_owned()));
    assert!(complete(&["hull", "run", "--me"]).contains(&"--memory".to_owned()));
    let pages = home.scratch().join("man");
    let _ = home.run(&["man", &pages.to_string_lossy()]).success();
    let page = fs::read_to_string(pages.join("hull-run.1")).unwrap();
    assert!(page.contains("memory"), "{page}");
    assert!(!pages.join("hull-own.1").exists());
}
