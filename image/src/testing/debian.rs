//! Debian's `docker-registry` on a loopback port, and `skopeo` to push to it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

const SERVER: &str = "/usr/bin/docker-registry";
const SKOPEO: &str = "/usr/bin/skopeo";
/// Patience with the start of the server on a busy machine.
const START: Duration = Duration::from_secs(60);
/// The password `secret` of the user `hull`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "hull:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A registry server that ends with the test.
pub(crate) struct Registry {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Registry {
    /// Starts a server, or says that the test is skipped where there is none. With `password`, only the user `hull` with
    /// the password `secret` is let in.
    pub(crate) fn start(password: bool) -> Option<Self> {
        if !Path::new(SERVER).exists() || !Path::new(SKOPEO).exists() {
            println!("SKIPPED: docker-registry or skopeo is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let root = dir.path().display();
        let auth = if password {
            fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
            format!("auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n")
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{auth}"
        );
        let file = dir.path().join("config.yml");
        fs::write(&file, config).unwrap();
        let mut child = Command::new(SERVER)
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (ready, started) = mpsc::channel();
        let mut copy = fs::File::create(dir.path().join("log")).unwrap();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains("listening on") {
                    let _ = ready.send(());
                }
                let _ = std::io::Write::write_all(&mut copy, format!("{line}\n").as_bytes());
            }
        });
        let registry = Self { child, port, dir };
        started.recv_timeout(START).unwrap();
        Some(registry)
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes an OCI layout.
    pub(crate) fn push(&self, layout: &Path, name: &str) {
        let status = Command::new(SKOPEO)
            .args(["copy", "--quiet", "--insecure-policy"])
            .args(["--dest-tls-verify=false", "--dest-creds=hull:secret"])
            .arg(format!("oci:{}", layout.display()))
            .arg(format!("docker://{}/{name}", self.host()))
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// How many blobs of the repository `name` were sent to somebody.
    pub(crate) fn blobs_served(&self, name: &str) -> usize {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap();
        let path = format!("/v2/{name}/blobs/sha256:");
        log.lines()
            .filter(|line| line.contains("response completed"))
            .filter(|line| line.contains(&path) && line.contains("http.request.method=GET"))
            .count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
