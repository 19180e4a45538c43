//! Where a build's files come from, and which of them is the Dockerfile.

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use hull_image::build::{Ignore, MAX_DOCKERFILE};

use super::Args;

/// What lies at the beginning of an archive, as it is or compressed: a tar's magic has a place of its own.
const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
/// Bytes of a header of an archive.
const BLOCK: u64 = 512;
const MAGIC: std::ops::Range<usize> = 257..262;
/// The file that says what is left out.
pub(super) const IGNORE: &str = ".dockerignore";

/// The files of a build.
pub(super) struct Context {
    pub(super) kind: Kind,
    /// The Dockerfile's path among them.
    pub(super) dockerfile: String,
}

/// Where they come from.
pub(super) enum Kind {
    /// A directory of this machine.
    Directory(Directory),
    /// An archive, as it comes.
    Archive(Box<dyn Read + Send>),
    /// A Dockerfile and nothing else.
    Dockerfile(Vec<u8>),
    /// An address from which the daemon fetches them.
    Remote(String),
}

/// A directory of this machine.
pub(super) struct Directory {
    pub(super) root: PathBuf,
    pub(super) ignore: Ignore,
    /// The text of that.
    pub(super) ignore_text: Option<String>,
    /// The Dockerfile's text, where that lies somewhere else.
    pub(super) dockerfile: Option<Vec<u8>>,
}

/// Finds them.
pub(super) fn find(args: &Args) -> anyhow::Result<Context> {
    let from_stdin = args.file.as_deref() == Some(Path::new("-"));
    if args.path == "-" {
        ensure!(
            !from_stdin,
            "invalid argument: can't use stdin for both build context and dockerfile"
        );
        return stdin(args, io::stdin());
    }
    if is_address(&args.path) {
        ensure!(
            !from_stdin,
            "the Dockerfile of an address is there, and not on standard input"
        );
        let file = args.file.as_deref().unwrap_or(Path::new("Dockerfile"));
        return Ok(Context {
            kind: Kind::Remote(args.path.clone()),
            dockerfile: text(file)?,
        });
    }
    let root = Path::new(&args.path);
    if !root.exists() && is_repository(&args.path) {
        bail!(
            "{} is a git repository, which is not fetched: clone it, and name the directory",
            args.path
        );
    }
    let failed = || format!("unable to prepare context: path {:?}", args.path);
    let root = fs::canonicalize(root).with_context(failed)?;
    ensure!(
        root.is_dir(),
        "unable to prepare context: {:?} is no directory; of a file - is made with < FILE",
        args.path
    );
    directory(args, root, from_stdin)
}

fn directory(args: &Args, root: PathBuf, from_stdin: bool) -> anyhow::Result<Context> {
    let (dockerfile, elsewhere) = match &args.file {
        Some(_) if from_stdin => (None, Some(read(io::stdin(), "standard input")?)),
        Some(path) => place(&root, path)?,
        None => (Some(usual(&root)), None),
    };
    // That of the Dockerfile comes before that of the directory.
    let own = dockerfile.as_ref().map(|name| format!("{name}{IGNORE}"));
    let candidates = own.iter().map(String::as_str).chain([IGNORE]);
    let mut ignore_text = None;
    for name in candidates {
        match fs::read_to_string(root.join(name)) {
            Ok(text) => {
                ignore_text = Some(text);
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        }
    }
    let ignore = Ignore::parse(ignore_text.as_deref().unwrap_or_default())?;
    let name = match dockerfile {
        Some(name) => name,
        None => hidden_name()?,
    };
    Ok(Context {
        dockerfile: name,
        kind: Kind::Directory(Directory {
            root,
            ignore,
            ignore_text,
            dockerfile: elsewhere,
        }),
    })
}

/// A Dockerfile that was named: its path in the directory, or its text if it lies outside of that.
fn place(root: &Path, path: &Path) -> anyhow::Result<(Option<String>, Option<Vec<u8>>)> {
    let failed = || format!("the Dockerfile {} cannot be read", path.display());
    // As with Docker, it may be named as it is seen from the directory.
    let found = fs::canonicalize(path).or_else(|error| {
        let within = root.join(path);
        fs::canonicalize(within).map_err(|_| error)
    });
    let found = found.with_context(failed)?;
    match found.strip_prefix(root) {
        Ok(within) => Ok((Some(text(within)?), None)),
        Err(_) => {
            let file = fs::File::open(&found).with_context(failed)?;
            Ok((None, Some(read(file, &path.display().to_string())?)))
        }
    }
}

/// The usual name, or what some call it.
fn usual(root: &Path) -> String {
    let usual = ["Dockerfile", "dockerfile"];
    let found = usual.iter().find(|name| root.join(name).exists());
    found.unwrap_or(&"Dockerfile").to_string()
}

/// A name that nobody has among their files.
fn hidden_name() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 10];
    let file = fs::File::open("/dev/urandom");
    file.and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!(".dockerfile.{hex}"))
}

