use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::run::args::Args;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(line: &[&str]) -> Result<Args, clap::Error> {
    Ok(Line::try_parse_from([&["run"], line].concat())?.args)
}

/// The body that a command line makes.
fn parse(line: &[&str]) -> anyhow::Result<Value> {
    let args = args(line)?;
    let body = body(&args.container, &args.image_and_command)?;
    Ok(serde_json::to_value(body)?)
}

fn host(line: &[&str]) -> Value {
    parse(&[line, &["img"]].concat()).unwrap()["HostConfig"].take()
}

#[test]
fn what_follows_the_image_is_the_command_s() {
    let body = parse(&["-it", "--rm", "busybox", "ls", "--rm", "-e", "--", "x"]).unwrap();
    assert_eq!(
        (&body["Tty"], &body["OpenStdin"], &body["StdinOnce"]),
        (&json!(true), &json!(true), &json!(true))
    );
    assert_eq!(body["HostConfig"]["AutoRemove"], json!(true));
    assert_eq!((&body["Image"], body.get("Env")), (&json!("busybox"), None));
    assert_eq!(body["Cmd"], json!(["ls", "--rm", "-e", "--", "x"]));
    assert_eq!(parse(&["busybox", "-c"]).unwrap()["Cmd"], json!(["-c"]));
    // Without a word it is the image's.
    assert_eq!(parse(&["busybox"]).unwrap().get("Cmd"), None);
    assert!(parse(&["--no-such-option", "busybox"]).is_err());
    assert!(parse(&[]).is_err());
}

#[test]
fn flags_may_say_yes_and_no() {
    let rm = |line: &[&str]| args(line).unwrap().container.basics.rm;
    assert!(rm(&["--rm", "img"]) && rm(&["--rm=true", "img"]));
    assert!(!rm(&["--rm=false", "img"]) && !rm(&["img"]));
    let all = args(&["-it", "-d=false", "--privileged=true", "img", "true"]).unwrap();
    let process = &all.container.process;
    assert!(process.interactive && process.tty && process.privileged && !all.detach);
    assert_eq!(all.image_and_command, ["img", "true"]);
}

#[test]
fn a_snapshot_has_its_own_image_process_and_limits() {
    assert!(args(&["--from", "warm", "--name", "it", "--rm", "-l", "a=b"]).is_ok());
    for line in [
        &["img"][..],
        &["-t"],
        &["-v", "/a:/b"],
        &["-p", "80"],
        &["-m", "1g"],
        &["--health-cmd", "true"],
        &["--pull", "always"],
        &["--cold"],
    ] {
        assert!(
            args(&[&["--from", "warm"], line].concat()).is_err(),
            "{line:?}"
        );
    }
}

#[test]
fn sizes_limits_and_labels_are_read() {
    let line = [
        "-m",
        "1g",
        "--memory-swap",
        "-1",
        "--cpus",
        "1.5",
        "--ulimit",
        "nofile=10:20",
        "--ulimit",
        "core=unlimited",
        "-l",
        "a=b=c",
        "-l",
        "d",
        "--pids-limit",
        "-1",
        "--shm-size",
        "128m",
        "img",
    ];
    let body = parse(&line).unwrap();
    let host = &body["HostConfig"];
    assert_eq!(host["Memory"], json!(1 << 30));
    assert_eq!(host["MemorySwap"], json!(-1));
    assert_eq!(host["NanoCpus"], json!(1_500_000_000));
    assert_eq!(host["PidsLimit"], json!(-1));
    assert_eq!(host["ShmSize"], json!(128 << 20));
    assert_eq!(
        host["Ulimits"],
        json!([
            { "Name": "nofile", "Soft": 10, "Hard": 20 },
            { "Name": "core", "Soft": -1, "Hard": -1 },
        ])
    );
    assert_eq!(body["Labels"], json!({ "a": "b=c", "d": "" }));
    for bad in [
        ["--ulimit", "nofile"],
        ["--ulimit", "nofile=20:10"],
        ["--ulimit", "nofile=-1:10"],
        ["--ulimit", "nofile=-2"],
        ["--label", "=x"],
        ["--memory", "much"],
        ["--restart", "sometimes"],
        ["--restart", "on-failure:often"],
        ["--sysctl", "net.ipv4.ip_forward"],
        ["--health-interval", "often"],
        ["--mount", "type=bind,src=/a"],
        ["--mount", "dst=/a,tmpfs-size=1m"],
        ["--mount", "dst=/a,,ro"],
        ["--mount", "dst=/a,colour=blue"],
        ["--publish", "80:x"],
        ["--expose", "80:80"],
    ] {
        assert!(parse(&[&bad[..], &["img"]].concat()).is_err(), "{bad:?}");
    }
}

