//! `docs/configuration.md` has every key of the document under the heading of its table, with its default.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed helper fails its test")]

use std::collections::HashMap;
use std::path::Path;

use pinion_core::config::json_schema;
use serde_json::Value;

/// The rows of every heading: heading line to its text.
fn sections(text: &str) -> HashMap<String, String> {
    let mut sections = HashMap::new();
    let mut heading = String::new();
    for line in text.lines() {
        if line.starts_with('#') {
            heading = line.to_owned();
        } else {
            let section: &mut String = sections.entry(heading.clone()).or_default();
            section.push_str(line);
            section.push('\n');
        }
    }
    sections
}

/// As a TOML file would say it.
fn as_toml(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(as_toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn check(
    schema: &Value,
    path: &str,
    sections: &HashMap<String, String>,
    missing: &mut Vec<String>,
    keys: &mut usize,
) {
    for alternative in schema["anyOf"].as_array().into_iter().flatten() {
        check(alternative, path, sections, missing, keys);
    }
    for inner in [&schema["items"], &schema["additionalProperties"]] {
        if inner.is_object() {
            check(inner, path, sections, missing, keys);
        }
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        *keys += 1;
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        check(property, &inner, sections, missing, keys);
        if path.is_empty() {
            continue;
        }
        let names = [format!("`{path}`"), format!("`[{path}]`"), format!("`[[{path}]]`")];
        let section =
            sections.iter().find(|(heading, _)| names.iter().any(|name| heading.contains(name.as_str())));
        let row =
            section.and_then(|(_, text)| text.lines().find(|line| line.starts_with(&format!("| `{key}` |"))));
        match (row, &property["default"]) {
            (None, _) => missing.push(format!("{inner}: no row under a heading of {path}")),
            (Some(_), Value::Null) => {}
            (Some(row), default) => {
                let cell = row.split(" | ").nth(2).unwrap_or_default();
                if cell != format!("`{}`", as_toml(default)) {
                    missing.push(format!("{inner}: the default is {}, not {cell}", as_toml(default)));
                }
            }
        }
    }
}

#[test]
fn every_key_and_default_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut missing, mut keys) = (Vec::new(), 0);
    check(&json_schema(), "", &sections(&text), &mut missing, &mut keys);
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(keys > 80, "{keys}");
}
