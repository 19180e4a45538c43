//! `RUN`: a program in a microVM of the image so far, whose files become the next layer.

use std::path::PathBuf;
use std::sync::Arc;

use hull_agent_protocol::{Files, TtySize, Write};
use hull_image::Image;
use hull_image::build::Run;
use serde_json::{Value, json};

use super::{Build, BuildError, Making, Report};
use crate::attachment::OutputStream;
use crate::container::{ContainerConfig, LogConfig, LogDriver, Tmpfs};
use crate::session::inquiry::Inquiry;
use crate::supervisor::container::{Container, Guest, Remove};
use crate::{image, plan, spec};

/// Where a script of a Dockerfile lies while it runs: in memory, so that it is in no layer.
const SCRIPTS: &str = "/run";
const SCRIPT: &str = "hull-build-script";

/// The container of a step. Dropping it removes it.
struct Intermediate(Option<Arc<Container>>);

impl Intermediate {
    async fn remove(mut self) -> Result<(), crate::Error> {
        match self.0.take() {
            Some(container) => remove(container).await,
            None => Ok(()),
        }
    }

    /// It stays as it is.
    async fn keep(mut self) -> Result<(), crate::Error> {
        match self.0.take() {
            Some(container) => container.outlive_its_end().await,
            None => Ok(()),
        }
    }
}

impl Drop for Intermediate {
    fn drop(&mut self) {
        if let Some(container) = self.0.take() {
            tokio::spawn(async move {
                if let Err(error) = remove(container).await {
                    tracing::error!(%error, "the container of a build was not removed");
                }
            });
        }
    }
}

async fn remove(container: Arc<Container>) -> Result<(), crate::Error> {
    let how = Remove {
        force: true,
        volumes: true,
    };
    container.remove(how).await
}

impl Build {
    pub(super) async fn run_step(
        &self,
        run: &Run,
        making: &Making<'_>,
        report: &dyn Report,
    ) -> Result<Image, BuildError> {
        let Some(below) = &making.below else {
            return Err(BuildError::Unsupported(
                "there is nothing to run in an image from scratch that has no files".to_owned(),
            ));
        };
        let command = command(run)?;
        let config = self.config(run, &command, below)?;
        let client = self.client(run, &command, below);
        let container = self.supervisor.create(config, client).await?;
        let short = container.id().short().to_owned();
        let intermediate = Intermediate(Some(Arc::clone(&container)));
        report.say(&format!(" ---> Running in {short}\n")).await;
        let (guest, inquiry) = container.wired_guest().await?;
        let ran = self.run_in(&container, &guest, inquiry, run, below, report);
        match ran.await {
            Ok(()) => {}
            Err(error) => {
                guest.leave().await;
                match self.options.force_remove {
                    true => {
                        intermediate.remove().await?;
                        report
                            .say(&format!(" ---> Removed intermediate container {short}\n"))
                            .await;
                    }
                    false => intermediate.keep().await?,
                }
                return Err(error);
            }
        }
        let layer = Files::Layer { frozen: false };
        let layer = guest.inquire().await?.read(layer).await?.into_read();
        let image = self
            .commit(layer, making, created_by(run, &command))
            .await?;
        guest.leave().await;
        match self.options.remove {
            true => {
                intermediate.remove().await?;
                report
                    .say(&format!(" ---> Removed intermediate container {short}\n"))
                    .await;
            }
            false => intermediate.keep().await?,
        }
        Ok(image)
    }

