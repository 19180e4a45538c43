//! A stage on its way: what each instruction means where it stands, and the key under which its result can be found again.
//!
//! An image below decides what variables are worth, so this cannot be known before that image is there. Whoever builds asks
//! for one step after the other, does it or finds its result, and goes on.

use std::collections::BTreeMap;

use serde::Serialize;

use super::change::{self, Config};
use super::instruction::{Arguments, Instruction, Keyword};
use super::plan::{PROXIES, Plan, source};
use super::words::Lex;
use super::{Base, Error, Stage, parse};
use crate::digest::Digest;

/// What has to be done for an instruction, besides the change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Action {
    /// Nothing.
    Configure {
        /// The configuration that it makes.
        config: Config,
    },
    /// Make a directory, if it is not there.
    Directory {
        /// Where, from the root.
        path: String,
    },
    /// Run a program, and keep what it changes.
    Run(Run),
    /// Copy files.
    Copy(Copy),
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Run {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// A script to write into a file, whose path is the last argument.
    pub script: Option<String>,
    /// `NAME=VALUE`, those of the build included. What a result depends on of them is in `arguments` and in what is below.
    #[serde(skip_serializing)]
    pub environment: Vec<String>,
    /// Those of the build that the result depends on.
    pub arguments: BTreeMap<String, String>,
    /// Where it runs.
    pub directory: String,
    /// As whom.
    pub user: String,
    /// Without a network.
    pub isolated: bool,
    /// What is mounted meanwhile: fields and values of `--mount`.
    pub mounts: Vec<BTreeMap<String, String>>,
}

/// Files to copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Copy {
    /// Where from; the build's context if it is not given.
    #[serde(serialize_with = "base")]
    pub from: Option<Base>,
    /// Paths or patterns there; for `ADD` also addresses.
    pub sources: Vec<String>,
    /// Files that are given in the Dockerfile: names and contents.
    pub inline: Vec<(String, String)>,
    /// Where to, from the root. With a slash at the end it is a directory.
    pub destination: String,
    /// Archives among the sources are unpacked, and addresses fetched.
    pub is_add: bool,
    /// `USER[:GROUP]` that they get.
    pub owner: Option<String>,
    /// Permissions that they get.
    pub mode: Option<String>,
    /// The layer does not depend on what is below.
    pub link: bool,
    /// The directories of the sources are kept.
    pub parents: bool,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// What a fetched file must hash to.
    pub checksum: Option<String>,
}

fn base<S: serde::Serializer>(base: &Option<Base>, to: S) -> Result<S::Ok, S::Error> {
    match base {
        None => to.serialize_none(),
        Some(base) => to.serialize_str(&format!("{base:?}")),
    }
}

/// A stage that is being built.
#[derive(Clone, Debug)]
pub struct Building<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    lex: Lex,
    config: Config,
    /// `ARG` variables that were declared here.
    arguments: BTreeMap<String, String>,
    has_command: bool,
    key: Digest,
}

impl<'a> Building<'a> {
    /// Begins a stage on an image with this `config`. `below` names that image, or the result of another stage.
    #[must_use]
    pub fn new(plan: &'a Plan, stage: &'a Stage, config: Config, below: &Digest) -> Self {
        Self {
            plan,
            stage,
            lex: Lex::new(plan.escape),
            config,
            arguments: BTreeMap::new(),
            has_command: false,
            key: *below,
        }
    }

