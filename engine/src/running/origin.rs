//! What a machine starts from: the nearest template that works, what the container was before, or a boot.

use super::Surroundings;
use crate::error::Error;
use crate::plan::{Past, Plan};
use crate::share::Share;
use crate::template::{Keys, Kind, MachineInputs, Template};
use crate::timing::StartedFrom;

/// What a machine starts from.
#[derive(Debug)]
pub(super) enum Origin {
    Boot,
    Template(Template),
    Past(Past),
}

impl Origin {
    /// What it is called in a start's times.
    pub(super) fn kind(&self) -> StartedFrom {
        match self {
            Self::Boot => StartedFrom::Boot,
            Self::Template(template) => match template.kind {
                Kind::Machine => StartedFrom::MachineTemplate,
                Kind::Image => StartedFrom::ImageTemplate,
            },
            Self::Past(_) => StartedFrom::Snapshot,
        }
    }

    /// The key of the template that it is.
    pub(super) fn template(&self) -> Option<String> {
        match self {
            Self::Template(template) => Some(template.key.clone()),
            Self::Past(_) | Self::Boot => None,
        }
    }
}

/// How far a machine is when its agent can first be talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It has booted.
    Boot,
    /// It is a clone of a template.
    Template(Kind),
    /// It has a process, frozen, which is another container's, or this one's.
    Past { anothers: bool },
}

/// The nearest thing that a container can start from, beside templates that have `failed`.
pub(super) fn nearest(
    plan: &Plan,
    around: &Surroundings<'_>,
    shares: &[Share],
    failed: &[String],
) -> Origin {
    let found = around
        .templates
        .as_ref()
        .zip(keys(plan, around, shares))
        .and_then(|(templates, keys)| {
            let find = |key: &String| templates.find(key).filter(|_| !failed.contains(key));
            // A guest that has an image mounted knows its disk as empty.
            let image = find(&keys.image).filter(|_| !plan.has_disk);
            image.or_else(|| find(&keys.machine))
        });
    found.map_or(Origin::Boot, Origin::Template)
}

/// Removes a template of which a machine did not come to life, unless that has nothing to do with it. Whether another origin may do better.
pub(super) fn gives_up(
    around: &Surroundings<'_>,
    template: Option<String>,
    error: &Error,
    failed: &mut Vec<String>,
) -> bool {
    let Some(key) = template.filter(|_| error.may_be_the_machine_s()) else {
        return false;
    };
    tracing::warn!(key, %error, "a template did not come to life; it is removed");
    if let Some(templates) = &around.templates {
        templates.discard(&key);
    }
    failed.push(key);
    true
}

/// The names of the templates that a container could start from.
pub(super) fn keys(plan: &Plan, around: &Surroundings<'_>, shares: &[Share]) -> Option<Keys> {
    let shares: Vec<bool> = shares.iter().map(|share| share.read_only).collect();
    let inputs = MachineInputs {
        programs: around.programs,
        boot_args: &around.kernel.arguments,
        shape: plan.shape,
        layer: plan.layer,
        shares: &shares,
        interfaces: plan.interfaces(),
    };
    let keys = Keys::of(inputs, plan.image.parts(), &plan.common());
    keys.inspect_err(|error| tracing::debug!(%error, "no template can be named"))
        .ok()
}
