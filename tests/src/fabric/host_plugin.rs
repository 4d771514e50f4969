//! The host's plugin, 168.63.129.16:32526: puts the status into the storage, and fetches from it, on the agent's behalf.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Cloud, storage};
use crate::http::{Incoming, Response};

pub(super) fn answer(cloud: &mut Cloud, incoming: &Incoming) -> Response {
    let request = &incoming.request;
    match (request.method.as_str(), request.segments().as_slice()) {
        ("GET", ["versions"]) => Response::json(200, &json!(["2015-09-01"])),
        ("GET", ["health"]) => Response::new(200, ""),
        ("GET", ["extensionArtifact"]) => {
            let location = request.header("x-ms-artifact-location").unwrap_or_default();
            storage::fetch(cloud, location)
        }
        ("PUT", ["status"]) => {
            let order: Value = serde_json::from_slice(&incoming.body).unwrap_or_default();
            let content = order["content"].as_str().and_then(|content| STANDARD.decode(content).ok());
            match content {
                Some(content) => storage::put_status(cloud, &content),
                None => Response::new(400, "content is missing"),
            }
        }
        ("PUT", _) => Response::new(200, ""),
        // `vmSettings` among them: this host knows no FastTrack.
        _ => Response::new(404, ""),
    }
}
