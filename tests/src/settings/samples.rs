//! What the samples give the extension: the settings in each, whatever kind of file it is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
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

/// All settings in all samples, of which each has some.
pub fn samples() -> Result<Vec<Sample>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples");
    let mut samples = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let found = settings(&folder, &name).with_context(|| name.clone())?;
        ensure!(!found.is_empty(), "{name}: no settings");
        let sample = |(extension, settings)| Sample { name: name.clone(), extension, settings };
        samples.extend(found.into_iter().map(sample));
    }
    Ok(samples)
}

fn settings(folder: &Path, name: &str) -> Result<Vec<(Extension, Value)>> {
    let text = fs::read_to_string(folder.join(name))?;
    if name.ends_with(".json") {
        let document: Value = serde_json::from_str(&text)?;
        return match document.get("resources") {
            Some(_) => settings_of_template(&document),
            None => Ok(vec![(extension(name.trim_end_matches(".json"))?, document)]),
        };
    }
    // Command lines hold the settings between marks, or refer to the files with the settings of both systems.
    if let Some((inner, rest)) = text.split_once("<<JSON\n").and_then(|(_, rest)| rest.split_once("\nJSON")) {
        let kind = rest.split_once("--type ").and_then(|(_, rest)| rest.split(' ').next());
        return Ok(vec![(
            extension(kind.unwrap_or_default())?,
            serde_json::from_str(&inner.replace("$VAULT", "myvault"))?,
        )]);
    }
    let mut found = Vec::new();
    for file in ["KeyVaultForLinux.json", "KeyVaultForWindows.json"] {
        ensure!(text.contains(file), "does not refer to {file}");
        found.extend(settings(folder, file)?);
    }
    Ok(found)
}

fn extension(kind: &str) -> Result<Extension> {
    Ok(serde_json::from_value(json!(kind))?)
}

/// The settings of every extension of this product in a template, with its expressions worked out.
fn settings_of_template(template: &Value) -> Result<Vec<(Extension, Value)>> {
    let mut found = Vec::new();
    find(template, &mut found);
    for (_, settings) in &mut found {
        work_out(settings, &template["parameters"])?;
    }
    Ok(found)
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

fn work_out(value: &mut Value, parameters: &Value) -> Result<()> {
    match value {
        Value::Object(members) => members.values_mut().try_for_each(|value| work_out(value, parameters)),
        Value::Array(items) => items.iter_mut().try_for_each(|value| work_out(value, parameters)),
        Value::String(text) if text.starts_with('[') => {
            let parameter = text.strip_prefix("[parameters('").and_then(|rest| rest.strip_suffix("')]"));
            let worked_out = match parameter {
                Some(name) => parameters[name]["defaultValue"].clone(),
                None if text.starts_with("[reference(") && text.ends_with(").clientId]") => json!(GUID),
                None => bail!("{text}: what is this?"),
            };
            ensure!(worked_out.is_string(), "{text}: has no default");
            *value = worked_out;
            Ok(())
        }
        _ => Ok(()),
    }
}
