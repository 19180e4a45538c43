//! What a daemon and its host have more of than before: processes, descriptors, interfaces, rules, mounts, files, locks.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Daemon, Home};

/// How long what was let go may take to be gone. Nobody tells when the last descriptor of a connection is closed, so it is looked for.
const SETTLING: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

const DESCRIPTORS: &str = "descriptors of the daemon";

/// What there is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Kinds of things, and the things.
    kinds: Vec<(&'static str, BTreeSet<String>)>,
}

impl Inventory {
    /// Of a home with its daemon.
    #[must_use]
    pub fn of(home: &Home, daemon: &Daemon<'_>) -> Self {
        let pid = daemon.pid().as_raw_nonzero();
        let (mut run, mut state) = (BTreeSet::new(), BTreeSet::new());
        walk(&home.runtime(), &mut run);
        walk(&home.root(), &mut state);
        let locks = held_locks(run.union(&state));
        run.retain(|path| !is_kept(path));
        state.retain(|path| !is_kept(path));
        let processes = home.processes().into_iter();
        Self {
            kinds: vec![
                (
                    "processes",
                    processes
                        .map(|(pid, what)| format!("{pid} {what}"))
                        .collect(),
                ),
                (DESCRIPTORS, descriptors(&format!("/proc/{pid}/fd"))),
                ("TAPs and bridges", interfaces()),
                ("nftables rules", rules()),
                (
                    "mounts",
                    lines(
                        &fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default(),
                    ),
                ),
                ("files in the runtime directory", run),
                ("files in the state directory", state),
                ("locks held", locks),
            ],
        }
    }

    /// Waits until there is no more than this, prints the count of each kind, and asserts it.
    ///
    /// # Panics
    /// When something is left.
    #[track_caller]
    pub fn assert_no_more(&self, home: &Home, daemon: &Daemon<'_>) {
        let deadline = Instant::now() + SETTLING;
        let mut after = Self::of(home, daemon);
        while !self.left(&after).is_empty() && Instant::now() < deadline {
            thread::sleep(LOOK_AGAIN);
            after = Self::of(home, daemon);
        }
        for ((kind, before), (_, after)) in self.kinds.iter().zip(&after.kinds) {
            println!("{kind}: {} before, {} after", before.len(), after.len());
        }
        let left = self.left(&after);
        assert!(left.is_empty(), "left:\n{}", left.join("\n"));
    }

    /// What the later one has more: descriptors, whose numbers are used again, by how many there are, and all else by its name.
    fn left(&self, after: &Self) -> Vec<String> {
        let mut left = Vec::new();
        for ((kind, before), (_, after)) in self.kinds.iter().zip(&after.kinds) {
            if *kind != DESCRIPTORS || after.len() > before.len() {
                let new = after.difference(before);
                left.extend(new.map(|one| format!("{kind}: {one}")));
            }
        }
        left
    }
}

/// Whether this is made once and kept, however many containers there will be: the turns of starts, of which there is one for each
/// processor and one more, and an empty disk of each size.
fn is_kept(path: &str) -> bool {
    path.contains("/turns/") || path.contains("/layers/writable-")
}

/// All that is below `directory`, directories included; links are not followed.
fn walk(directory: &Path, all: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        all.insert(entry.path().to_string_lossy().into_owned());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), all);
        }
    }
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

fn descriptors(directory: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries.map(|entry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        format!(
            "{} {}",
            entry.file_name().to_string_lossy(),
            target.display()
        )
    });
    named.collect()
}

/// Hull's interfaces in the network namespace of this thread: `/sys` would show those of another one.
fn interfaces() -> BTreeSet<String> {
    // `hullt-0123: 0 0 ...`, behind two lines of headings.
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_once(':'));
    names
        .map(|(name, _)| name.trim().to_owned())
        .filter(|name| name.starts_with("hull"))
        .collect()
}

/// Lines of Hull's tables, in the network namespace of this thread; none where `nft` is missing, or not allowed.
fn rules() -> BTreeSet<String> {
    ["inet", "bridge"]
        .into_iter()
        .flat_map(|family| {
            let listed = Command::new("nft")
                .args(["--stateless", "list", "table", family, "hull"])
                .output();
            let text = listed.map(|output| output.stdout).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            text.lines()
                .map(|line| format!("{family} {line}"))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Which of these files are locked, by `/proc/locks`.
fn held_locks<'a>(files: impl Iterator<Item = &'a String>) -> BTreeSet<String> {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    // `1: FLOCK ADVISORY WRITE 123 fe:00:456 0 EOF`
    let inodes: BTreeSet<u64> = locks
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().filter(|word| *word != "->");
            words.nth(5)?.rsplit(':').next()?.parse().ok()
        })
        .collect();
    files
        .filter(|file| fs::symlink_metadata(file).is_ok_and(|seen| inodes.contains(&seen.ino())))
        .cloned()
        .collect()
}