    /// Runs the program to its end.
    async fn run_in(
        &self,
        container: &Container,
        guest: &Guest,
        inquiry: Inquiry,
        run: &Run,
        below: &Image,
        report: &dyn Report,
    ) -> Result<(), BuildError> {
        if let Some(script) = &run.script {
            let to = Write {
                path: SCRIPTS.to_owned(),
                ..Write::default()
            };
            let mut writing = inquiry.write(to).await?;
            writing.write(&archive(script)).await?;
            writing.finish().await?;
        }
        let defaults = image::defaults(below.config());
        let config = container.config();
        let merged = spec::merge(container.id(), &defaults, &config).map_err(crate::Error::from)?;
        let start = plan::start(&config, &merged, TtySize::default());
        let (mut session, mut output) = guest.start(start).await?;
        // It ends when this is dropped, and so does the program.
        let mut waiting = tokio::task::JoinSet::new();
        waiting.spawn(async move { session.ended().await });
        let mut texts = [Text::default(), Text::default()];
        while let Some(piece) = output.next().await {
            let (text, is_error) = match piece.stream {
                OutputStream::Stdout => (&mut texts[0], false),
                OutputStream::Stderr => (&mut texts[1], true),
            };
            let text = text.take(&piece.data);
            // As Docker's builder shows what goes to standard error.
            match is_error {
                _ if text.is_empty() => {}
                true => report.say(&format!("\x1b[91m{text}\x1b[0m")).await,
                false => report.say(&text).await,
            }
        }
        let ended = waiting.join_next().await;
        let end = match ended {
            Some(Ok(end)) => end?,
            Some(Err(error)) => return Err(BuildError::Thread(std::io::Error::other(error))),
            None => return Err(crate::Error::Interrupted.into()),
        };
        match end.status.code() {
            0 => Ok(()),
            code => Err(BuildError::Command {
                command: config.command.join(" "),
                code,
            }),
        }
    }

    fn config(
        &self,
        run: &Run,
        command: &[String],
        below: &Image,
    ) -> Result<ContainerConfig, BuildError> {
        let mut config = ContainerConfig {
            image: below.id().to_string(),
            entrypoint: Some(Vec::new()),
            command: command.to_vec(),
            env: run.environment.clone(),
            working_dir: Some(run.directory.clone()),
            user: Some(run.user.clone()),
            // If nobody is there any more who says otherwise.
            auto_remove: true,
            log: LogConfig {
                driver: LogDriver::None,
                ..LogConfig::default()
            },
            ..self.options.container.clone()
        };
        if run.isolated {
            config.networks.clear();
        }
        for mount in &run.mounts {
            config.tmpfs.push(tmpfs(mount)?);
        }
        Ok(config)
    }

    /// What is shown of the container.
    fn client(&self, run: &Run, command: &[String], below: &Image) -> Value {
        let mut client = self.options.client.clone();
        client["Image"] = json!(below.id().to_string());
        client["Cmd"] = json!(command);
        client["Entrypoint"] = Value::Null;
        client["Env"] = json!(run.environment);
        client["User"] = json!(run.user);
        client["WorkingDir"] = json!(run.directory);
        client
    }
}

/// The program and its arguments. A script has an interpreter, which may not be run from where the script lies.
fn command(run: &Run) -> Result<Vec<String>, BuildError> {
    let Some(script) = &run.script else {
        return Ok(run.command.clone());
    };
    let first = script.lines().next().unwrap_or_default();
    let line = first.strip_prefix("#!").unwrap_or_default().trim();
    let (interpreter, argument) = match line.split_once(char::is_whitespace) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim().to_owned())),
        None => (line, None),
    };
    if interpreter.is_empty() {
        return Err(BuildError::Unsupported(
            "a script of RUN names no interpreter behind #!".to_owned(),
        ));
    }
    let mut command = vec![interpreter.to_owned()];
    command.extend(argument);
    command.extend(run.command.iter().cloned());
    command.push(format!("{SCRIPTS}/{SCRIPT}"));
    Ok(command)
}

/// What made the layer, as `docker history` shows it.
fn created_by(run: &Run, command: &[String]) -> String {
    let command = command.join(" ");
    if run.arguments.is_empty() {
        return command;
    }
    let arguments = run.arguments.iter();
    let arguments = arguments.map(|(name, value)| format!("{name}={value} "));
    let count = run.arguments.len();
    format!("|{count} {}{command}", arguments.collect::<String>())
}