#[test]
fn labels_come_from_files_and_then_from_options() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# of a file\n\na=file\n  b=kept\n").unwrap();
    let path = file.path().to_str().unwrap();
    let body = parse(&["--label-file", path, "-l", "a=option", "img"]).unwrap();
    assert_eq!(body["Labels"], json!({ "a": "option", "b": "kept" }));
    std::fs::write(file.path(), "a=b\nc d=e\n").unwrap();
    let error = parse(&["--label-file", path, "img"]).unwrap_err();
    assert!(format!("{error:#}").contains("line 2"), "{error:#}");
}

#[test]
fn volumes_are_binds_or_have_no_name() {
    let line = [
        "-v",
        "/srv:/data:ro",
        "-v",
        "db:/db",
        "-v",
        "/cache",
        "-v",
        "./here:/there",
        "--volumes-from",
        "web:ro",
        "--tmpfs",
        "/a:size=1m,mode=700",
        "--tmpfs",
        "/b",
        "img",
    ];
    let body = parse(&line).unwrap();
    let here = std::env::current_dir().unwrap().join("here");
    let here = format!("{}:/there", here.display());
    let host = &body["HostConfig"];
    assert_eq!(host["Binds"], json!(["/srv:/data:ro", "db:/db", here]));
    assert_eq!(body["Volumes"], json!({ "/cache": {} }));
    assert_eq!(host["VolumesFrom"], json!(["web:ro"]));
    assert_eq!(host["Tmpfs"], json!({ "/a": "size=1m,mode=700", "/b": "" }));
}

#[test]
fn a_mount_has_options_of_its_kind() {
    let mounts = |text: &str| host(&["--mount", text])["Mounts"][0].take();
    assert_eq!(
        mounts("type=bind,source=/srv,target=/data,readonly,bind-propagation=rslave"),
        json!({
            "Type": "bind", "Source": "/srv", "Target": "/data", "ReadOnly": true,
            "BindOptions": { "Propagation": "rslave" },
        })
    );
    assert_eq!(
        mounts("src=db,dst=/db,ro=false,volume-nocopy,volume-opt=type=none,\"volume-label=a=b,c\""),
        json!({
            "Type": "volume", "Source": "db", "Target": "/db", "ReadOnly": false,
            "VolumeOptions": {
                "NoCopy": true, "Labels": { "a": "b,c" }, "DriverConfig": { "Options": { "type": "none" } },
            },
        })
    );
    assert_eq!(
        mounts("type=tmpfs,dst=/tmp,tmpfs-size=64m,tmpfs-mode=1777"),
        json!({ "Type": "tmpfs", "Target": "/tmp", "TmpfsOptions": { "SizeBytes": 64 << 20, "Mode": 0o1777 } })
    );
}

#[test]
fn ports_are_published_one_by_one() {
    let line = [
        "-p",
        "8080:80",
        "-p",
        "127.0.0.1:53:53/udp",
        "-p",
        "9000-9001:90-91",
        "-p",
        "7000-7010:70",
        "-p",
        "[::1]:1:1",
        "-p",
        "published=81,target=80",
        "-P",
        "--expose",
        "443-444",
        "--expose",
        "80",
        "img",
    ];
    let body = parse(&line).unwrap();
    let bindings = &body["HostConfig"]["PortBindings"];
    let bound = |ip: Value, port: &str| match ip {
        Value::Null => json!({ "HostPort": port }),
        ip => json!({ "HostIp": ip, "HostPort": port }),
    };
    assert_eq!(
        *bindings,
        json!({
            "80/tcp": [bound(Value::Null, "8080"), bound(Value::Null, "81")],
            "53/udp": [bound(json!("127.0.0.1"), "53")],
            "90/tcp": [bound(Value::Null, "9000")],
            "91/tcp": [bound(Value::Null, "9001")],
            "70/tcp": [bound(Value::Null, "7000-7010")],
            "1/tcp": [bound(json!("::1"), "1")],
        })
    );
    assert_eq!(body["HostConfig"]["PublishAllPorts"], json!(true));
    let exposed = body["ExposedPorts"].as_object().unwrap();
    assert_eq!(exposed.len(), 8, "{exposed:?}");
    assert!(exposed.contains_key("444/tcp") && exposed.contains_key("53/udp"));
}

