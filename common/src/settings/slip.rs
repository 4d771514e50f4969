//! What people write that is no JSON, told from where it stopped being JSON.

/// What to write instead, when the mistake is a usual one.
pub(super) fn hint(text: &str, error: &serde_json::Error) -> Option<&'static str> {
    let said = error.to_string();
    // Lines count from 1, columns too and in bytes; both are those of the first byte that does not fit.
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let rest = line.get(error.column().saturating_sub(1)..).unwrap_or_default();
    let begins = |words: &[&str]| words.iter().any(|word| rest.starts_with(word));
    if said.starts_with("trailing comma") {
        Some("remove the comma before the closing bracket")
    } else if said.starts_with("control character") {
        Some("is the closing quote (\") missing in the line before?")
    } else if said.starts_with("number out of range") {
        Some("write a smaller number")
    } else if said.starts_with("EOF while parsing a string") {
        Some("is a closing quote (\") missing?")
    } else if error.is_eof() {
        Some("is a closing bracket (] or }) missing?")
    } else if begins(&["//", "/*", "#"]) {
        Some("JSON has no comments: remove it")
    } else if begins(&["'", "‘", "’", "“", "”"]) {
        Some("write straight double quotes (\")")
    } else if begins(&["NaN", "Infinity", "nan", "inf"]) || said.starts_with("invalid number") {
        Some("write a number in decimal digits, such as 3600")
    } else if begins(&["True", "False", "None", "undefined", "NULL", "TRUE", "FALSE"]) {
        Some("write true, false or null")
    } else if said.starts_with("expected `,`") {
        Some("is a comma or a quote (\") missing before it?")
    } else if said.starts_with("key must be a string") {
        Some("write the name in double quotes (\")")
    } else if said.starts_with("expected value") && rest.starts_with(char::is_alphanumeric) {
        Some("write text in double quotes (\")")
    } else if said.starts_with("trailing characters") {
        Some("is there a closing bracket too many before it?")
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_write_instead_of_what_people_write() {
        for (text, words) in [
            (r#"{"a": 1,}"#, "remove the comma"),
            ("[\n  1,\n]", "remove the comma"),
            ("{\n  // why\n  \"a\": 1}", "no comments"),
            ("{\"a\": 1 // why\n}", "no comments"),
            ("{\"a\": /* why */ 1}", "no comments"),
            ("# why\n{}", "no comments"),
            ("{'a': 1}", "double quotes"),
            (r#"{"a": 'b'}"#, "double quotes"),
            ("{\"ä\": “b”}", "double quotes"),
            (r#"{"a: 1}"#, "closing quote"),
            ("{\"a: 1,\n\"b\": 2}", "closing quote (\") missing in the line before"),
            (r#"{"a": "b, "c": 1}"#, "a comma or a quote"),
            (r#"{"a": 1 "b": 2}"#, "a comma or a quote"),
            (r#"{a": 1}"#, "the name in double quotes"),
            (r#"{"a": https://contoso.vault.azure.net"}"#, "text in double quotes"),
            (r#"{"a": NaN}"#, "decimal digits"),
            (r#"{"a": -Infinity}"#, "decimal digits"),
            (r#"{"a": 07}"#, "decimal digits"),
            (r#"{"a": 1e400}"#, "smaller number"),
            (r#"{"a": True}"#, "true, false or null"),
            (r#"{"a": [1, 2"#, "closing bracket"),
            (r#"{"a": 1}}"#, "too many"),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(text).unwrap_err();
            let hint = hint(text, &error).unwrap_or_default();
            assert!(hint.contains(words), "{text}: {error}: {hint}");
        }
    }

    #[test]
    fn has_nothing_to_say_of_what_was_hardly_meant_as_json() {
        for text in ["\u{0}", "{\"a\": \"\\q\"}", "<html>"] {
            let error = serde_json::from_str::<serde_json::Value>(text).unwrap_err();
            assert_eq!(hint(text, &error), None, "{text}: {error}");
        }
    }
}
