//! `loggingSettings`: who is told what happens, beside the local log file. Nothing in here is a reason to leave a machine
//! without certificates, so all that is wrong is a warning.

use super::collector::{self, Collector};
use super::reader::{Findings, Node};

/// Ours alone: the reference does not know this setting.
const TELEMETRY_EVENTS: &str = "telemetryEvents";

/// Who is told what happens.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Logging {
    /// Let the guest agent send events: counts and codes, never names.
    pub telemetry_events: bool,
    /// Who gets the log lines, too.
    pub collector: Option<Collector>,
}

pub(super) fn parse(section: &Node<'_>, findings: &mut Findings) -> Logging {
    if !section.is_object() {
        let advice = "logs go to the local log files only";
        findings.warning(section.path(), format!("{}: {advice}", section.mismatch("an object")));
    }
    Logging {
        telemetry_events: telemetry_events(section, findings).unwrap_or_default(),
        collector: collector::parse(section, findings),
    }
}

fn telemetry_events(section: &Node<'_>, findings: &mut Findings) -> Option<bool> {
    let mut mistakes = Findings::default();
    let value = section.child(TELEMETRY_EVENTS)?.boolean(&mut mistakes);
    for mistake in mistakes.errors {
        findings.warning(&mistake.path, format!("{}; no events are sent", mistake.message));
    }
    value
}
