use proptest::prelude::*;
use serde_json::json;

use super::{Document, Error, OCI_INDEX, OCI_MANIFEST};
use crate::platform::Platform;

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn layer(kind: &str) -> serde_json::Value {
    json!({"mediaType": kind, "digest": DIGEST, "size": 1})
}

fn manifest(layers: &[serde_json::Value]) -> serde_json::Value {
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2},
        "layers": layers})
}

fn entry(platform: &str) -> serde_json::Value {
    let parts: Vec<&str> = platform.split('/').collect();
    let mut entry = json!({"mediaType": OCI_MANIFEST, "digest": crate::Digest::of(platform.as_bytes()).to_string(),
        "size": 1, "platform": {"os": parts[0], "architecture": parts[1]}});
    if let Some(variant) = parts.get(2) {
        entry["platform"]["variant"] = json!(variant);
    }
    entry
}

fn parse(value: &serde_json::Value, kind: Option<&str>) -> Result<Document, Error> {
    Document::parse(value.to_string().as_bytes(), kind)
}

#[test]
fn both_families_are_read() {
    let gzip = layer("application/vnd.oci.image.layer.v1.tar+gzip");
    let docker = layer("application/vnd.docker.image.rootfs.diff.tar.gzip");
    let mut value = manifest(&[gzip, docker]);
    assert!(
        matches!(parse(&value, None), Ok(Document::Manifest(found)) if found.layers.len() == 2)
    );
    // OCI made the type optional; the shape decides, or what the server says.
    value.as_object_mut().unwrap().remove("mediaType");
    assert!(matches!(parse(&value, None), Ok(Document::Manifest(_))));
    assert!(matches!(
        parse(&value, Some("application/json")),
        Ok(Document::Manifest(_))
    ));
    assert!(parse(&value, Some(OCI_INDEX)).is_err());
    let list = json!({"schemaVersion": 2, "manifests": [entry("linux/amd64")]});
    assert!(matches!(
        parse(
            &list,
            Some("application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8")
        ),
        Ok(Document::List(_))
    ));
}

#[test]
fn what_holds_no_image_is_refused() {
    let error = |value: &serde_json::Value| parse(value, None).unwrap_err().to_string();
    let chart = layer("application/vnd.cncf.helm.chart.content.v1.tar+gzip");
    assert!(error(&manifest(&[chart])).contains("helm.chart"));
    let encrypted = layer("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
    assert!(error(&manifest(&[encrypted])).contains("encrypted"));
    let old = json!({"schemaVersion": 1, "name": "x", "fsLayers": [], "config": "x"});
    assert!(error(&old).contains("schema 1"));
    assert!(error(&json!({"schemaVersion": 2})).contains("not an image"));
    let tar = layer("application/vnd.oci.image.layer.v1.tar");
    assert!(error(&manifest(&vec![tar; 513])).contains("513 layers"));
    let mut long = manifest(&[]);
    long["config"]["size"] = json!(9 << 20);
    assert!(error(&long).contains("configuration of"));
    let mut mixed = manifest(&[]);
    mixed["manifests"] = json!([]);
    assert!(
        error(&mixed).contains("not an image"),
        "a confusion of list and manifest"
    );
}

#[test]
fn the_best_platform_is_taken() {
    let pick = |offered: &[&str], wanted: &str| {
        let entries: Vec<_> = offered.iter().map(|platform| entry(platform)).collect();
        let list = json!({"schemaVersion": 2, "manifests": entries});
        let Ok(Document::List(list)) = parse(&list, None) else {
            panic!("a list");
        };
        let wanted: Platform = wanted.parse().unwrap();
        list.select(&wanted)
            .map(|found| found.platform().unwrap().to_string())
            .map_err(|e| e.to_string())
    };
    let all = [
        "linux/arm/v6",
        "linux/arm/v7",
        "linux/amd64/v3",
        "linux/amd64",
        "linux/arm64/v8",
        "unknown/unknown",
    ];
    assert_eq!(pick(&all, "linux/amd64").unwrap(), "linux/amd64");
    assert_eq!(pick(&all, "linux/arm64").unwrap(), "linux/arm64/v8");
    assert_eq!(pick(&all, "linux/arm/v7").unwrap(), "linux/arm/v7");
    assert_eq!(pick(&all, "linux/x86_64").unwrap(), "linux/amd64");
    assert_eq!(
        pick(&["linux/amd64/v3"], "linux/amd64").unwrap(),
        "linux/amd64/v3"
    );
    let error = pick(&all[..2], "linux/amd64").unwrap_err();
    assert_eq!(
        error,
        "the image is not made for linux/amd64; it is for linux/arm/v6, linux/arm/v7"
    );
    assert!(
        pick(&["unknown/unknown"], "linux/amd64")
            .unwrap_err()
            .contains("no platform")
    );
}

#[test]
fn platforms_are_parsed_strictly() {
    for text in [
        "",
        "linux",
        "linux/",
        "/amd64",
        "linux/amd64/v1/x",
        "linux/am d64",
        "linux/\u{e9}",
    ] {
        assert!(text.parse::<Platform>().is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Document::parse(&bytes, None);
    }

    #[test]
    fn near_manifests_are_refused_or_read(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        list in any::<bool>(),
    ) {
        let value = if list {
            json!({"schemaVersion": 2, "manifests": [entry("linux/amd64"), entry("linux/arm/v7")]})
        } else {
            manifest(&[layer("application/vnd.oci.image.layer.v1.tar")])
        };
        let mut bytes = value.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        match Document::parse(&bytes, None) {
            Ok(Document::List(list)) => {
                let _ = list.select(&Platform::default());
            }
            Ok(Document::Manifest(manifest)) => prop_assert_eq!(manifest.layers.len(), 1),
            Err(error) => prop_assert!(error.to_string().len() < 1000),
        }
    }
}
