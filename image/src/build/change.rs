//! Instructions that change nothing but the configuration of an image: what `commit --change` and `import --change` take.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::instruction::{Arguments, Healthcheck, Instruction, Keyword};
use super::words::Lex;
use super::{Error, parse};

/// Shortest interval, timeout and start period of a health check, as Docker has it.
const SHORTEST: Duration = Duration::from_millis(1);

/// The `config` of an image, as JSON so that nothing is lost that this version does not know.
pub type Config = Map<String, Value>;

/// Applies lines of a Dockerfile to the `config` of an image.
///
/// # Errors
/// When a line makes no sense, or is one that needs files or a container.
pub fn apply(lines: &[String], config: &mut Config) -> Result<(), Error> {
    let file = parse(&lines.join("\n"))?;
    let mut has_command = false;
    for instruction in &file.instructions {
        let wrong = |what: String| Error::new(instruction.line, what);
        if matches!(
            instruction.keyword,
            Keyword::Add
                | Keyword::Arg
                | Keyword::Copy
                | Keyword::From
                | Keyword::Maintainer
                | Keyword::Run
                | Keyword::Shell
        ) {
            return Err(wrong(format!(
                "{} is not a valid change command",
                instruction.keyword
            )));
        }
        let lex = Lex::new(file.escape);
        step(instruction, config, lex, has_command, &BTreeMap::new()).map_err(wrong)?;
        has_command |= instruction.keyword == Keyword::Cmd;
    }
    Ok(())
}

/// Applies one instruction whose variables are those of the `config`'s environment, and else `arguments`. `has_command` says whether
/// there was a `CMD` before it in the same file.
pub(super) fn step(
    instruction: &Instruction,
    config: &mut Config,
    lex: Lex,
    has_command: bool,
    arguments: &BTreeMap<String, String>,
) -> Result<(), String> {
    let expansion = Expansion {
        lex,
        environment: environment(config),
        arguments,
    };
    let word = |text: &str| expansion.word(text);
    if instruction.keyword != Keyword::Healthcheck
        && let Some((name, _)) = instruction.flags.first()
    {
        return Err(format!("unknown flag: --{name}"));
    }
    match (instruction.keyword, &instruction.arguments) {
        (Keyword::Env, Arguments::Pairs(pairs)) => {
            let environment = expansion.environment_with(pairs)?;
            config.insert("Env".to_owned(), environment);
        }
        (Keyword::Label, Arguments::Pairs(pairs)) => {
            for (name, value) in pairs {
                let value = word(value.as_deref().unwrap_or_default())?;
                put(config, "Labels", word(name)?, value.into());
            }
        }
        (Keyword::Cmd, arguments) => {
            let command = command(arguments, config);
            config.insert("Cmd".to_owned(), command);
        }
        (Keyword::Entrypoint, arguments) => {
            let command = command(arguments, config);
            config.insert("Entrypoint".to_owned(), command);
            // The arguments that the image below has for another program make no sense to this one.
            if !has_command {
                config.remove("Cmd");
            }
        }
        (Keyword::Expose, Arguments::Words(words)) => {
            for words in words {
                for port in expansion.words(words)? {
                    for port in ports(&port)? {
                        put(config, "ExposedPorts", port, json!({}));
                    }
                }
            }
        }
        (Keyword::Volume, Arguments::Words(words) | Arguments::Exec(words)) => {
            for volume in words {
                let volume = word(volume)?;
                if volume.trim().is_empty() {
                    return Err("VOLUME specified can not be an empty string".to_owned());
                }
                put(config, "Volumes", volume, json!({}));
            }
        }
        (Keyword::User, Arguments::Text(user)) => {
            config.insert("User".to_owned(), word(user)?.into());
        }
        (Keyword::Workdir, Arguments::Text(path)) => {
            let path = workdir(config, &word(path)?)?;
            config.insert("WorkingDir".to_owned(), path.into());
        }
        (Keyword::Stopsignal, Arguments::Text(signal)) => {
            config.insert("StopSignal".to_owned(), stop_signal(&word(signal)?)?.into());
        }
        (Keyword::Onbuild, Arguments::Onbuild(later)) => {
            append(config, "OnBuild", later.original.clone().into());
        }
        (Keyword::Shell, Arguments::Exec(list)) => {
            config.insert("Shell".to_owned(), json!(list));
        }
        (Keyword::Healthcheck, Arguments::Healthcheck(check)) => {
            config.insert("Healthcheck".to_owned(), healthcheck(check, instruction)?);
        }
        (keyword, _) => return Err(format!("{keyword} is not a valid change command")),
    }
    Ok(())
}

/// What the words of an instruction mean.
struct Expansion<'a> {
    lex: Lex,
    environment: Vec<(String, String)>,
    arguments: &'a BTreeMap<String, String>,
}

impl Expansion<'_> {
    fn lookup(&self, name: &str) -> Option<String> {
        let mut all = self.environment.iter().rev();
        let own = all.find(|(known, _)| known == name).map(|(_, value)| value);
        own.or_else(|| self.arguments.get(name)).cloned()
    }

    fn word(&self, text: &str) -> Result<String, String> {
        self.lex.word(text, &|name| self.lookup(name))
    }

    fn words(&self, text: &str) -> Result<Vec<String>, String> {
        self.lex.words(text, &|name| self.lookup(name))
    }

    /// The environment with these variables, as the configuration has it. They do not see each other.
    fn environment_with(&self, pairs: &[(String, Option<String>)]) -> Result<Value, String> {
        let mut environment = self.environment.clone();
        for (name, value) in pairs {
            let name = self.word(name)?;
            let value = self.word(value.as_deref().unwrap_or_default())?;
            match environment.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = value,
                None => environment.push((name, value)),
            }
        }
        let all = environment.into_iter();
        Ok(all.map(|(name, value)| format!("{name}={value}")).collect())
    }
}

