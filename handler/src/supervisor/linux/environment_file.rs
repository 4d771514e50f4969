//! The format of systemd's `EnvironmentFile=` (systemd.exec(5)), so that one file means the same with and without systemd:
//! `KEY=value` lines, comments after `#` or `;` at the start of a line, quotes, and a backslash that continues a line.

use std::path::Path;
use std::str::Chars;

use common::files::read_trusted;

/// Proxy and trust store for the service, for root to write.
pub(super) const FILE: &str = "/etc/default/akvvm_service";

/// The variables in the file, in their order. `None`, and told: somebody else than root may write it, or it cannot be read.
/// Certificates that are not renewed for want of a proxy are seen; a service that does not run helps nobody.
pub(super) fn read() -> Option<Vec<(String, String)>> {
    match read_trusted(Path::new(FILE)) {
        Ok(text) => Some(parse(&text.unwrap_or_default())),
        Err(error) => {
            log::error!("{FILE}: {error}; the service is started without it");
            None
        }
    }
}

/// The variables in `text`, in their order. What assigns nothing is passed over, as are names that are none.
fn parse(text: &str) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut rest = text.chars();
    while let Some(key) = key(&mut rest) {
        let value = value(&mut rest);
        if is_name(&key) && !value.contains('\0') {
            variables.push((key, value));
        }
    }
    variables
}

fn is_name(key: &str) -> bool {
    !key.is_empty()
        && !key.starts_with(|c: char| c.is_ascii_digit())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Goes on to the next `KEY=`, behind the equals sign; `None` at the end of the text.
fn key(rest: &mut Chars<'_>) -> Option<String> {
    let mut key = String::new();
    loop {
        match rest.next()? {
            '=' => return Some(key.trim().to_owned()),
            '\n' => key.clear(),
            '#' | ';' if key.trim().is_empty() => {
                rest.find(|c| *c == '\n')?;
                key.clear();
            }
            c => key.push(c),
        }
    }
}

/// Reads a value and the end of its line.
fn value(rest: &mut Chars<'_>) -> String {
    let mut value = String::new();
    // Quotes count before the first character without quotes only.
    let mut bare = false;
    // White space behind this length goes away at the end: it was neither quoted nor escaped.
    let mut kept = 0;
    while let Some(c) = rest.next() {
        match c {
            '\n' => break,
            '\'' if !bare => value.extend(rest.take_while(|c| *c != '\'')),
            '"' if !bare => double_quoted(rest, &mut value),
            c if c.is_ascii_whitespace() => {
                if bare {
                    value.push(c);
                }
                continue;
            }
            '\\' => {
                bare = true;
                value.extend(rest.next().filter(|c| *c != '\n'));
            }
            c => {
                bare = true;
                value.push(c);
            }
        }
        kept = value.len();
    }
    value.truncate(kept);
    value
}

/// Reads on to the closing quote. A backslash stands for itself, but before what a shell would want escaped.
fn double_quoted(rest: &mut Chars<'_>, value: &mut String) {
    while let Some(c) = rest.next() {
        match c {
            '"' => return,
            '\\' => match rest.next() {
                Some('\n') | None => {}
                Some(c @ ('"' | '\\' | '`' | '$')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_parses(text: &str, expected: &[(&str, &str)]) {
        let parsed = parse(text);
        let parsed: Vec<_> = parsed.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(parsed, expected, "{text:?}");
    }

    #[test]
    fn reads_assignments_and_passes_over_the_rest() {
        let text = "# proxy\n\nHTTPS_PROXY=http://proxy:3128\r\n ; no\n  NO_PROXY = a,b \nnothing\nEMPTY=\nLAST=1";
        let expected = [("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", "a,b"), ("EMPTY", ""), ("LAST", "1")];
        assert_parses(text, &expected);
    }

    #[test]
    fn takes_quotes_off_and_keeps_what_they_hold() {
        assert_parses(
            "A=\"  x # y \"\nB='a\"b\\n'\nC=\"a\nb\"\n",
            &[("A", "  x # y "), ("B", "a\"b\\n"), ("C", "a\nb")],
        );
        assert_parses(r#"A="a\"b\$c\d" 'e'"#, &[("A", r#"a"b$c\de"#)]);
        assert_parses("A=it's \"so\"\n", &[("A", "it's \"so\"")]);
    }

    #[test]
    fn continues_a_line_after_a_backslash() {
        assert_parses("A=a\\\nb\\ \nB=\"a\\\nb\"\n", &[("A", "ab "), ("B", "ab")]);
    }

    #[test]
    fn passes_over_names_that_are_none() {
        assert_parses("export A=1\n=2\n1B=3\nC=\0\nD=4\n", &[("D", "4")]);
    }

    #[test]
    fn ends_with_the_text() {
        for text in ["", "A", "#", "A='x", "A=\"x", "A=\"x\\", "A=x\\"] {
            assert!(parse(text).iter().all(|(key, value)| key == "A" && value == "x"), "{text:?}");
        }
    }
}
