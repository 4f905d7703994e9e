//! What the emitter writes, the reader reads back as it was: for any JSON value, and the reader itself takes any text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reverser_core::yaml;
use serde_json::Value;

fuzz_target!(|text: &str| {
    // Whatever it is, reading ends, with a value or with an error.
    let _read = yaml::objects(text);
    if let Ok(value @ Value::Object(_)) = serde_json::from_str::<Value>(text) {
        let written = yaml::to_string(&value);
        match yaml::parse(&written) {
            Ok(read) => assert_eq!(read, [value], "{written}"),
            // Deeper than the reader goes.
            Err(error) => assert!(written.lines().any(|line| line.starts_with(&" ".repeat(60))), "{error}\n{written}"),
        }
    }
});
