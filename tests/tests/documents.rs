//! What the documents say about the code: the tests that they name exist, and no dependency is without its reason.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::handler_story::package;
use zip::ZipArchive;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn document(name: &str) -> String {
    fs::read_to_string(repository().join("docs").join(name)).unwrap()
}

/// The rows of a document's tables whose first cell is `letter` and a number, as that number and the whole row.
fn numbered<'a>(document: &'a str, letter: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    document.lines().filter_map(move |row| {
        let first = row.strip_prefix("| ")?.split(' ').next()?;
        Some((first.strip_prefix(letter)?.parse().ok()?, row))
    })
}

/// What stands between back ticks.
fn quoted(row: &str) -> impl Iterator<Item = &str> {
    row.split('`').skip(1).step_by(2)
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every test of the workspace: the file without `.rs`, `::`, the function.
fn tests() -> BTreeSet<String> {
    let mut files = vec![];
    for folder in
        ["common/src", "handler/src", "handler/tests", "service/src", "service/tests", "tests/src", "tests/tests"]
    {
        sources(&repository().join(folder), &mut files);
    }
    let mut tests = BTreeSet::new();
    for file in files {
        let name = file.strip_prefix(repository()).unwrap().with_extension("").display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        for marked in text.split("#[test]\n").skip(1) {
            let function = marked.split("fn ").nth(1).unwrap().split('(').next().unwrap();
            tests.insert(format!("{name}::{function}"));
        }
    }
    tests
}

/// Fails unless the rows `letter`1 to `letter``last` are all there, and each names tests or campaigns that exist, and no
/// file that does not.
fn every_row_is_proven(name: &str, letter: &str, last: usize) {
    let (document, tests) = (document(name), tests());
    let numbers: Vec<_> = numbered(&document, letter).map(|(number, _)| number).collect();
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "{name}");
    for (_, row) in numbered(&document, letter) {
        let mut proofs = 0;
        for words in quoted(row) {
            if words.contains("::") {
                let end = format!("/{words}");
                assert!(tests.iter().any(|test| test.ends_with(&end)), "{name}: no test {words}: {row}");
                proofs += 1;
            } else if let Some(campaign) = words.strip_prefix("campaign ") {
                let file = format!("tests/src/bin/campaign/{}.rs", campaign.replace('-', "_"));
                assert!(repository().join(file).is_file(), "{name}: no campaign {campaign}: {row}");
                proofs += 1;
            } else if words.contains('/') && words.ends_with(".rs") {
                assert!(repository().join(words).is_file(), "{name}: no file {words}: {row}");
            }
        }
        assert!(proofs > 0 || row.contains("Not tested: "), "{name}: nothing proves: {row}");
    }
}

#[test]
fn every_threat_names_tests_that_exist() {
    every_row_is_proven("threat-model.md", "T", 36);
}

#[test]
fn every_fault_names_tests_that_exist() {
    every_row_is_proven("faults.md", "F", 37);
}

/// What the service needs on a system, as cargo calls that.
fn needed(target: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package", "service", "--edges", "normal,build", "--prefix", "none"])
        .args(["--target", target, "--format", "{p}"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| !["common", "service", ""].contains(name)).map(str::to_owned).collect()
}

#[test]
fn every_dependency_of_the_service_has_its_reason() {
    let document = document("dependencies.md");
    let (linux, windows) = document.split_once(WINDOWS).unwrap();
    let on_linux = needed("x86_64-unknown-linux-gnu");
    let on_windows = needed("x86_64-pc-windows-gnu");
    let further: BTreeSet<_> = on_windows.difference(&on_linux).map(String::as_str).collect();
    let on_linux: BTreeSet<_> = on_linux.iter().map(String::as_str).collect();
    assert_eq!(argued(linux), on_linux, "docs/dependencies.md on the left, cargo tree on the right");
    assert_eq!(argued(windows), further, "docs/dependencies.md on the left, cargo tree on the right");
}

/// Where dependencies.md comes to what only Windows needs.
const WINDOWS: &str = "\n## On Windows: ";

#[test]
fn the_dependencies_are_counted() {
    let document = document("dependencies.md");
    let mut counts = vec![];
    for section in document.split("\n## ").skip(1) {
        let (title, rows) = section.split_once('\n').unwrap();
        let number: usize = title.split_once(": ").unwrap().1.parse().unwrap();
        assert_eq!(argued(rows).len(), number, "{title}");
        counts.push(number);
    }
    let [chosen, brought, build, windows] = counts[..] else { panic!("{counts:?}") };
    let beginning = document.split("\n## ").next().unwrap().replace('\n', " ");
    let sum = chosen + brought;
    for words in [format!(" {sum} crates are in"), format!(" {build} only build it"), format!("adds {windows}.")] {
        assert!(beginning.contains(&words), "{words}");
    }
}

/// The crates in these tables of dependencies.md; fails when one has no reason.
fn argued(tables: &str) -> BTreeSet<&str> {
    tables
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.split_once("` | "))
        .inspect(|(name, reason)| assert!(reason.trim_end_matches(['|', ' ']).len() > 10, "{name}: no reason"))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn the_bill_of_materials_in_the_package_is_complete() {
    let package = File::open(package().unwrap()).unwrap();
    let mut package = ZipArchive::new(package).unwrap();
    let bill: Value = serde_json::from_reader(package.by_name("sbom.cdx.json").unwrap()).unwrap();
    let components = bill["components"].as_array().unwrap();
    let listed: BTreeSet<_> = components.iter().map(|part| part["name"].as_str().unwrap()).collect();
    let document = document("dependencies.md");
    let mut needed = argued(document.split_once(WINDOWS).unwrap().0);
    needed.extend(["common", "handler", "service"]);
    assert_eq!(listed, needed, "sbom.cdx.json on the left, docs/dependencies.md on the right");
    for part in components {
        assert!(part["licenses"][0]["expression"].is_string(), "no licence: {part}");
    }
}

/// The fuzzers compile the service's modules in: a module that they lack would not be missed.
#[test]
fn the_fuzzers_have_every_module_of_the_service() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).unwrap();
    let (service, fuzz) = (read("service/src/main.rs"), read("fuzz/src/lib.rs"));
    // What people and systemd call; nothing in it reads what comes from outside.
    let verbs = ["mod check;", "mod daemon;", "mod dial;", "mod ended;", "mod prepare;", "mod single_pass;"];
    for module in service.lines().filter(|line| line.starts_with("mod ") && !verbs.contains(line)) {
        assert!(fuzz.lines().any(|line| line == module), "fuzz/src/lib.rs lacks `{module}`");
    }
}

/// What differs between the systems is in pairs of modules with one face: only the `mod.rs` above a pair chooses.
#[test]
fn no_module_but_the_face_of_a_pair_asks_for_the_system() {
    let mut files = vec![];
    for folder in ["common/src", "handler/src", "service/src"] {
        sources(&repository().join(folder), &mut files);
    }
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let asks =
            |line: &&str| line.contains("cfg") && ["target_os", "windows", "unix"].iter().any(|os| line.contains(os));
        let lines: Vec<_> = text.lines().filter(asks).collect();
        let allowed = ["#[cfg(target_os = \"linux\")]", "#[cfg(target_os = \"windows\")]"];
        let is_face = file.ends_with("mod.rs") && lines.iter().all(|line| allowed.contains(line));
        assert!(lines.is_empty() || is_face, "{}: {lines:?}", file.display());
    }
}
