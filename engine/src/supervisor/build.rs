//! Builds of images: a Dockerfile's steps (`hull_image::build` says what each means), one after the other.
//!
//! Each step makes an image on top of the one before, which is found again under the step's key by the next build. Files are copied from
//! layer to layer; a `RUN` runs in a microVM of its own, of which what it wrote becomes the layer. Dropping a build ends it, and its
//! container goes.

mod copy;
mod error;
mod run;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use hull_image::build::{
    self, Action, Base, Building, Files, Ignore, Instruction, Keyword, MAX_DOCKERFILE, Plan,
    PlanOptions, Stage,
};
use hull_image::registry::{self, Credentials};
use hull_image::store::Context;
use hull_image::{CommitOptions, Digest, Image, Platform, Progress, PullOptions, Reference, Store};
use serde_json::{Map, Value};

use super::Supervisor;
use crate::container::ContainerConfig;
pub use error::BuildError;
use error::blocking;

/// Largest `.dockerignore`.
const MAX_IGNORE: u64 = 1 << 20;

/// How to build.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The Dockerfile's path in the context.
    pub dockerfile: String,
    /// What the image is called.
    pub names: Vec<Reference>,
    /// The target, variables and the platform.
    pub plan: PlanOptions,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Every step is done anew.
    pub no_cache: bool,
    /// Images below are asked for at their registries even if they are here.
    pub pull: bool,
    /// Containers of steps that succeed are removed.
    pub remove: bool,
    /// That of a step that fails, too.
    pub force_remove: bool,
    /// What the containers of steps have in common.
    pub container: ContainerConfig,
    /// The same as a client of the API would have said it.
    pub client: Value,
    /// How registries are reached.
    pub registries: registry::Config,
    /// Who the client is to them.
    pub credentials: BTreeMap<String, Credentials>,
}

/// Who is told how a build goes.
pub trait Report: Send + Sync {
    /// Something is to be shown as it is. The build goes on when this is over, so it may wait for whoever reads.
    fn say<'a>(&'a self, text: &'a str) -> BoxFuture<'a, ()>;
    /// A stage has made this image.
    fn made(&self, image: &Digest);
    /// Who is told how a pull goes.
    fn pull(&self) -> Arc<dyn Progress>;
}

/// A build that makes sense, as far as one can tell before anything is done.
#[derive(Debug)]
pub struct Build {
    supervisor: Arc<Supervisor>,
    context: Context,
    ignore: Ignore,
    /// `ARG`s before the first `FROM`, as they are written.
    global: Vec<String>,
    plan: Plan,
    options: BuildOptions,
}

/// A stage on its way.
struct Making<'a> {
    building: Building<'a>,
    below: Option<Image>,
    author: Option<String>,
}

/// What a build has made, and how far it is.
#[derive(Default)]
struct Made {
    stages: BTreeMap<usize, Image>,
    /// Images that were asked for, by name and platform.
    images: BTreeMap<(String, Option<String>), Image>,
    step: usize,
}

impl Build {
    /// Reads the Dockerfile of a context.
    ///
    /// # Errors
    /// There is none, or it makes no sense.
    pub fn prepare(
        supervisor: Arc<Supervisor>,
        context: Context,
        options: BuildOptions,
    ) -> Result<Self, BuildError> {
        let text = dockerfile(&context.files, &options.dockerfile)?;
        let ignore = context.files.read(".dockerignore", MAX_IGNORE)?;
        let ignore = Ignore::parse(&String::from_utf8_lossy(&ignore.unwrap_or_default()))?;
        let file = build::parse(&text)?;
        let before = file.instructions.iter();
        let global = before
            .take_while(|instruction| instruction.keyword != Keyword::From)
            .map(|instruction| instruction.original.clone())
            .collect();
        let mut plan = build::plan(&file, &options.plan)?;
        if !options.labels.is_empty()
            && let Some(target) = plan.stages.last_mut()
        {
            target.instructions.extend(labels(&options.labels)?);
        }
        Ok(Self {
            supervisor,
            context,
            ignore,
            global,
            plan,
            options,
        })
    }

