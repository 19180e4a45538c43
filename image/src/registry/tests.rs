mod account;

use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::auth::{Challenge, challenges};
use super::config::is_loopback;
use super::credentials::{self, Credentials};
use super::{Config, Retry};

fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
    Challenge::Bearer {
        realm: realm.to_owned(),
        service: service.map(str::to_owned),
        scope: scope.map(str::to_owned),
    }
}

#[test]
fn challenges_of_real_registries_are_understood() {
    let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull""#;
    let expected = bearer(
        "https://auth.docker.io/token",
        Some("registry.docker.io"),
        Some("repository:library/busybox:pull"),
    );
    assert_eq!(challenges(hub), [expected]);
    assert_eq!(
        challenges(r#"Basic realm="Registry Realm""#),
        [Challenge::Basic]
    );
    assert_eq!(
        challenges(r#"Negotiate abc==, bearer realm=https://x/t , Basic realm="a, \"b\"""#),
        [bearer("https://x/t", None, None), Challenge::Basic]
    );
    assert_eq!(challenges("Bearer service=\"no realm\""), []);
    assert_eq!(challenges(""), []);
}

proptest! {
    #[test]
    fn any_challenge_is_read_to_its_end(text in ".{0,100}") {
        let _ = challenges(&text);
    }

    #[test]
    fn near_challenges_are_read_to_their_end(
        text in "(Bearer|Basic|x)?[ ,=]{0,2}((realm|scope)?=?(\"[a\\\\,\"]{0,3}\"?|a)?[ ,]{0,2}){0,4}"
    ) {
        let _ = challenges(&text);
    }
}

#[test]
fn only_this_machine_and_what_is_listed_may_be_plain() {
    for host in [
        "localhost",
        "localhost:5000",
        "127.0.0.1:1",
        "127.9.9.9",
        "[::1]:5000",
    ] {
        assert!(is_loopback(host), "{host}");
    }
    for host in [
        "localhost.example.com",
        "10.0.0.1",
        "docker.io",
        "[::2]",
        "127.0.0.1.nip.io",
    ] {
        assert!(!is_loopback(host), "{host}");
    }
    let config = Config {
        insecure: vec!["reg.local:5000".to_owned()],
        ..Config::default()
    };
    assert!(config.may_be_plain("reg.local:5000"));
    assert!(!config.may_be_plain("reg.local"));
}

#[test]
fn waits_grow_up_to_a_limit_and_end() {
    let retry = Retry {
        attempts: 4,
        base: Duration::from_millis(100),
        limit: Duration::from_millis(300),
    };
    let mut waits = Vec::new();
    for failure in 1..=4 {
        waits.push(retry.delay(failure, None).unwrap().as_millis());
    }
    for (wait, full) in waits.into_iter().zip([100, 200, 300, 300]) {
        assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
    }
    assert_eq!(retry.delay(5, None), None);
    let asked = Some(Duration::from_millis(250));
    assert!(retry.delay(1, asked) >= asked);
    let asked = Some(Duration::from_secs(3600));
    assert_eq!(retry.delay(1, asked), Some(retry.limit));
}

#[test]
fn credentials_come_from_dockers_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let find = |registry| credentials::find(Some(&file), registry);
    assert_eq!(find("a.example").unwrap(), Credentials::Anonymous);

    // "hull:pass:word" and "hub:hub".
    let text = r#"{"auths": {"a.example": {"auth": "aHVsbDpwYXNzOndvcmQ="},
        "https://b.example": {"identitytoken": "token"},
        "https://index.docker.io/v1/": {"auth": "aHViOmh1Yg=="}}}"#;
    fs::write(&file, text).unwrap();
    let password = |user: &str, password: &str| Credentials::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    };
    assert_eq!(find("a.example").unwrap(), password("hull", "pass:word"));
    assert_eq!(find("docker.io").unwrap(), password("hub", "hub"));
    assert_eq!(
        find("b.example").unwrap(),
        Credentials::IdentityToken("token".to_owned())
    );
    assert_eq!(find("c.example").unwrap(), Credentials::Anonymous);
    assert_eq!(format!("{:?}", find("a.example").unwrap()), "Password");

    fs::write(&file, r#"{"credsStore": "does-not-exist"}"#).unwrap();
    let error = find("c.example").unwrap_err().to_string();
    assert!(error.contains("helper"), "{error}");
}

#[test]
fn the_configuration_file_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let text = r#"{"insecure-registries": ["a:1"], "max-concurrent-downloads": 0, "registry-stall-seconds": 7}"#;
    fs::write(&file, text).unwrap();
    let mut config = Config::default();
    config.add(&file, true).unwrap();
    assert_eq!(config.insecure, ["a:1"]);
    assert_eq!(config.downloads, 1);
    assert_eq!(config.stall, Duration::from_secs(7));
    fs::write(&file, r#"{"insecure-registry": []}"#).unwrap();
    let error = config.add(&file, true).unwrap_err().to_string();
    assert!(error.contains("config.json"), "{error}");
    let missing = dir.path().join("missing");
    assert!(config.add(&missing, false).is_ok());
    assert!(config.add(&missing, true).is_err());
}
