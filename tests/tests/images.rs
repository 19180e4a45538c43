//! Images as a user handles them: pulled from registries of several kinds, listed, tagged and removed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hull_tests::{Home, PATIENCE, Registry, Running, image, process};
use rustix::process::Signal;

/// A `docker-registry` with more of a configuration than the harness's own.
struct Server {
    child: Child,
    host: String,
}

impl Server {
    /// Serves `dir/data` with `http` and `more` added to its configuration.
    fn start(dir: &Path, http: &str, more: &str) -> Self {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let data = dir.join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '127.0.0.1:{port}'{http}}}\n{more}",
            data.display()
        );
        let config = dir.join(format!("registry-{port}.yml"));
        fs::write(&config, text).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (ready, started) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains("listening on") {
                    let _ = ready.send(());
                }
            }
        });
        let host = format!("localhost:{port}");
        let server = Self { child, host };
        started.recv_timeout(PATIENCE).unwrap();
        server
    }

    fn push(&self, layout: &Path, name: &str, options: &[&str]) -> String {
        let reference = format!("{}/{name}", self.host);
        let mut command = Command::new("skopeo");
        command.args(["copy", "--quiet", "--insecure-policy"]);
        command.args(["--dest-tls-verify=false"]).args(options);
        command.arg(format!("oci:{}", layout.display()));
        let _ = process::run(command.arg(format!("docker://{reference}"))).success();
        reference
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether these programs are here; if not, says that the test is skipped.
fn have(programs: &[&str]) -> bool {
    let missing = programs
        .iter()
        .find(|program| !Path::new("/usr/bin").join(program).exists());
    if let Some(program) = missing {
        println!("SKIPPED: {program} is not installed");
    }
    missing.is_none()
}

/// What interrupted writers may leave in a store.
fn leftovers(home: &Home) -> Vec<String> {
    let names = |dir: &str| fs::read_dir(home.root().join("images").join(dir)).unwrap();
    let all = names("tmp").chain(names("downloads"));
    all.map(|entry| entry.unwrap().path().display().to_string())
        .collect()
}

#[test]
fn images_are_listed_tagged_inspected_and_removed() {
    let home = Home::with_image("busybox");
    let run = |args: &[&str]| home.run(args).success();
    let id = run(&["images", "-q", "--no-trunc"]).trim().to_owned();
    assert!(id.starts_with("sha256:"), "{id}");
    let table = run(&["image", "ls"]);
    assert!(
        table.contains("REPOSITORY") && table.contains(&id[7..19]),
        "{table}"
    );
    run(&["tag", "busybox", "localhost:5000/mine:2"]);
    let lines = run(&[
        "image",
        "ls",
        "--format",
        "json",
        "--filter",
        "reference=*/mine",
    ]);
    let line: serde_json::Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(line["Repository"], "localhost:5000/mine");
    assert_eq!(line["Tag"], "2");
    let text = run(&["image", "inspect", &id[7..19]]);
    let details: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(details[0]["Id"], id.as_str());
    assert_eq!(details[0]["RepoTags"].as_array().unwrap().len(), 2);
    assert_eq!(details[0]["Config"]["Cmd"][0], "sh");

    home.run(&["rmi", &id]).fails_with(1, &["several names"]);
    assert_eq!(run(&["rmi", "busybox"]), "Untagged: busybox:latest\n");
    let gone = run(&["image", "rm", "localhost:5000/mine:2"]);
    assert!(gone.contains(&format!("Deleted: {id}")), "{gone}");
    home.run(&["image", "inspect", "busybox"])
        .fails_with(1, &["no such image: busybox:latest"]);
    assert_eq!(run(&["images", "-q"]), "");
    assert!(leftovers(&home).is_empty());
    let layers = fs::read_dir(home.root().join("images/layers")).unwrap();
    assert_eq!(layers.count(), 0);
}

#[test]
fn an_archive_of_docker_save_comes_through_a_pipe_with_its_name() {
    if !have(&["skopeo"]) {
        return;
    }
    let home = Home::new();
    let file = home.scratch().join("saved.tar");
    let layout = image("busybox");
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "--quiet", "--insecure-policy"]);
    skopeo.arg(format!("oci:{}", layout.display()));
    skopeo.arg(format!("docker-archive:{}:saved:3", file.display()));
    let _ = process::run(&mut skopeo).success();
    let mut hull = home.start(&["load", "--quiet"]);
    hull.write(&fs::read(&file).unwrap());
    assert_eq!(hull.finish().success(), "Loaded image: saved:3\n");
    let _ = home.run(&["rmi", "saved:3"]).success();
    home.run(&["image", "load", "-i", "/etc/passwd"])
        .fails_with(1, &["tar archive"]);
    home.run(&["image", "load", "-i", "/nowhere"])
        .fails_with(1, &["/nowhere", "No such file"]);
}

