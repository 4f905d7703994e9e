//! What our YAML is to those who read it: kubectl, PyYAML, a Rust crate that isn't ours, and our own reader.
//!
//! ```text
//! values ──► yaml::to_string ──► one stream of documents ──► a reader ──► JSON ──► the same values?
//! ```

use std::{
    fmt::Write,
    io::{Seek, Write as _},
    process::{Command, Stdio},
};

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use reverser_core::yaml;
use reverser_testbed::{Tool, locate, python};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::scene::run;

#[test]
fn every_adversarial_string_is_the_same_to_every_reader_wherever_it_stands() {
    run(async {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../fixtures/yaml-cases.json")).unwrap();
        assert_eq!(cases.len(), 679);
        let objects = cases.iter().map(|case| {
            let text = &case["s"];
            let keyed: Map<_, _> = [(text.as_str().unwrap().to_owned(), text.clone())].into_iter().collect();
            json!({
                "metadata": {"labels": {"label": text}, "annotations": {"annotation": text}},
                "data": {"value": text, "next": "x"},
                "keys": {"data": keyed, "labels": keyed, "in a list": [keyed, {"nested": keyed}]},
                "list": [text, "x", [text, [text]]],
                "last": text,
            })
        });
        assert_read_by_all(objects.collect()).await;
    });
}

#[test]
fn random_structures_are_the_same_to_every_reader() {
    run(async {
        let mut runner =
            TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[4; 32]));
        let values = structure();
        let objects = (0..500).map(|_| json!({"random": values.new_tree(&mut runner).unwrap().current()}));
        assert_read_by_all(objects.collect()).await;
    });
}

#[test]
fn numbers_and_blocks_are_the_same_to_every_reader() {
    run(async {
        let numbers = json!([
            0,
            -1,
            i64::MAX,
            i64::MAX - 1,
            i64::MIN,
            u64::MAX,
            1_u64 << 63,
            (1_i64 << 53) + 1,
            -0.0,
            0.0,
            1.0,
            -1.5,
            0.1,
            100.0,
            1e15,
            1e16,
            1e20,
            1e21,
            1e22,
            -1e21,
            1.5e-7,
            1e-7,
            5e-324,
            f64::MIN_POSITIVE,
            f64::MAX,
            f64::MIN,
            f64::EPSILON,
        ]);
        let lines =
            ["a", "  a", "a: b", "- a", "# a", "", "\ta", "a ", "---", "...", "%a", "'", "\"", "\\", "é", "{", "|"];
        let mut blocks = Vec::new();
        for first in lines {
            for second in lines {
                blocks.extend(["", "\n", "\n\n", "\n\n\n"].map(|end| json!(format!("{first}\n{second}{end}"))));
            }
        }
        let keyed: Map<_, _> = (0..).map(|number: u32| format!("key-{number}")).zip(blocks.iter().cloned()).collect();
        assert_read_by_all(vec![json!({"numbers": numbers}), json!({"list": blocks}), json!({"map": keyed})]).await;
    });
}