/// `--mount=type=tmpfs`: the only kind that needs nothing but the guest.
fn tmpfs(mount: &std::collections::BTreeMap<String, String>) -> Result<Tmpfs, BuildError> {
    let field = |name: &str| mount.get(name).map(String::as_str);
    let unsupported = || {
        BuildError::Unsupported(
            "the --mount option requires BuildKit, but for type=tmpfs. Refer to https://docs.docker.com/go/buildkit/ to \
             learn how to build images with BuildKit enabled"
                .to_owned(),
        )
    };
    let known = ["type", "target", "size"];
    let Some(target) = field("target").filter(|_| field("type") == Some("tmpfs")) else {
        return Err(unsupported());
    };
    if mount.keys().any(|name| !known.contains(&name.as_str())) {
        return Err(unsupported());
    }
    Ok(Tmpfs {
        path: PathBuf::from(target),
        options: field("size")
            .map(|size| format!("size={size}"))
            .unwrap_or_default(),
    })
}

/// A script as the archive that puts it in its place.
fn archive(script: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(script.len()).unwrap_or(u64::MAX));
    header.set_mode(0o755);
    // Writing into memory fails for no script of a Dockerfile's size.
    let added = archive.append_data(&mut header, SCRIPT, script.as_bytes());
    added
        .and_then(|()| archive.into_inner())
        .unwrap_or_default()
}

/// Text that comes in pieces, which may end in the middle of a character.
#[derive(Debug, Default)]
struct Text(Vec<u8>);

impl Text {
    /// What is whole of it now.
    fn take(&mut self, piece: &[u8]) -> String {
        self.0.extend_from_slice(piece);
        let whole = match std::str::from_utf8(&self.0) {
            // The rest of a character may come yet; four bytes are the most that one has.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.0.len(),
        };
        let taken: Vec<u8> = self.0.drain(..whole).collect();
        String::from_utf8_lossy(&taken).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: Option<&str>, arguments: &[(&str, &str)]) -> Run {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Run {
            command: match script {
                Some(_) => Vec::new(),
                None => vec!["/bin/sh".to_owned(), "-c".to_owned(), "true".to_owned()],
            },
            script: script.map(str::to_owned),
            environment: Vec::new(),
            arguments: arguments.iter().map(text).collect(),
            directory: "/".to_owned(),
            user: String::new(),
            isolated: false,
            mounts: Vec::new(),
        }
    }

    #[test]
    fn a_script_is_run_by_its_interpreter() {
        let script = run(Some("#!/usr/bin/env -S sh -e\necho\n"), &[]);
        let expected = ["/usr/bin/env", "-S sh -e", "/run/hull-build-script"];
        assert_eq!(command(&script).unwrap(), expected);
        assert!(command(&run(Some("#!\n"), &[])).is_err());
    }

    #[test]
    fn the_history_tells_of_variables_that_matter() {
        let plain = run(None, &[]);
        assert_eq!(created_by(&plain, &plain.command), "/bin/sh -c true");
        let with = run(None, &[("A", "1"), ("B", "2")]);
        assert_eq!(
            created_by(&with, &with.command),
            "|2 A=1 B=2 /bin/sh -c true"
        );
    }

    #[test]
    fn only_mounts_in_memory_are_made() {
        let mount = |fields: &[(&str, &str)]| {
            let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            tmpfs(&fields.iter().map(text).collect())
        };
        let made = mount(&[("type", "tmpfs"), ("target", "/t"), ("size", "1m")]).unwrap();
        assert_eq!(
            (made.path.to_str(), made.options.as_str()),
            (Some("/t"), "size=1m")
        );
        for wrong in [
            &[("type", "cache"), ("target", "/t")][..],
            &[("type", "tmpfs")],
            &[("type", "tmpfs"), ("target", "/t"), ("id", "x")],
        ] {
            let error = mount(wrong).unwrap_err().to_string();
            assert!(error.contains("requires BuildKit"), "{error}");
        }
    }

    #[test]
    fn characters_are_shown_whole() {
        let mut text = Text::default();
        let bytes = "a€b".as_bytes();
        assert_eq!(text.take(&bytes[..2]), "a");
        assert_eq!(text.take(&bytes[2..]), "€b");
        assert_eq!(text.take(b"\xff."), "\u{fffd}.");
    }
}
