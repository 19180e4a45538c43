//! From a Dockerfile to the stages that a target needs, and what each of them begins with.

use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use super::instruction::{Arguments, Instruction, Keyword};
use super::parse::Dockerfile;
use super::words::Lex;
use crate::platform::Platform;

/// Variables that need no `ARG`, since they say how the network is reached and not what is built.
pub(super) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What the caller of a build decides.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// The stage to build, by name or number; the last one if it is not given.
    pub target: Option<String>,
    /// Values of `ARG` variables.
    pub arguments: BTreeMap<String, String>,
    /// What the image is to run on.
    pub platform: Platform,
}

/// What has to be built, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The stages that the target needs; the last one is the target.
    pub stages: Vec<Stage>,
    /// Values that were given for variables that no `ARG` names: worth a warning.
    pub unused: Vec<String>,
    pub(super) escape: char,
    /// `ARG` variables of before the first `FROM`.
    pub(super) global: BTreeMap<String, String>,
    pub(super) given: BTreeMap<String, String>,
}

/// A stage of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its place in the Dockerfile, from 0.
    pub index: usize,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What it begins with.
    pub base: Base,
    /// The platform of that, if it is not that of the build.
    pub platform: Option<Platform>,
    /// What is done, in order.
    pub instructions: Vec<Instruction>,
    /// `FROM` as it is written.
    pub original: String,
}

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An image, by name or id.
    Image(String),
    /// Another stage, by its place in the Dockerfile.
    Stage(usize),
}

/// Finds out what a target needs.
///
/// # Errors
/// When the Dockerfile has no such target, or a `FROM` makes no sense.
pub fn plan(file: &Dockerfile, options: &PlanOptions) -> Result<Plan, Error> {
    let lex = Lex::new(file.escape);
    let mut global = automatic(options);
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in &file.instructions {
        let wrong = |what: String| Error::new(instruction.line, what);
        if instruction.keyword == Keyword::From {
            let stage = begin(instruction, &stages, lex, &global).map_err(wrong)?;
            stages.push(stage);
            continue;
        }
        match (instruction.keyword, stages.last_mut()) {
            (_, Some(stage)) => stage.instructions.push(instruction.clone()),
            (Keyword::Arg, None) => {
                declare(instruction, &options.arguments, lex, &mut global).map_err(wrong)?;
            }
            (keyword, None) => {
                let what = format!(
                    "no build stage in current context: {keyword} stands before the first FROM"
                );
                return Err(wrong(what));
            }
        }
    }
    let target = target(&stages, options.target.as_deref())?;
    let unused = unused(file, options);
    Ok(Plan {
        stages: needed(stages, target),
        unused,
        escape: file.escape,
        global,
        given: options.arguments.clone(),
    })
}

/// Variables that are there without an `ARG` before the first `FROM`.
fn automatic(options: &PlanOptions) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let host = Platform::default();
    for (prefix, platform) in [("BUILD", &host), ("TARGET", &options.platform)] {
        let mut set = |name: &str, value: String| {
            all.insert(format!("{prefix}{name}"), value);
        };
        set("PLATFORM", platform.to_string());
        set("OS", platform.os.clone());
        set("ARCH", platform.architecture.clone());
        set("VARIANT", platform.variant.clone().unwrap_or_default());
    }
    all
}

/// `ARG` with what was given, or else with its default.
fn declare(
    instruction: &Instruction,
    given: &BTreeMap<String, String>,
    lex: Lex,
    known: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let Arguments::Pairs(pairs) = &instruction.arguments else {
        return Ok(());
    };
    for (name, default) in pairs {
        let value = match (given.get(name), default) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(default)) => Some(lex.word(default, &|name| known.get(name).cloned())?),
            (None, None) => None,
        };
        if let Some(value) = value {
            known.insert(name.clone(), value);
        }
    }
    Ok(())
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
fn begin(
    from: &Instruction,
    before: &[Stage],
    lex: Lex,
    global: &BTreeMap<String, String>,
) -> Result<Stage, String> {
    let lookup = |name: &str| global.get(name).cloned();
    let mut platform = None;
    for (name, value) in &from.flags {
        if name != "platform" {
            return Err(format!("unknown flag: --{name}"));
        }
        let text = lex.word(value.as_deref().unwrap_or_default(), &lookup)?;
        platform = Some(text.parse::<Platform>().map_err(|e| e.to_string())?);
    }
    let Arguments::Words(words) = &from.arguments else {
        return Err("FROM requires either one or three arguments".to_owned());
    };
    let (image, name) = match words.as_slice() {
        [image] => (image, None),
        [image, word, name] if word.eq_ignore_ascii_case("AS") => {
            (image, Some(name.to_lowercase()))
        }
        _ => return Err("FROM requires either one or three arguments".to_owned()),
    };
    if let Some(name) = &name {
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_name {
            return Err(format!(
                "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
            ));
        }
    }
    let image = lex.word(image, &lookup)?;
    if image.is_empty() {
        let words = words.first().map(String::as_str).unwrap_or_default();
        return Err(format!("base name ({words}) should not be blank"));
    }
    let base = match stage_named(&image, before) {
        Some(index) => Base::Stage(index),
        None if image == "scratch" => Base::Scratch,
        None => Base::Image(image),
    };
    Ok(Stage {
        index: before.len(),
        name,
        base,
        platform,
        instructions: Vec::new(),
        original: from.original.clone(),
    })
}

