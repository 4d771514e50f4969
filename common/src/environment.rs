//! HandlerEnvironment.json: the folders that the guest agent gave this handler.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The folders of one installed version of the handler.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// Logs that outlive the version.
    pub log_folder: PathBuf,
    /// `<N>.settings`.
    pub config_folder: PathBuf,
    /// `<N>.status`.
    pub status_folder: PathBuf,
    /// Events for telemetry, where the agent collects any.
    pub events_folder: Option<PathBuf>,
}

/// Why the folders are not known.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}; the guest agent writes this file before it runs a command")]
pub struct EnvironmentError {
    path: String,
    reason: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "handlerEnvironment")]
    environment: Environment,
}

/// The agent's contract is an array of one; a bare object is what a person writes by hand.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Array([Entry; 1]),
    Object(Entry),
}

impl Environment {
    /// Reads `HandlerEnvironment.json` in `folder`, the handler's base folder.
    ///
    /// # Errors
    /// The file is missing or is not what the agent writes.
    pub fn load(folder: &Path) -> Result<Self, EnvironmentError> {
        let path = folder.join("HandlerEnvironment.json");
        let failed = |reason: String| EnvironmentError { path: path.display().to_string(), reason };
        let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        let document =
            serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| failed(error.to_string()))?;
        Ok(match document {
            Document::Array([entry]) | Document::Object(entry) => entry.environment,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_linux_agent_writes() {
        let folder = tempfile::tempdir().unwrap();
        let json = r#"[{"name":"Lab.Probe","version":1.0,"handlerEnvironment":{"logFolder":"/var/log/azure/Lab.Probe",
            "configFolder":"/var/lib/waagent/Lab.Probe-1.0.0/config","statusFolder":"/var/lib/waagent/Lab.Probe-1.0.0/status",
            "heartbeatFile":"/var/lib/waagent/Lab.Probe-1.0.0/heartbeat.log","eventsFolder":"/var/log/azure/Lab.Probe/events"}}]"#;
        std::fs::write(folder.path().join("HandlerEnvironment.json"), json).unwrap();
        let environment = Environment::load(folder.path()).unwrap();
        assert_eq!(environment.status_folder, Path::new("/var/lib/waagent/Lab.Probe-1.0.0/status"));
        assert_eq!(environment.events_folder.as_deref(), Some(Path::new("/var/log/azure/Lab.Probe/events")));
    }

    #[test]
    fn names_the_file_that_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let message = Environment::load(folder.path()).unwrap_err().to_string();
        assert!(message.contains("HandlerEnvironment.json"), "{message}");
    }
}
