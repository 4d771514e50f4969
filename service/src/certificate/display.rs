//! Text of the value and of the vault in messages. It comes from whoever may write to the vault: what could forge a
//! line of a log or turn the direction of the text is escaped, and what is long is cut.

use common::text::bounded;
use openssl::x509::X509NameRef;

/// Characters of one text in a message.
const MAX_LENGTH: usize = 120;
/// Parts of one name that are looked at.
const MAX_PARTS: usize = 16;

/// A name such as `CN=web.contoso.com, O=Contoso`, the most specific part first as in RFC 4514.
pub(super) fn name(name: &X509NameRef) -> String {
    let parts: Vec<_> = name.entries().take(MAX_PARTS).collect();
    let parts = parts.into_iter().rev().map(|part| {
        let kind = part.object().nid().short_name().unwrap_or("?");
        format!("{kind}={}", text(&part.data().to_string().unwrap_or_default()))
    });
    match parts.collect::<Vec<_>>().join(", ") {
        empty if empty.is_empty() => "(no name)".into(),
        name => text(&name),
    }
}

/// Any text.
pub(super) fn text(text: &str) -> String {
    bounded(text, MAX_LENGTH)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use openssl::x509::X509Name;

    use super::*;

    #[test]
    fn shows_the_most_specific_part_first() {
        let mut builder = X509Name::builder().unwrap();
        builder.append_entry_by_text("C", "SE").unwrap();
        builder.append_entry_by_text("O", "Öl & Gas").unwrap();
        builder.append_entry_by_text("CN", "web.contoso.com").unwrap();
        assert_eq!(name(&builder.build()), "CN=web.contoso.com, O=Öl & Gas, C=SE");
        assert_eq!(name(&X509Name::builder().unwrap().build()), "(no name)");
    }

    #[test]
    fn escapes_what_could_forge_a_line_or_turn_the_text() {
        assert_eq!(text("a\nb\x1b[31m\u{85}\u{202e}\u{2028}"), r"a\nb\u{1b}[31m\u{85}\u{202e}\u{2028}");
    }

    #[test]
    fn cuts_what_is_long() {
        assert_eq!(text(&"ö".repeat(1_000_000)), format!("{}…", "ö".repeat(120)));
        assert_eq!(text(&"ö".repeat(120)), "ö".repeat(120));
    }
}
