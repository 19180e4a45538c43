use std::fs;
use std::path::Path;

use jiff::Timestamp;
use tempfile::TempDir;

use super::manifest::{Kind, Manifest};
use super::store::{DISK, MEMORY, STATE, Templates};
use crate::prepare::SavedDisk;

const KEYS: [&str; 3] = [
    "00000000000000000000000000000001",
    "00000000000000000000000000000002",
    "00000000000000000000000000000003",
];

fn templates(dir: &TempDir) -> Templates {
    Templates::at(dir.path().join("templates")).within(u64::MAX)
}

fn make(templates: &Templates, key: &str) {
    let draft = templates.begin().unwrap();
    for name in [STATE, MEMORY, DISK] {
        fs::write(draft.path(name), vec![1; 10_000]).unwrap();
    }
    let manifest = Manifest {
        kind: Kind::Image,
        cpus: 1,
        memory_mib: 512,
        image: Some("sha256:1".to_owned()),
        reference: Some("tiny".to_owned()),
        made: Timestamp::now(),
        state: draft.seal(STATE).unwrap(),
        memory: draft.seal(MEMORY).unwrap(),
        disk: Some(draft.seal(DISK).unwrap()),
    };
    draft.finish(&manifest).unwrap();
    templates.publish(key, draft).unwrap();
}

/// All that is in the directory, hidden or not.
fn entries(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path().join("templates")).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn keys(templates: &Templates) -> Vec<String> {
    let mut keys: Vec<_> = templates
        .list()
        .unwrap()
        .into_iter()
        .map(|one| one.key)
        .collect();
    keys.sort();
    keys
}

#[test]
fn a_template_is_there_when_it_is_whole() {
    let dir = TempDir::new().unwrap();
    let templates = templates(&dir);
    assert!(templates.find(KEYS[0]).is_none());
    assert!(templates.list().unwrap().is_empty());
    let draft = templates.begin().unwrap();
    fs::write(draft.path(STATE), "half").unwrap();
    assert!(templates.list().unwrap().is_empty());
    drop(draft);
    make(&templates, KEYS[0]);
    let found = templates.find(KEYS[0]).unwrap();
    assert_eq!(found.kind, Kind::Image);
    assert!(matches!(found.saved.disk, SavedDisk::Copy(_)));
    let listed = templates.list().unwrap().remove(0);
    assert_eq!(listed.image.as_deref(), Some("tiny"));
    assert!(listed.size >= 30_000, "{}", listed.size);
    // Who comes second with the same one has lost nothing.
    make(&templates, KEYS[0]);
    assert_eq!(entries(&dir), [KEYS[0]]);
}

#[test]
fn what_was_changed_since_is_thrown_away() {
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 5] = [
        (MEMORY, |file| {
            let mut content = fs::read(file).unwrap();
            content[5000] ^= 1;
            fs::write(file, content).unwrap();
        }),
        (STATE, |file| fs::write(file, "").unwrap()),
        (DISK, |file| fs::remove_file(file).unwrap()),
        ("template.json", |file| fs::write(file, "{").unwrap()),
        ("template.json", |file| {
            fs::write(file, vec![b' '; 1 << 20]).unwrap();
        }),
    ];
    for (name, change) in changes {
        let dir = TempDir::new().unwrap();
        let templates = templates(&dir);
        make(&templates, KEYS[0]);
        change(&dir.path().join("templates").join(KEYS[0]).join(name));
        assert!(templates.find(KEYS[0]).is_none(), "{name}");
        make(&templates, KEYS[0]);
        assert!(templates.find(KEYS[0]).is_some(), "{name}");
    }
}

#[test]
fn those_that_were_not_used_for_the_longest_time_make_room() {
    let dir = TempDir::new().unwrap();
    let all = templates(&dir);
    for key in &KEYS[..2] {
        make(&all, key);
    }
    let size = all.list().unwrap()[0].size;
    // The older one is used again.
    let open = all.find(KEYS[0]).unwrap();
    make(&all.clone().within(2 * size), KEYS[2]);
    assert_eq!(keys(&all), [KEYS[0], KEYS[2]]);
    make(&all.clone().within(1), KEYS[1]);
    assert_eq!(keys(&all), [KEYS[1]], "the newest stays whatever its size");
    // A clone goes on.
    assert_eq!(
        std::io::read_to_string(open.saved.state).unwrap().len(),
        10_000
    );
    assert_eq!(entries(&dir), [KEYS[1]]);
}

#[test]
fn only_templates_are_removed() {
    let dir = TempDir::new().unwrap();
    let templates = templates(&dir);
    assert!(!templates.remove(KEYS[0]).unwrap());
    make(&templates, KEYS[0]);
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    for name in ["../other", "", ".", KEYS[1]] {
        assert!(!templates.remove(name).unwrap(), "{name}");
    }
    assert!(other.exists());
    assert!(templates.remove(KEYS[0]).unwrap());
    assert!(entries(&dir).is_empty());
}