/// The last stage of that name.
fn stage_named(name: &str, stages: &[Stage]) -> Option<usize> {
    let mut all = stages.iter().rev();
    let named = |stage: &&Stage| {
        stage
            .name
            .as_deref()
            .is_some_and(|own| own.eq_ignore_ascii_case(name))
    };
    all.find(named).map(|stage| stage.index)
}

/// Where `COPY --from` leads: a stage before this one, by name or number, or an image.
pub(super) fn source(from: &str, stages: &[Stage], here: usize) -> Result<Base, String> {
    let before: Vec<Stage> = stages
        .iter()
        .filter(|stage| stage.index < here)
        .cloned()
        .collect();
    if let Some(index) = stage_named(from, &before) {
        return Ok(Base::Stage(index));
    }
    match from.parse::<usize>() {
        Ok(index) if index < here => Ok(Base::Stage(index)),
        Ok(_) => Err(format!(
            "invalid from flag value {from}: invalid stage index {from}"
        )),
        Err(_) => Ok(Base::Image(from.to_owned())),
    }
}

fn target(stages: &[Stage], wanted: Option<&str>) -> Result<usize, Error> {
    let none = || Error::new(1, "file with no instructions: there is no FROM");
    let last = stages.len().checked_sub(1).ok_or_else(none)?;
    let Some(wanted) = wanted.filter(|name| !name.is_empty()) else {
        return Ok(last);
    };
    let number = || wanted.parse::<usize>().ok().filter(|index| *index <= last);
    stage_named(wanted, stages)
        .or_else(number)
        .ok_or_else(|| Error::new(1, format!("target stage {wanted:?} could not be found")))
}

/// The target with the stages that it needs, in order.
fn needed(stages: Vec<Stage>, target: usize) -> Vec<Stage> {
    let mut wanted = BTreeSet::from([target]);
    // Stages need only those before them.
    for stage in stages.iter().rev().filter(|stage| stage.index <= target) {
        if !wanted.contains(&stage.index) {
            continue;
        }
        let mut need = |base: &Base| {
            if let Base::Stage(index) = base {
                wanted.insert(*index);
            }
        };
        need(&stage.base);
        for instruction in &stage.instructions {
            for from in sources(instruction) {
                if let Ok(base) = source(&from, &stages, stage.index) {
                    need(&base);
                }
            }
        }
    }
    let stages = stages.into_iter();
    stages
        .filter(|stage| wanted.contains(&stage.index))
        .collect()
}

/// What `--from` and `--mount=...,from=` name.
fn sources(instruction: &Instruction) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in &instruction.flags {
        let value = value.as_deref().unwrap_or_default();
        match name.as_str() {
            "from" => found.push(value.to_owned()),
            "mount" => {
                let fields = value.split(',');
                found.extend(
                    fields.filter_map(|field| Some(field.strip_prefix("from=")?.to_owned())),
                );
            }
            _ => {}
        }
    }
    found
}

/// Values for which the Dockerfile has no variable.
fn unused(file: &Dockerfile, options: &PlanOptions) -> Vec<String> {
    let declared = file
        .instructions
        .iter()
        .flat_map(|instruction| match &instruction.arguments {
            Arguments::Pairs(pairs) if instruction.keyword == Keyword::Arg => pairs.as_slice(),
            _ => &[],
        });
    let declared: BTreeSet<&str> = declared.map(|(name, _)| name.as_str()).collect();
    let unknown =
        |name: &&String| !declared.contains(name.as_str()) && !PROXIES.contains(&name.as_str());
    options.arguments.keys().filter(unknown).cloned().collect()
}
