//! The bill of materials of the binaries, in CycloneDX 1.6 (cyclonedx.org), made of what `cargo metadata` says:
//!
//!     cargo metadata --locked --format-version 1 --filter-platform TRIPLE | sbom >sbom.cdx.json
//!
//! The same bytes for the same input: no moment, no random number, no path.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// The packages whose binaries are shipped.
const ROOTS: [&str; 2] = ["handler", "service"];

/// What is needed of the output of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    /// Nothing for the members of the workspace.
    source: Option<String>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// Nothing, `build` or `dev`.
    kind: Option<String>,
}

impl Edge {
    fn is(&self, wanted: Option<&str>) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.as_deref() == wanted)
    }
}

impl Package {
    fn is_macro(&self) -> bool {
        self.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
    }

    /// The package's name everywhere (github.com/package-url), which serves as its name in this document as well.
    fn url(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B"))
    }

    fn component(&self, is_shipped: bool) -> Value {
        let mut component = json!({
            "type": if ROOTS.contains(&&*self.name) { "application" } else { "library" },
            "bom-ref": self.url(),
            "name": self.name,
            "version": self.version,
            "scope": if is_shipped { "required" } else { "excluded" },
        });
        // What has no source is of this workspace, and no registry has it.
        if self.source.is_some() {
            component["purl"] = json!(self.url());
        }
        if let Some(description) = &self.description {
            component["description"] = json!(description.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        if let Some(license) = &self.license {
            // Older packages separate with a stroke what SPDX separates with a word.
            component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
        }
        if let Some(version) = self.bundled_openssl() {
            component["components"] = json!([{
                "type": "library",
                "bom-ref": format!("pkg:generic/openssl@{version}"),
                "name": "openssl",
                "version": version,
                "scope": "required",
                "licenses": [{"expression": "Apache-2.0"}],
                // What advisories about OpenSSL are looked up by.
                "cpe": format!("cpe:2.3:a:openssl:openssl:{version}:*:*:*:*:*:*:*"),
                "purl": format!("pkg:generic/openssl@{version}"),
            }]);
        }
        component
    }

    /// The version of the C library that openssl-src holds: `300.6.1+3.6.3`.
    fn bundled_openssl(&self) -> Option<&str> {
        let (_, version) = self.version.split_once('+').filter(|_| self.name == "openssl-src")?;
        Some(version)
    }
}

/// Everything that can be reached from `roots` by edges that `follow` takes.
fn reached<'a>(
    roots: impl IntoIterator<Item = &'a str>,
    nodes: &BTreeMap<&'a str, &'a Node>,
    follow: impl Fn(&Edge) -> bool,
) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = roots.into_iter().collect();
    while let Some(id) = open.pop() {
        if found.insert(id) {
            let edges = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            open.extend(edges.filter(|edge| follow(edge)).map(|edge| &*edge.pkg));
        }
    }
    found
}

fn bill(metadata: &Metadata) -> Result<Value> {
    let packages: BTreeMap<&str, &Package> = metadata.packages.iter().map(|package| (&*package.id, package)).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|node| (&*node.id, node)).collect();
    let named = |id: &str| packages.get(id).copied().with_context(|| format!("{id}: no such package"));
    let of_workspace = |name: &str| {
        let mut all = metadata.packages.iter();
        all.find(|package| package.source.is_none() && package.name == name).with_context(|| format!("no {name}"))
    };
    let roots = ROOTS.iter().map(|name| of_workspace(name)).collect::<Result<Vec<_>>>()?;
    let ids = || roots.iter().map(|package| &*package.id);
    let needed = reached(ids(), &nodes, |edge| edge.is(None) || edge.is(Some("build")));
    // Macros and build scripts run on the machine that builds; but the sources in openssl-src become part of the binaries.
    let is_macro = |edge: &Edge| packages.get(&*edge.pkg).is_some_and(|package| package.is_macro());
    let mut shipped = reached(ids(), &nodes, |edge| edge.is(None) && !is_macro(edge));
    for id in &needed {
        if named(id)?.bundled_openssl().is_some() {
            shipped.insert(id);
        }
    }

    let mut components = vec![];
    let mut dependencies = vec![];
    for id in &needed {
        let package = named(id)?;
        components.push(package.component(shipped.contains(id)));
        let edges = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        let used = edges.filter(|edge| needed.contains(&*edge.pkg) && (edge.is(None) || edge.is(Some("build"))));
        let mut on = used.map(|edge| named(&edge.pkg).map(Package::url)).collect::<Result<BTreeSet<_>>>()?;
        on.extend(package.bundled_openssl().map(|version| format!("pkg:generic/openssl@{version}")));
        dependencies.push(json!({"ref": package.url(), "dependsOn": on}));
    }
    // The identifiers of the members hold the path of the sources.
    let key = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
    components.sort_by_key(|component| key(component, "bom-ref"));
    dependencies.sort_by_key(|dependency| key(dependency, "ref"));
    let service = of_workspace("service")?;
    dependencies
        .push(json!({"ref": "package", "dependsOn": roots.iter().map(|root| root.url()).collect::<BTreeSet<_>>()}));
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "bom-ref": "package",
            "name": "KeyVaultForLinux",
            "version": service.version,
        }},
        "components": components,
        "dependencies": dependencies,
    }))
}

