//! JSON text as a value: bounded in depth, and no key twice in one object.

use std::fmt;
use std::mem;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::text::excerpt;

/// Deeper documents are refused: nothing documented is deeper than eight.
const DEPTH: usize = 64;

/// A JSON value in little memory: settings may be thousands of small objects, and a map of `serde_json` takes 632 bytes for
/// the smallest one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    String(Box<str>),
    Array(Vec<Self>),
    /// Sorted by key, each once.
    Object(Vec<(Box<str>, Self)>),
}

impl Value {
    pub(super) fn is_null(&self) -> bool {
        *self == Self::Null
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub(super) fn items_mut(&mut self) -> &mut [Self] {
        if let Self::Array(items) = self { items } else { &mut [] }
    }

    /// The value under `key`, when this is an object that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(entries) = self else { return None };
        let position = entries.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
        Some(&entries[position].1)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        let Self::Object(entries) = self else { return None };
        let position = entries.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
        Some(&mut entries[position].1)
    }

    /// The value, which leaves a null behind.
    pub(super) fn take(&mut self) -> Self {
        mem::replace(self, Self::Null)
    }
}

/// Reads all of `text`, and the path of every key that its object has already: which of the two counts, nobody can tell.
///
/// # Errors
/// The text is not JSON, or (`is_data`) nested too deep.
pub(super) fn read(text: &str) -> serde_json::Result<(Value, Vec<String>)> {
    let mut repeated = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Place { path: &mut String::new(), repeated: &mut repeated, depth: 0 }.deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, repeated))
}

/// Where in the document a value is about to be read.
struct Place<'a> {
    path: &'a mut String,
    repeated: &'a mut Vec<String>,
    depth: usize,
}

impl Place<'_> {
    /// What `read` says of the place one level down that is called `step`.
    fn inside<T>(&mut self, step: &str, read: impl FnOnce(Place<'_>) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(step);
        let result = read(Place { path: self.path, repeated: self.repeated, depth: self.depth + 1 });
        self.path.truncate(length);
        result
    }

    /// From here to what is under `key`.
    fn step(&self, key: &str) -> String {
        [if self.path.is_empty() { "" } else { "." }, &excerpt(key)].concat()
    }

    fn check_depth<E: Error>(&self) -> Result<(), E> {
        if self.depth < DEPTH { Ok(()) } else { Err(E::custom(format_args!("nested more than {DEPTH} levels deep"))) }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut list = Vec::new();
        while let Some(item) = self.inside(&format!("[{}]", list.len()), |place| items.next_element_seed(place))? {
            list.push(item);
        }
        list.shrink_to_fit();
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut object = Vec::new();
        while let Some(key) = entries.next_key::<Box<str>>()? {
            let value = self.inside(&self.step(&key), |place| entries.next_value_seed(place))?;
            object.push((key, value));
        }
        object.sort_by(|(one, _), (other, _)| one.cmp(other));
        object.dedup_by(|later, earlier| {
            let is_repeated = later.0 == earlier.0;
            if is_repeated {
                self.repeated.push([self.path.as_str(), &self.step(&later.0)].concat());
                mem::swap(later, earlier);
            }
            is_repeated
        });
        object.shrink_to_fit();
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_kind_of_value() {
        let text = r#" {"a": [null, true, -1, 18446744073709551615, 1.5, "\u00e4\n", {}], "b": "c"} "#;
        let (value, repeated) = read(text).unwrap();
        let number = |number: Number| Value::Number(number);
        let float = Number::from_f64(1.5).unwrap();
        let list = [
            Value::Null,
            Value::Bool(true),
            number((-1).into()),
            number(u64::MAX.into()),
            number(float),
            Value::String("\u{e4}\n".into()),
            Value::Object(Vec::new()),
        ];
        assert_eq!(value.get("a"), Some(&Value::Array(list.into())));
        assert_eq!((value.get("b").and_then(Value::as_str), value.get("c")), (Some("c"), None));
        assert_eq!(repeated, [""; 0]);
        for text in ["", "{", "{} {}", "[1,]", "nul"] {
            assert!(read(text).unwrap_err().classify() != serde_json::error::Category::Data, "{text:?}");
        }
    }

    #[test]
    fn finds_the_keys_that_are_given_twice() {
        let (mut value, repeated) =
            read(r#"{"a": [{}, {"b": 1, "c": {"d": 1, "d": 2}, "b": 3}], "a\n": 1, "a\n": 1}"#).unwrap();
        assert_eq!(repeated, ["a[1].c.d", "a[1].b", "a\\n"]);
        let items = value.get_mut("a").unwrap().items_mut();
        assert_eq!(items[1].get("b"), Some(&Value::Number(3.into())));
    }

    #[test]
    fn goes_so_deep_and_no_deeper() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(DEPTH)).is_ok());
        for text in [nested(DEPTH + 1), "[".repeat(200_000), r#"{"a":"#.repeat(200_000)] {
            assert!(read(&text).unwrap_err().is_data());
        }
    }
}
