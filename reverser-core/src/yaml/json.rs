//! JSON by its own rules: as YAML, `"\ud83d\ude00"` and `"\/"` would be errors, and large texts slow.

use std::{cell::Cell, fmt};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, error::Category};

use super::{
    compose::{MAP_BYTES, NODE_BYTES, bounded},
    read::ParseError,
};

/// Why a text isn't the JSON of an object.
pub(super) enum Failure {
    /// It isn't JSON: perhaps YAML's flow style, which begins with the same brackets.
    Syntax(ParseError),
    /// It is, and is refused: a key stands twice, or it takes too much memory.
    Value(ParseError),
}

/// Returns the value of a text that has one JSON document; 127 levels are serde_json's own limit.
pub(super) fn read(text: &str) -> Result<Value, Failure> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Strict { bytes: &Cell::new(0) }.deserialize(&mut deserializer);
    let error = match read.and_then(|value| deserializer.end().map(|()| value)) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = error.to_string().replace(&place, "");
    let line_start = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    let before = &text.as_bytes()[..text.len().min(line_start + error.column())];
    Err(match error.classify() {
        Category::Data => Failure::Value(ParseError::new(position(key_before(before)), reason)),
        // As YAML it would be read, as text.
        Category::Syntax if reason == "number out of range" => {
            Failure::Value(ParseError::new(position(before), reason))
        }
        Category::Eof | Category::Io | Category::Syntax => Failure::Syntax(ParseError::new(position(before), reason)),
    })
}

/// Returns the text up to and with the quote that opens the last key.
fn key_before(text: &[u8]) -> &[u8] {
    let inside = text.trim_ascii_end().strip_suffix(b"\"").unwrap_or_default();
    let is_escaped = |quote: usize| inside[..quote].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    let opening = (0..inside.len()).rev().find(|at| inside[*at] == b'"' && !is_escaped(*at));
    &inside[..opening.map_or(0, |opening| opening + 1)]
}

/// Returns line and column of the last character, counted from one and in characters.
pub(super) fn position(text: &[u8]) -> (u64, u64) {
    let line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_first = |byte: &&u8| **byte & 0xC0 != 0x80; // of a character's bytes
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    (lines as u64 + 1, line.iter().filter(is_first).count().max(1) as u64)
}

/// Reads a value none of whose keys stands twice (`Value` itself keeps the last one), and counts its memory.
#[derive(Clone, Copy)]
struct Strict<'c> {
    bytes: &'c Cell<usize>,
}

impl Strict<'_> {
    fn count<E: de::Error>(self, bytes: usize) -> Result<(), E> {
        self.bytes.set(self.bytes.get() + bytes);
        bounded(self.bytes.get()).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count(NODE_BYTES)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.count(MAP_BYTES)?;
        let mut entries = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if entries.contains_key(&key) {
                return Err(de::Error::custom(ParseError::duplicate(&key)));
            }
            let value = map.next_value_seed(self)?;
            entries.insert(key, value);
        }
        Ok(entries.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}
