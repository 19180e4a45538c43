//! A registry that does what a test tells it to: also what no real one would.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::ImageFixture;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) bytes: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What to send back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What `Content-Length` says, if not the truth.
    pub(crate) announced: Option<usize>,
    /// Send this and then nothing more, with the connection open.
    pub(crate) stall: bool,
    /// Say nothing at all.
    pub(crate) silent: bool,
}

impl Answer {
    pub(crate) fn new(status: u16, body: &[u8]) -> Self {
        Self {
            status,
            body: body.to_vec(),
            ..Self::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Hook = Box<dyn Fn(&Request, usize) -> Option<Answer> + Send + Sync>;

/// The server; it ends with this value.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    files: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    hook: Hook,
    /// What has come of uploads, by the path of each.
    uploads: Mutex<BTreeMap<String, Vec<u8>>>,
    seen: Mutex<Vec<Request>>,
    over: AtomicBool,
}

impl Server {
    /// A plain registry.
    pub(crate) fn start() -> Self {
        Self::with(|_, _| None)
    }

    /// A registry whose answers `hook` may replace. It is told how many requests for the same path came before.
    pub(crate) fn with(
        hook: impl Fn(&Request, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            files: Mutex::default(),
            hook: Box::new(hook),
            uploads: Mutex::default(),
            seen: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let mut threads = Vec::new();
                for stream in listener.incoming() {
                    if shared.over.load(Ordering::SeqCst) {
                        break;
                    }
                    let shared = Arc::clone(&shared);
                    let stream = stream.unwrap();
                    threads.push(std::thread::spawn(move || shared.serve(stream)));
                }
                for thread in threads {
                    thread.join().unwrap();
                }
            })
        };
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Serves `image` as `repository:tag`.
    pub(crate) fn put(&self, repository: &str, tag: &str, image: &ImageFixture) {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        self.put_manifest(repository, tag, kind, &image.manifest);
        for (digest, bytes) in image.blobs() {
            let kind = "application/octet-stream".to_owned();
            let path = format!("/v2/{repository}/blobs/{digest}");
            self.shared
                .files
                .lock()
                .unwrap()
                .insert(path, (kind, bytes));
        }
    }

    /// Serves a manifest under a tag and its digest.
    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) {
        let digest = crate::Digest::of(bytes).to_string();
        for name in [tag, &digest] {
            let path = format!("/v2/{repository}/manifests/{name}");
            let file = (kind.to_owned(), bytes.to_vec());
            self.shared.files.lock().unwrap().insert(path, file);
        }
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests had `part` in their path.
    pub(crate) fn count(&self, part: &str) -> usize {
        let seen = self.seen();
        seen.iter().filter(|one| one.path.contains(part)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().unwrap();
        }
    }
}

impl Shared {
    /// One request per connection.
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some(request) = read_request(&mut reader) else {
            return;
        };
        let before = {
            let mut seen = self.seen.lock().unwrap();
            let same = seen.iter().filter(|other| other.path == request.path);
            let before = same.count();
            seen.push(request.clone());
            before
        };
        let answer = (self.hook)(&request, before).unwrap_or_else(|| self.file(&request));
        let stall = answer.stall || answer.silent;
        let mut stream = stream;
        if !answer.silent {
            // The client may hang up early; that is its right.
            let _ = send(&mut stream, &answer);
        }
        // Until the client hangs up or the test is over.
        let pause = Some(Duration::from_millis(20));
        stream.set_read_timeout(pause).unwrap();
        while stall && !self.over.load(Ordering::SeqCst) {
            if reader.read(&mut [0]).is_ok_and(|count| count == 0) {
                break;
            }
        }
    }

    fn file(&self, request: &Request) -> Answer {
        if request.path == "/v2/" {
            return Answer::new(200, b"{}");
        }
        if let Some(answer) = self.upload(request) {
            return answer;
        }
        let files = self.files.lock().unwrap();
        let Some((kind, bytes)) = files.get(&request.path) else {
            let body = br#"{"errors": [{"code": "UNKNOWN", "message": "not here"}]}"#;
            return Answer::new(404, body);
        };
        if request.method == "HEAD" {
            let mut answer = Answer::new(200, b"");
            answer.announced = Some(bytes.len());
            return answer;
        }
        let start = request.header("range");
        let start = start.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        match start.map(|start| start.parse::<usize>().unwrap()) {
            Some(start) if start < bytes.len() => {
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                Answer::new(206, &bytes[start..]).with("content-range", &range)
            }
            Some(_) => Answer::new(416, b""),
            None => Answer::new(200, bytes).with("content-type", kind),
        }
    }
}

impl Shared {
    /// What writes: uploads of blobs, and manifests.
    fn upload(&self, request: &Request) -> Option<Answer> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let mut uploads = self.uploads.lock().unwrap();
        match request.method.as_str() {
            "POST" if path.ends_with("/blobs/uploads/") => {
                let place = format!("{path}{}", uploads.len());
                uploads.insert(place.clone(), Vec::new());
                Some(Answer::new(202, b"").with("location", &place))
            }
            "PATCH" => {
                let upload = uploads.get_mut(path)?;
                upload.extend(&request.bytes);
                let range = format!("0-{}", upload.len() - 1);
                Some(
                    Answer::new(202, b"")
                        .with("location", path)
                        .with("range", &range),
                )
            }
            "PUT" => {
                let (place, bytes) = match uploads.remove(path) {
                    Some(bytes) => {
                        let digest = query.strip_prefix("digest=")?.replace("%3A", ":");
                        let repository = path.split("/uploads/").next()?;
                        let all = [bytes, request.bytes.clone()].concat();
                        assert_eq!(crate::Digest::of(&all).to_string(), digest);
                        (format!("{repository}/{digest}"), all)
                    }
                    None => (path.to_owned(), request.bytes.clone()),
                };
                let kind = request
                    .header("content-type")
                    .unwrap_or_default()
                    .to_owned();
                self.files.lock().unwrap().insert(place, (kind, bytes));
                Some(Answer::new(201, b""))
            }
            _ => None,
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length");
    let length = length.map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        path,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        bytes: body,
    })
}

fn send(stream: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    let length = answer.announced.unwrap_or(answer.body.len());
    let mut head = format!(
        "HTTP/1.1 {} Whatever\r\nconnection: close\r\n",
        answer.status
    );
    let chunked = |(name, _): &(String, String)| name == "transfer-encoding";
    if !answer.headers.iter().any(chunked) {
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(&answer.body)?;
    stream.flush()
}
