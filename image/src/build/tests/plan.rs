//! Stages, variables, and what steps mean.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::super::{Action, Base, Building, Plan, PlanOptions, Run, change, parse, plan};
use crate::digest::Digest;

fn options(arguments: &[(&str, &str)]) -> PlanOptions {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    PlanOptions {
        arguments: arguments.iter().map(pair).collect(),
        ..PlanOptions::default()
    }
}

fn planned(text: &str, options: &PlanOptions) -> Plan {
    plan(&parse(text).unwrap(), options).unwrap()
}

fn error(text: &str, target: Option<&str>) -> String {
    let options = PlanOptions {
        target: target.map(str::to_owned),
        ..PlanOptions::default()
    };
    let file = parse(text).unwrap();
    match plan(&file, &options) {
        Err(error) => error.to_string(),
        Ok(plan) => steps(&plan, change::Config::new()).unwrap_err(),
    }
}

/// Does nothing but ask what is to be done in the last stage, and under which keys.
fn steps(plan: &Plan, config: change::Config) -> Result<Vec<(Action, Digest)>, String> {
    let stage = plan.stages.last().unwrap();
    let mut building = Building::new(plan, stage, config, &Digest::of(b"below"));
    let triggers = building.triggers().map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    for instruction in triggers.iter().chain(&stage.instructions) {
        if let Some(action) = building.step(instruction).map_err(|e| e.to_string())? {
            let key = building.key(&action, None);
            found.push((action, key));
        }
    }
    Ok(found)
}

fn actions(text: &str, arguments: &[(&str, &str)]) -> Vec<Action> {
    let plan = planned(text, &options(arguments));
    let steps = steps(&plan, change::Config::new()).unwrap();
    steps.into_iter().map(|(action, _)| action).collect()
}