    /// Builds it; the image's id.
    ///
    /// # Errors
    /// A step fails, or an image is not to be had.
    pub async fn run(&self, report: &dyn Report) -> Result<Digest, BuildError> {
        let mut made = Made::default();
        for text in &self.global {
            self.tell_step(&mut made, report, text).await;
        }
        let mut last = None;
        for stage in &self.plan.stages {
            let image = self.stage(stage, &mut made, report).await?;
            report.made(&image.id());
            made.stages.insert(stage.index, image.clone());
            last = Some(image);
        }
        let Some(image) = last else {
            return Err(BuildError::Nothing);
        };
        if !self.plan.unused.is_empty() {
            let names = self.plan.unused.join(" ");
            report
                .say(&format!(
                    "[Warning] One or more build-args [{names}] were not consumed\n"
                ))
                .await;
        }
        report
            .say(&format!("Successfully built {}\n", image.id().short()))
            .await;
        for name in &self.options.names {
            self.store().tag(&image.id().to_string(), name)?;
            report
                .say(&format!("Successfully tagged {}\n", name.familiar()))
                .await;
        }
        Ok(image.id())
    }

    fn store(&self) -> &Store {
        self.supervisor.images()
    }

    async fn tell_step(&self, made: &mut Made, report: &dyn Report, text: &str) {
        let steps = |stage: &Stage| 1 + stage.instructions.len();
        let all = self.global.len() + self.plan.stages.iter().map(steps).sum::<usize>();
        made.step += 1;
        report
            .say(&format!("Step {}/{all} : {text}\n", made.step))
            .await;
    }

    async fn stage(
        &self,
        stage: &Stage,
        made: &mut Made,
        report: &dyn Report,
    ) -> Result<Image, BuildError> {
        self.tell_step(made, report, &stage.original).await;
        let below = match &stage.base {
            Base::Scratch => None,
            Base::Stage(index) => Some(made.stage(*index)?),
            Base::Image(name) => {
                let platform = stage.platform.as_ref();
                Some(self.image(name, platform, made, report).await?)
            }
        };
        let mut config = Map::new();
        let mut author = None;
        let mut key = Digest::of(b"scratch");
        if let Some(image) = &below {
            let details = self.store().inspect(&image.id().to_string())?;
            let document: Value = serde_json::from_slice(details.config.bytes())?;
            if let Some(Value::Object(found)) = document.get("config") {
                config.clone_from(found);
            }
            author = document
                .get("author")
                .and_then(Value::as_str)
                .map(str::to_owned);
            key = image.id();
        }
        report.say(&arrow(below.as_ref())).await;
        let mut making = Making {
            building: Building::new(&self.plan, stage, config, &key),
            below,
            author,
        };
        let triggers = making.building.triggers()?;
        if !triggers.is_empty() {
            let (count, s) = (triggers.len(), if triggers.len() == 1 { "" } else { "s" });
            report
                .say(&format!("# Executing {count} build trigger{s}\n"))
                .await;
        }
        for instruction in &triggers {
            self.instruction(instruction, &mut making, made, report)
                .await?;
        }
        for instruction in &stage.instructions {
            self.tell_step(made, report, &instruction.original).await;
            self.instruction(instruction, &mut making, made, report)
                .await?;
        }
        match making.below {
            Some(image) => Ok(image),
            // As with Docker, nothing at all is no image.
            None => Err(BuildError::Nothing),
        }
    }

    async fn instruction(
        &self,
        instruction: &Instruction,
        making: &mut Making<'_>,
        made: &mut Made,
        report: &dyn Report,
    ) -> Result<(), BuildError> {
        let action = making.building.step(instruction)?;
        let mut content = None;
        let action = match action {
            Some(action) => action,
            None if instruction.keyword == Keyword::Maintainer => {
                let author = instruction.original.split_once(char::is_whitespace);
                making.author = author.map(|(_, author)| author.trim().to_owned());
                content = Some(Digest::of(instruction.original.as_bytes()));
                let config = making.building.config().clone();
                Action::Configure { config }
            }
            None => {
                report.say(&arrow(making.below.as_ref())).await;
                return Ok(());
            }
        };
        let mut copying = None;
        if let Action::Copy(copy) = &action {
            let prepared = self.prepare_copy(copy, making, made, report).await?;
            content = Some(prepared.content);
            copying = Some(prepared);
        }
        let key = making.building.key(&action, content.as_ref());
        let store = self.store();
        let known = match self.options.no_cache {
            true => None,
            false => store.step(&key)?,
        };
        if known.is_some() {
            report.say(" ---> Using cache\n").await;
            report.say(&arrow(known.as_ref())).await;
            making.below = known;
            return Ok(());
        }
        let nop = format!("/bin/sh -c #(nop) {}", instruction.original);
        let image = match (&action, copying) {
            (Action::Run(run), _) => self.run_step(run, making, report).await?,
            (Action::Copy(_), Some(prepared)) => {
                let layer = prepared.write().await?;
                self.commit(layer, making, nop).await?
            }
            (Action::Directory { path }, _) => {
                let layer = self.directory(path, making).await?;
                self.commit(Cursor::new(layer), making, nop).await?
            }
            (Action::Configure { .. } | Action::Copy(_), _) => {
                self.commit(Cursor::new(vec![0; 1024]), making, nop).await?
            }
        };
        store.note_step(&key, &image.id())?;
        report.say(&arrow(Some(&image))).await;
        making.below = Some(image);
        Ok(())
    }

