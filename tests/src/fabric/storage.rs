//! The storage: manifests that list the versions of each extension, their packages, and the blob for the status.

use std::fs;
use std::path::PathBuf;

use super::report::Report;
use super::{Cloud, STORAGE};
use crate::http::{Request, Response};

/// A published version.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) path: PathBuf,
}

pub(super) fn answer(cloud: &mut Cloud, request: &Request, body: &[u8]) -> Response {
    match request.method.as_str() {
        "GET" => fetch(cloud, &request.path),
        "PUT" if request.path == "/status" => put_status(cloud, body),
        _ => Response::new(404, ""),
    }
}

/// What lies at this URL, or at this path of the storage: `<name>/manifest.xml` or `<name>/<version>.zip`.
pub(super) fn fetch(cloud: &Cloud, location: &str) -> Response {
    let path = location.trim_start_matches("http://").trim_start_matches(STORAGE);
    let Some((name, file)) = path.trim_start_matches('/').split_once('/') else {
        return Response::new(404, "");
    };
    if file == "manifest.xml" {
        return Response::new(200, manifest(cloud, name)).header("Content-Type", "text/xml; charset=utf-8");
    }
    let mut packages = cloud.packages.iter();
    let package = packages.find(|package| package.name == name && file == format!("{}.zip", package.version));
    match package.map(|package| fs::read(&package.path)) {
        Some(Ok(content)) => Response::new(200, content).header("Content-Type", "application/zip"),
        Some(Err(error)) => Response::new(500, error.to_string()),
        None => Response::new(404, ""),
    }
}

/// Takes a status into the blob.
pub(super) fn put_status(cloud: &mut Cloud, content: &[u8]) -> Response {
    match Report::parse(content) {
        Ok(report) => {
            cloud.report = Some(report);
            Response::new(201, "")
        }
        Err(error) => Response::new(400, format!("{error:#}")),
    }
}

fn manifest(cloud: &Cloud, name: &str) -> String {
    let packages = cloud.packages.iter().filter(|package| package.name == name);
    let plugins: String = packages
        .map(|package| {
            let version = &package.version;
            format!(
                "<Plugin><Version>{version}</Version><Uris><Uri>http://{STORAGE}/{name}/{version}.zip</Uri></Uris>\
                 </Plugin>"
            )
        })
        .collect();
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?>
<PluginVersionManifest><Plugins>{plugins}</Plugins><InternalPlugins /></PluginVersionManifest>"#
    )
}