#[test]
fn a_pull_that_is_killed_again_and_again_ends_well() {
    let Some(registry) = Registry::start() else {
        return;
    };
    let home = Home::new();
    let debian = registry.push(&image("debian"), "debian:latest");
    for _ in 0..3 {
        // Progress goes to standard error, which is to be waited for.
        let hull = home.hull(&["image", "pull", &debian]);
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$@\" 2>&1", "sh"]);
        shell.arg(hull.get_program()).args(hull.get_args());
        for (name, value) in hull.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        let mut pull = Running::start(&mut shell);
        pull.wait_for("Downloading");
        pull.signal(Signal::KILL);
        let _ = pull.finish();
        assert_eq!(home.run(&["images", "-q"]).success(), "");
    }
    let _ = home.run(&["image", "pull", &debian]).success();
    assert_eq!(leftovers(&home), [""; 0]);
}

#[test]
fn processes_that_pull_at_once_fetch_a_layer_once() {
    let Some(registry) = Registry::start() else {
        return;
    };
    let home = Home::new();
    let debian = registry.push(&image("debian"), "debian:latest");
    let pulls: Vec<Running> = (0..3)
        .map(|_| home.start(&["image", "pull", "-q", &debian]))
        .collect();
    for pull in pulls {
        let _ = pull.finish().success();
    }
    // One layer, and a configuration for each of the three.
    let served = registry.blobs_served("debian");
    assert!(served <= 4, "{served} blobs");
}

#[test]
fn a_registry_with_tls_is_trusted_by_its_issuers_certificate_only() {
    if !have(&["docker-registry", "skopeo", "openssl"]) {
        return;
    }
    let home = Home::new();
    let dir = home.scratch();
    let script = "set -e\n\
        new=\"-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes\"\n\
        openssl req -x509 $new -keyout ca.key -out ca.crt -days 2 -subj '/CN=Test CA'\n\
        openssl req $new -keyout key -out csr -subj /CN=localhost\n\
        printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > ext\n\
        openssl x509 -req -in csr -CA ca.crt -CAkey ca.key -CAcreateserial -out crt -days 2 -extfile ext\n";
    let _ = process::run(Command::new("sh").args(["-c", script]).current_dir(dir)).success();
    let (crt, key) = (dir.join("crt"), dir.join("key"));
    let tls = format!(
        ", tls: {{certificate: {}, key: {}}}",
        crt.display(),
        key.display()
    );
    let server = Server::start(dir, &tls, "");
    let busybox = server.push(&image("busybox"), "busybox:1", &[]);
    home.run(&["image", "pull", &busybox])
        .fails_with(1, &["cannot be reached", "not trusted", "SSL_CERT_FILE"]);
    let mut trusting = home.hull(&["image", "pull", "-q", &busybox]);
    trusting.env("SSL_CERT_FILE", dir.join("ca.crt"));
    assert_eq!(process::run(&mut trusting).success().trim(), busybox);
}

