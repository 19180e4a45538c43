//! schemathesis makes requests from `openapi.yaml`, valid and not, and judges the answers of a `hull-vmm` that has no machine yet.

use std::io::{self, BufRead, BufReader};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use hull_tests::process::run;
use hull_tests::{kvm, programs};

use super::client;

/// What it judges. Not among them: that a valid request is accepted, for that depends on files and on what went before.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,negative_data_rejection,\
                      missing_required_header,unknown_methods_are_bad_requests";

/// Keeps `hull-vmm` from writing anywhere but in `$1`, whatever names it is told.
const CONFINE: &str = r#"
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro /
cd "$1"
exec "$2" --api-sock "$1/api"
"#;

#[test]
fn schemathesis_finds_nothing() {
    if !kvm() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("api");
    let mut vmm = Command::new("unshare")
        .args(["--mount", "sh", "-c", CONFINE, "confine"])
        .arg(dir.path())
        .arg(programs().join("hull-vmm"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut log = BufReader::new(vmm.stderr.take().expect("a pipe")).lines();
    let serves = |line: io::Result<String>| line.is_ok_and(|line| line.contains("serving the API"));
    assert!(log.by_ref().any(serves), "hull-vmm serves no API");
    thread::spawn(move || log.for_each(drop));
    let address = bridge(socket);
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/vm/openapi.yaml");
    let judged = run(Command::new(client("python"))
        .args(["-m", "schemathesis.cli", "run"])
        .arg(description)
        .args(["--url", &format!("http://{address}")])
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
        .args(["--mode", "all", "--max-examples", "10", "--seed", "1"])
        .args(["--generation-database", "none"])
        .args(["--suppress-health-check", "all", "--no-color"])
        .env("SCHEMATHESIS_HOOKS", "checks")
        .env(
            "PYTHONPATH",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(dir.path()));
    let ended = vmm.try_wait().expect("a child");
    let _ = vmm.kill().and_then(|()| vmm.wait().map(drop));
    assert_eq!(judged.code(), 0, "{}\n{}", judged.text(), judged.stderr);
    assert_eq!(ended, None, "hull-vmm ended");
}

/// An address on loopback whose connections go on to the socket, since schemathesis knows no Unix sockets. It is there for
/// as long as this process.
fn bridge(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if let Ok(server) = UnixStream::connect(&socket) {
                thread::spawn(move || carry(&client, &server));
            }
        }
    });
    address
}

/// Carries bytes both ways until both ends are done.
fn carry(client: &TcpStream, server: &UnixStream) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*client, &mut &*server);
            let _ = server.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &*server, &mut &*client);
        let _ = client.shutdown(Shutdown::Both);
    });
}
