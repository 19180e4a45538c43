//! `hull vm`: plain microVMs in the foreground and in the background, what they boot from, how they end, and what they leave.

mod background;
mod ends;
mod foreground;
mod guest;
mod network;
mod refusals;
mod roots;
mod snapshots;

use std::fs;
use std::path::Path;

use hull_tests::Home;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
}

/// What `hull vm inspect` says of one.
fn inspect(home: &Home, name: &str) -> Value {
    let shown = json(&home.run(&["vm", "inspect", name]).success());
    shown[0].clone()
}

fn assert_none_left(home: &Home) {
    assert_eq!(home.run(&["vm", "ls", "-aq"]).success(), "");
    home.wait_until_quiet();
    let left = |dir: &Path| fs::read_dir(dir).map_or(0, Iterator::count);
    assert_eq!(left(&home.root().join("vms")), 0);
    assert_eq!(left(&home.runtime().join("vm")), 0);
}
