//! The forms that a part of an answer can have, good and bad: what parsers have a branch for, which a fuzzer would find one by
//! one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Numbers in JSON, up to the limits of the types that take them, and what only looks like one.
const NUMBERS: &str = "
    0 -0 -1 1.5 -1.5 1e3 1E+3 1e-3 0e0 0.0 0e5 1e0005 1.0e-0 1E05 0.3 0.00001 123456.789 1e15 1e16 1e21 1e22 1e23
    9007199254740993 9223372036854775807 9223372036854775808 18446744073709551615 18446744073709551616
    -9223372036854775808 -9223372036854775809 123456789012345678901234567890 -123456789012345678901234567890
    123456789012345678901234567890.5 123456789012345678901234567890e5 123456789012345678901234567890e-5
    18446744073709551615.5 18446744073709551615e5 1.8446744073709551615 1.8446744073709551616 1.8446744073709551616e2
    1.23456789012345678901234567890123456789 1.23456789012345678901234567890e-7
    0.000000000000000000000000000012345678901234567890123
    5e-324 4e-325 2.2250738585072014e-308 1.7976931348623157e308 1e308 1e309 -1e309 0.1e309 1e400 1e-400 -1e-400 0e400
    0.0e400 1e2147483647 1e2147483648 0e2147483648 1e-2147483648 1e99999999999999999999 0e99999999999999999999
    1e-99999999999999999999 0.00e-99999999999999999999
    - -a 01 -01 1. 1.a .5 +1 1e 1e+ 1e- 1ea 1.5e 1.5e+a 0x1 NaN -Infinity";
/// What else a value in JSON can be, but for texts, and what only looks like one.
const VALUES: &str = r#"
null
true
false
nulx
trux
falsx
x
[]
[1,2]
[1,]
[,]
[1 2]
{}
{"a":1}
{"a":1,"a":2}
{"a":1,}
{"a" 1}
{"a"}
{"a":1 "b":2}
{1:2}
1 2
1,
[null,true,false,-1.5e3,"\ud83d\ude00",{"a":[{"b":"c"}],"d":{}}]"#;
/// Texts in JSON, with every way to write a character, and what only looks like one. Not all of them are UTF-8.
const TEXTS: &[&[u8]] = &[
    br#""\"\\\/\b\f\n\r\t""#,
    br#""\u0041\u00e9\u20ac\ud83d\ude00\uFFFF""#,
    br#""\u0000""#,
    br#""\ud83d""#,
    br#""\ud83dx""#,
    br#""\ud83d\n""#,
    br#""\ud83d\u0041""#,
    br#""\ud83d\ud83d""#,
    br#""\ude00""#,
    br#""\u12g4""#,
    br#""\x""#,
    "\"\u{e9}\u{20ac}\u{1f600}\u{2028}\u{202e}\u{85}\u{7f}\"".as_bytes(),
    b"\"\n\"",
    b"\"\x00\"",
    b"\"\xff\"",
    b"\"\xc3\"",
    b"\"\xe2\x82\"",
    b"\"\xf0\x9f\x98\"",
    b"\"\xed\xa0\x80\"",
    b"\"\xf5\x80\x80\x80\"",
    b"\"\xc0\x80\"",
];
/// Dates as HTTP has them (RFC 9110, section 5.6.7), and as the mail that they come from has them (RFC 5322), numbers of
/// seconds, and what only looks like one.
const DATES: &str = r"
27 Nov 2036 08:49 GMT
Thu,27 Nov 2036 08:49:37 GMT
Thu , 27  Nov 2036  08 : 49 : 37  GMT (a (nested) \) comment)
Wed, 27 Nov 2036 08:49:37 GMT
Xxx, 7 Nov 2036 08:49:37 GMT
7 Xxx 2036 08:49:37 GMT
07 Nov 36 08:49:37 GMT
07 Nov 86 08:49:37 GMT
07 Nov 136 08:49:37 GMT
7 Nov 0000 00:00:00 GMT
7 Nov 20366 08:49:37 GMT
7 Nov x036 08:49:37 GMT
0 Nov 2036 08:49:37 GMT
32 Jan 2036 08:49:37 GMT
31 Feb 2036 08:49:37 GMT
7 Nov 9999 23:59:59 -2359
1 Jan 0001 00:00:00 +2359
7 Nov 2036 24:49:37 GMT
7 Nov 2036 08:60:37 GMT
7 Nov 2036 08:49:60 GMT
7 Nov 2036 08:49:61 GMT
7 Nov 2036 8:49:37 GMT
7 Nov 2036 x8:49:37 GMT
7 Nov 2036 08-49-37 GMT
7 Nov 2036 08:49:37 -0000
7 Nov 2036 08:49:37 +9959
7 Nov 2036 08:49:37 +2560
7 Nov 2036 08:49:37 +a
7 Nov 2036 08:49:37 GMT (open
7 Nov 2036 08:49:37 GMT )
7 Nov 2036 08:49:37 GMTx
Thursday, 27-Nov-36 08:49:37 GMT
Thu Nov 27 08:49:37 2036
7 Név 2036
0
7
-7
+7
7.5
18446744073709551615
18446744073709551616
7 seconds";

/// What can stand where a value of JSON is expected.
pub(crate) fn json() -> Vec<Vec<u8>> {
    let begun = VALUES.lines().last().into_iter().flat_map(beginnings);
    let plain = NUMBERS.split_whitespace().chain(VALUES.lines()).chain(begun).map(|text| text.as_bytes().to_vec());
    plain.chain(TEXTS.iter().map(|text| text.to_vec())).collect()
}

/// Values of `Retry-After` and `Date`, each month, weekday and zone among them.
pub(crate) fn dates() -> Vec<String> {
    let months = ["Jan", "FEB", "mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = ["Mon", "TUE", "wed", "Thu", "Fri", "Sat", "Sun"];
    let zones = ["GMT", "UT", "UTC", "EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT", "XYZ", "+0130", "-0830"];
    let letters = ('A'..='Z').chain('a'..='z').map(String::from);
    let zones = zones.map(String::from).into_iter().chain(letters);
    let dates = DATES.lines().chain(beginnings("Thu, 27 Nov 2036 08:49:37 +0130")).map(str::to_owned);
    let months = months.map(|month| format!("7 {month} 2036 08:49:37 GMT"));
    let days = days.map(|day| format!("{day}, 7 Nov 2036 08:49:37 GMT"));
    let zones = zones.map(|zone| format!("7 Nov 2036 08:49:37 {zone}"));
    dates.chain(months).chain(days).chain(zones).collect()
}

/// Base64: cut, with something else at its first places and its last ones, and whole at the end. Decoders tell these apart, as
/// they take several characters at a time.
pub(crate) fn base64(value: &[u8]) -> Vec<String> {
    // Without padding, as in tokens; a vault's values have some only where their length wants it.
    let whole = URL_SAFE_NO_PAD.encode(value);
    let places = (0..whole.len()).filter(|place| *place < 40 || place + 9 > whole.len());
    let spoilt = places.flat_map(|place| {
        let (before, after) = (&whole[..place], &whole[place + 1..]);
        [before.to_owned(), format!("{before}~{after}"), format!("{before}={after}"), format!("{before} {after}")]
    });
    spoilt.chain([format!("{whole}="), format!("{whole}A"), whole.clone()]).collect()
}

fn beginnings(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(end, _)| &text[..end])
}
