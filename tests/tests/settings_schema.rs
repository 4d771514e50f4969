//! `docs/settings.schema.json`, which editors use: it promises what `check` says, and the samples and README.md keep to both.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use jsonschema::Validator;
use serde_json::{Map, Value, json};
use tests::handler_story::repository;
use tests::settings::{self, Check, Extension, GUID, Sample, Schema};
use tests::story::{binary, finish};

fn text(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn schema() -> Value {
    serde_json::from_str(&text("docs/settings.schema.json")).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn check(settings: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.settings");
    fs::write(&path, settings.to_string()).unwrap();
    let finished = finish(Command::new(binary("akvvm_service").unwrap()).args(["check", "--json"]).arg(&path)).unwrap();
    let result: Value = serde_json::from_str(&finished.output).unwrap();
    let code = if result["valid"] == true { 0 } else { 2 };
    assert_eq!(finished.code, Some(code), "{settings}: {finished:?}");
    result
}

/// Whether one of the findings is at `place` and says `words`.
fn says(findings: &Value, place: &str, words: &str) -> bool {
    let said = |finding: &Value| finding["path"] == place && finding["message"].as_str().unwrap().contains(words);
    findings.as_array().unwrap().iter().any(said)
}

#[test]
fn the_schema_is_one_of_2020_12() {
    assert!(jsonschema::draft202012::meta::is_valid(&schema()));
}

#[test]
fn check_says_of_each_case_what_it_should() {
    let mut wrong = Vec::new();
    for case in settings::cases() {
        let result = check(&case.settings);
        let fine = match case.check {
            Check::Accepts => result["valid"] == true && result["warnings"] == json!([]),
            Check::Warns(place, words) => result["valid"] == true && says(&result["warnings"], place, words),
            Check::Refuses(place, words) => result["valid"] == false && says(&result["errors"], place, words),
        };
        if !fine {
            wrong.push(format!("{case:?}: {result}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_schema_says_of_each_case_what_it_should() {
    let validator = validator();
    let mut wrong = Vec::new();
    for case in settings::cases() {
        let errors: Vec<String> = validator.iter_errors(&case.settings).map(|error| error.to_string()).collect();
        let fine = match case.schema {
            Schema::Accepts | Schema::LeavesToCheck(_) => errors.is_empty(),
            Schema::Refuses => !errors.is_empty(),
        };
        if !fine {
            wrong.push(format!("{case:?}: {errors:?}"));
        }
        let promises = match (case.check, case.schema) {
            (Check::Accepts, schema) => matches!(schema, Schema::Accepts),
            (Check::Refuses(..), schema) => !matches!(schema, Schema::Accepts),
            (Check::Warns(..), _) => true,
        };
        assert!(promises, "the schema is not what it promises to be: {case:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_sample_has_settings_that_schema_and_check_accept() {
    let validator = validator();
    let readme = text("README.md");
    let samples = settings::samples().unwrap();
    for Sample { name, extension, settings } in &samples {
        let errors: Vec<String> = validator.iter_errors(settings).map(|error| error.to_string()).collect();
        assert_eq!(errors, [] as [String; 0], "{name}");
        // The others are given to the program for Windows, in windows_handler.rs.
        if *extension == Extension::KeyVaultForLinux {
            let result = check(settings);
            assert_eq!((&result["valid"], &result["warnings"]), (&json!(true), &json!([])), "{name}: {result}");
        }
        assert!(readme.contains(&format!("(samples/{name})")), "README.md does not lead to samples/{name}");
    }
    let of = |wanted| samples.iter().filter(|sample| sample.extension == wanted).count();
    assert_eq!((of(Extension::KeyVaultForLinux), of(Extension::KeyVaultForWindows)), (8, 8));
}

/// The names of all settings in the schema that are not deprecated where they stand.
fn settings_in_schema() -> BTreeSet<String> {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        let empty = Map::new();
        let members = value.as_object().unwrap_or(&empty);
        // Under `if` and `then` stand conditions.
        if members.get("additionalProperties") == Some(&json!(false)) {
            for (name, setting) in members["properties"].as_object().unwrap() {
                if setting.get("deprecated") != Some(&json!(true)) {
                    names.insert(name.clone());
                }
                collect(setting, names);
            }
        }
    }
    let schema = schema();
    let mut names = BTreeSet::new();
    collect(&schema, &mut names);
    schema["$defs"].as_object().unwrap().values().for_each(|definition| collect(definition, &mut names));
    names
}

/// The names of all settings that have a line in a table of README.md, with an example that is JSON.
fn settings_in_readme() -> BTreeSet<String> {
    let readme = text("README.md");
    let head = "| setting | type | default | since | example | meaning |\n";
    let mut names = BTreeSet::new();
    for table in readme.split(head).skip(1) {
        for line in table.lines().skip(1).take_while(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.split(" | ").map(|cell| cell.trim_matches(['|', ' ', '`'])).collect();
            let [name, .., example, _] = cells[..] else { panic!("{line}: is no line of a setting") };
            assert!(serde_json::from_str::<Value>(example).is_ok(), "{name}: {example}");
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn every_setting_has_its_line_in_the_readme() {
    let sections = ["secretsManagementSettings", "authenticationSettings", "loggingSettings"].map(str::to_owned);
    // What is inside an entry of `acls` and `verify` is told with them.
    let inside = ["user", "connect", "serverName"].map(str::to_owned);
    let told_elsewhere: BTreeSet<String> = sections.into_iter().chain(inside).collect();
    let in_schema: BTreeSet<String> = settings_in_schema().difference(&told_elsewhere).cloned().collect();
    assert_eq!(in_schema, settings_in_readme());
}

#[test]
fn the_schema_knows_no_setting_that_check_does_not_know() {
    let schema = schema();
    let members = |definition: &str| -> Value {
        let names = schema["$defs"][definition]["properties"].as_object().unwrap().keys();
        // A list is no value of any of them: they are found wrong, or have no effect.
        names.map(|name| (name.clone(), json!([[]]))).collect::<Map<String, Value>>().into()
    };
    let mut settings = settings::with(members("secretsManagementSettings"));
    settings["secretsManagementSettings"]["observedCertificates"] = json!([members("observedCertificate")]);
    settings["authenticationSettings"] = members("authenticationSettings");
    settings["loggingSettings"] = members("loggingSettings");
    let result = check(&settings).to_string();
    assert!(!result.contains("is not a known setting") && !result.contains("is ignored here"), "{result}");
    assert!(result.contains("observedCertificates[0].url"), "{result}");
}

/// Where the schema has the settings of a place, and where they are in settings.
const PLACES: [(&str, &str); 8] = [
    ("/$defs/secretsManagementSettings", "/secretsManagementSettings"),
    ("/$defs/authenticationSettings", "/authenticationSettings"),
    ("/$defs/loggingSettings", "/loggingSettings"),
    ("/$defs/observedCertificate", "/secretsManagementSettings/observedCertificates/0"),
    ("/$defs/acl", "/secretsManagementSettings/observedCertificates/0/acls/0"),
    (
        "/$defs/observedCertificate/properties/authenticationOverride",
        "/secretsManagementSettings/observedCertificates/0/authenticationOverride",
    ),
    ("/$defs/afterRenewal", "/secretsManagementSettings/afterRenewal"),
    ("/$defs/afterRenewal/properties/verify", "/secretsManagementSettings/afterRenewal/verify"),
];

#[test]
fn schema_and_check_both_refuse_each_setting_of_another_kind() {
    let (schema, validator) = (schema(), validator());
    let whole = {
        let certificate = json!({"acls": [{"user": "app1"}], "authenticationOverride": {"msiClientId": GUID}});
        let verify = json!({"connect": "127.0.0.1:443", "serverName": "www.contoso.com"});
        let mut settings = settings::with(json!({"afterRenewal": {"verify": verify}}));
        settings["secretsManagementSettings"]["observedCertificates"] = json!([settings::object(certificate)]);
        settings["authenticationSettings"] = json!({});
        settings["loggingSettings"] = json!({"endpoint": "tcp://localhost"});
        settings
    };
    assert!(validator.is_valid(&whole) && check(&whole)["warnings"] == json!([]), "{whole}");
    for (definition, place) in PLACES {
        for name in schema.pointer(definition).unwrap()["properties"].as_object().unwrap().keys() {
            let is_object = schema.pointer(&format!("/$defs/{name}/properties")).is_some()
                || schema.pointer(&format!("{definition}/properties/{name}/properties")).is_some();
            let mut settings = whole.clone();
            settings.pointer_mut(place).unwrap()[name] = if is_object { json!([]) } else { json!({}) };
            assert!(!validator.is_valid(&settings), "{place}/{name}");
            let result = check(&settings);
            let said = result["errors"].as_array().into_iter().chain(result["warnings"].as_array()).flatten();
            let paths: Vec<&str> = said.map(|finding| finding["path"].as_str().unwrap()).collect();
            assert!(paths.iter().any(|path| path.ends_with(name)), "{place}/{name}: {result}");
        }
    }
}