    /// The configuration as it is now.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the image below wants done first. The new image does not want it again.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn triggers(&mut self) -> Result<Vec<Instruction>, Error> {
        let list = self.config.remove("OnBuild");
        let lines = list
            .as_ref()
            .and_then(serde_json::Value::as_array)
            .into_iter()
            .flatten();
        let mut found = Vec::new();
        for line in lines.filter_map(serde_json::Value::as_str) {
            found.extend(parse(line)?.instructions);
        }
        let refused = [Keyword::From, Keyword::Onbuild, Keyword::Maintainer];
        match found.iter().find(|one| refused.contains(&one.keyword)) {
            Some(one) => Err(Error::new(
                one.line,
                format!("{} isn't allowed as an ONBUILD trigger", one.keyword),
            )),
            None => Ok(found),
        }
    }

    /// What an instruction means here. The configuration changes accordingly; `None` if there is nothing to be kept.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn step(&mut self, instruction: &Instruction) -> Result<Option<Action>, Error> {
        self.meaning(instruction)
            .map_err(|what| Error::new(instruction.line, what))
    }

    /// The key of the result of `action`. For files, `content` is the digest of what is copied, names and owners included.
    pub fn key(&mut self, action: &Action, content: Option<&Digest>) -> Digest {
        let text = serde_json::json!(["hull build 1", self.key, action, content]).to_string();
        self.key = Digest::of(text.as_bytes());
        self.key
    }

    fn meaning(&mut self, instruction: &Instruction) -> Result<Option<Action>, String> {
        match (instruction.keyword, &instruction.arguments) {
            (Keyword::Arg, Arguments::Pairs(pairs)) => {
                no_flags(instruction)?;
                for (name, default) in pairs {
                    self.declare(name, default.as_deref())?;
                }
                Ok(None)
            }
            (Keyword::Run, arguments) => {
                self.run(instruction, arguments).map(Action::Run).map(Some)
            }
            (Keyword::Copy | Keyword::Add, _) => self.copy(instruction).map(Action::Copy).map(Some),
            (Keyword::Maintainer, Arguments::Text(_)) => Ok(None),
            (Keyword::From, _) => Err("FROM begins a stage".to_owned()),
            (keyword, _) => {
                let arguments = &self.arguments;
                change::step(
                    instruction,
                    &mut self.config,
                    self.lex,
                    self.has_command,
                    arguments,
                )?;
                self.has_command |= keyword == Keyword::Cmd;
                if keyword == Keyword::Workdir {
                    let path = change::workdir(&self.config, ".")?;
                    return Ok(Some(Action::Directory { path }));
                }
                let config = self.config.clone();
                Ok(Some(Action::Configure { config }))
            }
        }
    }

    /// What a variable is worth here. The environment of the image has the last word.
    fn lookup(&self, name: &str) -> Option<String> {
        let environment = change::environment(&self.config);
        let own = environment
            .into_iter()
            .rev()
            .find(|(known, _)| known == name);
        own.map(|(_, value)| value)
            .or_else(|| self.arguments.get(name).cloned())
    }

    fn word(&self, text: &str) -> Result<String, String> {
        self.lex.word(text, &|name| self.lookup(name))
    }

    /// `ARG`: what was given, else its default here, else what it is before the first `FROM`.
    fn declare(&mut self, name: &str, default: Option<&str>) -> Result<(), String> {
        let value = match (self.plan.given.get(name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(self.word(default)?),
            (None, None) => self.plan.global.get(name).cloned(),
        };
        if let Some(value) = value {
            self.arguments.insert(name.to_owned(), value);
        }
        Ok(())
    }

    fn run(&self, instruction: &Instruction, arguments: &Arguments) -> Result<Run, String> {
        let (mut isolated, mut mounts) = (false, Vec::new());
        for (name, value) in &instruction.flags {
            let value = self.word(value.as_deref().unwrap_or_default())?;
            match (name.as_str(), value.as_str()) {
                ("network", "none") => isolated = true,
                ("network", "default") => isolated = false,
                ("network", _) => {
                    return Err(format!(
                        "RUN --network={value} is not possible in a microVM; it is default or none"
                    ));
                }
                ("security", "sandbox") => {}
                ("security", _) => {
                    return Err(format!(
                        "RUN --security={value} is not possible; it is sandbox"
                    ));
                }
                ("mount", _) => mounts.push(mount(&value)?),
                _ => return Err(format!("unknown flag: --{name}")),
            }
        }
        let (command, script) = self.command(instruction, arguments)?;
        let environment = change::environment(&self.config);
        let own = |name: &str| environment.iter().any(|(known, _)| known == name);
        let proxies = PROXIES.iter().filter_map(|name| {
            let value = self.plan.given.get(*name)?;
            Some(((*name).to_owned(), value.clone()))
        });
        let declared = self.arguments.iter().filter(|(name, _)| !own(name));
        let declared: BTreeMap<String, String> = declared
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut all: BTreeMap<String, String> = proxies.filter(|(name, _)| !own(name)).collect();
        all.extend(declared.clone());
        let all = all.into_iter().chain(environment);
        let text = |key: &str| self.config.get(key).and_then(serde_json::Value::as_str);
        Ok(Run {
            command,
            script,
            environment: all.map(|(name, value)| format!("{name}={value}")).collect(),
            // How the network is reached is no part of what is built.
            arguments: declared
                .into_iter()
                .filter(|(name, _)| !PROXIES.contains(&name.as_str()))
                .collect(),
            directory: text("WorkingDir")
                .filter(|path| !path.is_empty())
                .unwrap_or("/")
                .to_owned(),
            user: text("User").unwrap_or_default().to_owned(),
            isolated,
            mounts,
        })
    }

    /// The program, and the script that it is given.
    fn command(
        &self,
        instruction: &Instruction,
        arguments: &Arguments,
    ) -> Result<(Vec<String>, Option<String>), String> {
        let mut command = change::shell(&self.config);
        let text = match arguments {
            Arguments::Exec(list) if list.is_empty() => {
                return Err("RUN requires at least one argument".to_owned());
            }
            Arguments::Exec(list) => return Ok((list.clone(), None)),
            Arguments::Text(text) => text,
            _ => return Err("RUN requires at least one argument".to_owned()),
        };
        if let [only] = instruction.heredocs.as_slice()
            && text.starts_with("<<")
            && self.lex.raw_words(text).len() == 1
        {
            if only.content.starts_with("#!") {
                return Ok((Vec::new(), Some(only.content.clone())));
            }
            command.push(only.content.clone());
            return Ok((command, None));
        }
        let mut line = text.clone();
        for heredoc in &instruction.heredocs {
            line.push('\n');
            line.push_str(&heredoc.content);
            line.push_str(&heredoc.name);
        }
        command.push(line);
        Ok((command, None))
    }

    fn copy(&self, instruction: &Instruction) -> Result<Copy, String> {
        let is_add = instruction.keyword == Keyword::Add;
        let (Arguments::Words(words) | Arguments::Exec(words)) = &instruction.arguments else {
            return Err(format!(
                "{} requires at least two arguments",
                instruction.keyword
            ));
        };
        let expanded = words.iter().map(|word| self.word(word));
        let mut paths = expanded.collect::<Result<Vec<_>, _>>()?;
        let target = paths.pop().unwrap_or_default();
        let mut copy = Copy {
            from: None,
            sources: Vec::new(),
            inline: Vec::new(),
            destination: self.destination(&target)?,
            is_add,
            owner: None,
            mode: None,
            link: false,
            parents: false,
            exclude: Vec::new(),
            checksum: None,
        };
        let mut documents = instruction.heredocs.iter();
        for (raw, path) in words.iter().zip(paths) {
            let is_document = raw
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .starts_with("<<");
            if is_document && let Some(heredoc) = documents.next() {
                let content = if heredoc.expand {
                    self.lex
                        .document(&heredoc.content, &|name| self.lookup(name))?
                } else {
                    heredoc.content.clone()
                };
                copy.inline.push((heredoc.name.clone(), content));
            } else {
                copy.sources.push(path);
            }
        }
        if copy.sources.len() + copy.inline.len() > 1 && !copy.destination.ends_with('/') {
            return Err(format!(
                "When using {} with more than one source file, the destination must be a directory and end with a /",
                instruction.keyword
            ));
        }
        self.copy_flags(instruction, &mut copy)?;
        Ok(copy)
    }

    fn copy_flags(&self, instruction: &Instruction, copy: &mut Copy) -> Result<(), String> {
        for (name, value) in &instruction.flags {
            let text = || self.word(value.as_deref().unwrap_or_default());
            let flag = || match value.as_deref() {
                None | Some("true") => Ok(true),
                Some("false") => Ok(false),
                Some(other) => Err(format!(
                    "expecting boolean value for flag {name}, not: {other}"
                )),
            };
            match (name.as_str(), copy.is_add) {
                ("chown", _) => copy.owner = Some(text()?),
                ("chmod", _) => copy.mode = Some(text()?),
                ("link", _) => copy.link = flag()?,
                ("exclude", _) => copy.exclude.push(text()?),
                ("parents", false) => copy.parents = flag()?,
                ("checksum", true) => copy.checksum = Some(text()?),
                ("from", false) => {
                    // As it is written: which stages are needed is known before any variable is.
                    let stages = &self.plan.stages;
                    let from = value.as_deref().unwrap_or_default();
                    copy.from = Some(source(from, stages, self.stage.index)?);
                }
                _ => return Err(format!("unknown flag: --{name}")),
            }
        }
        Ok(())
    }

    /// A path seen from the working directory, with the slash that it has at its end.
    fn destination(&self, path: &str) -> Result<String, String> {
        let is_directory = path.ends_with('/') || path == "." || path.ends_with("/.");
        let mut full = change::workdir(&self.config, if path.is_empty() { "." } else { path })?;
        if is_directory && !full.ends_with('/') {
            full.push('/');
        }
        Ok(full)
    }
}

