//! `GET /containers/json`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hull_engine::Status;
use hull_engine::supervisor::{Container, Supervisor};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{mounts, shown};
use crate::error::{ApiError, blocking};
use crate::filters::{self, Filters};
use crate::lines;
use crate::params::Params;
use crate::router::Shared;

const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATES: [&str; 7] = [
    "created",
    "restarting",
    "running",
    "removing",
    "paused",
    "exited",
    "dead",
];
const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

pub(crate) async fn list(
    State(supervisor): State<Shared>,
    params: Params,
) -> Result<Response, ApiError> {
    let wanted = Wanted::new(&supervisor, &params)?;
    let with_size = params.flag("size");
    let list = move || {
        let chosen = wanted.choose(&supervisor);
        summaries(&supervisor, &chosen, with_size)
    };
    Ok(lines::value(&blocking(list).await?))
}

/// All containers, for `/system/df`.
pub(crate) fn all_with_sizes(supervisor: &Supervisor) -> Result<Value, ApiError> {
    summaries(supervisor, &supervisor.list(), true)
}

fn summaries(
    supervisor: &Supervisor,
    chosen: &[Arc<Container>],
    with_size: bool,
) -> Result<Value, ApiError> {
    let (now, images) = (Timestamp::now(), Names::new(supervisor)?);
    let summary = |container: &Arc<Container>| {
        let mut summary = summary(supervisor, container, &images, now);
        if with_size {
            let (writable, all) = shown::sizes(container, supervisor.images());
            summary["SizeRw"] = json!(writable);
            summary["SizeRootFs"] = json!(all);
        }
        summary
    };
    Ok(Value::Array(chosen.iter().map(summary).collect()))
}

/// Which containers are wanted.
struct Wanted {
    filters: Filters,
    all: bool,
    limit: Option<usize>,
    exited: Vec<u8>,
    /// Made before, and after, these.
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl Wanted {
    fn new(supervisor: &Supervisor, params: &Params) -> Result<Self, ApiError> {
        let filters = params.filters(&FILTERS)?;
        let of = |name: &str, known: &[&str]| match filters
            .values(name)
            .iter()
            .find(|v| !known.contains(&v.as_str()))
        {
            Some(value) => Err(filters::invalid(name, value)),
            None => Ok(()),
        };
        of("status", &STATES)?;
        of("health", &HEALTH)?;
        filters.flag("is-task")?;
        let code = |text: &String| {
            text.parse::<u8>()
                .map_err(|_| filters::invalid("exited", text))
        };
        let exited = filters
            .values("exited")
            .iter()
            .map(code)
            .collect::<Result<Vec<u8>, ApiError>>()?;
        // Both are parameters in old versions, and filters since.
        let created = |name: &str| -> Result<Option<Timestamp>, ApiError> {
            let text = filters
                .values(name)
                .first()
                .map(String::as_str)
                .or_else(|| params.text(name));
            Ok(text
                .map(|text| supervisor.find(text))
                .transpose()?
                .map(|container| container.state().created))
        };
        let limit = params
            .number::<i64>("limit")?
            .and_then(|limit| usize::try_from(limit).ok());
        Ok(Self {
            // A condition on the state says itself which ones are meant.
            all: params.flag("all") || filters.has("status"),
            limit: limit.filter(|limit| *limit > 0),
            exited,
            before: created("before")?,
            since: created("since")?,
            filters,
        })
    }

    fn choose(&self, supervisor: &Supervisor) -> Vec<Arc<Container>> {
        let ancestors = Ancestors::new(supervisor, self.filters.values("ancestor"));
        let fits = |container: &Arc<Container>| {
            self.fits(supervisor, container) && ancestors.fit(container)
        };
        let chosen = supervisor.list().into_iter().filter(fits);
        chosen.take(self.limit.unwrap_or(usize::MAX)).collect()
    }

    fn fits(&self, supervisor: &Supervisor, container: &Container) -> bool {
        if !(self.all || self.limit.is_some() || shown::is_up(container)) {
            return false;
        }
        let (state, config, filters) = (container.state(), container.config(), &self.filters);
        let name = container.name();
        let exited = state.status == Status::Exited
            && state
                .exit_code
                .is_some_and(|code| self.exited.contains(&code));
        self.before.is_none_or(|before| state.created < before)
            && self.since.is_none_or(|since| state.created > since)
            && (self.exited.is_empty() || exited)
            && filters.pattern("id", &[container.id().as_str()])
            && filters.pattern("name", &[name.as_str(), format!("/{name}").as_str()])
            && filters.exact("status", shown::state(container))
            && (!filters.has("health") || filters.exact("health", shown::health(container)))
            && filters.exact("isolation", "default")
            && filters.flag("is-task").ok().flatten() != Some(true)
            && filters.labels(|key| config.labels.get(key).map(String::as_str))
            && self.fits_client(container)
            && self.fits_mounts(supervisor, container)
    }

    /// The condition on volumes, which means the name of one, or a place of any mount.
    fn fits_mounts(&self, supervisor: &Supervisor, container: &Container) -> bool {
        if !self.filters.has("volume") {
            return true;
        }
        let mounts = mounts::mounts(supervisor, container);
        let places = mounts.as_array().into_iter().flatten();
        let mut places =
            places.flat_map(|mount| [&mount["Name"], &mount["Source"], &mount["Destination"]]);
        places.any(|place| {
            place
                .as_str()
                .is_some_and(|text| self.filters.exact("volume", text))
        })
    }

    /// The conditions on what the client said, and on what became of it.
    fn fits_client(&self, container: &Container) -> bool {
        let (filters, client) = (&self.filters, &container.client());
        let keys = |pointer: &str| -> Vec<String> {
            let members = client.pointer(pointer).and_then(Value::as_object);
            members
                .into_iter()
                .flatten()
                .map(|(key, _)| key.clone())
                .collect()
        };
        let in_networks = || {
            if !filters.has("network") {
                return true;
            }
            let networks = shown::networks(container);
            let networks = networks.as_object().into_iter().flatten();
            let mut named = networks
                .flat_map(|(name, place)| [Some(name.as_str()), place["NetworkID"].as_str()]);
            named.any(|name| name.is_some_and(|name| filters.exact("network", name)))
        };
        let published = || {
            let ports = shown::ports(container).into_iter();
            let public = |port: shown::Port| Some(format!("{}/{}", port.public?.1, port.protocol));
            ports.filter_map(public).collect::<Vec<_>>()
        };
        in_networks()
            && ports(filters.values("expose"), &keys("/ExposedPorts"))
            && (!filters.has("publish") || ports(filters.values("publish"), &published()))
    }
}

/// Whether one of `80`, `80/udp`, `8000-8010/tcp` is among the ports; anything is if nothing is asked.
fn ports(wanted: &[String], ports: &[String]) -> bool {
    let split = |text: &str| -> Option<(u16, u16, String)> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?, protocol.to_owned()))
    };
    let fits = |wanted: &String| {
        split(wanted).is_some_and(|(first, last, protocol)| {
            let ports = ports.iter().filter_map(|port| split(port));
            let mut ports = ports.filter(|(_, _, known)| *known == protocol);
            ports.any(|(low, high, _)| low <= last && first <= high)
        })
    };
    wanted.is_empty() || wanted.iter().any(fits)
}

