//! What a scalar is: the reader's half of YAML 1.1, as kubectl has it (sigs.k8s.io/yaml, which is go-yaml 2).

use granit_parser::Tag;
use serde_json::{Number, Value};

/// Returns what a scalar stands for; `is_plain` is false for quoted text and blocks.
///
/// A tag of the user's own (`!x 1`) makes it text. The error is what is wrong with it.
pub(super) fn scalar(text: String, is_plain: bool, tag: Option<&Tag>) -> Result<Value, String> {
    let tag = tag.map(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:").unwrap_or_default());
    match tag.as_deref() {
        None if is_plain => plain(text),
        Some("binary") => Err("!!binary is not supported: no field of an API object takes it".into()),
        Some(wanted @ ("bool" | "float" | "int" | "null")) => {
            let value = plain(text)?;
            let fits = match (wanted, &value) {
                ("bool", Value::Bool(_)) | ("float", Value::Number(_)) | ("null", Value::Null) => true,
                ("int", Value::Number(number)) => !number.is_f64(),
                _ => false,
            };
            if fits { Ok(value) } else { Err(format!("the text behind !!{wanted} is none")) }
        }
        _ => Ok(Value::String(text)),
    }
}

/// Returns the text of a key: other than YAML, JSON has no other keys. kubectl writes booleans and numbers as these.
pub(super) fn key(value: Value) -> Result<String, String> {
    match value {
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) if number.is_i64() => Ok(number.to_string()),
        // Beyond, kubectl writes an exponent, with the seven digits of a float of 32 bits.
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() != 0.0 && (1e-4..1e6).contains(&float.abs()) => Ok((float as f32).to_string()),
            Some(float) if number.is_f64() && float.abs() < 1e6 && float.fract() == 0.0 => Ok(float.to_string()),
            _ => Err(format!("key {number} is no text: readers write this number in different ways")),
        },
        Value::String(text) => Ok(text),
        // A list or map, which an alias can stand for, as well.
        Value::Array(_) | Value::Null | Value::Object(_) => Err("a key has to be text".into()),
    }
}

fn plain(text: String) -> Result<Value, String> {
    Ok(match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => true.into(),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => false.into(),
        ".nan" | ".NaN" | ".NAN" => return Err(not_finite(&text)),
        other => match other.trim_start_matches(['+', '-']) {
            ".inf" | ".Inf" | ".INF" if other.len() <= 5 => return Err(not_finite(&text)),
            _ => number(other).map_or(Value::String(text), Value::Number),
        },
    })
}

fn not_finite(text: &str) -> String {
    format!("{text} is not a finite number")
}

fn number(text: &str) -> Option<Number> {
    match text.as_bytes() {
        // As Go writes numbers: `_` only between digits.
        [b'.', .., last] if *last != b'_' => {
            let separates = |at: &[u8]| at[1] != b'_' || at[0].is_ascii_digit() && at[2].is_ascii_digit();
            if text.as_bytes().windows(3).all(separates) { float(&text.replace('_', "")) } else { None }
        }
        [b'+' | b'-' | b'0'..=b'9', ..] => {
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| float(&digits))
        }
        _ => None,
    }
}

/// Reads what Go's `strconv.ParseInt` and, for lack of a sign, `ParseUint` do with base 0.
fn integer(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // It would take a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match text.as_bytes() {
        [b'-', ..] => 0_i64.checked_sub_unsigned(magnitude).map(Number::from),
        [b'+', ..] => i64::try_from(magnitude).ok().map(Number::from),
        _ => Some(magnitude.into()),
    }
}

/// Reads decimal floats; one that is too big is text, as it is to kubectl.
fn float(text: &str) -> Option<Number> {
    let is_decimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let float = if is_decimal { text.parse().ok()? } else { return None };
    Number::from_f64(float)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        plain(text.into()).unwrap()
    }

    /// Each was read by kubectl 1.36; tests/suite/readers.rs asks it again.
    #[test]
    fn plain_scalars_are_what_kubectl_takes_them_for() {
        for (text, value) in [
            ("0644", json!(420)),
            ("0o17", json!(15)),
            ("0O17", json!(15)),
            ("-017", json!(-15)),
            ("0_7", json!(7)),
            ("08", json!(8.0)),
            ("0x1F", json!(31)),
            ("-0X1f", json!(-31)),
            ("0x1_F", json!(31)),
            ("0b11", json!(3)),
            ("-0b11", json!(-3)),
            ("1_000", json!(1000)),
            ("1__0", json!(10)),
            ("1_", json!(1)),
            ("1_e3", json!(1000.0)),
            ("+1", json!(1)),
            ("5.", json!(5.0)),
            (".5e3", json!(500.0)),
            (".5_0", json!(0.5)),
            ("-._5", json!(-0.5)),
            ("-.5", json!(-0.5)),
            ("1e-400", json!(0.0)),
            ("9223372036854775807", json!(i64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("-9223372036854775809", json!(-9223372036854775808.0)),
            ("18446744073709551616", json!(18446744073709551616.0)),
            ("~", json!(null)),
            ("On", json!(true)),
            ("N", json!(false)),
        ] {
            assert_eq!(read(text), value, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_something_else_is_text() {
        for text in [
            "yEs",
            "tRUE",
            "nUll",
            "oN",
            "1e400",
            "-1e+400",
            "_1",
            "1:30",
            "2026-01-01",
            "=",
            "+",
            ".",
            "..",
            ".5.",
            "._5",
            ".5_",
            ".5__0",
            ".5_e3",
            "0x",
            "0b",
            "0b2",
            "0o8",
            "0xg",
            "0x1FFFFFFFFFFFFFFFF",
            "+0xFFFFFFFFFFFFFFFF",
            "1e",
            "e3",
            "--1",
            "+-1",
            "0x-1",
            "Infinity",
            "+inf",
            "nan",
            "--.inf",
            "1.25.3",
        ] {
            assert_eq!(read(text), json!(text));
        }
    }

    #[test]
    fn what_no_api_object_can_hold_is_refused() {
        for text in [".nan", ".NaN", ".inf", "-.Inf", "+.INF"] {
            assert_eq!(plain(text.into()), Err(format!("{text} is not a finite number")));
        }
    }

    #[test]
    fn keys_are_written_as_kubectl_writes_them() {
        let of = |text: &str| key(read(text));
        for (text, written) in
            [("yes", "true"), ("0x1F", "31"), ("-1", "-1"), ("1.5", "1.5"), ("1.0", "1"), ("1e3", "1000"), ("a", "a")]
        {
            assert_eq!(of(text).as_deref(), Ok(written));
        }
        for text in ["~", "1e21", "0.00001", "18446744073709551615"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
