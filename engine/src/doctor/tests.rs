use super::*;

#[tokio::test]
async fn a_host_is_ready_exactly_if_nothing_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path().join("root"), dir.path().join("run"));
    let diagnosis = examine(&paths).await;
    let bad = diagnosis
        .checks
        .iter()
        .any(|check| check.verdict == Verdict::Bad);
    assert_eq!(diagnosis.ready, !bad);
    // What is not good comes with what to do about it.
    for check in &diagnosis.checks {
        assert_eq!(
            check.advice.is_some(),
            check.verdict != Verdict::Good,
            "{check:?}"
        );
    }
    let json = serde_json::to_value(&diagnosis).unwrap();
    assert_eq!(json["checks"][0]["name"], "KVM");
}
