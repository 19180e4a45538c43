//! Whether this host can run microVMs, and how well: what `hull doctor` tells, and the profile of its KVM that every start uses.
//!
//! A check asks the operating system and changes nothing, except that the profile is kept in the engine's directory.

mod guest;
mod key;
mod kvm;
mod memory;
mod parts;
mod places;
mod profile;
mod system;

use serde::Serialize;

use crate::Paths;

pub(crate) use key::Key as HostKey;
pub use profile::load_or_probe;

/// What one check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// `hull run` works, but something is slower or missing.
    Limited,
    /// `hull run` does not work.
    Bad,
}

/// One thing about the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, in a few words; the same on every host.
    pub name: &'static str,
    /// What it came to.
    pub verdict: Verdict,
    /// What was found, as part of a sentence.
    pub found: String,
    /// What to do about it, if there is anything to do.
    pub advice: Option<String>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Good,
            found: found.into(),
            advice: None,
        }
    }

    fn limited(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let (found, advice) = (found.into(), Some(advice.into()));
        Self {
            name,
            verdict: Verdict::Limited,
            found,
            advice,
        }
    }

    fn bad(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let (found, advice) = (found.into(), Some(advice.into()));
        Self {
            name,
            verdict: Verdict::Bad,
            found,
            advice,
        }
    }
}

/// All that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Whether `hull run` will work.
    pub ready: bool,
    /// In the order in which a person wants to read it.
    pub checks: Vec<Check>,
    /// What Linux has to be told on this host, as the probe's findings have it.
    pub kernel_args: Option<String>,
    /// What the probe found out about KVM, if it could run.
    pub profile: Option<hull_vm_api::HostProfile>,
}

/// Looks at the host.
pub async fn examine(paths: &Paths) -> Diagnosis {
    let (mut checks, profile) = kvm::checks(paths.root()).await;
    checks.extend([
        system::tun(),
        system::cgroups(),
        memory::huge_pages(),
        memory::free(),
        system::disk(paths.root()),
    ]);
    checks.extend(places::checks(paths));
    checks.extend(parts::checks());
    Diagnosis {
        ready: checks.iter().all(|check| check.verdict != Verdict::Bad),
        checks,
        kernel_args: profile.as_ref().map(hull_vm_api::HostProfile::kernel_args),
        profile,
    }
}

#[cfg(test)]
mod tests;
