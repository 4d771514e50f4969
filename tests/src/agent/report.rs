//! What the agent makes of a status file: the judgement of `parse_ext_status` and `collect_ext_status` in
//! WALinuxAgent 2.15, without their eight seconds of patience for files that are missing or half-written.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// The words that the agent knows, in lower case only.
const STATUSES: [&str; 4] = ["transitioning", "error", "success", "warning"];

/// The agent's code for a status that it cannot use.
const INVALID: i64 = 1012;

/// More characters than this, and the agent shortens the status.
const MAX_STATUS: usize = 131_072;

/// An extension's status as the agent reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// `transitioning`, `error`, `success` or `warning`; `None` for an empty array, which nobody understands.
    pub status: Option<String>,
    /// The code, whatever JSON it is; null when there is none.
    pub code: Value,
    /// The message.
    pub message: Option<String>,
    /// The operation.
    pub operation: Option<String>,
    /// The substatuses in their order.
    pub substatus: Vec<Substatus>,
    /// Whether the file is so large that the agent shortens it.
    pub too_large: bool,
    /// Whether a status file was there.
    pub from_file: bool,
}

/// The status of a part.
#[derive(Clone, Debug, PartialEq)]
pub struct Substatus {
    /// Its name.
    pub name: Option<String>,
    /// One of the agent's words.
    pub status: String,
    /// The code, whatever JSON it is.
    pub code: Value,
    /// The message.
    pub message: Option<String>,
}

impl Reported {
    /// Whether the fabric stops waiting: `success` or `error`.
    #[must_use]
    pub fn terminal(&self) -> bool {
        matches!(self.status.as_deref(), Some("success" | "error"))
    }

    /// Whether the agent could use what the extension wrote.
    #[must_use]
    pub fn valid(&self) -> bool {
        self.from_file && self.code != json!(INVALID) && self.status.is_some()
    }

    /// The substatus with this name.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&Substatus> {
        let mut parts = self.substatus.iter();
        parts.find(|part| part.name.as_deref() == Some(name))
    }

    fn plain(status: &str, code: i64, message: String) -> Self {
        Self {
            status: Some(status.to_owned()),
            code: json!(code),
            message: Some(message),
            operation: None,
            substatus: Vec::new(),
            too_large: false,
            from_file: true,
        }
    }
}

/// Reads a status file and judges it.
pub fn judge(handler: &str, path: &Path) -> Reported {
    let Ok(text) = fs::read_to_string(path) else {
        let message = format!(
            "This status is being reported by the Guest Agent since no status file was reported by extension \
             {handler}: {}",
            path.display()
        );
        return Reported { from_file: false, ..Reported::plain("transitioning", 0, message) };
    };
    let invalid = |reason: String| {
        let message = format!(
            "Could not get a valid status from the extension {handler}. Encountered the following error: {reason}"
        );
        Reported::plain("error", INVALID, message)
    };
    let parsed = match serde_json::from_str::<Value>(&text) {
        Ok(document) => parse(&document),
        Err(error) => Err(format!("the status file is no JSON: {error}")),
    };
    match parsed {
        Ok(reported) => Reported { too_large: text.chars().count() > MAX_STATUS, ..reported },
        Err(reason) => invalid(reason),
    }
}

/// Judges a document in the form of a status file; an error is what the agent says instead.
pub(crate) fn parse(document: &Value) -> Result<Reported, String> {
    let Some(elements) = document.as_array() else {
        return Err("The extension status must be an array".to_owned());
    };
    let Some(first) = elements.first() else {
        return Ok(Reported {
            status: None,
            code: Value::Null,
            message: None,
            ..Reported::plain("", 0, String::new())
        });
    };
    let status = first.get("status").ok_or("Invalid status: missing status")?;
    let word = status.get("status").ok_or("Invalid status: missing status/status")?;
    let known = word.as_str().filter(|word| STATUSES.contains(word));
    let parts = match &status["substatus"] {
        Value::Array(parts) => parts.as_slice(),
        Value::Null => &[],
        _ => return Err("Invalid status: substatus is no array".to_owned()),
    };
    let parts = parts.iter().filter(|part| !part.is_null());
    Ok(Reported {
        status: Some(known.unwrap_or("error").to_owned()),
        code: status.get("code").cloned().unwrap_or(json!(0)),
        message: message(status)?,
        operation: status["operation"].as_str().map(str::to_owned),
        substatus: parts.map(substatus).collect::<Result<_, _>>()?,
        too_large: false,
        from_file: true,
    })
}

