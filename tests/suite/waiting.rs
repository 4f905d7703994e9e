//! Audit lines that come later than the events: changes wait for them, and lines that come later still become notes.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use reverser_testbed::eventually;
use reverser_tests::LIMIT;
use serde_json::{Value, json};

use crate::{
    authors::{text, user},
    metrics::Endpoint,
    scene::{Scene, config_map, create, credits, delete, patch, run},
};

/// A copy of the API server's audit log that has the lines of an object once they are let through.
struct HeldBack {
    _folder: tempfile::TempDir,
    from: PathBuf,
    to: PathBuf,
    namespace: String,
}

impl HeldBack {
    fn new(scene: &Scene) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (scene.plane.audit_log().unwrap(), folder.path().join("audit.log"));
        File::create(&to).unwrap();
        Self { _folder: folder, from, to, namespace: scene.namespace.clone() }
    }

    fn path(&self) -> &Path {
        &self.to
    }

    /// Lets the lines of so many writes of a ConfigMap through, once they are there.
    async fn let_through(&self, name: &str, writes: usize) {
        let lines = eventually(&format!("{writes} lines about {name}"), LIMIT, async || {
            let log = std::fs::read_to_string(&self.from).unwrap();
            let lines: Vec<_> = log.lines().filter(|line| self.is_about(line, name)).map(str::to_owned).collect();
            if lines.len() >= writes { Ok(lines) } else { Err(lines.len()) }
        })
        .await;
        let mut file = OpenOptions::new().append(true).open(&self.to).unwrap();
        file.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    }

    fn is_about(&self, line: &str, name: &str) -> bool {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let object = &event["objectRef"];
        let is_complete = event["stage"] == "ResponseComplete" && object["resource"] == "configmaps";
        is_complete && object["namespace"] == *self.namespace && object["name"] == name
    }
}

#[test]
fn a_change_waits_for_its_line_and_other_objects_do_not_wait_for_it() {
    run(async {
        let scene = Scene::shared("waiting").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let log = HeldBack::new(&scene);
        let arguments = ["-r", "configmaps", "--audit-log", text(log.path()), "--attribution-wait", "10m"];
        let watch = scene.watch(&arguments).await;
        create(&ann, config_map("late", "1")).await;
        patch(&ben, "late", json!({"data": {"key": "2"}})).await;
        for (number, name) in ["one", "two"].into_iter().enumerate() {
            create(&ben, config_map(name, "1")).await;
            log.let_through(name, 1).await;
            scene.history(number + 1).await;
        }
        log.let_through("late", 2).await;
        let expected = [
            "ben [CREATE] v1/configmaps/one",
            "ben [CREATE] v1/configmaps/two",
            "ann [CREATE] v1/configmaps/late",
            "ben [UPDATE] v1/configmaps/late",
        ];
        assert_eq!(credits(&scene.history(4).await), expected);

        // Killed while something waits, it commits that after the next start, and the rest not again.
        delete(&ann, "late").await;
        patch(&ben, "one", json!({"data": {"key": "2"}})).await;
        patch(&ann, "one", json!({"data": {"key": "1"}})).await;
        log.let_through("one", 3).await;
        scene.history(6).await;
        watch.kill().await;
        let watch = scene.watch(&[&arguments[..], &["--metrics-listen", "0"]].concat()).await;
        log.let_through("late", 3).await;
        let history = scene.history(7).await;
        let again =
            ["ben [UPDATE] v1/configmaps/one", "ann [UPDATE] v1/configmaps/one", "ann [DELETE] v1/configmaps/late"];
        assert_eq!(credits(&history)[4..], again);

        // At the end nothing waits any more.
        create(&ann, config_map("last", "1")).await;
        Endpoint::of(&watch).await.has("reverser_attribution_waiting", |waiting| waiting == Some(1.0)).await;
        watch.terminate().await.exits_with(0);
        let history = scene.history(8).await;
        assert_eq!(credits(&history)[7..], ["reverser [CREATE] v1/configmaps/last"]);
    });
}