/// The environment of a `config`, in order.
pub(super) fn environment(config: &Config) -> Vec<(String, String)> {
    let list = config.get("Env").and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts
        .map(|text| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (text.to_owned(), String::new()),
        })
        .collect()
}

/// A command as the configuration has it: what is no list is for the shell.
fn command(arguments: &Arguments, config: &Config) -> Value {
    match arguments {
        Arguments::Exec(list) => json!(list),
        Arguments::Text(text) if text.is_empty() => Value::Null,
        Arguments::Text(text) => {
            let mut list = shell(config);
            list.push(text.clone());
            json!(list)
        }
        _ => Value::Null,
    }
}

/// What runs commands that are no lists.
pub(super) fn shell(config: &Config) -> Vec<String> {
    let list = config.get("Shell").and_then(Value::as_array);
    let list: Vec<String> = list
        .into_iter()
        .flatten()
        .filter_map(|word| Some(word.as_str()?.to_owned()))
        .collect();
    if list.is_empty() {
        vec!["/bin/sh".to_owned(), "-c".to_owned()]
    } else {
        list
    }
}

/// Puts a field into an object within the configuration, which is made if it is missing or `null`.
fn put(config: &mut Config, object: &str, key: String, value: Value) {
    let within = config.entry(object).or_insert_with(|| json!({}));
    if let Value::Object(map) = within {
        map.insert(key, value);
    } else {
        *within = Map::from_iter([(key, value)]).into();
    }
}

/// Appends to a list within the configuration, which is made if there is none.
fn append(config: &mut Config, list: &str, value: Value) {
    let within = config.entry(list).or_insert_with(|| json!([]));
    if let Value::Array(list) = within {
        list.push(value);
    } else {
        *within = json!([value]);
    }
}

/// `80`, `80/udp`, `8000-8003/tcp`: each port with its protocol.
fn ports(text: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("Invalid containerPort: {text}");
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("Invalid proto: {protocol}"));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("Invalid range specified for port: {text}"));
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

/// A path seen from the present directory.
pub(super) fn workdir(config: &Config, path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Err("WORKDIR requires exactly one argument".to_owned());
    }
    let present = config
        .get("WorkingDir")
        .and_then(Value::as_str)
        .unwrap_or("/");
    let from = if path.starts_with('/') { "" } else { present };
    let mut names: Vec<&str> = Vec::new();
    for name in from.split('/').chain(path.split('/')) {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    Ok(format!("/{}", names.join("/")))
}

/// A signal that Linux has, as it was written.
fn stop_signal(text: &str) -> Result<String, String> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let known = match text.parse::<u8>() {
        Ok(number) => (1..=64).contains(&number),
        Err(_) => {
            let upper = text.to_ascii_uppercase();
            let name = upper.strip_prefix("SIG").unwrap_or(&upper);
            let real_time = name.strip_prefix("RTMIN").or(name.strip_prefix("RTMAX"));
            let offset = |rest: &str| rest.is_empty() || rest.parse::<i8>().is_ok();
            NAMES.contains(&name) || real_time.is_some_and(offset)
        }
    };
    if known {
        Ok(text.to_owned())
    } else {
        Err(format!("Invalid signal: {text}"))
    }
}

fn healthcheck(check: &Healthcheck, instruction: &Instruction) -> Result<Value, String> {
    let test = match check {
        Healthcheck::None if instruction.flags.is_empty() => json!(["NONE"]),
        Healthcheck::None => return Err("HEALTHCHECK NONE takes no flags".to_owned()),
        Healthcheck::Shell(command) => json!(["CMD-SHELL", command]),
        Healthcheck::Exec(list) => {
            let command = ["CMD"].into_iter().chain(list.iter().map(String::as_str));
            command.collect()
        }
    };
    let mut value = Map::from_iter([("Test".to_owned(), test)]);
    for (name, given) in &instruction.flags {
        let text = given.as_deref().unwrap_or_default();
        let (key, number) = match name.as_str() {
            "interval" => ("Interval", nanoseconds(name, text)?),
            "timeout" => ("Timeout", nanoseconds(name, text)?),
            "start-period" => ("StartPeriod", nanoseconds(name, text)?),
            "start-interval" => ("StartInterval", nanoseconds(name, text)?),
            "retries" => (
                "Retries",
                text.parse::<u32>()
                    .map_err(|_| {
                        format!("--retries cannot be {text:?}: it is a number, 0 or more")
                    })?
                    .into(),
            ),
            _ => return Err(format!("unknown flag: --{name}")),
        };
        value.insert(key.to_owned(), number);
    }
    Ok(value.into())
}

fn nanoseconds(flag: &str, text: &str) -> Result<Value, String> {
    let duration = crate::time::go_duration(text)
        .ok_or_else(|| format!("--{flag} is not a duration such as 30s: {text:?}"))?;
    if duration < SHORTEST && !duration.is_zero() {
        return Err(format!("Interval {flag:?} cannot be less than 1ms"));
    }
    let nanos = u64::try_from(duration.as_nanos()).map_err(|_| format!("--{flag} is too long"))?;
    Ok(nanos.into())
}
