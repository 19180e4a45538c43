//! Many clients at once that do whatever comes to their minds: nothing of it may be left when all containers are gone.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use hull_tests::leaks::Inventory;
use hull_tests::network::enter_own_network;
use hull_tests::{Daemon, Home, kvm};
use serde_json::{Value, json};

const CLIENTS: u64 = 8;
/// Few, so that clients meet.
const NAMES: [&str; 4] = ["red", "green", "blue", "grey"];
/// A network that stays until the end: containers come into it and leave it.
const MEETING: &str = "meeting";
/// No request takes so long: one that does was forgotten.
const FORGOTTEN: Duration = Duration::from_secs(300);

/// What a request was answered with.
struct Answer {
    status: u16,
    body: String,
}

/// One client, who has a seed.
struct Client<'a> {
    socket: &'a Path,
    random: Rng,
    /// Execs that anybody has made.
    execs: &'a Mutex<Vec<String>>,
    /// Networks may be made.
    networked: bool,
}

impl Client<'_> {
    fn send(&self, method: &str, path: &str, body: &str, more: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket).expect("the daemon listens");
        stream.set_read_timeout(Some(FORGOTTEN)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: hull\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{more}\r\n{body}",
            body.len()
        );
        // Whoever is refused may be so before all is read.
        let _ = stream.write_all(request.as_bytes());
        stream
    }

    /// Sends a request and reads its answer to the end.
    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut stream = self.send(method, path, body, "Connection: close\r\n");
        let mut all = Vec::new();
        match stream.read_to_end(&mut all) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("{method} {path} was not answered")
            }
            _ => {}
        }
        let text = String::from_utf8_lossy(&all);
        let status = text.get(9..12).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{method} {path}: {text:?}"));
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let answer = Answer {
            status,
            body: body.to_owned(),
        };
        assert!(
            answer.status < 500,
            "{method} {path}: {} {}",
            answer.status,
            answer.body
        );
        answer
    }

    /// Sends a request, perhaps reads a little, perhaps writes a little, and is gone.
    fn vanish(&mut self, method: &str, path: &str, body: &str, more: &str) {
        let mut stream = self.send(method, path, body, more);
        if self.random.bool() {
            let mut some = [0; 64];
            // What has nothing to say yet is not waited for.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            let _ = stream.read(&mut some);
        }
        if self.random.bool() {
            let _ = stream.write_all(b"typed\n");
        }
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.random.usize(..NAMES.len())]
    }

    /// Does one thing.
    fn act(&mut self) {
        let name = self.name();
        let of = |what: &str| format!("/containers/{name}/{what}");
        match self.random.u8(..36) {
            0..4 => {
                // It waits without starting anything.
                let mut config = json!({
                    "Image": "busybox", "Cmd": ["cat"], "OpenStdin": true,
                    "HostConfig": { "AutoRemove": self.random.u8(..4) == 0 },
                });
                if self.random.u8(..4) == 0 {
                    // A volume with a name, and one without.
                    config["HostConfig"]["Binds"] = json!([format!("{}:/data", self.name())]);
                    config["Volumes"] = json!({ "/more": {} });
                }
                let path = format!("/v1.51/containers/create?name={name}");
                self.ask("POST", &path, &config.to_string());
            }
            4..8 => drop(self.ask("POST", &of("start"), "")),
            8 => drop(self.ask("POST", &of("pause"), "")),
            9 => drop(self.ask("POST", &of("unpause"), "")),
            10 => drop(self.ask("POST", &of("stop?t=0"), "")),
            11 => drop(self.ask("POST", &of("kill"), "")),
            12 => {
                let new = self.name();
                self.ask("POST", &of(&format!("rename?name={new}")), "");
            }
            13 => {
                let force = self.random.bool();
                self.ask("DELETE", &format!("/containers/{name}?force={force}"), "");
            }
            14 => drop(self.ask("GET", &of("json"), "")),
            15 => drop(self.ask("GET", "/containers/json?all=1", "")),
            16 => drop(self.ask("GET", &of("logs?stdout=1&stderr=1"), "")),
            17 => self.vanish("GET", &of("logs?stdout=1&follow=1"), "", ""),
            18 => self.vanish("POST", &of("wait?condition=next-exit"), "", ""),
            19 => {
                let upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
                let path = of("attach?stream=1&stdin=1&stdout=1&stderr=1");
                self.vanish("POST", &path, "", upgrade);
            }
            20 => {
                let exec = json!({ "Cmd": ["true"], "AttachStdout": true }).to_string();
                let made = self.ask("POST", &of("exec"), &exec);
                let made: Value = serde_json::from_str(&made.body).unwrap_or_default();
                if let Some(id) = made["Id"].as_str() {
                    self.execs.lock().unwrap().push(id.to_owned());
                }
            }
            21 => {
                let id = self.execs.lock().unwrap().pop();
                let id = id.unwrap_or_else(|| "nothing".to_owned());
                self.vanish("POST", &format!("/exec/{id}/start"), "{}", "");
                self.ask("GET", &format!("/exec/{id}/json"), "");
            }
            22 => {
                let answer = self.ask("POST", "/containers/create", "{\"Image\": [}");
                assert_eq!(answer.status, 400, "{}", answer.body);
            }
            // One that does not run gets a machine for this.
            23 => self.vanish("GET", &of("archive?path=/etc"), "", ""),
            24 => self.vanish("GET", &of("stats"), "", ""),
            25 => {
                let volume = json!({ "Name": name }).to_string();
                self.ask("POST", "/volumes/create", &volume);
            }
            26 => drop(self.ask("DELETE", &format!("/volumes/{name}"), "")),
            27 if self.networked => {
                let network = json!({ "Name": name, "Internal": self.random.bool() });
                self.ask("POST", "/networks/create", &network.to_string());
            }
            28 if self.networked => drop(self.ask("DELETE", &format!("/networks/{name}"), "")),
            29 if self.networked => {
                let container = json!({ "Container": name }).to_string();
                let verb = ["connect", "disconnect"][self.random.usize(..2)];
                self.ask("POST", &format!("/networks/{MEETING}/{verb}"), &container);
            }
            30 if self.networked => drop(self.ask("GET", "/networks", "")),
            31 => drop(self.ask("POST", &format!("/hull{}", of("suspend")), "")),
            32 => drop(self.ask("POST", &format!("/hull{}", of("resume")), "")),
            33 => {
                let how = json!({ "count": 2, "rm": true }).to_string();
                self.ask("POST", &format!("/hull{}", of("fork")), &how);
            }
            34 => {
                let snapshot = json!({ "name": self.name() }).to_string();
                self.ask("POST", &format!("/hull{}", of("snapshot")), &snapshot);
                let from = json!({ "snapshot": self.name(), "name": name }).to_string();
                self.ask("POST", "/hull/containers/create-from", &from);
            }
            _ => {
                let answer = self.ask("POST", "/containers/0123456789abcdef/start", "");
                assert_eq!(answer.status, 404, "{}", answer.body);
            }
        }
    }
}