#[test]
fn what_was_made_behind_a_waiting_change_and_is_gone_after_a_gap_goes_from_git_too() {
    run(async {
        let scene = Scene::unwatched("behind").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let log = HeldBack::new(&scene);
        let arguments = ["-r", "configmaps", "--audit-log", text(log.path()), "--attribution-wait", "10m"];
        let watch = scene.watch(&arguments).await;
        create(&ann, config_map("late", "1")).await;
        create(&ben, config_map("gone", "1")).await;
        log.let_through("gone", 1).await;
        scene.history(1).await;
        watch.kill().await;
        // Its position lies before both, and the API server forgets what was after it.
        delete(&ben, "gone").await;
        scene.plane.restart_api_server().await.unwrap();
        let watch = scene.watch(&arguments).await;
        log.let_through("gone", 2).await;
        log.let_through("late", 1).await;
        let expected =
            ["ann [CREATE] v1/configmaps/late", "ben [CREATE] v1/configmaps/gone", "ben [DELETE] v1/configmaps/gone"];
        let mut made = credits(&scene.history(3).await);
        made.sort_unstable();
        assert_eq!(made, expected);
        let said = watch.terminate().await.exits_with(0);
        assert!(said.contains(r#""message":"history recovered""#), "{said}");
        scene.has_files(&[scene.path("v1/configmaps", "late")]).await;
    });
}

#[test]
fn what_waited_and_is_forgotten_is_one_commit_that_turns_nothing_back() {
    run(async {
        let scene = Scene::unwatched("forgotten").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let log = HeldBack::new(&scene);
        let arguments = ["-r", "configmaps", "--audit-log", text(log.path()), "--attribution-wait", "10m"];
        let watch = scene.watch(&arguments).await;
        create(&ann, config_map("late", "1")).await;
        create(&ben, config_map("web", "1")).await;
        log.let_through("web", 1).await;
        scene.history(1).await;
        // etcd forgets what lies before the rest, and the position with it.
        scene.plane.compact().await.unwrap();
        patch(&ben, "web", json!({"data": {"key": "2"}})).await;
        patch(&ann, "web", json!({"data": {"key": "3"}})).await;
        log.let_through("web", 3).await;
        scene.history(3).await;
        watch.kill().await;
        patch(&ben, "web", json!({"data": {"key": "4"}})).await;
        scene.plane.restart_api_server().await.unwrap();
        let watch = scene.watch(&arguments).await;
        log.let_through("web", 4).await;
        let expected = [
            "ben [CREATE] v1/configmaps/web",
            "ben [UPDATE] v1/configmaps/web",
            "ann [UPDATE] v1/configmaps/web",
            "reverser [SYNC] 2 objects",
            "ben [UPDATE] v1/configmaps/web",
        ];
        assert_eq!(credits(&scene.history(5).await), expected);
        watch.terminate().await.exits_with(0);
        scene.has_files(&["late", "web"].map(|name| scene.path("v1/configmaps", name))).await;
    });
}

#[test]
fn a_line_that_comes_after_the_commit_becomes_a_note_on_it() {
    run(async {
        let scene = Scene::shared("noted").await;
        let ann = user(&scene, "ann").await;
        let log = HeldBack::new(&scene);
        let watch = ["-r", "configmaps", "--audit-log", text(log.path()), "--attribution-wait", "0s"];
        let watch = scene.watch(&watch).await;
        create(&ann, config_map("web", "1")).await;
        let history = scene.history(1).await;
        assert_eq!(credits(&history), ["reverser [CREATE] v1/configmaps/web"]);
        log.let_through("web", 1).await;
        let notes = ["notes", "--ref", "reverser", "show", &history[0].id];
        let note = eventually("a note", LIMIT, || scene.repo.git(&notes)).await;
        assert!(note.starts_with("Reverser-Actor: ann\nReverser-Evidence: audit\n"), "{note}");
        assert!(note.contains("\nReverser-Audit-Id: "), "{note}");
        watch.says(r#""message":"noted who made it"#).await;
        assert_eq!(scene.history(1).await[0].id, history[0].id, "the commit is what it was");
        watch.terminate().await.exits_with(0);
    });
}
