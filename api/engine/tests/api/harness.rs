//! A server in a directory of its own, and a client that says exactly what it is told to.

use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hull_engine::Paths;
use hull_engine::supervisor::Supervisor;
use hull_engine_api::Api;
use hull_image::Digest;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server.
pub(crate) struct Server {
    directory: TempDir,
    end: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The message of an error.
    pub(crate) fn message(&self) -> String {
        let body = self.json();
        assert_eq!(
            body.as_object().map(serde_json::Map::len),
            Some(1),
            "{body}"
        );
        body["message"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .to_str()
            .unwrap()
    }

    /// Its lines, each as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = std::str::from_utf8(&self.body).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::at(tempfile::tempdir().unwrap()).await
    }

    /// The next server of the same directory.
    pub(crate) async fn restart(mut self) -> Self {
        drop(self.end.take());
        self.serving.await.unwrap();
        std::fs::remove_file(self.directory.path().join("api.sock")).unwrap();
        Self::at(self.directory).await
    }

    async fn at(directory: TempDir) -> Self {
        let paths = Paths::new(directory.path().join("root"), directory.path().join("run"));
        std::fs::create_dir_all(paths.run()).unwrap();
        let supervisor = Supervisor::open(paths, PathBuf::from("/nonexistent/hull"))
            .await
            .unwrap();
        let listener = UnixListener::bind(directory.path().join("api.sock")).unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let api = Api::new(supervisor);
        let serving = tokio::spawn(async move {
            let ended = async {
                let _ = ended.await;
            };
            api.serve(listener, ended).await.unwrap();
        });
        Self {
            directory,
            end: Some(end),
            serving,
        }
    }

    /// Ends it, and waits until it has.
    pub(crate) async fn stop(mut self) {
        drop(self.end.take());
        self.serving.await.unwrap();
    }

    /// Hull's state.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    pub(crate) async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    /// Sends a request with any body, and reads the answer to its end.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let (mut sender, connection) = handshake(TokioIo::new(self.connect().await)).await.unwrap();
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        drop(sender);
        driver.await.unwrap().unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "docker");
        self.send(request.body(Full::default()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path)
            .header("Host", "docker")
            .header("Content-Type", "application/json")
            .body(Full::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    /// Loads the image of [`archive`] and gives its id.
    pub(crate) async fn load(&self, name: &str) -> String {
        let request = Request::post("/images/load")
            .header("Host", "docker")
            .header("Content-Type", "application/x-tar");
        let answer = self
            .send(request.body(Full::from(archive(name))).unwrap())
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let said = answer.lines();
        assert_eq!(
            said,
            [json!({ "stream": format!("Loaded image: {name}\n") })]
        );
        self.get(&format!("/images/{name}/json")).await.json()["Id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Makes a container of `app:1` and gives its id.
    pub(crate) async fn create(&self, name: &str, body: &Value) -> String {
        let mut body = body.clone();
        if body.get("Image").is_none() {
            body["Image"] = json!("app:1");
        }
        let answer = self
            .post(&format!("/containers/create?name={name}"), &body)
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json()["Id"].as_str().unwrap().to_owned()
    }
}

/// What `docker save` writes: an image of one file, with a configuration that says something of everything.
pub(crate) fn archive(name: &str) -> Vec<u8> {
    let layer = tar(&[("hello", format!("hello from {name}\n").as_bytes())]);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-05-06T07:08:09Z",
        "author": "somebody",
        "config": {
            "User": "1000",
            "Env": ["PATH=/bin", "A=image", "B=image"],
            "Entrypoint": ["/entry"],
            "Cmd": ["serve", "all of it"],
            "WorkingDir": "/srv",
            "Labels": { "from": "image", "kind": "test" },
            "ExposedPorts": { "80/tcp": {} },
            "StopSignal": "SIGINT",
        },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] },
        "history": [{ "created_by": "COPY hello /" }],
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    tar(&[
        ("config.json", config.to_string().as_bytes()),
        ("layer.tar", &layer),
        ("manifest.json", manifest.to_string().as_bytes()),
    ])
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len().try_into().unwrap());
        header.set_mode(0o644);
        builder
            .append_data(&mut header, Path::new(path), *bytes)
            .unwrap();
    }
    builder.into_inner().unwrap()
}
