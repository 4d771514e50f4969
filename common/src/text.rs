//! Text from outside, made safe to show: one line, no control characters, bounded.

use std::fmt::Write;

/// How much of a foreign text a message quotes, in characters.
const EXCERPT: usize = 100;

/// The start of `text`, escaped, for quoting in a message.
pub fn excerpt(text: &str) -> String {
    bounded(text, EXCERPT)
}

/// At most `limit` characters of `text`, escaped; an ellipsis where something was cut.
pub fn bounded(text: &str, limit: usize) -> String {
    let mut safe = escape(&text.chars().take(limit).collect::<String>());
    if text.chars().nth(limit).is_some() {
        safe.push('…');
    }
    safe
}

/// `text` with every character that could forge a line, move a terminal's cursor or turn the reading direction written
/// as an escape: C0 and C1 controls, line and paragraph separators, bidirectional controls and zero-width characters.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_deceptive(c) => {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Whether `c` can only be shown as an escape, as [`escape`] does.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_ordinary_text_in_any_script() {
        assert_eq!(escape("Zertifikat für größe, 証明書"), "Zertifikat für größe, 証明書");
    }

    #[test]
    fn writes_controls_and_bidirectional_marks_as_escapes() {
        assert_eq!(escape("a\n\u{1b}[31mb\u{202e}c\u{9b}\0"), "a\\n\\u{1b}[31mb\\u{202e}c\\u{9b}\\u{0}");
    }

    #[test]
    fn cuts_long_text_between_characters() {
        assert_eq!(bounded("äöü", 2), "äö…");
        assert_eq!(bounded("äö", 2), "äö");
    }
}