#[test]
fn what_is_said_of_one_network_is_the_first_one_s() {
    let line = [
        "--network",
        "web",
        "--network",
        "name=back,alias=db,alias=sql,gw-priority=3",
        "--ip",
        "10.0.0.7",
        "--network-alias",
        "www",
        "--link",
        "other:o",
        "--dns",
        "1.1.1.1",
        "--add-host",
        "a:1.2.3.4",
        "img",
    ];
    let body = parse(&line).unwrap();
    assert_eq!(body["HostConfig"]["NetworkMode"], json!("web"));
    assert_eq!(
        body["NetworkingConfig"]["EndpointsConfig"],
        json!({
            "web": { "IPAMConfig": { "IPv4Address": "10.0.0.7" }, "Aliases": ["www"], "Links": ["other:o"] },
            "back": { "Aliases": ["db", "sql"], "GwPriority": 3 },
        })
    );
    assert_eq!(body["HostConfig"].get("Links"), None);
    assert_eq!(body["HostConfig"]["Dns"], json!(["1.1.1.1"]));
    assert_eq!(body["HostConfig"]["ExtraHosts"], json!(["a:1.2.3.4"]));
    // For the daemon, which says what to use instead.
    let links = host(&["--network", "bridge", "--link", "other"]);
    assert_eq!(links["Links"], json!(["other"]));
    for bad in [
        &["--network", "none", "--network", "web"][..],
        &["--network", "web", "--network", "web"],
        &["--network", "none", "-p", "80:80"],
        &["--network", "none", "--ip", "10.0.0.7"],
        &["--network", "alias=web"],
        &["--network", "name=web,ip=10.0.0.7", "--ip", "10.0.0.8"],
    ] {
        assert!(parse(&[bad, &["img"]].concat()).is_err(), "{bad:?}");
    }
}

#[test]
fn checks_are_of_the_options_or_the_image_s() {
    assert_eq!(parse(&["img"]).unwrap().get("Healthcheck"), None);
    let line = [
        "--health-cmd",
        "wget -q localhost",
        "--health-interval",
        "1m30s",
        "--health-retries",
        "2",
        "img",
    ];
    assert_eq!(
        parse(&line).unwrap()["Healthcheck"],
        json!({ "Test": ["CMD-SHELL", "wget -q localhost"], "Interval": 90_000_000_000_u64, "Retries": 2 })
    );
    let none = parse(&["--no-healthcheck", "img"]).unwrap();
    assert_eq!(none["Healthcheck"], json!({ "Test": ["NONE"] }));
    assert!(parse(&["--no-healthcheck", "--health-cmd", "true", "img"]).is_err());
}

#[test]
fn what_a_microvm_cannot_have_goes_to_the_daemon_to_be_refused() {
    let line = [
        "--pid",
        "host",
        "--device",
        "/dev/fuse",
        "--gpus",
        "all",
        "--cgroupns",
        "host",
        "--runtime",
        "runc",
    ];
    let refused = host(&line);
    assert_eq!(refused["PidMode"], json!("host"));
    assert_eq!(
        refused["Devices"],
        json!([{ "PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm" }])
    );
    assert_eq!(refused["DeviceRequests"][0]["Count"], json!(-1));
    assert_eq!(refused["CgroupnsMode"], json!("host"));
    assert_eq!(refused["Runtime"], json!("runc"));
    let unmasked = host(&[
        "--security-opt",
        "systempaths=unconfined",
        "--security-opt",
        "no-new-privileges",
    ]);
    assert_eq!(unmasked["SecurityOpt"], json!(["no-new-privileges"]));
    assert_eq!(unmasked["MaskedPaths"], json!([]));
}
