//! The parameters of a build.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use hull_engine::supervisor::BuildOptions;
use hull_image::build::PlanOptions;
use hull_image::registry::{self, Credentials};
use hull_image::{Platform, Reference};
use serde_json::{Map, Value, json};

use crate::body::typed;
use crate::containers::{CreateBody, convert, fields};
use crate::error::ApiError;
use crate::images::registries;
use crate::params::Params;

/// Parameters that are those of a container's `HostConfig`, under other names.
const NUMBERS: [(&str, &str); 6] = [
    ("memory", "Memory"),
    ("memswap", "MemorySwap"),
    ("cpushares", "CpuShares"),
    ("cpuperiod", "CpuPeriod"),
    ("cpuquota", "CpuQuota"),
    ("shmsize", "ShmSize"),
];
const TEXTS: [(&str, &str); 4] = [
    ("cpusetcpus", "CpusetCpus"),
    ("cpusetmems", "CpusetMems"),
    ("networkmode", "NetworkMode"),
    ("cgroupparent", "CgroupParent"),
];

pub(super) fn read(params: &Params, headers: &HeaderMap) -> Result<BuildOptions, ApiError> {
    if params.text("version").is_some_and(|version| version != "1") {
        return Err(ApiError::invalid(
            "the parameter version is not supported but for 1: there is no BuildKit here, so set DOCKER_BUILDKIT=0",
        ));
    }
    for parameter in [
        "POST /build?squash",
        "POST /build?outputs",
        "POST /build?session",
    ] {
        fields::refuse_parameter(params, parameter)?;
    }
    if !list(params, "cachefrom")?.is_empty() {
        return Err(fields::refused_parameter("POST /build?cachefrom"));
    }
    let platform = params.text("platform").map(str::parse::<Platform>);
    let platform = platform
        .transpose()
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    let client = client(params)?;
    let body: CreateBody = typed(client.clone())?;
    Ok(BuildOptions {
        dockerfile: params.text("dockerfile").unwrap_or("Dockerfile").to_owned(),
        names: params
            .all("t")
            .filter(|name| !name.is_empty())
            .map(name)
            .collect::<Result<_, _>>()?,
        plan: PlanOptions {
            target: params.text("target").map(str::to_owned),
            arguments: pairs(params, "buildargs")?,
            platform: platform.unwrap_or_default(),
        },
        labels: pairs(params, "labels")?,
        no_cache: params.flag("nocache"),
        pull: params.flag("pull"),
        remove: params.flag_or("rm", true),
        force_remove: params.flag("forcerm"),
        container: convert(&body)?,
        client,
        registries: registries::anonymous()?,
        credentials: credentials(headers),
    })
}

/// The containers of steps, as a client would ask for them.
fn client(params: &Params) -> Result<Value, ApiError> {
    let mut host = Map::new();
    for (name, field) in NUMBERS {
        if let Some(number) = params.number::<i64>(name)?.filter(|number| *number != 0) {
            host.insert(field.to_owned(), json!(number));
        }
    }
    for (name, field) in TEXTS {
        if let Some(text) = params.text(name) {
            host.insert(field.to_owned(), json!(text));
        }
    }
    for (name, field) in [("ulimits", "Ulimits"), ("securityopt", "SecurityOpt")] {
        let values = list(params, name)?;
        if !values.is_empty() {
            host.insert(field.to_owned(), Value::Array(values));
        }
    }
    let hosts = params.all("extrahosts").filter(|text| !text.is_empty());
    let hosts: Vec<Value> = hosts.map(Value::from).collect();
    if !hosts.is_empty() {
        host.insert("ExtraHosts".to_owned(), Value::Array(hosts));
    }
    let client = json!({ "Image": "scratch", "HostConfig": host });
    fields::refuse(&client)?;
    Ok(client)
}

/// A parameter that is a JSON list.
fn list(params: &Params, name: &str) -> Result<Vec<Value>, ApiError> {
    match json_of(params, name)? {
        Value::Null => Ok(Vec::new()),
        Value::Array(values) => Ok(values),
        _ => Err(ApiError::invalid(format!(
            "invalid {name}: a list is expected"
        ))),
    }
}

