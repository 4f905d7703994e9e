//! What leaves the selection by its own wish, and whose changes are ignored.

use reverser_core::{Glob, OPT_OUT, Selector};

use super::*;

const FILE: &str = "v1/configmaps/shop/a.yaml";

fn annotated(version: u32, value: &str) -> Value {
    let mut body = body("a", version, "web");
    body["metadata"]["annotations"] = json!({OPT_OUT: value});
    body
}

async fn files(sink: &MemorySink) -> Vec<String> {
    sink.list(None).await.unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn an_object_that_opts_out_leaves_git_and_comes_back_without_the_annotation() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).build();
    let source = [
        Event::Resumed,
        change(Operation::Create, body("a", 101, "web")),
        change(Operation::Update, annotated(102, "true")),
        change(Operation::Update, annotated(103, "true")),
        change(Operation::Update, annotated(104, "false")),
    ];
    run(&reverser, &sink, Scripted::new("s", source), 3).await;
    assert_eq!(subjects(&sink), ["[CREATE] v1/configmaps/a", "[UPDATE] v1/configmaps/a", "[UPDATE] v1/configmaps/a"]);
    let message = &sink.commits()[1].plan.message;
    assert!(message.contains("asks to be left out, by its annotation configbutler.ai/ignore"), "{message}");
    assert_eq!(files(&sink).await, [FILE]);
}

#[tokio::test]
async fn a_list_takes_the_file_of_an_object_that_opts_out_and_an_embedder_may_not_listen() {
    for (opt_out, left) in [(Some(OPT_OUT.to_owned()), &[][..]), (None, &[FILE])] {
        let sink = MemorySink::new();
        let selector = Selector { opt_out, ..Selector::default() };
        let reverser = Reverser::new(sink.clone()).pipeline(Pipeline { selector, ..Pipeline::default() }).build();
        let source = [change(Operation::Create, body("a", 90, "web")), listed(vec![annotated(99, "true")])];
        reverser.drain(&mut Scripted::new("s", source)).await.unwrap();
        assert_eq!(files(&sink).await, left);
    }
}

#[tokio::test]
async fn the_changes_of_an_ignored_manager_come_with_the_next_of_somebody_else() {
    let sink = MemorySink::new();
    let selector = Selector { ignore_managers: vec![Glob::new("kustomize-*")], ..Selector::default() };
    let reverser = Reverser::new(sink.clone()).pipeline(Pipeline { selector, ..Pipeline::default() }).build();
    let by = |version: u32, flux: u32, kubectl: u32| {
        let mut body = body("a", version, "web");
        let entry = |manager, second| json!({"manager": manager, "time": format!("2026-01-01T00:00:{second:02}Z")});
        body["metadata"]["managedFields"] = json!([entry("kustomize-controller", flux), entry("kubectl", kubectl)]);
        body
    };
    let source = [
        listed(vec![by(99, 1, 2)]),
        change(Operation::Update, by(101, 10, 2)),
        change(Operation::Update, by(102, 11, 20)),
        change(Operation::Update, by(103, 30, 20)),
        // A removal leaves no trace in managed fields.
        change(Operation::Update, by(104, 30, 20)),
    ];
    run(&reverser, &sink, Scripted::new("s", source), 3).await;
    let versions: Vec<_> = sink.commits().iter().map(|commit| commit.plan.message.clone()).collect();
    assert!(versions[1].contains("Reverser-Resource-Version: 102\n"), "{versions:?}");
    assert!(versions[2].contains("Reverser-Resource-Version: 104\n"), "{versions:?}");
}
