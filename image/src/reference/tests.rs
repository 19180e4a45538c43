use proptest::prelude::*;

use super::Reference;

fn normal(text: &str) -> String {
    text.parse::<Reference>().unwrap().to_string()
}

#[test]
fn short_names_are_dockers() {
    assert_eq!(normal("busybox"), "docker.io/library/busybox:latest");
    assert_eq!(normal("busybox:1.36"), "docker.io/library/busybox:1.36");
    assert_eq!(normal("user/app"), "docker.io/user/app:latest");
    assert_eq!(
        normal("index.docker.io/nginx"),
        "docker.io/library/nginx:latest"
    );
    assert_eq!(
        normal("docker.io/library/nginx"),
        "docker.io/library/nginx:latest"
    );
}

#[test]
fn hosts_and_ports_are_told_from_tags() {
    assert_eq!(normal("localhost/app"), "localhost/app:latest");
    assert_eq!(normal("localhost:5000/app"), "localhost:5000/app:latest");
    assert_eq!(normal("ghcr.io/a/b/c:v1"), "ghcr.io/a/b/c:v1");
    assert_eq!(normal("[::1]:5000/app:x"), "[::1]:5000/app:x");
    assert_eq!(normal("Host/app"), "Host/app:latest");
    assert_eq!(normal("localhost:5000"), "docker.io/library/localhost:5000");
}

#[test]
fn a_digest_replaces_the_default_tag_only() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let plain: Reference = format!("host:80/name@{digest}").parse().unwrap();
    assert_eq!(plain.tag(), None);
    assert_eq!(plain.to_string(), format!("host:80/name@{digest}"));
    let both: Reference = format!("host:80/name:tag@{digest}").parse().unwrap();
    assert_eq!(both.tag(), Some("tag"));
    assert_eq!(both.digest().unwrap().to_string(), digest);
    assert_eq!(
        both.without_digest().unwrap().to_string(),
        "host:80/name:tag"
    );
}

#[test]
fn familiar_forms_lose_what_is_implied() {
    let familiar = |text: &str| text.parse::<Reference>().unwrap().familiar();
    assert_eq!(familiar("docker.io/library/busybox"), "busybox:latest");
    assert_eq!(familiar("docker.io/user/app:1"), "user/app:1");
    assert_eq!(familiar("docker.io/library/a/b"), "library/a/b:latest");
    assert_eq!(familiar("localhost:5000/app"), "localhost:5000/app:latest");
}

#[test]
fn what_docker_refuses_is_refused_with_a_reason() {
    for (text, why) in [
        ("", "empty"),
        ("Busybox", "lower case"),
        ("a//b", "each part"),
        ("../etc", "host name"),
        ("host.com/../etc", "each part"),
        ("a/b/", "each part"),
        ("a___b", "each part"),
        ("-a", "each part"),
        ("app:", "a tag"),
        ("app:.x", "a tag"),
        ("app@md5:1", "sha256"),
        ("host.com:99999/app", "port"),
        ("host..com/app", "host name"),
        ("[::1/app", "host name"),
        ("a b", "each part"),
        ("http://host/app", "port"),
    ] {
        let error = text.parse::<Reference>().unwrap_err().to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
    assert!("ab".repeat(32).parse::<Reference>().is_err());
    assert!("a".repeat(300).parse::<Reference>().is_err());
}

proptest! {
    #[test]
    fn any_text_is_refused_or_survives_a_round_trip(text in ".{0,80}") {
        if let Ok(reference) = text.parse::<Reference>() {
            let full = reference.to_string();
            prop_assert_eq!(full.parse::<Reference>().unwrap(), reference.clone());
            prop_assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn near_references_are_safe_in_urls(
        text in "[a-zA-Z0-9.:\\[\\]]{0,12}(/[a-z0-9._-]{1,8}){0,3}(:[A-Za-z0-9._-]{1,10})?"
    ) {
        if let Ok(reference) = text.parse::<Reference>() {
            let full = reference.to_string();
            prop_assert_eq!(full.parse::<Reference>().unwrap(), reference.clone());
            prop_assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference.clone());
            for part in reference.repository().split('/') {
                prop_assert!(!part.is_empty() && part != "." && part != "..");
            }
            prop_assert!(!full.contains(['?', '#', '%', ' ', '\\']));
        }
    }
}
