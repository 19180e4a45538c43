//! `--mount`: pairs of names and values, separated by commas; what has a comma in it stands in double quotes.

use anyhow::{Context as _, bail};
use bollard::models::{
    Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions,
};

use super::files::{from_here, size};

/// `type=bind,src=/srv,dst=/data,readonly`.
pub(super) fn parse(text: &str) -> anyhow::Result<Mount> {
    let mut mount = Mount {
        typ: Some(MountType::VOLUME),
        ..Mount::default()
    };
    for field in fields(text)? {
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        set(&mut mount, &name, value).with_context(|| format!("{field:?}"))?;
    }
    if mount.target.is_none() {
        bail!("it says nothing of where to mount it: dst=PATH is missing");
    }
    check_kind(&mount)?;
    Ok(mount)
}

fn set(mount: &mut Mount, name: &str, value: Option<&str>) -> anyhow::Result<()> {
    let text = || {
        let text = value.filter(|text| !text.is_empty());
        text.context("NAME=VALUE is expected")
    };
    match name {
        "type" => mount.typ = Some(kind(text()?)?),
        "source" | "src" => mount.source = Some(from_here(text()?)?),
        "target" | "dst" | "destination" => mount.target = Some(text()?.to_owned()),
        "readonly" | "ro" => mount.read_only = Some(yes(value)?),
        "consistency" => mount.consistency = Some(text()?.to_ascii_lowercase()),
        "bind-propagation" => bind(mount).propagation = Some(propagation(text()?)?),
        "bind-nonrecursive" => bind(mount).non_recursive = Some(yes(value)?),
        "bind-create-src" => bind(mount).create_mountpoint = Some(yes(value)?),
        "bind-recursive" => {
            let options = bind(mount);
            match text()? {
                "enabled" => {}
                "disabled" => options.non_recursive = Some(true),
                "writable" => options.read_only_non_recursive = Some(true),
                "readonly" => options.read_only_force_recursive = Some(true),
                _ => bail!("enabled, disabled, writable or readonly is expected"),
            }
        }
        "volume-nocopy" => volume(mount).no_copy = Some(yes(value)?),
        "volume-subpath" => volume(mount).subpath = Some(text()?.to_owned()),
        "volume-label" => {
            let (key, value) = pair(text()?);
            let labels = volume(mount).labels.get_or_insert_default();
            labels.insert(key, value);
        }
        "volume-driver" => {
            let driver = volume(mount).driver_config.get_or_insert_default();
            driver.name = Some(text()?.to_owned());
        }
        "volume-opt" => {
            let (key, value) = pair(text()?);
            let driver = volume(mount).driver_config.get_or_insert_default();
            driver.options.get_or_insert_default().insert(key, value);
        }
        "tmpfs-size" => tmpfs(mount).size_bytes = Some(size(text()?)?),
        "tmpfs-mode" => {
            let mode = i64::from_str_radix(text()?, 8);
            tmpfs(mount).mode = Some(mode.context("an octal number is expected")?);
        }
        _ => bail!("there is no such option of a mount"),
    }
    Ok(())
}

fn bind(mount: &mut Mount) -> &mut MountBindOptions {
    mount.bind_options.get_or_insert_default()
}

fn volume(mount: &mut Mount) -> &mut MountVolumeOptions {
    mount.volume_options.get_or_insert_default()
}

fn tmpfs(mount: &mut Mount) -> &mut MountTmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

fn kind(text: &str) -> anyhow::Result<MountType> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "bind" => MountType::BIND,
        "volume" => MountType::VOLUME,
        "tmpfs" => MountType::TMPFS,
        "image" => MountType::IMAGE,
        "npipe" => MountType::NPIPE,
        "cluster" => MountType::CLUSTER,
        _ => bail!("bind, volume or tmpfs is expected"),
    })
}

fn propagation(text: &str) -> anyhow::Result<MountBindOptionsPropagationEnum> {
    use MountBindOptionsPropagationEnum as Propagation;
    Ok(match text.to_ascii_lowercase().as_str() {
        "private" => Propagation::PRIVATE,
        "rprivate" => Propagation::RPRIVATE,
        "shared" => Propagation::SHARED,
        "rshared" => Propagation::RSHARED,
        "slave" => Propagation::SLAVE,
        "rslave" => Propagation::RSLAVE,
        _ => bail!("private, rprivate, slave or rslave is expected"),
    })
}

/// A name alone says yes.
fn yes(value: Option<&str>) -> anyhow::Result<bool> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("1" | "t" | "true") => Ok(true),
        Some("0" | "f" | "false") => Ok(false),
        Some(_) => bail!("true or false is expected"),
    }
}

fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

/// Options of one kind say nothing of another.
fn check_kind(mount: &Mount) -> anyhow::Result<()> {
    let given = [
        (MountType::BIND, "bind-", mount.bind_options.is_some()),
        (MountType::VOLUME, "volume-", mount.volume_options.is_some()),
        (MountType::TMPFS, "tmpfs-", mount.tmpfs_options.is_some()),
    ];
    let kind = mount.typ.unwrap_or(MountType::VOLUME);
    for (of, prefix, is_given) in given {
        if is_given && of != kind {
            bail!("options of {prefix}... are not for a mount of type {kind}");
        }
    }
    Ok(())
}

/// The fields of one line of comma-separated values (RFC 4180).
pub(super) fn fields(text: &str) -> anyhow::Result<Vec<String>> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut letters = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if is_quoted => is_quoted = false,
            '"' if field.is_empty() => is_quoted = true,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    if is_quoted {
        bail!("a quotation is not closed");
    }
    fields.push(field);
    match fields.iter().any(String::is_empty) {
        true => bail!("there is nothing between two commas"),
        false => Ok(fields),
    }
}