#[test]
fn a_credential_helper_is_asked() {
    if !have(&["docker-registry", "skopeo"]) {
        return;
    }
    let home = Home::new();
    let dir = home.scratch();
    // The password "secret" of the user "hull".
    let line = "hull:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
    let passwords = dir.join("htpasswd");
    fs::write(&passwords, line).unwrap();
    let auth = format!(
        "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
        passwords.display()
    );
    let server = Server::start(dir, "", &auth);
    let creds = "--dest-creds=hull:secret";
    let busybox = server.push(&image("busybox"), "busybox:1", &[creds]);
    home.run(&["image", "pull", &busybox])
        .fails_with(1, &["docker login", &server.host]);

    let docker = dir.join("docker");
    fs::create_dir(&docker).unwrap();
    fs::write(docker.join("config.json"), r#"{"credsStore": "test"}"#).unwrap();
    let helper = dir.join("docker-credential-test");
    let script = "#!/bin/sh\nread server\n[ \"$1 $server\" = \"get $EXPECTED\" ] || exit 1\n\
        echo '{\"Username\": \"hull\", \"Secret\": \"secret\"}'\n";
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let pull = |expected: &str| {
        let mut command = home.hull(&["image", "pull", &busybox]);
        command.env("PATH", format!("{}:{path}", dir.display()));
        command.env("EXPECTED", expected);
        process::run(&mut command)
    };
    pull("another").fails_with(1, &["docker-credential-test"]);
    let _ = pull(&server.host).success();
}

#[test]
fn a_registry_that_says_nothing_is_given_up_with_a_sentence() {
    let home = Home::new();
    // It is listened at, but nobody ever accepts.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let config = home.scratch().join("config.json");
    fs::write(&config, r#"{"registry-stall-seconds": 1}"#).unwrap();
    let mut pull = home.hull(&["image", "pull", &format!("{host}/app")]);
    pull.env("HULL_CONFIG", &config);
    process::run(&mut pull).fails_with(1, &[&host, "stalled", "1 seconds"]);
    assert!(leftovers(&home).is_empty());
}

#[test]
fn a_full_disk_is_reported_and_left_as_it_was() {
    let Some(registry) = Registry::start() else {
        return;
    };
    let home = Home::new();
    let debian = registry.push(&image("debian"), "debian:latest");
    let layout = image("debian").display().to_string();
    // A small file system that only the command sees; it goes with its mount namespace.
    let script = "mount -t tmpfs -o size=20m tmpfs \"$HULL_ROOT\" || exit 77\n\
        \"$@\"; code=$?\n\
        find \"$HULL_ROOT/images\" -type f -size +0\n\
        exit $code\n";
    fs::create_dir_all(home.root()).unwrap();
    for args in [
        &["image", "pull", debian.as_str()][..],
        &["image", "load", "-i", &layout],
    ] {
        let hull = home.hull(args);
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount"]);
        unshare.args(["sh", "-c", script, "sh"]);
        unshare.arg(hull.get_program()).args(hull.get_args());
        for (name, value) in hull.get_envs() {
            unshare.env(name, value.unwrap_or_default());
        }
        let finished = process::run(&mut unshare);
        if finished.code() == 77 || finished.stderr.contains("unshare failed") {
            println!("SKIPPED: no user namespaces here");
            return;
        }
        finished.fails_with(1, &["No space left on device"]);
        assert_eq!(finished.text(), "", "files are left");
    }
}

#[test]
fn an_image_is_pushed_once_and_comes_back_the_same() {
    let Some(registry) = Registry::start() else {
        return;
    };
    let home = Home::with_image("busybox");
    let id = home.run(&["images", "-q", "--no-trunc"]).success();
    let name = registry.reference("team/app:1");
    let _ = home.run(&["tag", "busybox", &name]).success();
    let output = home.run(&["push", &name]).success();
    let repository = registry.reference("team/app");
    assert!(
        output.starts_with(&format!("The push refers to repository [{repository}]\n")),
        "{output}"
    );
    let digest = output.split("1: digest: ").nth(1).unwrap();
    let digest = digest.split(' ').next().unwrap().to_owned();
    // The second time nothing is left to be done, and all tags are sent.
    let _ = home
        .run(&["tag", "busybox", &registry.reference("team/app:2")])
        .success();
    let all = home.run(&["push", "--all-tags", &repository]).success();
    for tag in ["1", "2"] {
        assert!(
            all.contains(&format!("{tag}: digest: {digest} size: ")),
            "{all}"
        );
    }
    assert_eq!(
        home.run(&["image", "push", "-q", &name]).success(),
        format!("{name}\n")
    );
    let other = Home::new();
    let pulled = other.run(&["pull", &name]).success();
    assert!(pulled.contains(&format!("Digest: {digest}")), "{pulled}");
    assert_eq!(other.run(&["images", "-q", "--no-trunc"]).success(), id);
    home.run(&["push", "-a", &name])
        .fails_with(1, &["tag can't be used with --all-tags/-a"]);
    home.run(&["push", &registry.reference("nothing")])
        .fails_with(1, &["no such image"]);
    assert_eq!(leftovers(&home), [""; 0]);
}

#[test]
fn what_is_saved_is_loaded_elsewhere() {
    let home = Home::with_image("busybox");
    let id = home.run(&["images", "-q", "--no-trunc"]).success();
    let folder = home.scratch().join("saved");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("saved.tar");
    let path = file.to_string_lossy().into_owned();
    let _ = home.run(&["tag", "busybox", "other:2"]).success();
    let _ = home
        .run(&["save", "-o", &path, "busybox", "other:2"])
        .success();
    let other = Home::new();
    let loaded = other.run(&["load", "-q", "-i", &path]).success();
    assert_eq!(
        loaded,
        "Loaded image: busybox:latest\nLoaded image: other:2\n"
    );
    let ids = other.run(&["images", "-q", "--no-trunc"]).success();
    assert_eq!(ids, id);
    // Nothing is left where it fails, and what was there stays.
    let before = fs::read(&file).unwrap();
    home.run(&["image", "save", "-o", &path, "nothing"])
        .fails_with(1, &["no such image: nothing:latest"]);
    assert!(fs::read(&file).unwrap() == before);
    home.run(&["save", "-o", "/nowhere/x.tar", "busybox"])
        .fails_with(1, &["/nowhere/x.tar", "No such file"]);
    home.run(&["save", "-o", &path, "--platform", "linux/arm64", "busybox"])
        .fails_with(1, &["is for linux/amd64, not for linux/arm64"]);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
}

#[test]
fn a_root_file_system_becomes_an_image_with_a_history() {
    let home = Home::new();
    let root = home.scratch().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/motd"), "hello\n").unwrap();
    let archive = home.scratch().join("root.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(&archive).arg("-C").arg(&root).arg(".");
    let _ = process::run(&mut tar).success();
    let archive = archive.to_string_lossy().into_owned();
    let id = home
        .run(&[
            "import",
            "-m",
            "made by hand",
            "-c",
            "CMD [\"/bin/app\"]",
            "-c",
            "ENV A=\"1 2\"",
            &archive,
            "mine:1",
        ])
        .success();
    let text = home.run(&["image", "inspect", "mine:1"]).success();
    let details: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(details[0]["Id"], id.trim());
    assert_eq!(details[0]["Config"]["Cmd"][0], "/bin/app");
    assert_eq!(details[0]["Config"]["Env"][0], "A=1 2");
    assert_eq!(details[0]["Comment"], "made by hand");
    let table = home.run(&["history", "mine:1"]).success();
    assert!(table.starts_with("IMAGE"), "{table}");
    assert!(table.contains("made by hand"), "{table}");
    let line = home
        .run(&["image", "history", "--format", "json", "mine:1"])
        .success();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["ID"], id.trim().trim_start_matches("sha256:")[..12]);
    home.run(&["import", "-c", "RUN true", &archive])
        .fails_with(1, &["RUN is not a valid change command"]);
    home.run(&["import", "/etc/passwd"])
        .fails_with(1, &["not a sound tar archive"]);
    assert_eq!(leftovers(&home), [""; 0]);
}