    /// Makes an image of the one below and a layer, which is none if nothing is in it.
    async fn commit(
        &self,
        layer: impl std::io::Read + Send + 'static,
        making: &Making<'_>,
        created_by: String,
    ) -> Result<Image, BuildError> {
        let options = CommitOptions {
            author: making.author.clone(),
            created_by: Some(created_by),
            config: Some(making.building.config().clone()),
            platform: Some(self.options.plan.platform.clone()),
            ..CommitOptions::default()
        };
        let below = making.below.as_ref().map(Image::id);
        let id = self.store().commit(below.as_ref(), layer, options).await?;
        Ok(self.store().image(&id.to_string())?)
    }

    /// An image by its name, pulled if it is missing or if that is asked for.
    async fn image(
        &self,
        name: &str,
        platform: Option<&Platform>,
        made: &mut Made,
        report: &dyn Report,
    ) -> Result<Image, BuildError> {
        let known = (name.to_owned(), platform.map(ToString::to_string));
        if let Some(image) = made.images.get(&known) {
            return Ok(image.clone());
        }
        let store = self.store();
        let wanted = platform.unwrap_or(&self.options.plan.platform);
        let here = match self.options.pull {
            true => None,
            false => store.image(name).ok(),
        };
        let fits = |image: &Image| {
            let details = store.inspect(&image.id().to_string());
            details.is_ok_and(|details| wanted.rank(&details.config.platform()).is_some())
        };
        let image = match here.filter(fits) {
            Some(image) => image,
            None => {
                let reference: Reference = name.parse()?;
                let credentials = self.options.credentials.get(reference.registry());
                let options = PullOptions {
                    platform: Some(wanted.clone()),
                    registries: registry::Config {
                        explicit: credentials.cloned(),
                        ..self.options.registries.clone()
                    },
                };
                store.pull(&reference, &options, report.pull()).await?;
                store.image(&reference.to_string())?
            }
        };
        made.images.insert(known, image.clone());
        Ok(image)
    }

    /// The files that a stage has so far.
    fn files(&self, image: Option<&Image>) -> Result<Files, BuildError> {
        Ok(match image {
            Some(image) => self.store().files(image)?,
            None => Files::default(),
        })
    }
}

impl Made {
    fn stage(&self, index: usize) -> Result<Image, BuildError> {
        self.stages.get(&index).cloned().ok_or(BuildError::Nothing)
    }
}

/// The Dockerfile's text.
fn dockerfile(files: &Files, path: &str) -> Result<String, BuildError> {
    let limit = u64::try_from(MAX_DOCKERFILE).unwrap_or(u64::MAX);
    let mut found = files.read(path, limit)?;
    if found.is_none() && path == "Dockerfile" {
        found = files.read("dockerfile", limit)?;
    }
    let bytes = found.ok_or_else(|| BuildError::NoDockerfile(path.to_owned()))?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(BuildError::Empty(path.to_owned()));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Labels that were asked for, as the instruction that Docker makes of them.
fn labels(labels: &BTreeMap<String, String>) -> Result<Vec<Instruction>, BuildError> {
    // What is in single quotes means itself.
    let word = |text: &str| format!("'{}'", text.replace('\'', "'\"'\"'"));
    let pairs = labels
        .iter()
        .map(|(name, value)| format!("{}={}", word(name), word(value)));
    let line = format!("LABEL {}", pairs.collect::<Vec<_>>().join(" "));
    Ok(build::parse(&line)?.instructions)
}

fn arrow(image: Option<&Image>) -> String {
    match image {
        Some(image) => format!(" ---> {}\n", image.id().short()),
        None => " --->\n".to_owned(),
    }
}