/// Images, of which a container's must be one or be made from one.
struct Ancestors<'a> {
    supervisor: &'a Supervisor,
    asked: bool,
    /// Each with its layers.
    images: Vec<(String, Vec<hull_image::Digest>)>,
}

impl<'a> Ancestors<'a> {
    fn new(supervisor: &'a Supervisor, names: &[String]) -> Self {
        // An image that is not there has no containers.
        let found = names
            .iter()
            .filter_map(|name| supervisor.images().inspect(name).ok());
        let images =
            found.map(|image| (image.summary.id.to_string(), image.config.layers().to_vec()));
        Self {
            supervisor,
            asked: !names.is_empty(),
            images: images.collect(),
        }
    }

    fn fit(&self, container: &Container) -> bool {
        let id = container.image_id();
        if !self.asked || self.images.iter().any(|(known, _)| *known == id) {
            return true;
        }
        if self.images.is_empty() {
            return false;
        }
        let Ok(image) = self.supervisor.images().inspect(&id) else {
            return false;
        };
        let layers = image.config.layers();
        // One with the same layers is a sibling, which was not made from it.
        let below =
            |(_, known): &(_, Vec<_>)| known.len() < layers.len() && layers.starts_with(known);
        self.images.iter().any(below)
    }
}

/// Which image each name leads to now.
struct Names(BTreeMap<String, String>);

impl Names {
    fn new(supervisor: &Supervisor) -> Result<Self, ApiError> {
        let mut names = BTreeMap::new();
        for image in supervisor.images().list()? {
            let id = image.id.to_string();
            names.extend(
                image
                    .names
                    .iter()
                    .map(|name| (name.to_string(), id.clone())),
            );
        }
        Ok(Self(names))
    }

    /// The image as the client named it, or its id when that name has come to mean another one.
    fn of(&self, container: &Container) -> String {
        let (typed, id) = (container.config().image, container.image_id());
        let parsed = typed.parse::<hull_image::Reference>();
        match parsed.ok().and_then(|name| self.0.get(&name.to_string())) {
            Some(known) if *known != id => id,
            _ => typed,
        }
    }
}

fn port(port: &shown::Port) -> Value {
    let mut shown = json!({ "PrivatePort": port.private, "Type": port.protocol.to_string() });
    if let Some((address, host)) = port.public {
        shown["IP"] = json!(address);
        shown["PublicPort"] = json!(host);
    }
    shown
}

fn summary(
    supervisor: &Supervisor,
    container: &Container,
    images: &Names,
    now: Timestamp,
) -> Value {
    let (state, client) = (container.state(), container.client());
    let annotations = client.pointer("/HostConfig/Annotations").cloned();
    json!({
        "Id": container.id().as_str(),
        "Names": [format!("/{}", container.name())],
        "Image": images.of(container),
        "ImageID": container.image_id(),
        "Command": shown::command(&container.command()),
        "Created": state.created.as_second(),
        "Ports": shown::ports(container).iter().map(port).collect::<Vec<_>>(),
        "Labels": container.config().labels,
        "State": shown::state(container),
        "Status": shown::status(container, now),
        "HostConfig": {
            "NetworkMode": shown::network_mode(&client),
            "Annotations": annotations.unwrap_or_else(|| json!({})),
        },
        "NetworkSettings": { "Networks": shown::networks(container) },
        "Mounts": mounts::mounts(supervisor, container),
    })
}
