//! From the bytes of a settings file to the public settings: byte order mark, text in text, the agent's wrapper.

use super::json::{self, Value};
use super::reader::Findings;
use super::slip;

/// The public settings inside `document`, with every layer around them taken off.
pub(super) fn public_settings(document: &[u8], findings: &mut Findings) -> Option<Value> {
    let text = match std::str::from_utf8(document) {
        Ok(text) => text,
        Err(error) => {
            findings.error("", format!("is not UTF-8 text at byte {}: save the file as UTF-8", error.valid_up_to()));
            return None;
        }
    };
    let text = text.strip_prefix('\u{feff}').map_or(text, |rest| {
        findings.warning("", "begins with a byte order mark: save the file as UTF-8 without one");
        rest
    });
    if text.trim().is_empty() {
        findings.error("", "is empty: the extension was deployed without settings; give it secretsManagementSettings");
        return None;
    }
    let value = match json::read(text) {
        Ok((value, repeated)) => {
            for path in repeated {
                // The places of the others are told without the agent's wrapper as well.
                refuse_repeated(
                    path.rsplit_once("publicSettings.").map_or(path.as_str(), |(_, inner)| inner),
                    findings,
                );
            }
            value
        }
        Err(error) => {
            let hint = slip::hint(text, &error).map(|hint| format!(": {hint}")).unwrap_or_default();
            let what = if error.is_data() { "is" } else { "is not JSON:" };
            findings.error("", format!("{what} {error}{hint}"));
            return None;
        }
    };
    let mut public = unwrapped(value, findings)?;
    if !public.is_object() {
        findings.error("", "must be a JSON object: { \"secretsManagementSettings\": { … } }");
        return None;
    }
    decode_inner_text(&mut public, findings);
    Some(public)
}

fn refuse_repeated(path: &str, findings: &mut Findings) {
    findings.error(path, "is given twice in the same object: keep one of them");
}

/// Takes off the agent's `runtimeSettings`, wrappers that tools add, and encodings as a string, in any order.
fn unwrapped(mut value: Value, findings: &mut Findings) -> Option<Value> {
    loop {
        value = match value {
            Value::String(text) => match json::read(&text) {
                Ok((inner, repeated)) => {
                    repeated.iter().for_each(|path| refuse_repeated(path, findings));
                    findings.warning("", "is JSON inside a string: write the object itself, without quotes around it");
                    inner
                }
                Err(_) => {
                    findings.error("", "is a string that is not JSON: write an object, without quotes around it");
                    return None;
                }
            },
            mut object @ Value::Object(_) => {
                if let Some(list) = object.get_mut("runtimeSettings").filter(|value| !value.is_null()) {
                    let Some(handler) = list.items_mut().first_mut().filter(|handler| handler.is_object()) else {
                        findings.error(
                            "runtimeSettings",
                            "must hold [{\"handlerSettings\": {\"publicSettings\": {…}}}], as the guest agent writes it; \
                             bare public settings need none of it",
                        );
                        return None;
                    };
                    match handler.get_mut("handlerSettings").and_then(|settings| settings.get_mut("publicSettings")) {
                        Some(public) if !public.is_null() => public.take(),
                        _ => {
                            findings.error(
                                "",
                                "publicSettings are missing: all settings of this extension are public; give it \
                                 secretsManagementSettings",
                            );
                            return None;
                        }
                    }
                } else if let Some(public) = object.get_mut("publicSettings").filter(|value| !value.is_null()) {
                    public.take()
                } else if let Some(inner) = object.get_mut("settings").filter(|value| !value.is_null()) {
                    findings.warning("settings", "is not needed: write what it holds one level up");
                    inner.take()
                } else {
                    return Some(object);
                }
            }
            other => return Some(other),
        };
    }
}

/// Sections, the list of certificates and its items may arrive as JSON inside a string as well.
fn decode_inner_text(public: &mut Value, findings: &mut Findings) {
    for section in ["secretsManagementSettings", "authenticationSettings", "loggingSettings"] {
        if let Some(value) = public.get_mut(section) {
            decode(value, section, findings);
        }
    }
    if let Some(section) = public.get_mut("secretsManagementSettings") {
        decode_certificates(section, "secretsManagementSettings.observedCertificates", findings);
    }
    decode_certificates(public, "observedCertificates", findings);
}

fn decode_certificates(home: &mut Value, path: &str, findings: &mut Findings) {
    let Some(list) = home.get_mut("observedCertificates") else { return };
    decode(list, path, findings);
    for (index, item) in list.items_mut().iter_mut().enumerate() {
        decode(item, &format!("{path}[{index}]"), findings);
    }
}

fn decode(value: &mut Value, path: &str, findings: &mut Findings) {
    let Some(text) = value.as_str().filter(|text| text.trim_start().starts_with(['{', '['])) else { return };
    if let Ok((inner, repeated)) = json::read(text) {
        for key in repeated {
            refuse_repeated(
                &if key.starts_with('[') { format!("{path}{key}") } else { format!("{path}.{key}") },
                findings,
            );
        }
        findings.warning(path, "is JSON inside a string: write the value itself, without quotes around it");
        *value = inner;
    }
}