/// A parameter that is a JSON map of texts. A variable without a value is one that is not given.
fn pairs(params: &Params, name: &str) -> Result<BTreeMap<String, String>, ApiError> {
    let wrong = || ApiError::invalid(format!("invalid {name}: a map of texts is expected"));
    let map = match json_of(params, name)? {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(map) => map,
        _ => return Err(wrong()),
    };
    let mut pairs = BTreeMap::new();
    for (key, value) in map {
        match value {
            Value::String(value) => drop(pairs.insert(key, value)),
            Value::Null => {}
            _ => return Err(wrong()),
        }
    }
    Ok(pairs)
}

fn json_of(params: &Params, name: &str) -> Result<Value, ApiError> {
    match params.text(name) {
        None => Ok(Value::Null),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| ApiError::invalid(format!("error reading {name}: {error}"))),
    }
}

fn name(text: &str) -> Result<Reference, ApiError> {
    let parsed = text.parse::<Reference>();
    let reference =
        parsed.map_err(|error| ApiError::invalid(format!("invalid reference format: {error}")))?;
    match reference.digest() {
        Some(_) => Err(ApiError::invalid("build tag cannot contain a digest")),
        None => Ok(reference),
    }
}

/// The header `X-Registry-Config`: who the client is, by registry. What cannot be read is ignored, as by Docker.
fn credentials(headers: &HeaderMap) -> BTreeMap<String, Credentials> {
    let decode = |value: &[u8]| {
        let bytes = URL_SAFE
            .decode(value)
            .or_else(|_| URL_SAFE_NO_PAD.decode(value))
            .or_else(|_| STANDARD.decode(value));
        serde_json::from_slice::<Map<String, Value>>(&bytes.ok()?).ok()
    };
    let header = headers.get("x-registry-config");
    let all = header.and_then(|value| decode(value.as_bytes()));
    let one = |(address, auth): (String, Value)| {
        let credentials = Credentials::from_json(auth.to_string().as_bytes())?;
        Some((registry::registry_of(&address), credentials))
    };
    all.unwrap_or_default()
        .into_iter()
        .filter_map(one)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<BuildOptions, ApiError> {
        read(&Params::parse(query), &HeaderMap::new())
    }

    #[test]
    fn what_docker_s_client_sends_is_understood() {
        let query = "buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&cachefrom=%5B%5D&cgroupparent=&cpuperiod=0&cpuquota=0\
            &cpusetcpus=&cpusetmems=&cpushares=0&dockerfile=Dockerfile&labels=%7B%22a%22%3A%22b%22%7D&memory=0&memswap=0\
            &networkmode=default&rm=1&shmsize=0&t=app%3A1&t=app&target=&ulimits=%5B%5D&version=1";
        let options = of(query).unwrap();
        assert_eq!(
            options.plan.arguments,
            BTreeMap::from([("A".to_owned(), "1".to_owned())])
        );
        assert_eq!(options.labels.len(), 1);
        assert_eq!(options.names.len(), 2);
        assert!(options.remove && !options.force_remove && !options.no_cache && !options.pull);
        let limited = of("memory=104857600&memswap=-1&cpuperiod=100000&cpuquota=50000").unwrap();
        assert_eq!(limited.container.memory, Some(104_857_600));
        assert_eq!(limited.container.nano_cpus, Some(500_000_000));
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_its_name() {
        for (query, words) in [
            ("version=2", "version"),
            ("squash=1", "squash"),
            ("outputs=%5B%7B%7D%5D", "outputs"),
            ("cachefrom=%5B%22app%22%5D", "cachefrom"),
            ("cpusetcpus=0", "CpusetCpus"),
            ("networkmode=host", "NetworkMode"),
            ("t=UPPER", "invalid reference format"),
            ("buildargs=x", "error reading buildargs"),
            ("labels=%5B%5D", "invalid labels"),
        ] {
            let error = of(query).unwrap_err();
            assert!(error.message.contains(words), "{query}: {}", error.message);
        }
    }

    #[test]
    fn credentials_are_by_registry() {
        let mut headers = HeaderMap::new();
        let text = json!({
            "https://index.docker.io/v1/": { "username": "me", "password": "x" },
            "localhost:5000": { "identitytoken": "t" },
            "nobody": {},
        });
        let header = URL_SAFE.encode(text.to_string()).parse().unwrap();
        headers.insert("x-registry-config", header);
        let all = credentials(&headers);
        assert_eq!(
            all.keys().collect::<Vec<_>>(),
            ["docker.io", "localhost:5000"]
        );
    }
}
