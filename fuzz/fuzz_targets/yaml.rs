//! The reader takes any bytes, however they are cut, and what it reads is emitted so that it is read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reverser_core::yaml::{self, Documents};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let documents = read(bytes, usize::MAX);
    for piece in [1, 1 + bytes.len() / 3] {
        assert_eq!(read(bytes, piece), documents, "in pieces of {piece}");
    }
    for value in documents.into_iter().filter_map(|(.., read)| read.ok()) {
        emit(value);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Lists expanded.
    for object in yaml::objects(text).into_iter().flatten() {
        emit(object);
    }
    // Without a bracket it is YAML, where `-0` is an integer.
    if let Ok(value @ (Value::Array(_) | Value::Object(_))) = serde_json::from_str(text) {
        read_json(text, value);
    }
});

/// Number, line, and value or error of each document.
fn read(stream: &[u8], piece: usize) -> Vec<(usize, u64, Result<Value, String>)> {
    let mut documents = Documents::new();
    let mut read = Vec::new();
    let mut take = |documents: &mut Documents| {
        while let Some(document) = documents.next_document() {
            let value = document.read().map_err(|error| error.to_string());
            read.push((document.number(), document.line(), value));
        }
    };
    for piece in stream.chunks(piece) {
        documents.push(piece);
        take(&mut documents);
    }
    documents.finish();
    take(&mut documents);
    read
}

fn emit(value: Value) {
    let text = yaml::to_string(&value);
    // What anchors make large takes the reader's time and shows nothing else.
    if text.len() > 1 << 20 {
        return;
    }
    assert!(text.ends_with('\n') && text.lines().all(|line| !line.ends_with([' ', '\t'])), "{text}");
    let read = yaml::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    // A document that is `null` is left out.
    let expected: &[Value] = if value.is_null() { &[] } else { std::slice::from_ref(&value) };
    assert_eq!(read, expected, "{text}");
    for read in read {
        assert_eq!(yaml::to_string(&read), text);
    }
    if value.is_array() || value.is_object() {
        read_json(&value.to_string(), value);
    }
}

/// Another reader of JSON has to agree, but for keys that stand twice and for numbers that no float holds.
fn read_json(text: &str, value: Value) {
    match yaml::parse(text) {
        Ok(read) => assert_eq!(read, [value], "{text}"),
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains("stands twice") || error.contains("levels"), "{error}\n{text}");
        }
    }
}
