//! Requests that somebody else thought of: schemathesis makes them from `openapi.yaml` and judges the answers.

use std::env;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::vmm::Vmm;

/// What it can judge: the state of a microVM decides whether a valid request is accepted, so that is not a check.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,negative_data_rejection";

#[test]
fn schemathesis_finds_nothing() {
    let Some(program) = program() else {
        println!(
            "SKIPPED: schemathesis is not here; `pip install schemathesis` brings it, HULL_SCHEMATHESIS names it"
        );
        return;
    };
    let vmm = Vmm::start();
    let address = bridge(vmm.socket());
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.yaml");
    let scratch = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .arg("run")
        .arg(description)
        .args(["--url", &format!("http://{address}")])
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
        .args([
            "--max-examples",
            "10",
            "--seed",
            "1",
            "--generation-database",
            "none",
        ])
        .args(["--suppress-health-check", "all", "--no-color"])
        .current_dir(scratch.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(vmm.client().instance().is_ok());
}

/// `HULL_SCHEMATHESIS`, or `schemathesis` on the PATH.
fn program() -> Option<PathBuf> {
    let given = env::var_os("HULL_SCHEMATHESIS").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join("schemathesis"));
    given
        .into_iter()
        .chain(found)
        .find(|program| program.is_file())
}

/// An address on loopback whose connections go on to the socket, since schemathesis knows no Unix sockets. It is there for
/// as long as this process.
fn bridge(socket: PathBuf) -> std::net::SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
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
