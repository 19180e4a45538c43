//! Names of containers: what a user may choose, and what is chosen where they don't.

use thiserror::Error;

const ADJECTIVES: [&str; 48] = [
    "able", "amber", "brave", "bright", "brisk", "calm", "candid", "clever", "crisp", "curious",
    "daring", "deft", "eager", "early", "fair", "fond", "frank", "gentle", "glad", "golden",
    "grand", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid",
    "merry", "mild", "modest", "nimble", "noble", "patient", "plucky", "polite", "proud", "quiet",
    "ready", "robust", "steady", "sturdy", "tidy", "upright", "witty", "zesty",
];
const NOUNS: [&str; 48] = [
    "anchor", "barge", "beacon", "berth", "bosun", "bow", "brig", "buoy", "canoe", "capstan",
    "clipper", "cutter", "davit", "dinghy", "ferry", "fjord", "frigate", "galley", "gunwale",
    "halyard", "harbour", "hatch", "helm", "jetty", "kayak", "keel", "ketch", "lagoon", "lugger",
    "mast", "mooring", "oar", "packet", "pilot", "pinnace", "quay", "rigging", "rudder", "sail",
    "schooner", "sextant", "skiff", "sloop", "spar", "tender", "tiller", "trawler", "yawl",
];

/// A name that cannot be given to a container.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
pub struct InvalidName(String);

/// Accepts two or more letters, digits, `_`, `.` and `-`, the first a letter or digit; at most 128
/// bytes, since names are file names too.
pub(crate) fn check(name: &str) -> Result<(), InvalidName> {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && rest && (2..=128).contains(&name.len()) {
        Ok(())
    } else {
        Err(InvalidName(name.to_owned()))
    }
}

/// A name like `brisk_ketch` from random bytes; `attempt` above zero appends a digit from them too,
/// for when the short ones are taken.
pub(crate) fn random(bytes: [u8; 4], attempt: u32) -> String {
    let pick = |list: &'static [&'static str], byte: u8| {
        list.get(usize::from(byte) % list.len())
            .copied()
            .unwrap_or("hull")
    };
    let [first, second, third, fourth] = bytes;
    let name = format!("{}_{}", pick(&ADJECTIVES, first), pick(&NOUNS, second));
    if attempt == 0 {
        name
    } else {
        format!("{name}{}", u16::from_le_bytes([third, fourth]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_random_name_is_valid() {
        for byte in 0..=255_u8 {
            assert_eq!(
                check(&random([byte, 255 - byte, byte, 0], u32::from(byte) % 3)),
                Ok(())
            );
        }
    }

    #[test]
    fn docker_s_rule_decides() {
        for good in ["web", "a1", "A.b_c-d", "0x"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "-web",
            ".x",
            "a/b",
            "..",
            "a b",
            "ü1",
            &"a".repeat(129),
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
