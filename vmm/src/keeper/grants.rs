//! What the machine's process may be given: what its user named, for the use that it was named for.

use hull_vm_api::config::{HostPath, NamedPath, PathUse};

use super::ask::Ask;
use crate::files::Access;

/// All that was named.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    /// By the configuration, for as long as the machine lives.
    lasting: Vec<NamedPath>,
    /// By the request that the machine is answering.
    passing: Vec<NamedPath>,
}

impl Grants {
    /// What a configuration names, in place of what another one did.
    pub(crate) fn set(&mut self, named: Vec<NamedPath>) {
        self.lasting = named;
        self.passing.clear();
    }

    /// What a request names, until it is answered.
    pub(crate) fn lend(&mut self, named: Vec<NamedPath>) {
        self.passing = named;
    }

    /// The request is answered, and what it named is part of the machine from now on: it needs that again if its guest reboots. What
    /// was to be made is made.
    pub(crate) fn keep(&mut self) {
        self.passing.retain(|named| named.used != PathUse::Create);
        self.lasting.append(&mut self.passing);
    }

    /// The request is refused.
    pub(crate) fn take_back(&mut self) {
        self.passing.clear();
    }

    /// Whether what is asked for was named. Connections are another matter: they need a socket of the machine's own.
    pub(crate) fn permit(&self, question: &Ask) -> bool {
        match question {
            // Who publishes has made what it publishes.
            Ask::Kvm
            | Ask::Log
            | Ask::Metrics
            | Ask::Connect(_)
            | Ask::Publish
            | Ask::PublishWorkingSet => true,
            Ask::File(path, access) | Ask::Again(path, access) => {
                self.permits(path, |used| suits(*access, used))
            }
            Ask::Create(path) => self.permits(path, |used| used == PathUse::Create),
            Ask::WorkingSet(path) => self.permits(path, |used| used == PathUse::Record),
            Ask::Faults => {
                let mut all = self.lasting.iter().chain(&self.passing);
                all.any(|named| matches!(named.used, PathUse::Faults | PathUse::Record))
            }
            Ask::FaultHandler(path) => self.permits(path, |used| used == PathUse::Faults),
            Ask::Directory(path) => self.permits(path, |used| used == PathUse::Directory),
            Ask::Tap { name, .. } => self.permits(name, |used| used == PathUse::Tap),
            Ask::Listener(path) => self.permits(path, |used| used == PathUse::Listen),
        }
    }

    fn permits(&self, path: &HostPath, suits: impl Fn(PathUse) -> bool) -> bool {
        let mut all = self.lasting.iter().chain(&self.passing);
        all.any(|named| named.path == *path && suits(named.used))
    }
}

/// What may be read and written may be opened only to be read, as by a second device; so may what is in the place of a file that is made.
fn suits(access: Access, used: PathUse) -> bool {
    match access {
        Access::Read | Access::Input => {
            matches!(
                used,
                PathUse::Read | PathUse::ReadWrite | PathUse::Create | PathUse::Record
            )
        }
        Access::ReadWrite => used == PathUse::ReadWrite,
        Access::Append => used == PathUse::Append,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, used: PathUse) -> NamedPath {
        let path = path.into();
        NamedPath { path, used }
    }

    fn file(path: &str, access: Access) -> Ask {
        Ask::File(path.into(), access)
    }

    #[test]
    fn a_path_is_good_for_its_own_use_and_by_its_own_name() {
        let mut grants = Grants::default();
        assert!(!grants.permit(&file("disk", Access::Read)));
        grants.set(vec![
            named("disk", PathUse::Read),
            named("data", PathUse::ReadWrite),
            named("log", PathUse::Append),
            named("/srv", PathUse::Directory),
            named("tap0", PathUse::Tap),
            named("set", PathUse::Record),
        ]);
        assert!(grants.permit(&file("set", Access::Read)));
        assert!(grants.permit(&Ask::WorkingSet("set".into())));
        assert!(grants.permit(&Ask::Faults));
        assert!(grants.permit(&file("disk", Access::Read)));
        assert!(grants.permit(&file("data", Access::ReadWrite)));
        assert!(grants.permit(&file("log", Access::Append)));
        assert!(grants.permit(&Ask::Directory("/srv".into())));
        let refused = [
            file("disk", Access::ReadWrite),
            file("disk", Access::Append),
            file("log", Access::Read),
            file("./disk", Access::Read),
            file("/srv/file", Access::Read),
            file("/srv", Access::Read),
            file("tap0", Access::ReadWrite),
            Ask::Directory("/".into()),
            Ask::Create("data".into()),
            Ask::WorkingSet("data".into()),
            file("set", Access::ReadWrite),
            Ask::Listener("disk".into()),
            Ask::Tap {
                name: "eth0".into(),
                many: false,
            },
        ];
        for question in refused {
            assert!(!grants.permit(&question), "{question:?}");
        }
    }

    #[test]
    fn what_a_request_names_is_lent_until_its_answer_and_then_kept_or_not() {
        let mut grants = Grants::default();
        grants.set(vec![named("disk", PathUse::Read)]);
        grants.lend(vec![named("new", PathUse::Read)]);
        assert!(grants.permit(&file("new", Access::Read)));
        grants.take_back();
        assert!(!grants.permit(&file("new", Access::Read)));
        grants.lend(vec![named("new", PathUse::Read)]);
        grants.keep();
        grants.take_back();
        assert!(grants.permit(&file("new", Access::Read)));
        assert!(grants.permit(&file("disk", Access::Read)));
        // A file is made once.
        grants.lend(vec![named("made", PathUse::Create)]);
        assert!(grants.permit(&Ask::Create("made".into())));
        grants.keep();
        assert!(!grants.permit(&Ask::Create("made".into())));
    }
}
