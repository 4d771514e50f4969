//! A JSON value that knows its path, and the list of what was found wrong on the way.

use std::fmt;
use std::ops::RangeInclusive;

use super::json::Value;
use super::keys::{self, Place};
use crate::text::excerpt;

/// Something to say about one place of a document.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The JSON path with indexes, such as `secretsManagementSettings.observedCertificates[2].url`; empty for the whole.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

/// Collects findings while a document is read to its end.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

impl Findings {
    pub(super) fn error(&mut self, path: &str, message: impl Into<String>) {
        self.errors.push(Finding { path: path.to_owned(), message: message.into() });
    }

    pub(super) fn warning(&mut self, path: &str, message: impl Into<String>) {
        self.warnings.push(Finding { path: path.to_owned(), message: message.into() });
    }
}

/// A value at a path. `null` is never a node: templates write it for "not given".
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    pub(super) fn new(path: impl Into<String>, value: &'a Value) -> Option<Self> {
        (!value.is_null()).then(|| Self { path: path.into(), value })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The child under `key`, when this is an object that has it.
    pub(super) fn child(&self, key: &str) -> Option<Self> {
        let path = || if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        self.value.get(key).and_then(|value| Self::new(path(), value))
    }

    pub(super) fn is_object(&self) -> bool {
        self.value.is_object()
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// What kind of value this is, for "must be …, not …".
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// What to say of a value of another kind than `wanted`, with what one may write.
    pub(super) fn mismatch(&self, wanted: &str) -> String {
        let step = self.path.rsplit('.').next().unwrap_or_default();
        let (name, links) = step.split_once('[').map_or((step, "such as"), |(name, _)| (name, "as in"));
        let example = keys::example(name).map(|example| format!(" {links} {example}")).unwrap_or_default();
        format!("must be {wanted}{example}, not {}", self.kind())
    }

    pub(super) fn string(&self, findings: &mut Findings) -> Option<&'a str> {
        let text = self.text();
        if text.is_none() {
            findings.error(&self.path, self.mismatch("a string"));
        }
        text
    }

    /// A string that `parse` understands; its error becomes a finding at this path.
    pub(super) fn parsed<T, E: fmt::Display>(
        &self,
        findings: &mut Findings,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(self.string(findings)?) {
            Ok(value) => Some(value),
            Err(error) => {
                findings.error(&self.path, error.to_string());
                None
            }
        }
    }

    /// `true` and `false`, also as text in any case, as templates and command lines produce them.
    pub(super) fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        let spelled = match self.value {
            Value::Bool(value) => return Some(*value),
            Value::String(text) if text.eq_ignore_ascii_case("true") => return Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => return Some(false),
            Value::String(text) => format!("\"{}\"", excerpt(text)),
            _ => self.kind().to_owned(),
        };
        findings.error(&self.path, format!("must be true or false, not {spelled}"));
        None
    }

    /// A whole number of seconds from 1, as a number or as text.
    pub(super) fn seconds(&self, findings: &mut Findings) -> Option<u32> {
        self.seconds_in(1..=u32::MAX, "3600", findings)
    }

    /// A whole number of seconds in this range, as a number or as text.
    pub(super) fn seconds_in(&self, range: RangeInclusive<u32>, example: &str, findings: &mut Findings) -> Option<u32> {
        self.whole("a whole number of seconds", range, example, findings)
    }

    /// A whole number from 1, as a number or as text.
    pub(super) fn count(&self, findings: &mut Findings) -> Option<u32> {
        self.whole("a whole number", 1..=u32::MAX, "3", findings)
    }

    fn whole(&self, what: &str, range: RangeInclusive<u32>, example: &str, findings: &mut Findings) -> Option<u32> {
        let (spelled, number) = match self.value {
            Value::Number(number) => (number.to_string(), number.as_f64()),
            Value::String(text) => {
                let digits = text.trim();
                let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                (format!("\"{}\"", excerpt(text)), plain.then(|| digits.parse().ok()).flatten())
            }
            _ => (self.kind().to_owned(), None),
        };
        let (least, most) = (*range.start(), *range.end());
        let in_range = |n: &f64| n.fract() == 0.0 && (f64::from(least)..=f64::from(most)).contains(n);
        let seconds = number.filter(in_range);
        if seconds.is_none() {
            findings.error(
                &self.path,
                format!("must be {what} from {least} to {most}, such as \"{example}\", not {spelled}"),
            );
        }
        // In range and whole, as just checked.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        seconds.map(|n| n as u32)
    }

    /// The items of a list, each with its index in the path.
    pub(super) fn list<'s>(&'s self, findings: &mut Findings) -> Option<impl Iterator<Item = Self> + use<'a, 's>> {
        let Value::Array(items) = self.value else {
            findings.error(&self.path, self.mismatch("a list"));
            return None;
        };
        let path = |index| format!("{}[{index}]", self.path);
        for (index, _) in items.iter().enumerate().filter(|(_, item)| item.is_null()) {
            findings.error(&path(index), "is null: remove it or write the missing value");
        }
        Some(items.iter().enumerate().filter_map(move |(index, item)| Self::new(path(index), item)))
    }

    /// Warns about every key that is no setting of this place.
    pub(super) fn warn_about_all_but(&self, place: Place, findings: &mut Findings) {
        self.warn_about_unknown(&keys::keys(place).collect::<Vec<_>>(), findings);
    }

    /// Warns about every key that is not in `known`, with the nearest known one and the place where it would be known.
    pub(super) fn warn_about_unknown(&self, known: &[&str], findings: &mut Findings) {
        let Value::Object(entries) = self.value else { return };
        for (key, _) in entries {
            if known.contains(&&**key) {
                continue;
            }
            let nearest = known
                .iter()
                .map(|name| (strsim::damerau_levenshtein(&without_unit(name), &without_unit(key)), name))
                .min()
                .filter(|(distance, _)| *distance <= 3);
            let home = keys::home(key).filter(|_| nearest.is_none_or(|(distance, _)| distance > 0));
            let key = excerpt(key);
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            let advice = match (home, nearest) {
                (Some(home), None) => format!("is ignored here: it belongs {home}"),
                (Some(home), Some((_, name))) => {
                    format!("is ignored here: it belongs {home}, or did you mean {name}?")
                }
                (None, Some((_, name))) => format!("is not a known setting: did you mean {name}?"),
                (None, None) => "is not a known setting: it is ignored".to_owned(),
            };
            findings.warning(&path, advice);
        }
    }
}

/// A name in lower case without the unit of time at its end, which people spell in many ways.
fn without_unit(name: &str) -> String {
    const UNITS: [&str; 8] = ["inseconds", "seconds", "inminutes", "minutes", "inhours", "hours", "insec", "ins"];
    let name = name.to_lowercase();
    UNITS.iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(&name).to_owned()
}