/// What comes by standard input: an archive, or a Dockerfile.
fn stdin(args: &Args, mut input: impl Read + Send + 'static) -> anyhow::Result<Context> {
    let name = args.file.as_deref().unwrap_or(Path::new("Dockerfile"));
    let dockerfile = text(name)?;
    let mut first = Vec::new();
    input
        .by_ref()
        .take(BLOCK)
        .read_to_end(&mut first)
        .context("cannot read standard input")?;
    let compressed = COMPRESSED.iter().any(|magic| first.starts_with(magic));
    if compressed || first.get(MAGIC) == Some(b"ustar") {
        let archive = Cursor::new(first).chain(input);
        return Ok(Context {
            kind: Kind::Archive(Box::new(archive)),
            dockerfile,
        });
    }
    ensure!(
        args.file.is_none(),
        "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles"
    );
    let text = read(Cursor::new(first).chain(input), "standard input")?;
    Ok(Context {
        kind: Kind::Dockerfile(text),
        dockerfile,
    })
}

fn read(from: impl Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    let limit = u64::try_from(MAX_DOCKERFILE).unwrap_or(u64::MAX);
    from.take(limit.saturating_add(1))
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read {name}"))?;
    ensure!(
        text.len() <= MAX_DOCKERFILE,
        "{name} has more than {MAX_DOCKERFILE} bytes, which is no Dockerfile"
    );
    Ok(text)
}

fn text(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.with_context(|| format!("the path {} is no text in UTF-8", path.display()))
}

fn is_address(path: &str) -> bool {
    let is_http = ["http://", "https://"]
        .iter()
        .any(|scheme| path.starts_with(scheme));
    is_http && !is_repository(path)
}

/// Whether a path is what Docker clones.
fn is_repository(path: &str) -> bool {
    let plain = path.split('#').next().unwrap_or_default();
    let is_http = path.starts_with("http://") || path.starts_with("https://");
    let by_scheme = ["git://", "git@", "ssh://", "github.com/"];
    by_scheme.iter().any(|start| path.starts_with(start)) || (is_http && plain.ends_with(".git"))
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

    fn args(line: &[&str]) -> Args {
        Typed::try_parse_from([&["build"], line].concat())
            .unwrap()
            .args
    }

    #[test]
    fn a_dockerfile_is_in_the_directory_or_comes_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        for file in ["root/Dockerfile", "root/sub/Other", "outside"] {
            fs::write(dir.path().join(file), "FROM scratch\n").unwrap();
        }
        fs::write(root.join(".dockerignore"), "a\n").unwrap();
        fs::write(root.join("sub/Other.dockerignore"), "b\n").unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let found = |line: &[&str]| {
            let root = path("root");
            let context = find(&args(&[line, &[root.as_str()]].concat())).unwrap();
            let Kind::Directory(directory) = context.kind else {
                panic!()
            };
            (context.dockerfile, directory)
        };
        let (name, directory) = found(&[]);
        assert_eq!((name.as_str(), directory.dockerfile), ("Dockerfile", None));
        assert!(directory.ignore.leaves_out("a"));
        let (name, directory) = found(&["-f", &path("root/sub/Other")]);
        assert_eq!((name.as_str(), directory.dockerfile), ("sub/Other", None));
        assert!(directory.ignore.leaves_out("b") && !directory.ignore.leaves_out("a"));
        assert_eq!(found(&["-f", "sub/Other"]).0, "sub/Other");
        let (name, directory) = found(&["-f", &path("outside")]);
        assert!(name.starts_with(".dockerfile."), "{name}");
        assert_eq!(
            directory.dockerfile.as_deref(),
            Some(b"FROM scratch\n".as_slice())
        );

        for (line, why) in [
            (vec!["-f", "-", "-"], "can't use stdin for both"),
            (vec!["/no/such/directory"], "unable to prepare context"),
            (vec!["https://host/repository.git#main"], "clone it"),
            (vec!["git@host:repository"], "clone it"),
        ] {
            let error = find(&args(&line)).err().unwrap();
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
    }

    #[test]
    fn what_comes_by_standard_input_is_an_archive_or_a_dockerfile() {
        let of = |bytes: &'static [u8], line: &[&str]| stdin(&args(line), bytes);
        let dockerfile = of(b"FROM scratch\n", &["-"]).unwrap();
        assert!(matches!(dockerfile.kind, Kind::Dockerfile(text) if text == b"FROM scratch\n"));
        let packed = of(b"\x1f\x8b rest", &["-f", "a/b", "-"]).unwrap();
        let Kind::Archive(mut archive) = packed.kind else {
            panic!()
        };
        let mut all = Vec::new();
        archive.read_to_end(&mut all).unwrap();
        assert_eq!(
            (all.as_slice(), packed.dockerfile.as_str()),
            (b"\x1f\x8b rest".as_slice(), "a/b")
        );
        let both = of(b"FROM scratch\n", &["-f", "a", "-"]).err().unwrap();
        assert!(both.to_string().contains("ambiguous"), "{both}");
    }
}