fn substatus(part: &Value) -> Result<Substatus, String> {
    let word = part.get("status").ok_or("Invalid status: missing substatus/status")?;
    let word = word.as_str().filter(|word| STATUSES.contains(word));
    Ok(Substatus {
        name: part["name"].as_str().map(str::to_owned),
        status: word.ok_or("Invalid status: substatus/status is not one of the known words")?.to_owned(),
        code: part.get("code").cloned().unwrap_or(json!(0)),
        message: message(part)?,
    })
}

/// The text of `formattedMessage`, which may be absent but not incomplete.
fn message(object: &Value) -> Result<Option<String>, String> {
    let formatted = &object["formattedMessage"];
    if formatted.is_null() {
        return Ok(None);
    }
    for key in ["lang", "message"] {
        if formatted.get(key).is_none() {
            return Err(format!("Invalid status: missing formattedMessage/{key}"));
        }
    }
    Ok(formatted["message"].as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn judged(text: &str) -> Reported {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.status");
        fs::write(&path, text).unwrap();
        judge("Lab.Probe", &path)
    }

    #[test]
    fn passes_a_good_status_through() {
        let reported = judged(
            r#"[{"version":1.0,"timestampUTC":"2026-01-01T00:00:00Z","status":{"name":"n","operation":"o","status":"success",
            "code":0,"formattedMessage":{"lang":"en-US","message":"fine"},"substatus":[{"name":"web","status":"error","code":3,
            "formattedMessage":{"lang":"en-US","message":"bad"}}]}}]"#,
        );
        assert_eq!(reported.status.as_deref(), Some("success"));
        assert_eq!(reported.message.as_deref(), Some("fine"));
        assert_eq!(reported.part("web").unwrap().message.as_deref(), Some("bad"));
        assert!(reported.terminal() && reported.valid());
    }

    #[test]
    fn reports_an_error_of_its_own_for_what_it_cannot_use() {
        for text in [
            "",
            "[{",
            r#"{"status":{"status":"success"}}"#,
            r#"[{"version":1.0}]"#,
            r#"[{"status":{"code":0}}]"#,
            r#"[{"status":{"status":"success","formattedMessage":{"message":"m"}}}]"#,
            r#"[{"status":{"status":"success","formattedMessage":{"lang":"en"}}}]"#,
            r#"[{"status":{"status":"success","substatus":[{"name":"n"}]}}]"#,
            r#"[{"status":{"status":"success","substatus":[{"status":"Success"}]}}]"#,
        ] {
            let reported = judged(text);
            assert_eq!(reported.status.as_deref(), Some("error"), "{text}");
            assert_eq!(reported.code, json!(1012), "{text}");
            assert!(!reported.valid(), "{text}");
        }
    }

    #[test]
    fn keeps_code_and_message_of_an_unknown_status() {
        let reported =
            judged(r#"[{"status":{"status":"Success","code":7,"formattedMessage":{"lang":"en","message":"m"}}}]"#);
        assert_eq!(reported.status.as_deref(), Some("error"));
        assert_eq!(reported.code, json!(7));
        assert_eq!(reported.message.as_deref(), Some("m"));
    }

    #[test]
    fn reports_transitioning_without_a_file_and_nothing_for_an_empty_array() {
        let missing = judge("Lab.Probe", Path::new("/nonexistent/0.status"));
        assert_eq!(missing.status.as_deref(), Some("transitioning"));
        assert!(!missing.valid());
        assert_eq!(judged("[]").status, None);
        assert!(!judged("[]").valid());
    }
}
