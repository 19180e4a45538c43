//! Instructions of a Dockerfile, their arguments taken apart but no variable in them substituted.

use std::fmt;

use super::Heredoc;

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keyword {
    /// Copies files, also from elsewhere, and unpacks archives.
    Add,
    /// A variable of the build.
    Arg,
    /// Default arguments, or the default command.
    Cmd,
    /// Copies files.
    Copy,
    /// The program that a container runs.
    Entrypoint,
    /// Environment variables.
    Env,
    /// Ports that a container listens on.
    Expose,
    /// Begins a stage.
    From,
    /// How a container is asked whether it is well.
    Healthcheck,
    /// Labels.
    Label,
    /// Who made it.
    Maintainer,
    /// What is done in a build on top of this image.
    Onbuild,
    /// Runs a command.
    Run,
    /// What runs commands that are no lists.
    Shell,
    /// The signal that ends a container.
    Stopsignal,
    /// Who runs the commands and the container.
    User,
    /// Directories that are kept outside of the container.
    Volume,
    /// The directory to work in.
    Workdir,
}

const KEYWORDS: [(&str, Keyword); 18] = [
    ("ADD", Keyword::Add),
    ("ARG", Keyword::Arg),
    ("CMD", Keyword::Cmd),
    ("COPY", Keyword::Copy),
    ("ENTRYPOINT", Keyword::Entrypoint),
    ("ENV", Keyword::Env),
    ("EXPOSE", Keyword::Expose),
    ("FROM", Keyword::From),
    ("HEALTHCHECK", Keyword::Healthcheck),
    ("LABEL", Keyword::Label),
    ("MAINTAINER", Keyword::Maintainer),
    ("ONBUILD", Keyword::Onbuild),
    ("RUN", Keyword::Run),
    ("SHELL", Keyword::Shell),
    ("STOPSIGNAL", Keyword::Stopsignal),
    ("USER", Keyword::User),
    ("VOLUME", Keyword::Volume),
    ("WORKDIR", Keyword::Workdir),
];

impl Keyword {
    /// The one that `word` is, in whatever case.
    pub(super) fn find(word: &str) -> Option<Self> {
        let mut all = KEYWORDS.iter();
        all.find(|(name, _)| word.eq_ignore_ascii_case(name))
            .map(|(_, keyword)| *keyword)
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = KEYWORDS.iter();
        let name = all.find(|(_, keyword)| keyword == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Where it begins, from 1.
    pub line: usize,
    /// What it does.
    pub keyword: Keyword,
    /// Its `--name=value`, in order; without a value those that have none.
    pub flags: Vec<(String, Option<String>)>,
    /// What it does it with.
    pub arguments: Arguments,
    /// The here-documents that it names.
    pub heredocs: Vec<Heredoc>,
    /// As it was written, continued lines joined.
    pub original: String,
}

/// Arguments in one of the forms that they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// A command for the shell, or a word.
    Text(String),
    /// A JSON list.
    Exec(Vec<String>),
    /// Words, with the quotes and escapes that they have.
    Words(Vec<String>),
    /// Names and values. Only `ARG` has names without a value.
    Pairs(Vec<(String, Option<String>)>),
    /// How to see whether a container is well.
    Healthcheck(Healthcheck),
    /// An instruction for later.
    Onbuild(Box<Instruction>),
}

/// How to see whether a container is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// Not at all, also if the image below knows how.
    None,
    /// By this command of the shell.
    Shell(String),
    /// By this program.
    Exec(Vec<String>),
}
