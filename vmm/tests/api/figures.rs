//! The log, and the figures in both of their forms.

use std::fs;
use std::os::unix::fs::symlink;

use hull_vm_api::ExitCause;
use hull_vm_api::config::{Logger, Metrics, MetricsFormat};
use hull_vm_api::request::Action;
use rustix::process::Signal;
use serde_json::json;

use crate::common::guest::Code;
use crate::common::{Vm, no_kvm};
use crate::{Raw, counting, interrupt, last_line, path, refusal, waiting};

#[test]
fn the_log_and_the_figures_go_where_the_api_says() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting());
    let (running, client) = waiting(&vm);
    let logger = Logger {
        log_path: Some(path(&vm, "log")),
        show_level: true,
        ..Logger::default()
    };
    client.put_logger(&logger).unwrap();
    let nowhere = Logger {
        log_path: Some(path(&vm, "no/such/directory")),
        ..Logger::default()
    };
    let sentence = refusal(client.put_logger(&nowhere));
    assert!(sentence.contains("no/such/directory"), "{sentence}");
    assert_eq!(client.config().unwrap().logger, Some(logger));
    let metrics = Metrics {
        emit_id: true,
        properties: Some([("a".to_owned(), "b".to_owned())].into()),
        ..Metrics::new(path(&vm, "metrics"))
    };
    client.put_metrics(&metrics).unwrap();
    client.start().unwrap();
    client.action(Action::FlushMetrics).unwrap();
    let line = last_line(&vm);
    assert_eq!(
        (&line["id"], &line["properties"]["a"]),
        (&json!("hull"), &json!("b"))
    );
    assert!(
        line["utc_timestamp_ms"].is_u64() && line["cause"].is_null(),
        "{line}"
    );
    client.pause().unwrap();
    let log = fs::read_to_string(vm.path("log")).unwrap();
    assert!(log.contains("[hull INFO] paused"), "{log}");
    running.signal(Signal::INT);
    running.wait();
}

#[test]
fn lines_have_what_happened_since_the_line_before() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting());
    let (running, client) = waiting(&vm);
    client
        .put_metrics(&Metrics::new(path(&vm, "metrics")))
        .unwrap();
    refusal(client.pause());
    client.start().unwrap();
    let exits = || sample(&client.metrics().unwrap(), "hull_vcpu_exit_io_out_total");
    while exits() == 0 {}
    client.pause().unwrap();
    client.action(Action::FlushMetrics).unwrap();
    let line = last_line(&vm);
    let exits = line["vcpu"]["exit_io_out"].as_u64().unwrap();
    assert!(exits > 0 && line["vcpu"]["exit_io_out_agg"]["max_us"].as_u64() > Some(0));
    assert!(line["latencies_us"]["pause_vm"].as_u64() > Some(0));
    assert!(line["api_server"]["process_startup_time_us"].as_u64() > Some(0));
    // Three puts before this one, of which none failed; the pauses are one that was too early and one that was not.
    assert_eq!(line["put_api_requests"]["boot_source_count"], 1);
    assert_eq!(line["put_api_requests"]["actions_count"], 1);
    assert_eq!(line["put_api_requests"]["actions_fails"], 0);
    assert_eq!(line["patch_api_requests"]["vm_count"], 2);
    assert_eq!(line["patch_api_requests"]["vm_fails"], 1);

    client.action(Action::FlushMetrics).unwrap();
    let line = last_line(&vm);
    assert_eq!(line["vcpu"]["exit_io_out"], 0);
    assert_eq!(line["exits"]["io_out"], exits);
    assert_eq!(line["put_api_requests"]["actions_count"], 1);
    assert_eq!(line["patch_api_requests"]["vm_count"], 0);
    assert_eq!(line["block"]["read_bytes"], 0);
    interrupt(running);
    assert_eq!(last_line(&vm)["cause"], "terminated");
}

/// The value of the only sample that begins so.
fn sample(text: &str, start: &str) -> u64 {
    let lines = text.lines().filter(|line| line.starts_with(start));
    let values: Vec<_> = lines.map(|line| line.rsplit_once(' ').unwrap().1).collect();
    assert_eq!(values.len(), 1, "{start}: {values:?} in {text}");
    values[0].parse().unwrap()
}

#[test]
fn prometheus_is_answered_at_any_time() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting()).arg("--id=web");
    let (running, client) = waiting(&vm);
    let before = client.metrics().unwrap();
    assert_eq!(
        sample(
            &before,
            "hull_put_api_requests_boot_source_count_total{vm=\"web\"}"
        ),
        1
    );
    assert!(
        !before.contains("hull_vcpu"),
        "there is no machine yet: {before}"
    );
    client.start().unwrap();
    let exits = || {
        sample(
            &client.metrics().unwrap(),
            "hull_vcpu_exit_io_out_total{vm=\"web\"}",
        )
    };
    let first = exits();
    while exits() == first {}
    client.pause().unwrap();
    assert_eq!(exits(), exits());
    let mut raw = Raw::connect(&vm);
    raw.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut raw.0, &mut answer).unwrap();
    assert!(
        answer.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{answer}"
    );
    interrupt(running);
}

#[test]
fn a_file_for_prometheus_has_the_last_state_alone() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&counting());
    let (running, client) = waiting(&vm);
    client
        .put_metrics(&Metrics {
            format: MetricsFormat::Prometheus,
            ..Metrics::new(path(&vm, "metrics.prom"))
        })
        .unwrap();
    assert_eq!(
        client.config().unwrap().metrics.unwrap().format,
        MetricsFormat::Prometheus
    );
    client.start().unwrap();
    for _ in 0..2 {
        client.action(Action::FlushMetrics).unwrap();
    }
    interrupt(running);
    let text = fs::read_to_string(vm.path("metrics.prom")).unwrap();
    assert!(sample(&text, "hull_vcpu_exit_io_out_total") > 0);
    let status = format!(
        "hull_vm_ended{{vm=\"hull\",status=\"{}\"}}",
        ExitCause::Terminated.code()
    );
    assert_eq!(sample(&text, &status), 1);
}

#[test]
fn metrics_that_cannot_be_written_do_not_change_how_the_machine_ends() {
    if no_kvm() {
        return;
    }
    let vm = Vm::of(&Code::new().power_off());
    symlink("/dev/full", vm.path("metrics")).unwrap();
    let ended = vm.start().end();
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    assert!(
        ended.stderr.contains("metrics could not be written"),
        "{ended:?}"
    );

    let vm = Vm::of(&counting());
    symlink("/dev/full", vm.path("full")).unwrap();
    let (running, client) = waiting(&vm);
    client
        .put_metrics(&Metrics::new(path(&vm, "full")))
        .unwrap();
    client.start().unwrap();
    let sentence = refusal(client.action(Action::FlushMetrics));
    assert!(
        sentence.contains("FlushMetrics error") && sentence.contains("space"),
        "{sentence}"
    );
    assert!(
        client
            .metrics()
            .unwrap()
            .contains("hull_logger_missed_metrics_count_total{vm=\"hull\"} 1")
    );
    interrupt(running);
}
