//! curl as the emulator's client: one that we did not write and that hides nothing.
#![allow(dead_code, reason = "not every test looks at every part of an answer")]

use std::process::Output;

use serde_json::Value;
use tests::azure::Azure;
use tests::world::World;

/// What curl got.
pub(crate) struct Answer {
    /// curl's own exit code; 0 when it got a complete answer.
    pub(crate) exit: i32,
    /// The status.
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body as text.
    pub(crate) body: String,
}

impl Answer {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default().split(' ').nth(1);
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            exit: output.status.code().unwrap(),
            status: status.and_then(|status| status.parse().ok()).unwrap_or(0),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    /// The header of this name.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// `(code, inner code, message)` of one of Key Vault's errors.
    pub(crate) fn error(&self) -> (String, String, String) {
        let error = &self.json()["error"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&error["code"]), text(&error["innererror"]["code"]), text(&error["message"]))
    }
}

/// Asks with these arguments; no answer is waited for longer than two seconds.
pub(crate) fn curl(world: &World, arguments: &[&str]) -> Answer {
    let mut command = world.command("curl");
    command.args(["-sS", "-i", "--max-time", "2"]).args(arguments);
    Answer::of(&command.output().unwrap())
}

/// Asks the metadata service for a token; `query` is what follows the api-version.
pub(crate) fn token(world: &World, query: &str) -> Answer {
    let url = format!("http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01{query}");
    curl(world, &["-H", "Metadata: true", &url])
}

/// A token for the public cloud's vaults.
pub(crate) fn bearer(world: &World) -> String {
    let answer = token(world, "&resource=https%3A%2F%2Fvault.azure.net");
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    format!("Authorization: Bearer {token}")
}

/// Asks the vault `contoso` for a path, with a fresh token.
pub(crate) fn ask(world: &World, azure: &Azure, path: &str) -> Answer {
    world.connect(azure).unwrap();
    let url = format!("https://contoso.vault.azure.net{path}");
    curl(world, &["-H", &bearer(world), &url])
}