/// Removes one of what may be in use for a moment longer.
fn clear(client: &Client<'_>, path: &str) {
    let deadline = Instant::now() + FORGOTTEN;
    loop {
        let removed = client.ask("DELETE", path, "");
        if [204, 404].contains(&removed.status) {
            return;
        }
        assert!(Instant::now() < deadline, "{path}: {}", removed.body);
        thread::sleep(Duration::from_millis(100));
    }
}

fn rounds(count: usize) {
    // Its threads and its daemon are in the same one.
    let networked = enter_own_network();
    let home = Home::with_image("busybox");
    let home = match networked {
        true => home.with_networks(),
        false => home,
    };
    let daemon = Daemon::start(&home);
    let socket: PathBuf = daemon.socket();
    let execs = Mutex::default();
    let client = |seed| Client {
        socket: &socket,
        random: Rng::with_seed(seed),
        execs: &execs,
        networked,
    };
    // What is made once and stays (the empty disk, the runtime directories, the default network, the lock of volumes) is there before.
    let warm = client(0);
    let config = json!({ "Image": "busybox", "Cmd": ["true"] }).to_string();
    assert_eq!(
        warm.ask("POST", "/containers/create?name=warm", &config)
            .status,
        201
    );
    assert_eq!(warm.ask("POST", "/containers/warm/start", "").status, 204);
    assert_eq!(warm.ask("POST", "/containers/warm/wait", "").status, 200);
    assert_eq!(
        warm.ask("DELETE", "/containers/warm?force=1", "").status,
        204
    );
    let volume = warm.ask("POST", "/volumes/create", "{\"Name\":\"warm\"}");
    assert_eq!(volume.status, 201, "{}", volume.body);
    clear(&warm, "/volumes/warm");
    let before = Inventory::of(&home, &daemon);

    if networked {
        let network = json!({ "Name": MEETING }).to_string();
        let made = warm.ask("POST", "/networks/create", &network);
        assert_eq!(made.status, 201, "{}", made.body);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = match std::env::var("HULL_TEST_SEED") {
        Ok(seed) => seed.parse().expect("HULL_TEST_SEED is a number"),
        Err(_) => u64::from(now.subsec_nanos()),
    };
    println!("HULL_TEST_SEED={seed}");
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let mut client = client(seed.wrapping_add(number));
            let done = &done;
            scope.spawn(move || {
                while done.fetch_add(1, Ordering::Relaxed) < count {
                    client.act();
                }
            });
        }
    });

    let all = warm.ask("GET", "/containers/json?all=1", "");
    let all: Vec<Value> = serde_json::from_str(&all.body).expect("a list");
    println!("{count} rounds; containers at the end: {}", all.len());
    for one in &all {
        let id = one["Id"].as_str().expect("an id");
        let removed = warm.ask("DELETE", &format!("/containers/{id}?force=1&v=1"), "");
        // One that removes itself at its end may have been faster.
        assert!(
            [204, 404, 409].contains(&removed.status),
            "{}",
            removed.body
        );
    }
    for name in NAMES {
        clear(&warm, &format!("/hull/snapshots/{name}"));
    }
    // Those without a name stay, too, when their container is not removed with them.
    let volumes = warm.ask("GET", "/volumes", "");
    let volumes: Value = serde_json::from_str(&volumes.body).expect("volumes");
    for one in volumes["Volumes"].as_array().expect("a list") {
        let name = one["Name"].as_str().expect("a name");
        clear(&warm, &format!("/volumes/{name}"));
    }
    if networked {
        for name in NAMES.into_iter().chain([MEETING]) {
            clear(&warm, &format!("/networks/{name}"));
        }
    }
    before.assert_no_more(&home, &daemon);
    let said = daemon.stop();
    assert!(!said.contains("panic"), "{said}");
    home.assert_clean();
}

#[test]
fn whatever_eight_clients_do_nothing_is_left() {
    if kvm() {
        rounds(60);
    }
}

#[test]
#[ignore = "two hundred rounds take minutes"]
fn whatever_eight_clients_do_for_long_nothing_is_left() {
    if kvm() {
        rounds(200);
    }
}