fn no_flags(instruction: &Instruction) -> Result<(), String> {
    match instruction.flags.first() {
        Some((name, _)) => Err(format!("unknown flag: --{name}")),
        None => Ok(()),
    }
}

/// `type=cache,target=/x,readonly`.
fn mount(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut fields = BTreeMap::from([("type".to_owned(), "bind".to_owned())]);
    for field in text.split(',') {
        let (name, value) = field.split_once('=').unwrap_or((field, "true"));
        let name = match name.to_ascii_lowercase().as_str() {
            "dst" | "destination" => "target".to_owned(),
            "src" => "source".to_owned(),
            "ro" => "readonly".to_owned(),
            "rw" => "readwrite".to_owned(),
            other => other.to_owned(),
        };
        const KNOWN: [&str; 15] = [
            "type",
            "target",
            "source",
            "from",
            "readonly",
            "readwrite",
            "id",
            "sharing",
            "mode",
            "uid",
            "gid",
            "size",
            "required",
            "env",
            "external",
        ];
        if !KNOWN.contains(&name.as_str()) {
            return Err(format!("unexpected key '{name}' in '{field}'"));
        }
        fields.insert(name, value.to_owned());
    }
    match fields.get("type").map(String::as_str) {
        Some("bind" | "cache" | "tmpfs" | "secret" | "ssh") => Ok(fields),
        other => Err(format!(
            "unsupported mount type {:?}",
            other.unwrap_or_default()
        )),
    }
}
