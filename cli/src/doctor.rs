//! `hull doctor`: whether this host can run microVMs, told to a person, or to a program in JSON.

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use hull_engine::doctor::{self, Check, Diagnosis, Verdict};

use crate::context::Context;
use crate::out;

/// See whether this host can run microVMs, and what to do if not
///
/// Exits with 0 if `hull run` will work, and with 1 if it will not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hull doctor                                  look at everything\n  \
    hull doctor --format json | jq .profile      what this host's KVM does with a guest's kernel\n  \
    hull doctor >/dev/null && hull run busybox   go on only if it will work")]
pub(crate) struct Args {
    /// How to print it; json is one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(crate) async fn run(args: Args, ctx: &Context) -> anyhow::Result<ExitCode> {
    let diagnosis = doctor::examine(ctx.paths()).await;
    match args.format {
        Format::Text => out::styled(&text(&diagnosis))?,
        Format::Json => out::line(&serde_json::to_string_pretty(&diagnosis)?)?,
    }
    Ok(match diagnosis.ready {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// A line for each check, with what to do below it. Colours are taken out where there is no terminal.
fn text(diagnosis: &Diagnosis) -> String {
    let width = diagnosis
        .checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let mut text: String = diagnosis
        .checks
        .iter()
        .map(|check| line(check, width))
        .collect();
    let bad = diagnosis
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Bad)
        .count();
    text.push('\n');
    text.push_str(&match bad {
        0 => "This host can run microVMs. Try: hull run --rm busybox echo hello\n".to_owned(),
        1 => "This host cannot run microVMs until what is marked with ✗ is put right.\n".to_owned(),
        many => format!(
            "This host cannot run microVMs until the {many} things marked with ✗ are put right.\n"
        ),
    });
    text
}

fn line(check: &Check, width: usize) -> String {
    let (sign, color) = match check.verdict {
        Verdict::Good => ('✓', AnsiColor::Green),
        Verdict::Limited => ('!', AnsiColor::Yellow),
        Verdict::Bad => ('✗', AnsiColor::Red),
    };
    let style = Style::new().fg_color(Some(color.into()));
    let Check { name, found, .. } = check;
    let indent = width + 4;
    let found = wrap(found, indent);
    let mut line = format!("{style}{sign}{style:#} {name:width$}  {found}\n");
    if let Some(advice) = &check.advice {
        let advice = wrap(advice, indent + 2);
        line.push_str(&format!("{:indent$}→ {advice}\n", ""));
    }
    line
}

/// Breaks a sentence between words, each further line after so many spaces.
fn wrap(sentence: &str, indent: usize) -> String {
    const WIDTH: usize = 110;
    let mut wrapped = String::new();
    let mut column = indent;
    for word in sentence.split(' ') {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += length;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verdict: Verdict, advice: Option<&str>) -> Check {
        Check {
            name: "KVM",
            verdict,
            found: "as found".to_owned(),
            advice: advice.map(str::to_owned),
        }
    }

    fn plain(diagnosis: &Diagnosis) -> String {
        anstream::adapter::strip_str(&text(diagnosis)).to_string()
    }

    #[test]
    fn a_person_sees_what_is_wrong_and_what_to_do() {
        let checks = vec![
            check(Verdict::Good, None),
            check(Verdict::Limited, Some("do this")),
            check(Verdict::Bad, Some("do that")),
        ];
        let diagnosis = Diagnosis {
            ready: false,
            checks,
            kernel_args: None,
            profile: None,
        };
        assert_eq!(
            plain(&diagnosis),
            "✓ KVM  as found\n! KVM  as found\n       → do this\n✗ KVM  as found\n       → do that\n\n\
             This host cannot run microVMs until what is marked with ✗ is put right.\n"
        );
    }

    #[test]
    fn long_sentences_are_broken_between_words() {
        let sentence = "word ".repeat(40);
        let wrapped = wrap(sentence.trim(), 10);
        assert!(wrapped.lines().count() > 1);
        assert!(wrapped.lines().all(|line| line.len() <= 110));
        assert!(
            wrapped
                .lines()
                .skip(1)
                .all(|line| line.starts_with("          word"))
        );
        assert_eq!(wrapped.split_whitespace().count(), 40);
    }

    #[test]
    fn a_good_host_is_told_what_to_try() {
        let diagnosis = Diagnosis {
            ready: true,
            checks: vec![check(Verdict::Good, None)],
            kernel_args: None,
            profile: None,
        };
        assert!(plain(&diagnosis).ends_with("hull run --rm busybox echo hello\n"));
    }
}