fn main() -> ExitCode {
    let made = serde_json::from_reader(io::stdin().lock())
        .context("standard input is not what `cargo metadata` prints")
        .and_then(|metadata| bill(&metadata))
        .and_then(|bill| Ok(writeln!(io::stdout(), "{bill:#}")?));
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when this fails, too.
            let _ = writeln!(io::stderr(), "sbom: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What `cargo metadata` would print for these packages (name and version, the kind of its target) and edges (from, to,
    /// kind), of sources at `root`.
    fn metadata(root: &str) -> Metadata {
        let id = |name: &str| match name {
            "handler" | "service" | "tests" => format!("path+file://{root}/{name}#1.0.0"),
            _ => format!("registry+https://example.org#{name}"),
        };
        let packages = [
            ("handler", "1.0.0", "bin"),
            ("service", "1.0.0", "bin"),
            ("tests", "1.0.0", "bin"),
            ("anyhow", "1.0.1", "lib"),
            ("macros", "0.2.0", "proc-macro"),
            ("quote", "1.0.0", "lib"),
            ("openssl-src", "300.6.1+3.6.3", "lib"),
            ("tempfile", "3.0.0", "lib"),
        ];
        let edges = [
            ("handler", "anyhow", json!(null)),
            ("service", "anyhow", json!(null)),
            ("service", "macros", json!(null)),
            ("service", "openssl-src", json!("build")),
            ("service", "tempfile", json!("dev")),
            ("macros", "quote", json!(null)),
            ("tests", "tempfile", json!(null)),
        ];
        let package = |&(name, version, kind): &(&str, &str, &str)| {
            let source = id(name).starts_with("registry").then_some("registry");
            json!({"id": id(name), "name": name, "version": version, "license": "MIT/Apache-2.0", "source": source,
                   "description": "Does\n  things", "targets": [{"kind": [kind]}]})
        };
        let node = |&(name, ..): &(&str, &str, &str)| {
            let deps = edges.iter().filter(|(from, ..)| *from == name);
            let deps: Vec<_> =
                deps.map(|(_, to, kind)| json!({"pkg": id(to), "dep_kinds": [{"kind": kind}]})).collect();
            json!({"id": id(name), "deps": deps})
        };
        let nodes: Vec<_> = packages.iter().map(node).collect();
        let packages: Vec<_> = packages.iter().map(package).collect();
        serde_json::from_value(json!({"packages": packages, "resolve": {"nodes": nodes}})).unwrap()
    }

    #[test]
    fn names_what_is_shipped_and_what_only_builds_it() {
        let bill = bill(&metadata("/home/somebody")).unwrap();
        let components = bill["components"].as_array().unwrap();
        let found: Vec<_> = components.iter().map(|part| (part["name"].as_str(), part["scope"].as_str())).collect();
        let expected = [
            ("anyhow", "required"),
            ("handler", "required"),
            ("macros", "excluded"),
            ("openssl-src", "required"),
            ("quote", "excluded"),
            ("service", "required"),
        ];
        assert_eq!(found, expected.map(|(name, scope)| (Some(name), Some(scope))));
        assert_eq!(components[0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(components[0]["description"], "Does things");
    }

    #[test]
    fn names_the_library_that_advisories_are_about() {
        let bill = bill(&metadata("/home/somebody")).unwrap();
        let openssl = &bill["components"][3];
        assert_eq!(openssl["purl"], "pkg:cargo/openssl-src@300.6.1%2B3.6.3");
        assert_eq!(openssl["components"][0]["cpe"], "cpe:2.3:a:openssl:openssl:3.6.3:*:*:*:*:*:*:*");
        assert_eq!(bill["dependencies"][3]["dependsOn"], json!(["pkg:generic/openssl@3.6.3"]));
    }

    #[test]
    fn does_not_say_where_it_was_made() {
        let here = bill(&metadata("/home/somebody")).unwrap();
        assert_eq!(here.to_string(), bill(&metadata("/zzz")).unwrap().to_string());
        assert!(!here.to_string().contains("somebody"));
    }
}
