//! The program.

use anyhow::{Context as _, bail};
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, RestartPolicy, RestartPolicyNameEnum,
};

use super::labels::pairs;
use super::{env, some};
use crate::run::args::{Process, Stream};

/// What stands for all that Docker masks in a container.
const UNMASKED: &str = "systempaths=unconfined";

pub(super) fn apply(
    args: &Process,
    body: &mut ContainerCreateBody,
    host: &mut HostConfig,
) -> anyhow::Result<()> {
    let is_attached =
        |stream, usual| args.attach.contains(&stream) || (args.attach.is_empty() && usual);
    let stdin = args.interactive || is_attached(Stream::Stdin, false);
    body.attach_stdin = Some(stdin);
    body.attach_stdout = Some(is_attached(Stream::Stdout, true));
    body.attach_stderr = Some(is_attached(Stream::Stderr, true));
    body.open_stdin = Some(args.interactive);
    body.stdin_once = Some(args.interactive && stdin);
    body.tty = Some(args.tty);
    body.env = some(&env::entries(&args.env, &args.env_file, |name| {
        std::env::var_os(name)
    })?);
    body.working_dir.clone_from(&args.workdir);
    body.user.clone_from(&args.user);
    // The empty word takes the image's away.
    body.entrypoint = args.entrypoint.clone().map(|program| vec![program]);
    body.stop_signal.clone_from(&args.stop_signal);
    body.stop_timeout = args.stop_timeout;
    host.group_add = some(&args.group_add);
    host.init = args.init.then_some(true);
    host.cap_add = some(&args.cap_add);
    host.cap_drop = some(&args.cap_drop);
    host.privileged = Some(args.privileged);
    host.sysctls = pairs("--sysctl", &args.sysctl)?;
    host.annotations = pairs("--annotation", &args.annotation)?;
    host.restart_policy = args.restart.as_deref().map(restart).transpose()?;
    let (unmasked, options): (Vec<_>, Vec<_>) = args
        .security_opt
        .iter()
        .cloned()
        .partition(|option| option == UNMASKED);
    host.security_opt = some(&options);
    if !unmasked.is_empty() {
        host.masked_paths = Some(Vec::new());
        host.readonly_paths = Some(Vec::new());
    }
    let options = pairs("--log-opt", &args.log_opt)?;
    if args.log_driver.is_some() || options.is_some() {
        host.log_config = Some(HostConfigLogConfig {
            typ: args.log_driver.clone(),
            config: options,
        });
    }
    Ok(())
}

/// `always`, `on-failure:3`.
fn restart(text: &str) -> anyhow::Result<RestartPolicy> {
    use RestartPolicyNameEnum::{ALWAYS, EMPTY, NO, ON_FAILURE, UNLESS_STOPPED};
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    let name = match name {
        "" => EMPTY,
        "no" => NO,
        "always" => ALWAYS,
        "unless-stopped" => UNLESS_STOPPED,
        "on-failure" => ON_FAILURE,
        _ => bail!(
            "invalid --restart {text:?}: no, always, unless-stopped or on-failure[:COUNT] is expected"
        ),
    };
    let count = count.map(str::parse).transpose();
    Ok(RestartPolicy {
        name: Some(name),
        maximum_retry_count: count.with_context(|| {
            format!("invalid --restart {text:?}: the count of retries is no number")
        })?,
    })
}
