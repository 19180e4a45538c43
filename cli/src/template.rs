//! `hull template`: machines at rest, which containers start as clones of.

use std::process::ExitCode;

use hull_engine::template::{Listed, Templates};
use hull_engine::{ContainerConfig, Engine, parse_cpus, parse_size};
use jiff::Timestamp;
use serde_json::json;

use crate::context::Context;
use crate::format::table::{Format, table};
use crate::format::units::{ago, size};
use crate::out;
use crate::pruning::confirmed;
use crate::run::spinner::Spinner;

/// Look after templates, which containers start as clones of
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Templates are made by hull run by the way: one of the bare machine for each size, and one with the image mounted for each image\n\
    and configuration. They are made anew when anything changes that went into them, and those that were not used for the\n\
    longest time go when all together take more than HULL_TEMPLATE_SPACE (8g where nothing is said).\n\n\
    Examples:\n  \
    hull template ls\n  \
    hull template build --rm debian           so that the first hull run --rm debian is fast, too\n  \
    hull template prune"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    Prune(PruneArgs),
    Build(BuildArgs),
}

/// List templates
#[derive(Debug, clap::Args)]
struct LsArgs {
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// How to print them; json is one object in a line
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Remove templates; machines that are clones of them go on
#[derive(Debug, clap::Args)]
struct RmArgs {
    /// Ids, or beginnings of ids
    #[arg(value_name = "TEMPLATE", required = true)]
    templates: Vec<String>,
}

/// Remove all templates; the next starts are slow, and make them again
#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Make the templates of an image, without running it
#[derive(Debug, clap::Args)]
struct BuildArgs {
    /// For containers that are run with --rm, whose disks have no journal
    #[arg(long)]
    rm: bool,
    /// For containers with so much processor time
    #[arg(long, value_name = "N")]
    cpus: Option<String>,
    /// For containers with this limit of memory
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let engine = Engine::open(ctx.paths().clone())?;
    let templates = engine.templates();
    match args.command {
        Command::Ls(args) => ls(&args, &templates),
        Command::Rm(args) => rm(&args, &templates),
        Command::Prune(args) => prune(&args, &templates),
        Command::Build(args) => build(args, &engine).await,
    }
}

fn all(templates: &Templates) -> anyhow::Result<Vec<Listed>> {
    let mut all = templates.list()?;
    all.sort_by_key(|one| std::cmp::Reverse(one.used));
    Ok(all)
}

fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}

fn ls(args: &LsArgs, templates: &Templates) -> anyhow::Result<ExitCode> {
    let all = all(templates)?;
    if args.quiet {
        for one in &all {
            out::line(short(&one.key))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.format == Format::Json {
        for one in &all {
            let object = json!({
                "id": one.key,
                "kind": one.kind.as_str(),
                "image": one.image,
                "cpus": one.cpus,
                "memory_mib": one.memory_mib,
                "created": one.made.to_string(),
                "used": one.used.to_string(),
                "size": one.size,
            });
            out::line(&object.to_string())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let now = Timestamp::now();
    let mut table = table(&[
        "TEMPLATE ID",
        "KIND",
        "IMAGE",
        "CPUS",
        "MEMORY",
        "CREATED",
        "LAST USED",
        "SIZE",
    ]);
    for one in &all {
        table.add_row([
            short(&one.key).to_owned(),
            one.kind.as_str().to_owned(),
            one.image.clone().unwrap_or_default(),
            one.cpus.to_string(),
            format!("{}MiB", one.memory_mib),
            format!("{} ago", ago(one.made, now)),
            format!("{} ago", ago(one.used, now)),
            size(one.size),
        ]);
    }
    out::line(&table.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn rm(args: &RmArgs, templates: &Templates) -> anyhow::Result<ExitCode> {
    let all = all(templates)?;
    let mut code = ExitCode::SUCCESS;
    for text in &args.templates {
        let found: Vec<_> = all.iter().filter(|one| one.key.starts_with(text)).collect();
        let removed = match found.as_slice() {
            [one] if !text.is_empty() => templates.remove(&one.key).map_err(Into::into),
            [] | [_] => Ok(false),
            _ => Err(anyhow::anyhow!(
                "{text:?} begins the ids of several templates: give more digits"
            )),
        };
        match removed {
            Ok(true) => out::line(text)?,
            Ok(false) => code = crate::fail(&anyhow::anyhow!("No such template: {text}")),
            Err(error) => code = crate::fail(&error),
        }
    }
    Ok(code)
}

fn prune(args: &PruneArgs, templates: &Templates) -> anyhow::Result<ExitCode> {
    if !args.force && !confirmed("all templates, which the next starts make again")? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut freed = 0;
    for one in all(templates)? {
        if templates.remove(&one.key)? {
            out::line(&format!("Deleted: {}", short(&one.key)))?;
            freed += one.size;
        }
    }
    out::line(&format!("Total reclaimed space: {}", size(freed)))?;
    Ok(ExitCode::SUCCESS)
}

async fn build(args: BuildArgs, engine: &Engine) -> anyhow::Result<ExitCode> {
    let config = ContainerConfig {
        image: args.image,
        auto_remove: args.rm,
        memory: args.memory.as_deref().map(parse_size).transpose()?,
        nano_cpus: args.cpus.as_deref().map(parse_cpus).transpose()?,
        ..ContainerConfig::default()
    };
    let spinner = Spinner::start("making templates");
    let made = engine.build_templates(config).await;
    drop(spinner);
    if !made? {
        anstream::eprintln!("hull: there were templates for this already");
    }
    Ok(ExitCode::SUCCESS)
}
