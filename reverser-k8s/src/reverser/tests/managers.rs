//! Field managers, where nothing else tells who made a change.

use super::*;

/// Knows who made version 103.
#[derive(Debug)]
struct OneVersion;

impl ActorSource for OneVersion {
    fn attribute(&self, change: &Change) -> Attribution {
        match change.resource_version.as_deref() {
            Some("103") => Attribution::known(Actor::user("alice"), Evidence::Admission),
            _ => Attribution::Unknown,
        }
    }
}

#[tokio::test]
async fn the_manager_is_named_that_must_have_made_a_change_and_no_other_and_no_user() {
    let sink = MemorySink::new();
    let reverser = Reverser::new(sink.clone()).actors(OneVersion).build();
    let by = |version: u32, manager: &str, second: u32| {
        let mut body = body("a", version, "web");
        let time = format!("2026-01-01T00:00:{second:02}Z");
        body["metadata"]["managedFields"] = json!([{"manager": manager, "time": time}]);
        body
    };
    let source = [
        listed(vec![by(99, "kubectl", 1)]),
        change(Operation::Update, by(101, "kubectl-edit", 10)),
        // It may have removed something, and so may anybody else.
        change(Operation::Update, by(102, "kubectl-edit", 10)),
        change(Operation::Update, by(103, "kubectl-edit", 20)),
        change(Operation::Delete, by(104, "kubectl-edit", 20)),
    ];
    run(&reverser, &sink, Scripted::new("s", source), 5).await;
    let evidence: Vec<_> = sink.commits()[1..]
        .iter()
        .map(|commit| {
            let trailer = commit.plan.message.lines().find(|line| line.starts_with("Reverser-Evidence"));
            let author = commit.plan.author.as_ref().map(ToString::to_string);
            (trailer.unwrap_or_default().to_owned(), author)
        })
        .collect();
    let told =
        |evidence: &str, author: Option<&str>| (format!("Reverser-Evidence: {evidence}"), author.map(str::to_owned));
    assert_eq!(
        evidence,
        [
            told("managedFields", None),
            told("unknown", None),
            told("admission", Some("alice <alice@cluster.local>")),
            told("unknown", None),
        ]
    );
}
