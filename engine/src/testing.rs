//! What tests play against the engine: an agent, a VMM, an image.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hull_agent_protocol::{
    ExitStatus, Frame, FromAgent, Stream, ToAgent, VERSION, decode, encode, encode_data,
};

use hull_image::{Input, LoadOptions, Store};
use hull_vm_api::HostProfile;
use hull_vm_api::profile::{Backend, Costs, SyscallEntry};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::{ContainerId, Engine, Paths, Programs};

/// The guest's end of a channel, played by a test.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) stream: UnixStream,
    incoming: Vec<u8>,
}

/// What the agent got.
#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    Message(ToAgent),
    Input(Vec<u8>),
}

impl Agent {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            incoming: Vec::new(),
        }
    }

    pub(crate) async fn say(&mut self, message: FromAgent) {
        let mut bytes = Vec::new();
        encode(&message, &mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn print(&mut self, stream: Stream, data: &[u8]) {
        let mut bytes = Vec::new();
        encode_data(stream, data, &mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Got {
        loop {
            if let Some(received) = decode::<ToAgent>(&self.incoming).unwrap() {
                let got = match received.frame {
                    Frame::Message(message) => Got::Message(message),
                    Frame::Data(_, data) => Got::Input(data.to_vec()),
                };
                self.incoming.drain(..received.consumed);
                return got;
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the engine closed the connection");
            self.incoming.extend_from_slice(&buffer[..count]);
        }
    }

    /// Answers until the process runs.
    pub(crate) async fn come_up(&mut self) {
        assert_eq!(
            self.next().await,
            Got::Message(ToAgent::Hello { version: VERSION })
        );
        self.say(FromAgent::Hello { version: VERSION }).await;
        assert!(matches!(
            self.next().await,
            Got::Message(ToAgent::Configure(_))
        ));
        self.say(FromAgent::Configured {
            main_us: 1,
            ready_us: 2,
            at_us: 3,
        })
        .await;
        assert!(matches!(self.next().await, Got::Message(ToAgent::Start(_))));
        self.say(FromAgent::Started { pid: 7, at_us: 4 }).await;
    }

    pub(crate) async fn exit(&mut self, code: u8) {
        let status = ExitStatus::Code(code);
        self.say(FromAgent::Exited {
            status,
            oom_killed: false,
            at_us: 5,
        })
        .await;
    }
}

/// Directories of an engine's own, with the image `tiny` in the store and a script for a VMM.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) dir: TempDir,
    pub(crate) paths: Paths,
}

impl Home {
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let paths = Paths::new(dir.path().join("root"), dir.path().join("run"));
        let layout = dir.path().join("layout");
        write_layout(&layout);
        let store = Store::open(&paths.images()).unwrap();
        let input = Input::Path(layout);
        let silent = Arc::new(hull_image::progress::Silent);
        store
            .load(input, &LoadOptions::default(), silent)
            .await
            .unwrap();
        Self { dir, paths }
    }

    /// An engine whose VMM is a shell script.
    pub(crate) fn engine(&self, vmm: &str) -> Engine {
        let path = self.dir.path().join("hull-vmm");
        let profile = self.dir.path().join("profile.json");
        fs::write(&profile, profile_json()).unwrap();
        let probe = format!("[ \"$1\" = probe ] && exec cat {}", profile.display());
        fs::write(&path, format!("#!/bin/sh\n{probe}\n{vmm}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        for file in ["vmlinux", "initramfs.cpio"] {
            fs::write(self.dir.path().join(file), "").unwrap();
        }
        let programs = Programs {
            vmm: path,
            kernel: self.dir.path().join("vmlinux"),
            initramfs: self.dir.path().join("initramfs.cpio"),
        };
        Engine::with_programs(self.paths.clone(), programs).unwrap()
    }

    /// The agent of a container that is being started.
    pub(crate) async fn agent(&self, id: &ContainerId) -> Agent {
        let path = self.paths.run().join(id.short()).join("v_1024");
        loop {
            if let Ok(stream) = UnixStream::connect(&path).await {
                return Agent::new(stream);
            }
            tokio::task::yield_now().await;
        }
    }

    /// What is left of containers: their directories and their runtime files.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten();
        let all = entries(&self.paths.containers()).chain(entries(self.paths.run()));
        all.map(|entry| entry.unwrap().path()).collect()
    }
}

/// What a probe of a host with VT-x says.
fn profile_json() -> String {
    let profile = HostProfile {
        backend: Backend::VtX,
        kernel_instructions_per_second: 3_000_000_000,
        user_instructions_per_second: 3_000_000_000,
        instructions: BTreeMap::new(),
        syscall: SyscallEntry::Kernel,
        cpuid_can_hide: true,
        costs: Costs::default(),
        max_vcpus: 32,
    };
    profile.to_json()
}

/// An OCI layout with one image, `tiny`, of one empty layer.
fn write_layout(dir: &Path) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |media: &str, bytes: &[u8]| {
        let hex = hex::encode(Sha256::digest(bytes));
        fs::write(blobs.join(&hex), bytes).unwrap();
        json!({
            "mediaType": format!("application/vnd.oci.image.{media}"),
            "digest": format!("sha256:{hex}"),
            "size": bytes.len(),
        })
    };
    let layer = blob("layer.v1.tar", &[0; 1024]);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Cmd": ["/bin/true"], "Env": ["A=image"] },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob("config.v1+json", config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut manifest: Value = blob("manifest.v1+json", manifest.to_string().as_bytes());
    manifest["annotations"] =
        json!({ "io.containerd.image.name": "docker.io/library/tiny:latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(
        dir.join("oci-layout"),
        json!({ "imageLayoutVersion": "1.0.0" }).to_string(),
    )
    .unwrap();
}
