//! JSON text as a value: bounded in depth, and no key twice in one object.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::text::excerpt;

/// Deeper documents are refused: nothing documented is deeper than eight.
const DEPTH: usize = 64;

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
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut list = Vec::new();
        while let Some(item) = self.inside(&format!("[{}]", list.len()), |place| items.next_element_seed(place))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let step = format!("{}{}", if self.path.is_empty() { "" } else { "." }, excerpt(&key));
            let value = self.inside(&step, |place| {
                if object.contains_key(&key) {
                    place.repeated.push(place.path.clone());
                }
                entries.next_value_seed(place)
            })?;
            object.insert(key, value);
        }
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
        assert_eq!(read(text).unwrap(), (serde_json::from_str(text).unwrap(), Vec::new()));
        for text in ["", "{", "{} {}", "[1,]", "nul"] {
            assert!(read(text).unwrap_err().classify() != serde_json::error::Category::Data, "{text:?}");
        }
    }

    #[test]
    fn finds_the_keys_that_are_given_twice() {
        let (value, repeated) =
            read(r#"{"a": [{}, {"b": 1, "c": {"d": 1, "d": 2}, "b": 3}], "a\n": 1, "a\n": 1}"#).unwrap();
        assert_eq!(repeated, ["a[1].c.d", "a[1].b", "a\\n"]);
        assert_eq!(value["a"][1]["b"], 3);
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
