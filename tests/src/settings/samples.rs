//! What the samples give the extension: the settings in each, whatever kind of file it is.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::GUID;

/// Settings in a sample.
#[derive(Debug)]
pub struct Sample {
    /// The file in `samples`.
    pub name: String,
    /// What gets them.
    pub extension: Extension,
    /// The settings, with what a template works out.
    pub settings: Value,
}

/// The type of an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[allow(missing_docs)]
pub enum Extension {
    KeyVaultForLinux,
    KeyVaultForWindows,
}

/// All settings in all samples.
///
/// # Panics
/// A sample has none, or something in it cannot be worked out.
#[must_use]
pub fn samples() -> Vec<Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .flat_map(|name| {
            let found = settings(&name, &read);
            assert!(!found.is_empty(), "{name}: no settings");
            found.into_iter().map(move |(extension, settings)| Sample { name: name.clone(), extension, settings })
        })
        .collect()
}

fn settings(name: &str, read: &dyn Fn(&str) -> String) -> Vec<(Extension, Value)> {
    let text = read(name);
    let parse = |text: &str| -> Value { serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}")) };
    if name.ends_with(".json") {
        let document = parse(&text);
        return match document.get("resources") {
            Some(_) => settings_of_template(&document),
            None => vec![(extension(name.trim_end_matches(".json")), document)],
        };
    }
    // Command lines hold the settings between marks, or refer to the files with the settings of both systems.
    if let Some((inner, rest)) = text.split_once("<<JSON\n").and_then(|(_, rest)| rest.split_once("\nJSON")) {
        let kind = rest.split_once("--type ").and_then(|(_, rest)| rest.split(' ').next());
        return vec![(extension(kind.unwrap_or_default()), parse(&inner.replace("$VAULT", "myvault")))];
    }
    ["KeyVaultForLinux.json", "KeyVaultForWindows.json"]
        .into_iter()
        .flat_map(|file| {
            assert!(text.contains(file), "{name}: does not refer to {file}");
            settings(file, read)
        })
        .collect()
}

fn extension(kind: &str) -> Extension {
    serde_json::from_value(json!(kind)).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

/// The settings of every extension of this product in a template, with its expressions worked out.
fn settings_of_template(template: &Value) -> Vec<(Extension, Value)> {
    let mut found = Vec::new();
    find(template, &mut found);
    found.iter_mut().for_each(|(_, settings)| work_out(settings, &template["parameters"]));
    found
}

fn find(value: &Value, found: &mut Vec<(Extension, Value)>) {
    match value {
        Value::Object(members) => match members.get("type").map(|kind| serde_json::from_value(kind.clone())) {
            Some(Ok(extension)) => found.push((extension, members["settings"].clone())),
            _ => members.values().for_each(|value| find(value, found)),
        },
        Value::Array(items) => items.iter().for_each(|value| find(value, found)),
        _ => {}
    }
}

fn work_out(value: &mut Value, parameters: &Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|value| work_out(value, parameters)),
        Value::Array(items) => items.iter_mut().for_each(|value| work_out(value, parameters)),
        Value::String(text) if text.starts_with('[') => {
            let parameter = text.strip_prefix("[parameters('").and_then(|rest| rest.strip_suffix("')]"));
            *value = match parameter {
                Some(name) => parameters[name]["defaultValue"].clone(),
                None if text.starts_with("[reference(") && text.ends_with(").clientId]") => json!(GUID),
                None => panic!("{text}: what is this?"),
            };
            assert!(value.is_string());
        }
        _ => {}
    }
}
