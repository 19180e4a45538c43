//! YAML as JSON values, with references followed.

use std::fs;
use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

/// A description of an API.
pub(super) struct Document(pub(super) Value);

/// One operation of it.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    pub(super) path: &'a str,
    pub(super) method: &'a str,
    pub(super) value: &'a Value,
}

impl Document {
    /// Reads a file; `None` if it is not there.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let documents = Yaml::load_from_str(&text).unwrap();
        Some(Self(to_json(&documents[0])))
    }

    /// The description of this crate's API.
    pub(super) fn ours() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.yaml");
        Self::read(&path).unwrap()
    }

    pub(super) fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, methods) in self.0["paths"].as_object().unwrap() {
            for (method, value) in methods.as_object().unwrap() {
                if method != "parameters" {
                    operations.push(Operation {
                        path,
                        method,
                        value,
                    });
                }
            }
        }
        operations
    }

    /// The schemas by their names, in OpenAPI 3 or 2.
    pub(super) fn schemas(&self) -> &Map<String, Value> {
        let new = self.0.pointer("/components/schemas");
        let schemas = new.or_else(|| self.0.get("definitions"));
        schemas.unwrap().as_object().unwrap()
    }

    /// What a `$ref` stands for, or the value itself.
    pub(super) fn follow<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref") {
            Some(reference) => {
                let pointer = reference.as_str().unwrap().trim_start_matches('#');
                self.follow(self.0.pointer(pointer).expect(pointer))
            }
            None => value,
        }
    }

    /// The schema of an operation's body, in OpenAPI 3 or 2.
    pub(super) fn body<'a>(&'a self, operation: &Operation<'a>) -> Option<&'a Value> {
        let new = operation.value.get("requestBody");
        if let Some(new) = new {
            return new.pointer("/content/application~1json/schema");
        }
        let parameters = operation.value.get("parameters")?.as_array()?;
        let body = parameters
            .iter()
            .find(|parameter| parameter["in"] == "body");
        body?.get("schema")
    }

    /// Whether it wants one.
    pub(super) fn needs_body(&self, operation: &Operation<'_>) -> bool {
        let new = operation.value.get("requestBody");
        let parameters = operation.value.get("parameters").and_then(Value::as_array);
        let mut old = parameters.into_iter().flatten();
        let body = new.or_else(|| old.find(|parameter| parameter["in"] == "body"));
        body.is_some_and(|body| body["required"] == true)
    }

    /// The schema of its answer.
    pub(super) fn answer<'a>(&'a self, operation: &Operation<'a>) -> Option<&'a Value> {
        let answer = operation.value.pointer("/responses/200")?;
        let contents = answer.get("content").and_then(Value::as_object);
        let new = contents.and_then(|kinds| kinds.values().next()?.get("schema"));
        new.or_else(|| answer.get("schema"))
    }
}

fn to_json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => (*value).into(),
        Yaml::Value(Scalar::Integer(value)) => (*value).into(),
        Yaml::Value(Scalar::FloatingPoint(value)) => value.into_inner().into(),
        Yaml::Value(Scalar::String(value)) => value.as_ref().into(),
        Yaml::Sequence(items) => items.iter().map(to_json).collect(),
        Yaml::Mapping(fields) => {
            let fields = fields.iter().map(|(name, value)| {
                let name = match to_json(name) {
                    Value::String(name) => name,
                    name => name.to_string(),
                };
                (name, to_json(value))
            });
            Value::Object(fields.collect())
        }
        other => panic!("a description has no {other:?}"),
    }
}
