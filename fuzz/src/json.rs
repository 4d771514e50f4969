//! Changes to a JSON document that leave it one: bytes that are changed at random seldom do, and what lies behind the parser is
//! tried by them slowly.

use std::sync::LazyLock;

use fastrand::Rng;
use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Map, Value, json};

/// Names in answers, of a vault and of the metadata service.
const NAMES: [&str; 20] = [
    "id",
    "value",
    "contentType",
    "attributes",
    "enabled",
    "nbf",
    "exp",
    "created",
    "updated",
    "managed",
    "error",
    "code",
    "message",
    "innererror",
    "access_token",
    "client_id",
    "expires_in",
    "expires_on",
    "not_before",
    "error_description",
];

/// The names and the values that settings and answers know.
static WORDS: LazyLock<(Vec<String>, Vec<Value>)> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("../../docs/settings.schema.json")).expect("JSON");
    let mut words = (
        Vec::new(),
        vec![json!(null), json!(true), json!(0), json!(-1), json!(1e300), json!(""), json!([]), json!({})],
    );
    collect(&schema, &mut words.0, &mut words.1);
    // As likely as one of those.
    let times = words.0.len() / NAMES.len();
    words.0.extend(NAMES.iter().cycle().take(times * NAMES.len()).map(|name| (*name).to_owned()));
    words
});

fn collect(value: &Value, names: &mut Vec<String>, values: &mut Vec<Value>) {
    match value {
        Value::Object(members) => {
            names.extend(members.keys().cloned());
            members.values().for_each(|value| collect(value, names, values));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, names, values)),
        scalar => values.push(scalar.clone()),
    }
}

/// Changes an input in the first `size` bytes of `data`, half of the time as bytes; answers its new size. `document` finds
/// where in an input JSON begins that goes on to the end.
pub fn change_input(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    document: fn(&[u8]) -> Option<usize>,
) -> usize {
    let changed = seed.is_multiple_of(2).then(|| {
        let start = document(&data[..size])?;
        change_document(&mut data[start..max_size], size - start, seed).map(|size| start + size)
    });
    changed.flatten().unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
}

/// All of an input is JSON.
pub fn whole(_: &[u8]) -> Option<usize> {
    Some(0)
}

/// JSON is the body of an answer, behind the first empty line.
pub fn body(answer: &[u8]) -> Option<usize> {
    answer.windows(2).position(|pair| pair == b"\n\n").map(|end| end + 2)
}

/// Changes the document in the first `size` bytes of `data`; answers its new size. `None`: it is no document, or it would be
/// larger than `data`.
fn change_document(data: &mut [u8], size: usize, seed: u32) -> Option<usize> {
    let mut random = Rng::with_seed(seed.into());
    let mut document: Value = serde_json::from_slice(&data[..size]).ok()?;
    for _ in 0..random.usize(1..4) {
        let values = count(&document);
        let other = nth(&mut document.clone(), &mut random.usize(0..values))?.clone();
        change(nth(&mut document, &mut random.usize(0..values))?, other, &mut random);
    }
    let text = serde_json::to_vec(&document).ok()?;
    data.get_mut(..text.len())?.copy_from_slice(&text);
    Some(text.len())
}

fn change(place: &mut Value, other: Value, random: &mut Rng) {
    let (names, values) = &*WORDS;
    let name = random.choice(names).cloned().unwrap_or_default();
    let value = if random.bool() { other } else { random.choice(values).cloned().unwrap_or_default() };
    match place {
        Value::Object(members) if random.u8(..) < 200 => {
            match random.choice(members.keys().cloned().collect::<Vec<_>>()) {
                Some(key) if random.bool() => rename(members, &key, name, random),
                _ => drop(members.insert(name, value)),
            }
        }
        Value::Array(items) if random.u8(..) < 200 => match items.len() {
            length if length > 0 && random.bool() => drop(items.swap_remove(random.usize(0..length))),
            _ => items.push(value),
        },
        Value::String(text) if random.u8(..) < 200 => {
            let mut bytes = text.clone().into_bytes();
            let length = bytes.len();
            bytes.resize(length + 64, 0);
            let changed = fuzzer_mutate(&mut bytes, length, length + 64);
            *text = String::from_utf8_lossy(&bytes[..changed]).into_owned();
        }
        place => *place = value,
    }
}

/// Gives a member another name, or none.
fn rename(members: &mut Map<String, Value>, key: &str, name: String, random: &mut Rng) {
    let value = members.remove(key);
    if let Some(value) = value.filter(|_| random.bool()) {
        members.insert(name, value);
    }
}

/// How many values a value holds, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Object(members) => members.values().map(count).sum(),
        Value::Array(items) => items.iter().map(count).sum(),
        _ => 0,
    }
}

/// The value of this number, counted as they are read.
fn nth<'a>(value: &'a mut Value, number: &mut usize) -> Option<&'a mut Value> {
    if *number == 0 {
        return Some(value);
    }
    *number -= 1;
    match value {
        Value::Object(members) => members.values_mut().find_map(|value| nth(value, number)),
        Value::Array(items) => items.iter_mut().find_map(|value| nth(value, number)),
        _ => None,
    }
}
