//! Debian's `docker-registry` on a loopback port, and `skopeo` to push to it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::process::run;

/// A registry server that ends with the test.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    log: TempDir,
}

impl Registry {
    /// Starts a server with empty storage, or says that the test is skipped where there is none.
    ///
    /// # Panics
    /// When the server does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !Path::new("/usr/bin/docker-registry").exists() || !Path::new("/usr/bin/skopeo").exists()
        {
            println!("SKIPPED: docker-registry or skopeo is not installed");
            return None;
        }
        let dir = tempfile::Builder::new()
            .prefix("hull-registry-")
            .tempdir()
            .expect("a directory");
        let port = free_port();
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}/data}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            dir.path().display()
        );
        fs::write(&config, text).expect("its configuration");
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry starts");
        let log = BufReader::new(child.stderr.take().expect("its log"));
        let file = dir.path().join("log");
        let mut requests = fs::File::create(&file).expect("a log file");
        let (ready, started) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains("listening on") {
                    let _ = ready.send(());
                }
                let _ = std::io::Write::write_all(&mut requests, format!("{line}\n").as_bytes());
            }
        });
        started
            .recv_timeout(crate::PATIENCE)
            .expect("docker-registry listens");
        Some(Self {
            child,
            port,
            log: dir,
        })
    }

    /// The reference of an image on this server.
    #[must_use]
    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Pushes the OCI layout `from` as `name` and returns its reference.
    #[must_use]
    #[track_caller]
    pub fn push(&self, from: &Path, name: &str) -> String {
        let reference = self.reference(name);
        let _ = run(Command::new("skopeo")
            .args([
                "copy",
                "--quiet",
                "--insecure-policy",
                "--dest-tls-verify=false",
            ])
            .arg(format!("oci:{}", from.display()))
            .arg(format!("docker://{reference}")))
        .success();
        reference
    }

    /// How many requests for blobs of the repository `name` the server has answered with content.
    ///
    /// # Panics
    /// When the server's log cannot be read.
    #[must_use]
    pub fn blobs_served(&self, name: &str) -> usize {
        let log = fs::read_to_string(self.log.path().join("log")).expect("the server's log");
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

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