fn run(action: &Action) -> &Run {
    match action {
        Action::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_target_needs_only_some_stages() {
    let text = "FROM a AS one\nFROM b AS two\nFROM one AS three\nCOPY --from=0 /x /x\nFROM c\nCOPY --from=two x y\n\
        RUN --mount=type=bind,from=three,target=/t true\nFROM scratch AS last\nCOPY --from=image:1 x y";
    let indexes = |target: Option<&str>| {
        let options = PlanOptions {
            target: target.map(str::to_owned),
            ..PlanOptions::default()
        };
        let stages = planned(text, &options).stages;
        stages.iter().map(|stage| stage.index).collect::<Vec<_>>()
    };
    assert_eq!(indexes(None), [4]);
    assert_eq!(indexes(Some("three")), [0, 2]);
    assert_eq!(indexes(Some("THREE")), [0, 2]);
    assert_eq!(indexes(Some("3")), [0, 1, 2, 3]);
    let stages = planned(text, &options(&[])).stages;
    assert_eq!(
        (&stages[0].base, stages[0].name.as_deref()),
        (&Base::Scratch, Some("last"))
    );
    for (text, target, words) in [
        ("FROM a", Some("x"), "target stage \"x\" could not be found"),
        ("", None, "there is no FROM"),
        ("RUN x\nFROM a", None, "before the first FROM"),
        ("FROM a b", None, "either one or three arguments"),
        ("FROM a AS 1x", None, "invalid name for build stage"),
        ("FROM $nothing", None, "should not be blank"),
        ("FROM --platform=x a", None, "is not a platform"),
        ("FROM --color=red a", None, "unknown flag: --color"),
        ("FROM a\nCOPY --from=3 x y", None, "invalid stage index 3"),
    ] {
        let found = error(text, target);
        assert!(found.contains(words), "{text}: {found}");
    }
}

#[test]
fn arguments_before_the_first_stage_are_for_from_and_for_who_asks() {
    let text = "ARG tag=1 other\nFROM --platform=$TARGETPLATFORM base:${tag}\nARG tag\nARG own=$tag-x\nRUN a $missing";
    let with_default = planned(text, &options(&[]));
    assert_eq!(
        with_default.stages[0].base,
        Base::Image("base:1".to_owned())
    );
    assert_eq!(
        with_default.stages[0].platform,
        Some("linux/amd64".parse().unwrap())
    );
    let given = [("tag", "2"), ("nobody", "x"), ("HTTP_PROXY", "p")];
    let with_value = planned(text, &options(&given));
    assert_eq!(with_value.stages[0].base, Base::Image("base:2".to_owned()));
    assert_eq!(with_value.unused, ["nobody"]);
    let found = actions(text, &given);
    let run = run(&found[0]);
    assert_eq!(run.command, ["/bin/sh", "-c", "a $missing"]);
    assert_eq!(run.environment, ["HTTP_PROXY=p", "own=2-x", "tag=2"]);
    let arguments = [("own", "2-x"), ("tag", "2")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(run.arguments, BTreeMap::from(arguments));
    // What is not asked for is not there.
    let found = actions("ARG tag=1\nFROM a\nRUN x", &[]);
    assert_eq!(self::run(&found[0]).environment, [""; 0]);
}

#[test]
fn the_environment_has_the_last_word() {
    let text = "FROM a\nARG x=argument\nENV y=$x\nENV x=environment z=$y\nWORKDIR $x\nRUN it";
    let found = actions(text, &[("x", "given")]);
    let Action::Configure { config } = &found[1] else {
        panic!("{:?}", found[1]);
    };
    assert_eq!(
        config["Env"],
        json!(["y=given", "x=environment", "z=given"])
    );
    assert_eq!(
        found[2],
        Action::Directory {
            path: "/environment".to_owned()
        }
    );
    let run = run(&found[3]);
    assert_eq!(run.environment, ["y=given", "x=environment", "z=given"]);
    assert!(run.arguments.is_empty());
    assert_eq!(run.directory, "/environment");
}

#[test]
fn files_are_copied_with_all_that_is_said_of_them() {
    let text = "FROM a\nWORKDIR /srv\nARG to=dest\nCOPY --chown=1:2 --chmod=0644 --exclude=*.md --link a b* $to/\n\
        ADD --checksum=sha256:x http://h/f .\nCOPY <<one <<'two' /in/\n$to \"\\$to\"\none\n$to\ntwo\n";
    let found = actions(text, &[]);
    let copy = |action: &Action| match action {
        Action::Copy(copy) => copy.clone(),
        other => panic!("{other:?}"),
    };
    let first = copy(&found[1]);
    assert_eq!(
        (first.sources.len(), first.destination.as_str()),
        (2, "/srv/dest/")
    );
    assert_eq!(
        (first.owner.as_deref(), first.mode.as_deref()),
        (Some("1:2"), Some("0644"))
    );
    assert!(first.link && !first.is_add && first.exclude == ["*.md"]);
    let second = copy(&found[2]);
    assert_eq!(
        (second.is_add, second.destination.as_str()),
        (true, "/srv/")
    );
    let third = copy(&found[3]);
    let inline = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(
        third.inline,
        [inline("one", "dest \"\\$to\"\n"), inline("two", "$to\n")]
    );
    for (line, words) in [
        ("COPY a b c", "must be a directory and end with a /"),
        ("COPY --checksum=x a b", "unknown flag: --checksum"),
        ("ADD --from=0 a b", "unknown flag: --from"),
        ("COPY --link=maybe a b", "expecting boolean value"),
        ("RUN --network=host x", "not possible in a microVM"),
        ("RUN --security=insecure x", "not possible"),
        ("RUN --mount=type=magic x", "unsupported mount type"),
        ("RUN --mount=colour=red x", "unexpected key 'colour'"),
        ("RUN []", "requires at least one argument"),
        ("ARG --x y", "unknown flag: --x"),
        ("ENV --x a=b", "unknown flag: --x"),
        ("USER ${x:?who}", "x: who"),
    ] {
        let found = error(&format!("FROM a\n{line}"), None);
        assert!(
            found.contains(words) && found.contains("line 2"),
            "{line}: {found}"
        );
    }
}

#[test]
fn scripts_are_for_the_shell_or_for_themselves() {
    let text = "FROM a\nRUN <<EOF\necho $x\nEOF\nRUN <<EOF\n#!/usr/bin/env python3\nprint()\nEOF\nRUN cat <<A > /a\n1\nA\n\
        SHELL [\"/bin/bash\", \"-c\"]\nRUN x";
    let found = actions(text, &[]);
    assert_eq!(run(&found[0]).command, ["/bin/sh", "-c", "echo $x\n"]);
    let script = run(&found[1]);
    assert_eq!(
        script.script.as_deref(),
        Some("#!/usr/bin/env python3\nprint()\n")
    );
    assert_eq!(run(&found[2]).command[2], "cat <<A > /a\n1\nA");
    assert_eq!(run(&found[4]).command, ["/bin/bash", "-c", "x"]);
}

#[test]
fn triggers_of_the_image_below_come_first_and_once() {
    let plan = planned("FROM a\nRUN own", &options(&[]));
    let config =
        change::Config::from_iter([("OnBuild".to_owned(), json!(["RUN before", "ENV a=b"]))]);
    let found = steps(&plan, config).unwrap();
    assert_eq!(run(&found[0].0).command[2], "before");
    let Action::Configure { config } = &found[1].0 else {
        panic!("{found:?}");
    };
    assert_eq!(config.get("OnBuild"), None);
    assert_eq!(run(&found[2].0).command[2], "own");
    let wrong = change::Config::from_iter([("OnBuild".to_owned(), json!(["FROM x"]))]);
    assert!(
        steps(&plan, wrong)
            .unwrap_err()
            .contains("isn't allowed as an ONBUILD trigger")
    );
}

fn keys(text: &str, arguments: &[(&str, &str)]) -> Vec<Digest> {
    let plan = planned(text, &options(arguments));
    let steps = steps(&plan, change::Config::new()).unwrap();
    steps.into_iter().map(|(_, key)| key).collect()
}

#[test]
fn a_key_depends_on_all_that_the_result_does() {
    let text = "FROM a\nARG v=1\nRUN one\nRUN two";
    let before = keys(text, &[]);
    assert_eq!(keys(text, &[("v", "1"), ("https_proxy", "p")]), before);
    assert_eq!(
        keys("from a\n\narg v=1\n# here\nrun one\nrun two", &[]),
        before
    );
    let other = keys(text, &[("v", "2")]);
    assert!(before.iter().zip(&other).all(|(one, other)| one != other));
    let later = keys("FROM a\nARG v=1\nRUN one\nRUN three", &[]);
    assert_eq!(later[0], before[0]);
    assert_ne!(later[1], before[1]);
    // What is copied counts, too.
    let plan = planned("FROM a\nCOPY x y", &options(&[]));
    let key = |content: &[u8]| {
        let stage = &plan.stages[0];
        let mut building = Building::new(&plan, stage, change::Config::new(), &Digest::of(b""));
        let action = building.step(&stage.instructions[0]).unwrap().unwrap();
        building.key(&action, Some(&Digest::of(content)))
    };
    assert_eq!(key(b"1"), key(b"1"));
    assert_ne!(key(b"1"), key(b"2"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_can_be_read_is_planned_or_refused(lines in prop::collection::vec(super::noise(), 0..6)) {
        let text = format!("FROM a AS x\n{}\nFROM x\nCOPY --from=x a b", lines.join("\n"));
        if let Ok(file) = parse(&text)
            && let Ok(plan) = plan(&file, &options(&[("v", "1")]))
        {
            let first = steps(&plan, change::Config::new());
            prop_assert_eq!(first, steps(&plan, change::Config::new()));
        }
    }
}
