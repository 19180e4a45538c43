//! Settings of the kernel that the user asks for (sysctl(8)), written where the container's namespaces are those of the writer.

use hull_agent_protocol::{Failure, FailureKind, Sysctl};

use super::mounts::write;
use crate::failure::{Result, words};

/// Writes them in their order.
pub(super) fn set(sysctls: &[Sysctl]) -> Result<()> {
    for Sysctl { name, value } in sysctls {
        let path = path(name)?;
        write(&path, value).map_err(|error| {
            let message = format!("write sysctl key {name}: open {path}: {}", words(error));
            Failure::new(FailureKind::Invalid, message)
        })?;
    }
    Ok(())
}

/// The file of a setting. Either dots separate the parts of a name, and a slash is a dot in one of them, or the other way round; the
/// first of the two that occurs is the separator.
fn path(name: &str) -> Result<String> {
    let separator = name.chars().find(|c| matches!(c, '.' | '/'));
    let swapped: String = match separator {
        Some('.') => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    };
    let good = |part: &str| {
        !matches!(part, "" | "." | "..") && part.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !swapped.split('/').all(good) {
        let message = format!("invalid sysctl name {name:?}");
        return Err(Failure::new(FailureKind::Invalid, message));
    }
    Ok(format!("/proc/sys/{swapped}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_files_below_proc_sys_only() {
        let is = |name: &str, expected: &str| {
            assert_eq!(path(name).unwrap(), format!("/proc/sys/{expected}"));
        };
        is("net.ipv4.ip_forward", "net/ipv4/ip_forward");
        is("net/ipv4/ip_forward", "net/ipv4/ip_forward");
        is(
            "net.ipv4.conf.eth0/1.forwarding",
            "net/ipv4/conf/eth0.1/forwarding",
        );
        is(
            "net/ipv4/conf/eth0.1/forwarding",
            "net/ipv4/conf/eth0.1/forwarding",
        );
        for bad in [
            "",
            ".",
            "a..b",
            "../x",
            "net/../../x",
            "a b",
            "net.ipv4.\n",
            "/etc",
        ] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }
}
