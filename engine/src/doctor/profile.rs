//! The profile of this host's KVM: asked of `hull-vmm probe` once, then kept until the host or the prober changes.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hull_vm_api::HostProfile;
use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::HostError;

const FILE: &str = "host-profile.json";
/// Raised when a profile of old means something else.
const VERSION: u32 = 1;
/// A kept profile has a few KiB.
const MAX_SIZE: u64 = 1 << 16;
/// A probe takes milliseconds, and ends by itself what hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    key: Key,
    profile: HostProfile,
}

/// The profile of this host, from the file in `cache_dir` if it is this host's still, else from `hull-vmm probe`.
///
/// # Errors
/// If the probe cannot be run, or fails: there is no KVM, or no permission. That nothing could be kept is no error.
pub async fn load_or_probe(vmm: &Path, cache_dir: &Path) -> Result<HostProfile, HostError> {
    let file = cache_dir.join(FILE);
    let key = Key::of_host(vmm);
    if let Some(profile) = load(&file, &key) {
        return Ok(profile);
    }
    let profile = probe(vmm).await?;
    if let Err(error) = keep(cache_dir, &file, key, &profile) {
        tracing::warn!(
            "the host profile cannot be kept in {}: {error}",
            file.display()
        );
    }
    Ok(profile)
}

/// The kept profile if it can be read and is this host's. A damaged one is as good as none.
fn load(file: &Path, key: &Key) -> Option<HostProfile> {
    let size = fs::metadata(file).ok()?.len();
    if size > MAX_SIZE {
        return None;
    }
    let kept: Kept = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    (kept.version == VERSION && kept.key == *key).then_some(kept.profile)
}

/// Writes it beside the old one and then puts it in its place, so that no reader sees half of it.
fn keep(dir: &Path, file: &Path, key: Key, profile: &HostProfile) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let kept = Kept {
        version: VERSION,
        key,
        profile: profile.clone(),
    };
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    new.write_all(&serde_json::to_vec_pretty(&kept)?)?;
    new.as_file().sync_data()?;
    new.persist(file)?;
    Ok(())
}

/// Asks `hull-vmm probe`.
async fn probe(vmm: &Path) -> Result<HostProfile, HostError> {
    let command = tokio::process::Command::new(vmm)
        .arg("probe")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, command)
        .await
        .map_err(|_| HostError::Probe(format!("{} probe does not end", vmm.display())))?
        .map_err(|source| HostError::Program {
            program: vmm.to_owned(),
            source,
        })?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.lines().map(str::trim).rfind(|line| !line.is_empty());
        let last = last.map(|line| line.strip_prefix("hull-vmm: ").unwrap_or(line).to_owned());
        let ended = || format!("the probe of KVM ended with {}", output.status);
        return Err(HostError::Probe(last.unwrap_or_else(ended)));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| HostError::Probe(format!("the probe's answer is unreadable: {error}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    const PROFILE: &str = r#"{"kernel_args":"","backend":"vt-x","kernel_instructions_per_second":9,
        "user_instructions_per_second":9,"instructions":{"popcnt":"works"},"syscall":"kernel",
        "cpuid_can_hide":true,"costs":{},"max_vcpus":4}"#;

    /// A prober that answers and notes each call; its folder is the cache, too.
    fn prober(dir: &Path, script: &str) -> PathBuf {
        let path = dir.join("prober");
        let text = format!(
            "#!/bin/sh\necho call >> {}/calls\n{script}\n",
            dir.display()
        );
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn calls(dir: &Path) -> usize {
        fs::read_to_string(dir.join("calls"))
            .unwrap_or_default()
            .lines()
            .count()
    }

    fn answering(dir: &Path) -> PathBuf {
        fs::write(dir.join("answer"), PROFILE).unwrap();
        prober(dir, &format!("cat {}/answer", dir.display()))
    }

    #[tokio::test]
    async fn a_host_is_probed_once() {
        let dir = tempfile::tempdir().unwrap();
        let vmm = answering(dir.path());
        let cache = dir.path().join("not/there/yet");
        let first = load_or_probe(&vmm, &cache).await.unwrap();
        let second = load_or_probe(&vmm, &cache).await.unwrap();
        assert_eq!(first, second);
        assert_eq!(calls(dir.path()), 1);
    }

    #[tokio::test]
    async fn a_damaged_or_foreign_profile_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let vmm = answering(dir.path());
        let file = dir.path().join(FILE);
        load_or_probe(&vmm, dir.path()).await.unwrap();
        let good = fs::read_to_string(&file).unwrap();
        let foreign = good.replace("\"kernel_release\": \"", "\"kernel_release\": \"1");
        assert_ne!(foreign, good);
        let huge = " ".repeat(1 << 17);
        for (call, bad) in (2..).zip(["", "{", &good[..good.len() / 2], &foreign, &huge]) {
            fs::write(&file, bad).unwrap();
            load_or_probe(&vmm, dir.path()).await.unwrap();
            assert_eq!(calls(dir.path()), call, "{bad}");
            assert_eq!(fs::read_to_string(&file).unwrap(), good);
        }
    }

    #[tokio::test]
    async fn another_prober_is_asked_anew() {
        let dir = tempfile::tempdir().unwrap();
        let vmm = answering(dir.path());
        load_or_probe(&vmm, dir.path()).await.unwrap();
        prober(
            dir.path(),
            &format!("# newer\ncat {}/answer", dir.path().display()),
        );
        load_or_probe(&vmm, dir.path()).await.unwrap();
        assert_eq!(calls(dir.path()), 2);
    }

    #[tokio::test]
    async fn a_probe_that_fails_says_why_and_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let vmm = prober(
            dir.path(),
            "echo 'hull-vmm: there is no /dev/kvm' >&2; exit 3",
        );
        let error = load_or_probe(&vmm, dir.path()).await.unwrap_err();
        assert_eq!(error.to_string(), "there is no /dev/kvm");
        assert!(!dir.path().join(FILE).exists());
        let vmm = prober(dir.path(), "echo nonsense");
        let error = load_or_probe(&vmm, dir.path()).await.unwrap_err();
        assert!(error.to_string().contains("unreadable"), "{error}");
    }
}
