//! docs/reference/configuration.md

use std::fmt::Write;

use schemars::schema_for;
use serde_json::{Map, Value};

use super::{cell, hold};
use crate::config::Config;

const HEAD: &str = "# Configuration

One YAML file (`--config FILE` or `CYBERVAULT_CONFIG`), the environment and flags, later ones first. Every key has a default, so the
file may be empty. In the environment a key is `CYBERVAULT_` and its path in capitals with two underscores between levels:
`CYBERVAULT_BATCH__MAX_RECORDS`. As a flag it is `--set batch.max_records=5000`. An unknown key is refused with the nearest known one.
Paths are relative to where the command runs.

`cybervault config show` prints what is in force, `cybervault config check` says whether it can be used.
[schemas/config.schema.json](../../schemas/config.schema.json) tells it to your editor.
";

#[test]
fn the_configurations_reference_is_that_of_the_types() {
    let schema = schema_for!(Config).to_value();
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let mut page = Page { schema: &schema, text: HEAD.to_owned() };
    let (mut plain, mut sections) = (Vec::new(), Vec::new());
    for (name, property) in schema["properties"].as_object().unwrap() {
        let is_section = page.resolve(property).get("properties").is_some();
        if is_section { &mut sections } else { &mut plain }.push((name, property));
    }
    page.text.push_str("\n## At the top\n\n");
    page.table(plain.into_iter().map(|(name, property)| (name.clone(), property, &defaults[name])));
    for (name, property) in sections {
        let about = cell(text(property, "description"));
        write!(page.text, "\n## `{name}`\n\n{about}\n\n").unwrap();
        let mut rows = Vec::new();
        page.collect(name, property, &defaults[name], &mut rows);
        page.table(rows);
    }
    hold("configuration.md", &page.text);
}

struct Page<'a> {
    schema: &'a Value,
    text: String,
}

type Row<'a> = (String, &'a Value, &'a Value);

impl<'a> Page<'a> {
    /// What a `$ref` leads to, and of a value that may be missing its form.
    fn resolve(&self, mut schema: &'a Value) -> &'a Value {
        if let Some(forms) = schema.get("anyOf").and_then(Value::as_array) {
            schema = forms.iter().find(|form| form["type"] != "null").unwrap_or(schema);
        }
        match schema.get("$ref").and_then(Value::as_str) {
            Some(path) => self.schema.pointer(path.trim_start_matches('#')).unwrap(),
            None => schema,
        }
    }

    /// The keys below one, in the types' order.
    fn collect(&self, path: &str, property: &'a Value, default: &'a Value, rows: &mut Vec<Row<'a>>) {
        match self.resolve(property).get("properties").and_then(Value::as_object) {
            Some(properties) => self.collect_all(path, properties, default, rows),
            None => rows.push((path.to_owned(), property, default)),
        }
    }

    fn collect_all(&self, path: &str, properties: &'a Map<String, Value>, default: &'a Value, rows: &mut Vec<Row<'a>>) {
        for (name, property) in properties {
            let default = default.get(name).or_else(|| property.get("default")).unwrap_or(&Value::Null);
            self.collect(&format!("{path}.{name}"), property, default, rows);
            // Of a list the keys of one entry, which have no default of their own.
            let items = self.resolve(property).get("items").map(|items| self.resolve(items));
            if let Some(properties) = items.and_then(|items| items.get("properties")).and_then(Value::as_object) {
                self.collect_all(&format!("{path}.{name}[]"), properties, &Value::Null, rows);
            }
        }
    }

    fn table(&mut self, rows: impl IntoIterator<Item = Row<'a>>) {
        self.text.push_str("| key | default | meaning |\n|---|---|---|\n");
        for (path, property, default) in rows {
            let words: Vec<&str> = text(property, "description").split_whitespace().collect();
            let description = words.join(" ");
            let (meaning, said) = split_default(&description);
            let default = said.map_or_else(|| shown(default), str::to_owned);
            let meaning = [Some(meaning.to_owned()), self.choices(property), range(property)];
            let meaning = meaning.into_iter().flatten().collect::<Vec<_>>().join(" ");
            writeln!(self.text, "| `{path}` | {} | {} |", cell(&default), cell(&meaning)).unwrap();
        }
    }

    /// The values that a key can have, where these are few.
    fn choices(&self, property: &'a Value) -> Option<String> {
        let form = self.resolve(property);
        let form = form.get("items").map_or(form, |items| self.resolve(items));
        let choices = form.get("oneOf")?.as_array()?.iter().map(|choice| {
            let about = text(choice, "description").trim_end_matches('.');
            choice["const"].as_str().map(|value| format!("`{value}`: {}", lower_first(about)))
        });
        Some(format!("One of {}.", choices.collect::<Option<Vec<_>>>()?.join("; ")))
    }
}

fn text<'a>(schema: &'a Value, field: &str) -> &'a str {
    schema.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A description, and the default that it names at its end in words.
fn split_default(description: &str) -> (&str, Option<&str>) {
    match description.rsplit_once("Default: ") {
        Some((meaning, default)) if !default.contains(". ") => (meaning.trim(), Some(default.trim_end_matches('.'))),
        _ => (description, None),
    }
}

fn shown(default: &Value) -> String {
    match default {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        Value::Array(list) if list.is_empty() => String::new(),
        Value::Object(map) if map.is_empty() => String::new(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn range(property: &Value) -> Option<String> {
    // What the type alone sets is no news.
    let (least, most) = (property.get("minimum").filter(|least| **least != 0), property.get("maximum"));
    match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}.")),
        (Some(least), None) => Some(format!("At least {least}.")),
        (None, Some(most)) => Some(format!("At most {most}.")),
        (None, None) => None,
    }
}

/// Within a sentence; a word in capitals stays.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), second) if !second.is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}
