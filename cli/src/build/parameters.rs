//! What a build's options are called in the daemon's query.

use form_urlencoded::Serializer;
use serde_json::{Map, Value, json};

use super::Args;
use super::context::{Context, Kind};

/// The path and the query. What is not given is not in it, and what Hull does not honour is refused by the daemon.
pub(super) fn path(args: &Args, context: &Context) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("dockerfile", &context.dockerfile);
    if let Kind::Remote(address) = &context.kind {
        query.append_pair("remote", address);
    }
    for (name, set) in [
        ("q", args.quiet),
        ("nocache", args.no_cache),
        ("pull", args.pull),
        ("rm", args.rm),
        ("forcerm", args.force_rm),
        ("squash", args.squash),
    ] {
        if set || name == "rm" {
            query.append_pair(name, if set { "1" } else { "0" });
        }
    }
    for (name, list) in [("t", &args.tag), ("extrahosts", &args.add_host)] {
        for text in list {
            query.append_pair(name, text);
        }
    }
    let texts = [
        ("target", &args.target),
        ("platform", &args.platform),
        ("cgroupparent", &args.cgroup_parent),
        ("cpusetcpus", &args.cpuset_cpus),
        ("cpusetmems", &args.cpuset_mems),
    ];
    let numbers = [
        ("memory", args.memory),
        ("memswap", args.memory_swap),
        ("cpushares", args.cpu_shares),
        ("cpuperiod", args.cpu_period),
        ("cpuquota", args.cpu_quota),
        ("shmsize", args.shm_size),
    ];
    let texts = texts.into_iter().map(|(name, text)| (name, text.clone()));
    let numbers = numbers
        .into_iter()
        .map(|(name, number)| (name, number.map(|number| number.to_string())));
    for (name, value) in texts.chain(numbers) {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    query.append_pair("networkmode", &args.network);
    let variables: Map<String, Value> = args
        .build_arg
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let labels: Map<String, Value> = args
        .label
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    for (name, value, is_empty) in [
        ("buildargs", json!(variables), variables.is_empty()),
        ("labels", json!(labels), labels.is_empty()),
        ("ulimits", json!(args.ulimit), args.ulimit.is_empty()),
        (
            "securityopt",
            json!(args.security_opt),
            args.security_opt.is_empty(),
        ),
        (
            "cachefrom",
            json!(args.cache_from),
            args.cache_from.is_empty(),
        ),
    ] {
        if !is_empty {
            query.append_pair(name, &value.to_string());
        }
    }
    format!("/build?{}", query.finish())
}

/// `NAME=VALUE`, or `NAME` for what the environment has under this name.
pub(super) fn argument(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    match name.is_empty() {
        true => Err("NAME or NAME=VALUE is expected".to_owned()),
        false => Ok((name.to_owned(), value)),
    }
}

/// Bytes, as in 512m.
pub(super) fn size(text: &str) -> Result<i64, String> {
    let bytes = hull_engine::parse_size(text).ok();
    let bytes = bytes.and_then(|bytes| i64::try_from(bytes).ok());
    bytes.ok_or_else(|| "a number with b, k, m or g behind it is expected, as in 512m".to_owned())
}

/// The same, or -1 for any amount.
pub(super) fn swap(text: &str) -> Result<i64, String> {
    match text {
        "-1" => Ok(-1),
        text => size(text),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        args: Args,
    }

    fn query(line: &[&str]) -> Vec<(String, String)> {
        let typed = Typed::try_parse_from([&["build"], line, &["."]].concat()).unwrap();
        let context = Context {
            kind: Kind::Remote("http://host/a.tar".to_owned()),
            dockerfile: "a/Dockerfile".to_owned(),
        };
        let path = path(&typed.args, &context);
        let query = path.strip_prefix("/build?").unwrap();
        form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect()
    }

    #[test]
    fn options_are_the_parameters_of_docker_s_builder() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let plain = [
            pair("dockerfile", "a/Dockerfile"),
            pair("remote", "http://host/a.tar"),
            pair("rm", "1"),
            pair("networkmode", "default"),
        ];
        assert_eq!(query(&[]), plain);
        let all = query(&[
            "-ta",
            "-t",
            "b:1",
            "--build-arg",
            "A=b=c",
            "--build-arg",
            "NOT_IN_ANY_ENVIRONMENT",
            "--label",
            "x",
            "-m",
            "512m",
            "--memory-swap",
            "-1",
            "--ulimit",
            "nofile=1:2",
            "--add-host",
            "h:1.2.3.4",
            "-q",
            "--rm=false",
            "--network=none",
        ]);
        for expected in [
            pair("t", "a"),
            pair("t", "b:1"),
            pair("buildargs", r#"{"A":"b=c","NOT_IN_ANY_ENVIRONMENT":null}"#),
            pair("labels", r#"{"x":""}"#),
            pair("memory", "536870912"),
            pair("memswap", "-1"),
            pair("ulimits", r#"[{"Hard":2,"Name":"nofile","Soft":1}]"#),
            pair("extrahosts", "h:1.2.3.4"),
            pair("q", "1"),
            pair("rm", "0"),
            pair("networkmode", "none"),
        ] {
            assert!(all.contains(&expected), "{expected:?} is not in {all:?}");
        }
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for line in [
            ["--memory", "much"],
            ["--ulimit", "nofile"],
            ["--ulimit", "nofile=2:1"],
            ["--build-arg", "=a"],
            ["--label", "=a"],
        ] {
            assert!(
                Typed::try_parse_from(["build", line[0], line[1], "."]).is_err(),
                "{line:?}"
            );
        }
    }
}