/// What people write by hand is the same to us as it is to kubectl, which applies it.
#[test]
fn plain_scalars_are_to_our_reader_what_they_are_to_kubectl() {
    run(async {
        let scalars = [
            "yes",
            "yEs",
            "YES",
            "On",
            "oN",
            "OFF",
            "y",
            "N",
            "tRUE",
            "true",
            "nUll",
            "Null",
            "~",
            "",
            "=",
            "<<",
            "1__0",
            "1_",
            "_1",
            "1_000",
            "1_000.5",
            "1_e3",
            "0644",
            "0o17",
            "0O17",
            "-017",
            "+017",
            "0_7",
            "0777_7",
            "08",
            "089",
            "00",
            "0x1F",
            "0X1f",
            "-0x1F",
            "0x1_F",
            "0x",
            "0xg",
            "0b11",
            "0B11",
            "-0b11",
            "0b2",
            "0o8",
            "0x7FFFFFFFFFFFFFFF",
            "0x8000000000000000",
            "0x1FFFFFFFFFFFFFFFF",
            "+1",
            "-1",
            "--1",
            "+-1",
            ".5",
            "5.",
            "0.",
            "1.e3",
            ".5e3",
            "-.5",
            ".5_0",
            ".5_",
            "._5",
            "-._5",
            ".5_e3",
            ".5.",
            ".",
            "..",
            "1e3",
            "1e400",
            "-1e400",
            "1e-400",
            "1e",
            "e3",
            "1.5e-7",
            "1e21",
            "1.0e+21",
            "-0",
            "-0.0",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "1:30",
            "12:30:45",
            "2026-01-01",
            "2026-01-01T00:00:00Z",
            "2026-01-01 10:00:00",
            "1.25.3",
            "Infinity",
            "nan",
            "inf",
            "!!str 1",
            "!!int '0x1F'",
            "!!float 1",
            "!!bool 'yes'",
            "!x 1",
            "! 1",
            "!!str",
            "{yes: 1, 1: a, 1.5: b, 0x1F: c, -1: d, 2026-01-01: e, 1e3: f}",
            "{a, b: }",
        ];
        let mut text = String::new();
        for scalar in scalars {
            writeln!(text, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\nvalue: {scalar}").unwrap();
        }
        let (ours, kubectls) = (yaml::parse(&text).unwrap(), kubectl(&text).await);
        assert_eq!((ours.len(), kubectls.len()), (scalars.len(), scalars.len()));
        let different = scalars
            .iter()
            .zip(ours.iter().zip(&kubectls))
            .filter(|(_, (our, its))| !is_same(&our["value"], &its["value"]));
        let different: Vec<_> = different.map(|(scalar, (our, its))| (scalar, &our["value"], &its["value"])).collect();
        assert!(different.is_empty(), "scalar, we, kubectl: {different:?}");
    });
}

/// Emits the objects, lets each reader read all of them, and compares.
async fn assert_read_by_all(mut objects: Vec<Value>) {
    for (number, object) in objects.iter_mut().enumerate() {
        object["apiVersion"] = json!("v1");
        object["kind"] = json!("ConfigMap");
        object["metadata"]["name"] = json!(format!("case-{number}"));
    }
    let text: String = objects.iter().map(|object| format!("---\n{}", yaml::to_string(object))).collect();
    let serde_yaml = serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    let readers = [
        ("kubectl", kubectl(&text).await),
        ("PyYAML", pyyaml(&text).await),
        ("serde_yaml", serde_yaml.collect()),
        ("our reader", yaml::parse(&text).unwrap()),
    ];
    for (reader, read) in readers {
        assert_eq!(read.len(), objects.len(), "{reader}");
        let different = objects.iter().zip(&read).filter(|(object, read)| !is_same(object, read));
        let different: Vec<_> = different.map(|(object, read)| (yaml::to_string(object), read.to_string())).collect();
        let some = different
            .iter()
            .take(3)
            .fold(String::new(), |text, (wrote, read)| format!("{text}\nwrote\n{wrote}read\n{read}\n"));
        assert!(different.is_empty(), "{reader} reads {} of {} otherwise:{some}", different.len(), objects.len());
    }
}

/// Returns whether a reader's value is what was written: exact, but that kubectl prints `1.0` as `1` and `-0.0` as `0`, and takes
/// integers above `i64::MAX` for floats.
fn is_same(written: &Value, read: &Value) -> bool {
    match (written, read) {
        (Value::Array(written), Value::Array(read)) => {
            written.len() == read.len() && written.iter().zip(read).all(|(written, read)| is_same(written, read))
        }
        (Value::Number(written), Value::Number(read)) => match (written.as_i64(), read.as_i64()) {
            (Some(written), Some(read)) => written == read,
            _ => written.as_f64() == read.as_f64(),
        },
        (Value::Object(written), Value::Object(read)) => {
            written.len() == read.len()
                && written.iter().all(|(key, value)| read.get(key).is_some_and(|read| is_same(value, read)))
        }
        (written, read) => written == read,
    }
}

/// Reads as `kubectl apply -f` does, without a server. The command has to change something: a label, which is removed again.
async fn kubectl(text: &str) -> Vec<Value> {
    let [kubectl] = locate([Tool::Kubectl]).await.unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(kubectl);
    command.args(["label", "--local", "-f", "-", "-o", "json", "read-by=kubectl"]).env("KUBECONFIG", "/dev/null");
    let output = output(command, text);
    let objects = serde_json::Deserializer::from_str(&output).into_iter::<Value>().map(|object| {
        let mut object = object.unwrap();
        let metadata = object["metadata"].as_object_mut().unwrap();
        let labels = metadata["labels"].as_object_mut().unwrap();
        assert_eq!(labels.remove("read-by"), Some(json!("kubectl")));
        if labels.is_empty() {
            metadata.remove("labels");
        }
        object
    });
    objects.collect()
}

/// Reads with `yaml.safe_load_all`. What JSON doesn't have, dates and keys that aren't text, is printed as what it isn't.
async fn pyyaml(text: &str) -> Vec<Value> {
    const SCRIPT: &str = "\
import json, sys, yaml
def plain(value):
    if isinstance(value, dict):
        return {k if isinstance(k, str) else repr(k) + ' is no text': plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value
for document in yaml.safe_load_all(sys.stdin.buffer):
    print(json.dumps(plain(document), default=repr))
";
    // The error says what to install.
    let mut command = python().await.unwrap_or_else(|error| panic!("{error}")).command();
    command.args(["-c", SCRIPT]);
    output(command, text).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns what the command prints, with the text as its input; from a file, since a pipe might fill both ways.
fn output(mut command: Command, text: &str) -> String {
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    input.rewind().unwrap();
    let output = command.stdin(Stdio::from(input)).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Values of any shape, up to ten levels deep.
fn structure() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        "[ -~\n\t]{0,12}",
        "[-+.0-9eExXoObB_:TZ, ]{1,10}",
        "(line|\n|  in|\t| |k: v|# c|- i|---|\\.\\.\\.|\r){0,8}",
        "(?i)(y|n|yes|no|on|off|true|false|null|~|\\.inf|\\.nan|=|<<|)",
        "[a-z]{119,140}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |float| float.is_finite()).prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(10, 128, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..6).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}
