//! The wire server, 168.63.129.16:80: tells the goal state and takes reports of health and telemetry.

use super::{Cloud, goal};
use crate::http::{Request, Response};

const VERSIONS: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<Versions><Preferred><Version>2015-04-05</Version></Preferred>
<Supported><Version>2015-04-05</Version><Version>2012-11-30</Version></Supported></Versions>"#;

const ENVIRONMENT: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<HostingEnvironmentConfig version="1.0.0.0" goalStateIncarnation="1">
<Deployment name="d1" guid="{00000000-0000-0000-0000-000000000001}" incarnation="0" />
<Incarnation number="1" instance="vm1" guid="{00000000-0000-0000-0000-000000000002}" />
<Role guid="{00000000-0000-0000-0000-000000000003}" name="vm1" />
</HostingEnvironmentConfig>"#;

const SHARED: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<SharedConfig version="1.0.0.0" goalStateIncarnation="1"><Deployment name="d1" /></SharedConfig>"#;

pub(super) fn answer(cloud: &mut Cloud, request: &Request) -> Response {
    let component = request.parameter("comp").unwrap_or_default().to_ascii_lowercase();
    let document = match (request.method.as_str(), component.as_str(), request.parameter("type")) {
        ("GET", "versions", _) => VERSIONS.to_owned(),
        ("GET", "goalstate", _) => goal::goal_state(cloud),
        ("GET", "config", Some("hostingEnvironmentConfig")) => ENVIRONMENT.to_owned(),
        ("GET", "config", Some("sharedConfig")) => SHARED.to_owned(),
        ("GET", "config", Some("extensionsConfig")) => goal::extensions(cloud),
        // Health, role properties and telemetry are taken and forgotten.
        ("POST", _, _) => return Response::new(200, ""),
        _ => return Response::new(404, ""),
    };
    Response::new(200, document).header("Content-Type", "text/xml; charset=utf-8")
}
