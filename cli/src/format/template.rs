//! One Go template, with Docker's functions in it.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use gotmpl::parse::ListNode;
use gotmpl::{MissingKey, TemplateError, Value};

use super::{functions, methods, values};

/// The name of the template itself among those that it defines.
const MAIN: &str = "format";

/// A template that was read.
#[derive(Clone)]
pub(crate) struct Template(Arc<gotmpl::Template>);

/// What a template's functions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Values,
    /// Of the names above columns, which stay as they are.
    Headers,
}

impl Template {
    /// Reads the text of `--format`, in which `\t` and `\n` are a tab and the end of a line.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        Self::parse_of(text, Of::Values)
    }

    pub(super) fn parse_of(text: &str, of: Of) -> anyhow::Result<Self> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        let read = functions::add(gotmpl::Template::new(MAIN), of)
            // A name that is not there is a slip of the pen, and no empty text.
            .missing_key(MissingKey::Error)
            .parse(&text);
        let mut template = read.map_err(|error| anyhow::anyhow!("invalid --format: {error}"))?;
        let names: Vec<String> = template
            .templates()
            .into_iter()
            .map(str::to_owned)
            .collect();
        for name in names {
            let Some(tree) = template.lookup(&name) else {
                continue;
            };
            let tree: ListNode = methods::called(tree);
            template = template.add_parse_tree(&name, tree);
        }
        Ok(Self(Arc::new(template)))
    }

    /// What it makes of an object.
    pub(crate) fn render(&self, object: &serde_json::Value) -> anyhow::Result<String> {
        self.render_value(&values::of(object))
    }

    pub(super) fn render_value(&self, value: &Value) -> anyhow::Result<String> {
        // A template without anything in it has no tree of its own.
        if self.0.lookup(MAIN).is_none() {
            return Ok(String::new());
        }
        match self.0.execute_template_to_string(MAIN, value) {
            Ok(text) => Ok(text),
            Err(TemplateError::MissingKey { key }) => bail!(
                "--format names a field that is not there: {key}. Those that are, are shown by --format '{{{{json .}}}}'"
            ),
            Err(error) => Err(error).context("--format cannot be carried out"),
        }
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Template").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn rendered(template: &str) -> String {
        let object = json!({
            "Name": "/web",
            "Args": ["-c", "true"],
            "State": { "Status": "running", "Pid": 4_294_967_296_u64, "Health": null },
            "Config": { "Labels": { "a.b": "c" }, "Env": null },
            "NetworkSettings": { "Ports": { "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }], "53/udp": null } },
            "SizeRw": -1,
            "Share": 0.5,
            "Text": "<a&b>",
        });
        Template::parse(template).unwrap().render(&object).unwrap()
    }

    #[test]
    fn fields_ranges_and_functions_are_docker_s() {
        for (template, text) in [
            ("", ""),
            ("plain", "plain"),
            ("{{.Name}} {{.State.Status}}", "/web running"),
            (
                "{{json .State}}",
                r#"{"Health":null,"Pid":4294967296,"Status":"running"}"#,
            ),
            ("{{json .Text}}", r#""<a&b>""#),
            ("{{json .Share}} {{.SizeRw}}", "0.5 -1"),
            (r#"{{join .Args "+"}}"#, "-c+true"),
            (r#"{{range split "a,b" ","}}[{{.}}]{{end}}"#, "[a][b]"),
            (
                "{{upper .Name}} {{lower \"AB\"}} {{title \"ab cd\"}}",
                "/WEB ab Ab Cd",
            ),
            (
                "{{truncate .Name 2}}|{{truncate .Name 9}}|{{pad .Name 1 2}}|{{pad \"\" 1 1}}|",
                "/w|/web| /web  ||",
            ),
            (
                r#"{{index .Config.Labels "a.b"}}{{index .Config.Labels "none"}}"#,
                "c",
            ),
            (
                r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#,
                "8080",
            ),
            (
                "{{range $k, $v := .NetworkSettings.Ports}}{{$k}};{{end}}",
                "53/udp;80/tcp;",
            ),
            ("{{if .State.Health}}yes{{else}}no{{end}}", "no"),
            ("{{println .Name}}", "/web\n"),
            (r"{{.Name}}\t{{len .Args}}\n", "/web\t2\n"),
            ("{{range .Config.Env}}x{{else}}none{{end}}", "none"),
            (
                "{{printf \"%.2s\" .Name}}{{with .State}}{{.Status}}{{end}}",
                "/wrunning",
            ),
        ] {
            assert_eq!(rendered(template), text, "{template}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (template, word) in [("{{.Name", "invalid --format"), ("{{nothing}}", "nothing")] {
            let error = Template::parse(template).and_then(|one| one.render(&json!({"Name": 1})));
            let error = format!("{:#}", error.unwrap_err());
            assert!(error.contains(word), "{error}");
        }
        let error = Template::parse("{{.Nmae}}")
            .unwrap()
            .render(&json!({"Name": 1}))
            .unwrap_err();
        assert!(error.to_string().contains("Nmae"), "{error}");
    }
}
