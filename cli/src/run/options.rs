//! From options to what the engine is asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, bail};
use hull_engine::{ContainerConfig, ContainerId, Tmpfs, Ulimit, parse_cpus, parse_size};

use super::args::Args;
use super::env;

/// The container that these options ask for.
pub(crate) fn container(args: &Args) -> anyhow::Result<ContainerConfig> {
    let (image, command) = args
        .image_and_command
        .split_first()
        .context("an image is needed")?;
    let env = env::entries(&args.env, &args.env_file, |name| std::env::var_os(name))?;
    let no_new_privileges = no_new_privileges(&args.security_opt)?;
    Ok(ContainerConfig {
        image: image.clone(),
        name: args.name.clone(),
        command: command.to_vec(),
        entrypoint: args.entrypoint.clone(),
        env,
        working_dir: args.workdir.clone(),
        user: args.user.clone(),
        hostname: args.hostname.clone(),
        tty: args.tty,
        open_stdin: args.interactive,
        auto_remove: args.rm,
        read_only: args.read_only,
        init: args.init,
        tmpfs: args.tmpfs.iter().map(|text| tmpfs(text)).collect(),
        cap_add: args.cap_add.clone(),
        cap_drop: args.cap_drop.clone(),
        privileged: args.privileged,
        no_new_privileges,
        ulimits: args
            .ulimit
            .iter()
            .map(|text| ulimit(text))
            .collect::<Result<_, _>>()?,
        labels: labels(args)?,
        stop_signal: args.stop_signal.clone(),
        memory: args.memory.as_deref().map(parse_size).transpose()?,
        nano_cpus: args.cpus.as_deref().map(parse_cpus).transpose()?,
        disk: disk_size(&args.storage_opt)?,
    })
}

pub(crate) fn labels(args: &Args) -> anyhow::Result<BTreeMap<String, String>> {
    args.label.iter().map(|text| label(text)).collect()
}

/// Writes the id to a file that did not exist.
pub(crate) fn write_cidfile(path: &Path, id: &ContainerId) -> anyhow::Result<()> {
    let mut file = File::create_new(path).with_context(|| {
        format!(
            "the container id file {} cannot be made: make sure the other container isn't running or delete the file",
            path.display()
        )
    })?;
    file.write_all(id.as_str().as_bytes())?;
    Ok(())
}

fn tmpfs(text: &str) -> Tmpfs {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    Tmpfs {
        path: path.into(),
        options: options.to_owned(),
    }
}

fn label(text: &str) -> anyhow::Result<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        bail!("invalid --label {text:?}: it has no key");
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Of several sizes the last one counts, as with Docker.
fn disk_size(options: &[String]) -> anyhow::Result<Option<u64>> {
    let mut size = None;
    for option in options {
        let Some(text) = option.strip_prefix("size=") else {
            bail!("invalid --storage-opt {option:?}: only size=SIZE is supported");
        };
        let bytes = parse_size(text).ok();
        size = Some(bytes.with_context(|| {
            format!(
                "invalid --storage-opt {option:?}: a number with b, k, m or g behind it is expected"
            )
        })?);
    }
    Ok(size)
}

fn no_new_privileges(options: &[String]) -> anyhow::Result<bool> {
    let mut set = false;
    for option in options {
        set = match option.as_str() {
            "no-new-privileges" | "no-new-privileges=true" | "no-new-privileges:true" => true,
            "no-new-privileges=false" | "no-new-privileges:false" => false,
            // The filter protects the host's kernel from its containers; here that kernel is the
            // microVM's own, and there is no filter to take away.
            "seccomp=unconfined" | "apparmor=unconfined" | "label=disable" => set,
            _ => bail!("invalid --security-opt {option:?}: only no-new-privileges is supported"),
        };
    }
    Ok(set)
}

fn ulimit(text: &str) -> anyhow::Result<Ulimit> {
    let parse = || {
        let (name, limits) = text.split_once('=')?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let limit = |text: &str| match text {
            "unlimited" => Some(-1),
            _ => text.parse::<i64>().ok().filter(|limit| *limit >= -1),
        };
        Some(Ulimit {
            name: name.to_owned(),
            soft: limit(soft)?,
            hard: limit(hard)?,
        })
    };
    let ulimit = parse()
        .with_context(|| format!("invalid --ulimit {text:?}: NAME=SOFT[:HARD] is expected"))?;
    let above = match (ulimit.soft, ulimit.hard) {
        (_, -1) => false,
        (-1, _) => true,
        (soft, hard) => soft > hard,
    };
    if above {
        bail!("invalid --ulimit {text:?}: the soft limit must not be above the hard limit");
    }
    Ok(ulimit)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &[&str]) -> anyhow::Result<ContainerConfig> {
        container(&Line::try_parse_from([&["run"], line].concat())?.args)
    }

    #[test]
    fn what_follows_the_image_is_the_command_s() {
        let config = parse(&["-it", "--rm", "busybox", "ls", "--rm", "-e", "--", "x"]).unwrap();
        assert!(config.tty && config.open_stdin && config.auto_remove);
        assert_eq!((config.image.as_str(), config.env.len()), ("busybox", 0));
        assert_eq!(config.command, ["ls", "--rm", "-e", "--", "x"]);
        let config = parse(&["busybox", "-c"]).unwrap();
        assert_eq!(config.command, ["-c"]);
    }

    #[test]
    fn an_unknown_option_is_no_image() {
        assert!(parse(&["--no-such-option", "busybox"]).is_err());
        assert!(parse(&[]).is_err());
    }

    #[test]
    fn sizes_limits_and_labels_are_read() {
        let line = [
            "-m",
            "1g",
            "--cpus",
            "1.5",
            "--ulimit",
            "nofile=10:20",
            "-l",
            "a=b=c",
            "img",
        ];
        let config = parse(&line).unwrap();
        assert_eq!(
            (config.memory, config.nano_cpus),
            (Some(1 << 30), Some(1_500_000_000))
        );
        assert_eq!(
            config.ulimits,
            [Ulimit {
                name: "nofile".into(),
                soft: 10,
                hard: 20
            }]
        );
        assert_eq!(config.labels["a"], "b=c");
        for bad in [
            ["--ulimit", "nofile"],
            ["--ulimit", "nofile=20:10"],
            ["--ulimit", "nofile=-1:10"],
            ["--ulimit", "nofile=-2"],
            ["--label", "=x"],
            ["--security-opt", "seccomp=/file.json"],
            ["--memory", "much"],
            ["--storage-opt", "size=much"],
            ["--storage-opt", "dm.basesize=1g"],
        ] {
            assert!(parse(&[&bad[..], &["img"]].concat()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_disk_has_the_last_size_that_was_named() {
        let disk = |line: &[&str]| parse(line).unwrap().disk;
        assert_eq!(disk(&["img"]), None);
        let twice = [
            "--storage-opt",
            "size=1g",
            "--storage-opt",
            "size=64m",
            "img",
        ];
        assert_eq!(disk(&twice), Some(64 << 20));
    }

    #[test]
    fn a_tmpfs_has_a_path_and_options() {
        let config = parse(&["--tmpfs", "/a:size=1m,mode=700", "--tmpfs", "/b", "img"]).unwrap();
        let [a, b] = config.tmpfs.as_slice() else {
            panic!("{:?}", config.tmpfs)
        };
        assert_eq!(
            (a.path.to_str(), a.options.as_str()),
            (Some("/a"), "size=1m,mode=700")
        );
        assert_eq!((b.path.to_str(), b.options.as_str()), (Some("/b"), ""));
    }
}
