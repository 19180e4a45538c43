//! One container in the list.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::json;

use super::ports::{Port, shown};
use crate::format::{Row, units};

/// What the daemon says of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Summary {
    id: String,
    names: Vec<String>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    command: String,
    created: i64,
    ports: Vec<Port>,
    size_rw: Option<u64>,
    size_root_fs: Option<u64>,
    labels: Option<BTreeMap<String, String>>,
    state: String,
    status: String,
    network_settings: Networks,
    mounts: Vec<Mount>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Networks {
    networks: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Mount {
    name: String,
    source: String,
    driver: String,
}

impl Summary {
    /// The fields of Docker's, in its words.
    pub(super) fn row(&self, shortens: bool) -> Row {
        let created = Timestamp::from_second(self.created).unwrap_or_default();
        let labels = self.labels.clone().unwrap_or_default();
        let pairs: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let mounts: Vec<String> = self.mounts.iter().map(|one| one.shown(shortens)).collect();
        let local = self
            .mounts
            .iter()
            .filter(|one| one.driver == "local")
            .count();
        let networks: Vec<&str> = self
            .network_settings
            .networks
            .keys()
            .map(String::as_str)
            .collect();
        let fields = json!({
            "Command": self.command(shortens),
            "CreatedAt": created.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
            "ID": if shortens { short(&self.id) } else { &self.id },
            "Image": self.image(shortens),
            "Labels": pairs.join(","),
            "LocalVolumes": local.to_string(),
            "Mounts": mounts.join(","),
            "Names": self.names(shortens),
            "Networks": networks.join(","),
            "Ports": shown(&self.ports),
            "RunningFor": format!("{} ago", units::ago(created, Timestamp::now())),
            "Size": self.size(),
            "State": self.state,
            "Status": self.status,
        });
        Row::new(fields).with_labels(labels)
    }

    fn names(&self, shortens: bool) -> String {
        let names = self.names.iter();
        let names = names.map(|name| name.strip_prefix('/').unwrap_or(name));
        // Others are those of links.
        let names = names.filter(|name| !(shortens && name.contains('/')));
        names.collect::<Vec<_>>().join(",")
    }

    fn image(&self, shortens: bool) -> &str {
        if self.image.is_empty() {
            return "<no image>";
        }
        if !shortens {
            return &self.image;
        }
        if let Some(hex) = self.image.strip_prefix("sha256:") {
            return short(hex);
        }
        let id = self
            .image_id
            .strip_prefix("sha256:")
            .unwrap_or(&self.image_id);
        match self.image.split_once("@sha256:") {
            Some((name, _)) => name,
            None if id.starts_with(&self.image) => short(&self.image),
            None => &self.image,
        }
    }

    fn command(&self, shortens: bool) -> String {
        let text = match shortens {
            true => ellipsis(&self.command, 20),
            false => self.command.clone(),
        };
        // What an image says is not to steer the terminal.
        let escaped = text.chars().map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        });
        format!("\"{}\"", escaped.collect::<String>())
    }

    fn size(&self) -> String {
        let written = units::size(self.size_rw.unwrap_or(0));
        match self.size_root_fs {
            Some(all) if all > 0 => format!("{written} (virtual {})", units::size(all)),
            _ => written,
        }
    }
}

impl Mount {
    fn shown(&self, shortens: bool) -> String {
        let name = match self.name.is_empty() {
            true => &self.source,
            false => &self.name,
        };
        match shortens {
            true => ellipsis(name, 15),
            false => name.clone(),
        }
    }
}

/// The first twelve characters of an id.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// At most so many characters, the last of which says that there are more.
fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let start: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let text = json!({
            "Id": "0123456789abcdef0123",
            "Names": ["/web"],
            "Image": "debian@sha256:00",
            "ImageID": "sha256:aabbccddeeff00112233",
            "Command": "sh -c \"echo \u{1b}[1m and more\"",
            "Created": 0,
            "Labels": { "b": "2", "a": "1" },
            "SizeRw": 2000, "SizeRootFs": 3_000_000,
            "State": "running", "Status": "Up 2 minutes",
            "NetworkSettings": { "Networks": { "bridge": {} } },
            "Mounts": [{ "Name": "a-volume-with-a-long-name", "Driver": "local" }, { "Source": "/srv" }],
            "Unknown": 1,
        });
        serde_json::from_value(text).unwrap()
    }

    #[track_caller]
    fn shown(summary: &Summary, template: &str, shortens: bool) -> String {
        let list = crate::format::List::new(&super::super::COLUMNS, Some(template), false).unwrap();
        list.render([&summary.row(shortens)])
            .unwrap()
            .trim_end()
            .to_owned()
    }

    #[test]
    fn fields_are_in_docker_s_words() {
        let one = summary();
        assert_eq!(
            shown(&one, "{{.ID}} {{.Names}} {{.Image}}", true),
            "0123456789ab web debian"
        );
        assert_eq!(
            shown(&one, "{{.Command}}", true),
            "\"sh -c \\\"echo \\u{1b}[1m an…\""
        );
        assert_eq!(
            shown(&one, "{{.ID}} {{.Image}} {{.Mounts}}", false),
            "0123456789abcdef0123 debian@sha256:00 a-volume-with-a-long-name,/srv"
        );
        assert_eq!(
            shown(
                &one,
                "{{.Mounts}} {{.LocalVolumes}} {{.Networks}} {{.Size}}",
                true
            ),
            "a-volume-with-…,/srv 1 bridge 2kB (virtual 3MB)"
        );
        assert_eq!(
            shown(&one, r#"{{.Labels}} {{.Label "b"}}"#, true),
            "a=1,b=2 2"
        );
        let by_id = Summary {
            image: "aabbccddeeff0011".to_owned(),
            ..one
        };
        assert_eq!(by_id.image(true), "aabbccddeeff");
    }
}
