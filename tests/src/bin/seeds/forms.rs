//! The forms that a part of an answer can have, good and bad: what parsers have a branch for, which a fuzzer would find one by
//! one.

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
const VALUES: [&str; 14] = [
    "null",
    "true",
    "false",
    "x",
    "",
    "[]",
    "{}",
    r#"{"a":1,"a":2}"#,
    "{1:2}",
    "1 2",
    r#"[null, true, false]"#,
    r#"[-12.5e+10, 0]"#,
    r#"["\ud83d\ude00\\"]"#,
    r#" { "a" : [ { "b" : "c" } , 1 ] , "d" : {} } "#,
];
/// Texts in JSON, with every way to write a character, and what only looks like one. Not all of them are UTF-8.
const TEXTS: &[&[u8]] = &[
    br#""\"\\\/\b\f\n\r\t""#,
    br#""\u0041\u00e9\u20ac\ud83d\ude00\uFFFF""#,
    br#""\u0000""#,
    br#""\ud83d\n""#,
    br#""\ud83d\u0041""#,
    br#""\ud83d\ud83d""#,
    br#""\ude00""#,
    "\"\u{e9}\u{20ac}\u{1f600}\u{61c}\u{200e}\u{2028}\u{2066}\u{feff}\u{85}\u{7f}\"".as_bytes(),
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
const DATES: &str = "
27 Nov 2036 08:49 GMT
Thu , 27  Nov 2036  08 : 49 : 37  GMT (a (nested) \\) comment)
Wed, 27 Nov 2036 08:49:37 GMT
07 Nov 36 08:49:37 GMT
07 Nov 86 08:49:37 GMT
07 Nov 136 08:49:37 GMT
7 Nov 0000 00:00:00 GMT
0 Nov 2036 08:49:37 GMT
32 Jan 2036 08:49:37 GMT
31 Feb 2036 08:49:37 GMT
7 Nov 9999 23:59:59 -2359
1 Jan 0001 00:00:00 +2359
7 Nov 2036 24:49:37 GMT
7 Nov 2036 08:60:37 GMT
7 Nov 2036 08:49:60 GMT
7 Nov 2036 08:49:61 GMT
7 Nov 2036 08:49:37 -0000
7 Nov 2036 08:49:37 +9959
7 Nov 2036 08:49:37 +2560
Thursday, 27-Nov-36 08:49:37 GMT
Thu Nov 27 08:49:37 2036
0
18446744073709551615
18446744073709551616";
/// Zones of time, by name.
const ZONES: &str = "GMT UT EST EDT CST CDT MST MDT PST PDT XYZ ABCDE ABCDEF +0130 -0830";
/// Those of the military.
const LETTERS: &str = "
    A B C D E F G H I J K L M N O P Q R S T U V W X Y Z a b c d e f g h i j k l m n o p q r s t u v w x y z";

/// What takes the place of a character of a text that is spoilt: letters, marks that a parser knows, the parts of longer
/// characters.
const OTHERS: [&[u8]; 12] = [b"", b"x", b"0", b"9", b" ", b"\t", b"\"", b"\\", b",", b"}", b"=", b"\xff"];

/// What can stand where a value of JSON is expected.
pub(crate) fn json() -> Vec<Vec<u8>> {
    let texts = TEXTS.iter().map(|text| text.to_vec());
    NUMBERS.split_whitespace().chain(VALUES).map(Vec::from).chain(texts).collect()
}

/// Values of `Retry-After` and `Date`, each month, weekday and zone among them.
pub(crate) fn dates() -> Vec<Vec<u8>> {
    let months = ["Jan", "FEB", "mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = ["Mon", "TUE", "wed", "Thu", "Fri", "Sat", "Sun"];
    let months = months.map(|month| format!("7 {month} 2036"));
    let days = days.map(|day| format!("{day}, 7"));
    let long = ["Thu, 27 Nov 2036 08:49:37 +0130 (x)", "7 Nov 36 08:49 GMT", "180"].map(str::to_owned);
    let spoilt_dates = months.into_iter().chain(days).chain(long).flat_map(|date| spoilt(&date));
    let zones = ZONES.split_whitespace().flat_map(spoilt).chain(LETTERS.split_whitespace().map(Vec::from));
    let zones = zones.map(|zone| [b"7 Nov 2036 08:49:37 ", &*zone].concat());
    DATES.lines().map(Vec::from).chain(zones).chain(spoilt_dates).collect()
}

/// A text as it is, and cut, without a character, or with another one in its place, anywhere.
pub(crate) fn spoilt(text: &str) -> Vec<Vec<u8>> {
    changed(text.as_bytes(), OTHERS)
}

/// DER as it is, and cut, or with another byte in the place of one, anywhere: other lengths, and the tags of texts, of an
/// identifier, and of an octet string in pieces.
pub(crate) fn spoilt_der(der: &[u8]) -> Vec<Vec<u8>> {
    let others = [0x00, 0x06, 0x0c, 0x14, 0x1c, 0x1e, 0x24, 0x30, 0x7f, 0x80, 0xff];
    changed(der, others.each_ref().map(std::slice::from_ref))
}

/// Bytes as they are, and cut, or with each of these in the place of one, anywhere.
fn changed<const N: usize>(bytes: &[u8], others: [&[u8]; N]) -> Vec<Vec<u8>> {
    let places = (0..bytes.len()).flat_map(|place| {
        let (before, after) = bytes.split_at(place);
        let others = others.map(|other| [before, other, &after[1..]].concat());
        others.into_iter().chain([before.to_vec()])
    });
    places.chain([bytes.to_vec()]).collect()
}
