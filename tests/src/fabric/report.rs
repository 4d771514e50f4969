//! What an agent uploads of the machine and its extensions.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::agent::report::parse;
use crate::agent::{HandlerStatus, Reported};

/// One upload.
#[derive(Clone, Debug)]
pub struct Report {
    /// The number of the goal state that was processed; `None` as long as it is none with a number.
    pub goal_state: Option<u64>,
    /// The extensions that the agent knows.
    pub handlers: Vec<Handler>,
}

/// One extension in it.
#[derive(Clone, Debug)]
pub struct Handler {
    /// `<publisher>.<type>`.
    pub name: String,
    /// The version that is installed, or the one that could not be.
    pub version: String,
    /// What the agent says of the handler.
    pub handler: HandlerStatus,
    /// The number of the settings that the status is about.
    pub sequence: Option<u64>,
    /// What the extension says of itself.
    pub status: Option<Reported>,
}

impl Report {
    /// The extension with this name.
    #[must_use]
    pub fn handler(&self, name: &str) -> Option<&Handler> {
        self.handlers.iter().find(|handler| handler.name == name)
    }

    pub(super) fn parse(content: &[u8]) -> Result<Self> {
        let document: Value = serde_json::from_slice(content).context("the status is no JSON")?;
        let aggregate = &document["aggregateStatus"];
        let processed = &aggregate["vmArtifactsAggregateStatus"]["goalStateAggregateStatus"]["inSvdSeqNo"];
        let handlers = aggregate["handlerAggregateStatus"].as_array().context("no handlerAggregateStatus")?;
        Ok(Self {
            goal_state: number(processed),
            handlers: handlers.iter().map(Handler::parse).collect::<Result<_>>()?,
        })
    }
}

impl Handler {
    /// The word of the extension's own status.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        self.status.as_ref()?.status.as_deref()
    }

    /// The message of the extension's own status.
    #[must_use]
    pub fn message(&self) -> &str {
        let message = self.status.as_ref().and_then(|status| status.message.as_deref());
        message.unwrap_or_default()
    }

    fn parse(entry: &Value) -> Result<Self> {
        let text = |key: &str| entry[key].as_str().with_context(|| format!("a handler without {key}"));
        let settings = &entry["runtimeSettingsStatus"];
        let status = match &settings["settingsStatus"] {
            Value::Null => None,
            status => Some(parse(&json!([status])).map_err(anyhow::Error::msg)?),
        };
        Ok(Self {
            name: text("handlerName")?.to_owned(),
            version: text("handlerVersion")?.to_owned(),
            handler: HandlerStatus {
                ready: text("status")? == "Ready",
                code: entry["code"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or_default(),
                message: entry["formattedMessage"]["message"].as_str().unwrap_or_default().to_owned(),
            },
            sequence: number(&settings["sequenceNumber"]),
            status,
        })
    }
}

/// A number, which agents write as a string at times.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
