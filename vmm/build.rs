//! Compiles the sandbox's lists of system calls into programs for the kernel, so that a start has only to load them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

#[allow(dead_code, missing_docs, unreachable_pub)]
#[path = "src/sandbox/seccomp/lists/mod.rs"]
mod lists;

use lists::{Arg, Call, Kind};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/sandbox/seccomp/lists");
    let mut text = String::new();
    for (level, with_arguments) in [("NUMBERS", false), ("ARGUMENTS", true)] {
        for kind in Kind::ALL {
            let rules = rules(kind, with_arguments)?;
            let program = program(rules, SeccompAction::Trap, SeccompAction::Allow)?;
            let name = format!("{}_{level}", kind.word().to_uppercase());
            write(&mut text, &name, &program)?;
        }
    }
    // clone3 has its arguments in memory, where no filter sees them; libc makes threads by clone(2) if it is missing.
    let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let program = program(clone3, SeccompAction::Allow, missing)?;
    write(&mut text, "NO_CLONE3", &program)?;
    let directory = std::env::var_os("OUT_DIR").ok_or("cargo gives no OUT_DIR")?;
    Ok(std::fs::write(
        Path::new(&directory).join("programs.rs"),
        text,
    )?)
}

fn rules(kind: Kind, with_arguments: bool) -> Result<Rules, Box<dyn Error>> {
    let mut rules = Rules::new();
    for call in kind.lists().iter().copied().flatten() {
        let ways = ways(call, with_arguments)?;
        match rules.entry(call.number) {
            Entry::Vacant(entry) => drop(entry.insert(ways)),
            // Without conditions any way is allowed.
            Entry::Occupied(mut entry) if entry.get().is_empty() || ways.is_empty() => {
                entry.get_mut().clear();
            }
            Entry::Occupied(mut entry) => entry.get_mut().extend(ways),
        }
    }
    Ok(rules)
}

/// The ways in which a call is allowed; none if any is.
fn ways(call: &Call, with_arguments: bool) -> Result<Vec<SeccompRule>, Box<dyn Error>> {
    let mut ways = Vec::new();
    for way in call.only.iter().filter(|_| with_arguments) {
        let conditions = way.iter().map(condition).collect::<Result<_, _>>()?;
        ways.push(SeccompRule::new(conditions)?);
    }
    Ok(ways)
}

fn condition(arg: &Arg) -> Result<SeccompCondition, seccompiler::BackendError> {
    let compare = SeccompCmpOp::MaskedEq(arg.mask);
    SeccompCondition::new(arg.index, SeccompCmpArgLen::Qword, compare, arg.value)
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    then: SeccompAction,
) -> Result<BpfProgram, Box<dyn Error>> {
    let filter = SeccompFilter::new(rules, otherwise, then, TargetArch::x86_64)?;
    Ok(filter.try_into()?)
}

/// The program as a static of Rust.
fn write(text: &mut String, name: &str, program: &BpfProgram) -> std::fmt::Result {
    let length = program.len();
    writeln!(text, "static {name}: [sock_filter; {length}] = [")?;
    for step in program {
        let (code, jt, jf, k) = (step.code, step.jt, step.jf, step.k);
        writeln!(text, "    step({code}, {jt}, {jf}, {k}),")?;
    }
    writeln!(text, "];")
}
