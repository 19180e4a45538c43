//! Dockerfiles as Docker's builder reads them.

mod plan;

use proptest::prelude::*;
use serde_json::json;

use super::words::Lex;
use super::{Arguments, Healthcheck, Ignore, Instruction, Keyword, change, parse};

fn all(text: &str) -> Vec<Instruction> {
    parse(text).unwrap().instructions
}

fn one(text: &str) -> Instruction {
    let all = all(text);
    assert_eq!(all.len(), 1, "{all:?}");
    all.into_iter().next().unwrap()
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn text(text: &str) -> Arguments {
    Arguments::Text(text.to_owned())
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn lines_are_continued_over_comments_and_blanks() {
    let found =
        all("# a comment\n\nFROM a\nRUN one \\\n  # not this\n\n  two\\\\\nrun three \\  \n four");
    let originals: Vec<&str> = found.iter().map(|one| one.original.as_str()).collect();
    assert_eq!(
        originals,
        ["FROM a", "RUN one   two\\\\", "run three  four"]
    );
    assert_eq!(found[1].line, 4);
    assert_eq!(one("RUN ends with it \\").original, "RUN ends with it");
    assert_eq!(one("\u{feff}FROM a\r\n").original, "FROM a");
}

#[test]
fn the_escape_character_is_a_directive() {
    let found = all("# escape=`\nFROM a\nRUN dir c:\\ `\n next");
    assert_eq!(found[1].arguments, text("dir c:\\  next"));
    // After anything else it is a comment.
    let found = all("# hello\n# escape=`\nRUN a `\nRUN b");
    assert_eq!(found.len(), 2);
    let found = all("# syntax=docker/dockerfile:1\n# escape=`\nRUN a `\n b");
    assert_eq!(found.len(), 1);
    assert!(error("# escape=x\nFROM a").contains("invalid ESCAPE"));
    assert!(error("# escape=`\n# escape=`\nFROM a").contains("only one escape parser directive"));
}

#[test]
fn commands_are_lists_or_for_the_shell() {
    let exec = |list: &[&str]| Arguments::Exec(words(list));
    assert_eq!(one(r#"CMD ["a", "b c"]"#).arguments, exec(&["a", "b c"]));
    assert_eq!(one("CMD [a, b]").arguments, text("[a, b]"));
    assert_eq!(one("CMD").arguments, text(""));
    assert_eq!(one("ENTRYPOINT []").arguments, exec(&[]));
    assert!(error("CMD [1]").contains("must be comprised of strings only"));
    assert!(error("SHELL sh -c").contains("JSON form"));
    let run = one("RUN --mount=type=cache,target=/x --network=none make all");
    assert_eq!(run.arguments, text("make all"));
    assert_eq!(
        run.flags[1],
        ("network".to_owned(), Some("none".to_owned()))
    );
}

#[test]
fn here_documents_belong_to_their_instruction() {
    let found = all(
        "RUN <<EOF\n# kept\n\tone\nEOF\nCOPY <<-\"A\" <<B 3<<C /dest\n\t$x\nA\nb\nB\nC\nUSER x",
    );
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].heredocs[0].content, "# kept\n\tone\n");
    assert!(found[0].heredocs[0].expand);
    let names: Vec<&str> = found[1]
        .heredocs
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["A", "B", "C"]);
    assert_eq!(found[1].heredocs[0].content, "$x\n");
    assert!(!found[1].heredocs[0].expand);
    assert!(error("RUN <<EOF\nnever").contains("unterminated heredoc"));
    assert_eq!(one("RUN cat <<<word").heredocs, []);
    assert_eq!(one("ENV a=<<EOF").heredocs, []);
}

#[test]
fn names_have_values() {
    let pairs = |text: &str| match one(text).arguments {
        Arguments::Pairs(pairs) => pairs,
        other => panic!("{other:?}"),
    };
    let pair = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    assert_eq!(
        pairs(r#"ENV a=1 b="x y" c=z\ w"#),
        [pair("a", "1"), pair("b", "\"x y\""), pair("c", "z\\ w")]
    );
    assert_eq!(
        pairs("ENV a all of this = that"),
        [pair("a", "all of this = that")]
    );
    assert_eq!(pairs("ARG a b=c"), [("a".to_owned(), None), pair("b", "c")]);
    assert!(error("ENV a").contains("ENV must have two arguments"));
    assert!(error("LABEL a=b c").contains("can't find = in \"c\""));
    assert!(error("ENV =x").contains("names can not be blank"));
}

#[test]
fn other_instructions_are_checked() {
    let check = one("HEALTHCHECK --interval=5s CMD [\"a\"]");
    assert_eq!(
        check.arguments,
        Arguments::Healthcheck(Healthcheck::Exec(words(&["a"])))
    );
    let Arguments::Onbuild(later) = one("ONBUILD COPY . /src").arguments else {
        panic!("no trigger");
    };
    assert_eq!(
        (later.keyword, later.original.as_str()),
        (Keyword::Copy, "COPY . /src")
    );
    for (text, words) in [
        (
            "FROB x",
            "dockerfile parse error on line 1: unknown instruction: FROB",
        ),
        ("\n\nCOPY x", "line 3: COPY requires at least two arguments"),
        ("HEALTHCHECK LATER", "Unknown type"),
        ("HEALTHCHECK CMD", "Missing command"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("WORKDIR", "requires exactly one argument"),
    ] {
        assert!(error(text).contains(words), "{}", error(text));
    }
}

#[test]
fn variables_are_substituted_as_by_docker() {
    let lookup = |name: &str| match name {
        "x" => Some("value".to_owned()),
        "path" => Some("/a/b.tar.gz".to_owned()),
        "empty" => Some(String::new()),
        _ => None,
    };
    for (text, expected) in [
        ("$x", "value"),
        ("${x}s", "values"),
        ("'$x'", "$x"),
        ("\"$x\"", "value"),
        ("\\$x", "$x"),
        ("\"\\$x \\n\"", "$x \\n"),
        ("$none.", "."),
        ("$", "$"),
        ("a$-b", "a$-b"),
        ("${none:-d}", "d"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${x:+alt}", "alt"),
        ("${none:+alt}", ""),
        ("${none:-${x}}", "value"),
        ("${none:-'}'}", "}"),
        ("${path##*/}", "b.tar.gz"),
        ("${path#*/}", "a/b.tar.gz"),
        ("${path%.*}", "/a/b.tar"),
        ("${path%%.*}", "/a/b"),
        ("${path//a/o}", "/o/b.tor.gz"),
        ("${path/?a/-}", "-/b.tar.gz"),
        ("${x:?gone}", "value"),
    ] {
        let found = Lex::new('\\').word(text, &lookup);
        assert_eq!(found.as_deref(), Ok(expected), "{text}");
    }
    for wrong in [
        "${none:?gone}",
        "${x",
        "${}",
        "${x:=y}",
        "\"open",
        "'open",
        "${x^}",
    ] {
        assert!(Lex::new('\\').word(wrong, &lookup).is_err(), "{wrong}");
    }
    let split = Lex::new('\\').words("a \"b c\" $x '' d\\ e", &lookup);
    assert_eq!(split.unwrap(), ["a", "b c", "value", "", "d e"]);
}

#[test]
fn files_are_left_out_by_dockers_rules() {
    let text = "# comment\n/secret\n*.log\n!keep.log\n**/target\ndocs/**/*.md\n!docs/README.md\n\nfoo/ \n./bar/../baz";
    let ignore = Ignore::parse(text).unwrap();
    for (path, left_out) in [
        ("secret", true),
        ("secret/inside", true),
        ("deep/secret", false),
        ("a.log", true),
        ("deep/a.log", false),
        ("keep.log", false),
        ("target", true),
        ("a/b/target/x", true),
        ("docs/a/b.md", true),
        ("docs/b.md", true),
        ("docs/README.md", false),
        ("foo/x", true),
        ("baz", true),
        ("bar", false),
    ] {
        assert_eq!(ignore.leaves_out(path), left_out, "{path}");
    }
    assert!(ignore.keeps_something());
    assert!(Ignore::parse("!").is_err());
    assert!(
        Ignore::parse("a\n[")
            .unwrap_err()
            .to_string()
            .contains("line 2")
    );
    assert!(!Ignore::default().leaves_out("x"));
    let all_but = Ignore::parse("*\n!src\n").unwrap();
    assert!(all_but.leaves_out("a/b") && !all_but.leaves_out("src/main.rs"));
}

#[test]
fn an_entrypoint_takes_only_the_command_of_the_image_below() {
    let mut config = change::Config::from_iter([("Cmd".to_owned(), json!(["old"]))]);
    change::apply(&["ENTRYPOINT [\"x\"]".to_owned()], &mut config).unwrap();
    assert_eq!(config.get("Cmd"), None);
    let lines = ["CMD [\"new\"]", "ENTRYPOINT [\"y\"]"].map(str::to_owned);
    change::apply(&lines, &mut config).unwrap();
    assert_eq!(config["Cmd"], json!(["new"]));
}

/// Text with what the language is made of.
fn noise() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[A-Z]{2,12}",
        Just("FROM ".to_owned()),
        Just("RUN ".to_owned()),
        Just("COPY ".to_owned()),
        Just("ENV ".to_owned()),
        Just("HEALTHCHECK CMD ".to_owned()),
        Just("ONBUILD ".to_owned()),
        Just("<<EOF".to_owned()),
        Just("EOF".to_owned()),
        Just("\\\n".to_owned()),
        Just("\n".to_owned()),
        "[ -~]{0,10}",
        "[\"'${}:/#%?*\\\\\\[\\]-]{1,6}",
        "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_or_refused(text in noise()) {
        if let Ok(file) = parse(&text) {
            for instruction in &file.instructions {
                // What was read is read again as the same; a trigger knows its line, too.
                if instruction.heredocs.is_empty()
                    && file.escape == '\\'
                    && instruction.keyword != Keyword::Onbuild
                {
                    let again = parse(&instruction.original);
                    let again = again.map(|file| file.instructions);
                    if let Ok([again]) = again.as_deref() {
                        prop_assert_eq!(&again.arguments, &instruction.arguments);
                    }
                }
            }
        }
        let _ = change::apply(std::slice::from_ref(&text), &mut change::Config::new());
        if let Ok(ignore) = Ignore::parse(&text) {
            let _ = ignore.leaves_out(&text);
        }
        let lookup = |name: &str| name.len().is_multiple_of(2).then(|| text.clone());
        let _ = Lex::new('\\').words(&text, &lookup);
    }

    #[test]
    fn quoted_text_stays_as_it_is(text in "[\\PC&&[^']]{0,40}") {
        let quoted = format!("'{text}'");
        prop_assert_eq!(Lex::new('\\').word(&quoted, &|_| None), Ok(text));
    }
}
