//! `reverser blame`: who made an object what it is, from nothing but the repository.

use reverser_testbed::{BareRepo, GitHttp};
use serde_json::{Value, json};

use crate::{
    authors::{text, user},
    scene::{Scene, config_map, create, delete, home, patch, run},
};

#[test]
fn each_field_is_of_who_wrote_it_also_through_another_layout_and_in_commits_of_many() {
    run(async {
        let scene = Scene::shared("blamed").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let audit_log = scene.plane.audit_log().unwrap();
        let flags = ["-r", "configmaps", "--audit-log", text(&audit_log)];
        let watch = scene.watch(&flags).await;
        create(&ann, config_map("web", "1")).await;
        patch(&ben, "web", json!({"data": {"other": "x", "key": "2"}})).await;
        patch(&ann, "web", json!({"data": {"key": "3"}})).await;
        scene.history(3).await;
        watch.terminate().await.exits_with(0);
        assert_eq!(
            blame(&scene.repo, &["cm/web"]).await,
            [
                "configmap/web -n blamed in v1/configmaps/blamed/web.yaml",
                "ann audit .apiVersion  \"v1\"",
                "ann audit .data.key  \"3\"",
                "ben audit .data.other  \"x\"",
                "ann audit .kind  \"ConfigMap\"",
                "ann audit .metadata  (2 fields)",
            ]
        );
        let values = ["ann audit \"3\"", "ben audit \"2\"", "ann audit \"1\"  (object created)"];
        assert_eq!(blame(&scene.repo, &["configmaps/web", "--field", ".data.key"]).await, values);

        // Another layout leaves the first one's files; what comes after it is in groups.
        let watch = scene
            .watch(
                &[
                    &flags[..],
                    &[
                        "--layout={namespace}/{kind|lower}/{group}/{name}.yaml",
                        "--group=interval",
                        "--group-quiet=1s",
                        "--group-max-age=1m",
                    ],
                ]
                .concat(),
            )
            .await;
        patch(&ben, "web", json!({"data": {"key": "4"}})).await;
        create(&ben, config_map("db", "1")).await;
        patch(&ann, "db", json!({"data": {"key": "2"}})).await;
        scene.history(5).await;
        watch.terminate().await.exits_with(0);
        let said = blame(&scene.repo, &["configmap/web", "-n", "blamed", "--field", "data.key"]).await;
        assert_eq!(said, [&["ben audit \"4\""][..], &values].concat());
        let said = blame(&scene.repo, &["configmap/db", "--field", "data.key"]).await;
        assert_eq!(said, ["ben or ann audit \"2\"  (object created)"]);

        // It is gone, and comes back as another object.
        let watch = scene.watch(&flags).await;
        delete(&ben, "web").await;
        create(&ann, config_map("web", "5")).await;
        scene.history(8).await;
        watch.terminate().await.exits_with(0);
        let said = blame(&scene.repo, &["v1/configmaps/blamed/web.yaml", "--field", ".data.key"]).await;
        assert_eq!(said[..2], ["ann audit \"5\"  (object created)", "ben audit (object deleted)"]);
    });
}

#[test]
fn what_becomes_known_later_counts_and_what_is_missing_is_told_apart() {
    run(async {
        let server = GitHttp::start().await.unwrap();
        let repo = server.create("blamed").await.unwrap();
        let put = |name: &str, namespace: &str, value: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{key: {value:?}}}\n"
            )
        };
        let commit = async |path: &str, content: &str| repo.commit_as_other("main", path, content).await.unwrap();
        commit("v1/configmaps/a/web.yaml", &put("web", "a", "1")).await;
        commit("v1/configmaps/b/web.yaml", &put("web", "b", "1")).await;
        let said =
            home().run(&["blame", "--repo", &repo.url(), "cm/web", "-n", "b", "--field", ".data"]).await.exits_with(0);
        assert!(said.ends_with("  {\"key\":\"1\"}  (first recorded)\n"), "{said}");
        let tip = commit("v1/configmaps/a/web.yaml", &put("web", "a", "2")).await;
        let note = "Reverser-Actor: ann\nReverser-Evidence: audit\nReverser-Impersonator: ben\nReverser-Audit-Id: 7f";
        let identity = ["-c", "user.name=bot", "-c", "user.email=bot@example.com"];
        repo.git(&[&identity[..], &["notes", "--ref=reverser", "add", "-m", note, &tip]].concat()).await.unwrap();
        let url = server.url("blamed");
        for at in [repo.url(), url] {
            let ask = async |arguments: &[&str]| home().run(&[&["blame", "--repo", &at], arguments].concat()).await;
            let said = ask(&["cm/web", "-n", "a", "--field", ".data.key", "-o", "json"]).await.exits_with(0);
            let document: Value = serde_json::from_str(&said).unwrap();
            let latest = &document["history"][0];
            assert_eq!(latest["commit"], json!(tip));
            assert_eq!(
                (&latest["value"], &latest["who"], &latest["how"]),
                (&json!("2"), &json!("ben as ann"), &json!("audit (late)"))
            );
            assert_eq!((&latest["actors"], &latest["impersonator"]), (&json!(["ann"]), &json!("ben")));
            assert_eq!((&latest["auditId"], latest["note"].as_str()), (&json!("7f"), Some(&*format!("{note}\n"))));
            assert_eq!(document["history"].as_array().map(Vec::len), Some(2));
            let said = ask(&["configmap/web"]).await.exits_with(2);
            assert!(said.contains("configmap/web -n a\n  configmap/web -n b"), "{said}");
            let said = ask(&["configmap/wep", "-n", "a"]).await.exits_with(1);
            assert!(said.contains("did you mean\n  configmap/web -n a"), "{said}");
            let said = ask(&["configmap/web", "-n", "a", "--field", ".data.nothing"]).await.exits_with(1);
            assert!(said.contains("has no .data.nothing"), "{said}");
            ask(&["configmap/web", "-n", "a", "--at", &format!("{}~1", &tip[..12])]).await.exits_with(0);
        }
        let said = home().run(&["blame", "cm/web", "--repo", &repo.url(), "--branch", "none"]).await.exits_with(2);
        assert!(said.contains("--branch"), "{said}");
    });
}

#[test]
fn nobody_is_named_for_what_is_older_than_the_first_commit_of_a_shallow_clone() {
    run(async {
        let scene = Scene::shared("shallow").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let audit_log = scene.plane.audit_log().unwrap();
        let watch = scene.watch(&["-r", "configmaps", "--audit-log", text(&audit_log)]).await;
        create(&ann, config_map("web", "1")).await;
        patch(&ben, "web", json!({"data": {"other": "x"}})).await;
        patch(&ann, "web", json!({"data": {"other": "y"}})).await;
        scene.history(3).await;
        watch.terminate().await.exits_with(0);
        let folder = tempfile::tempdir().unwrap();
        let clone = text(folder.path());
        scene
            .repo
            .git(&["clone", "--quiet", "--depth", "2", &format!("file://{}", scene.repo.url()), clone])
            .await
            .unwrap();
        let said = home().run(&["blame", "--repo", clone, "cm/web", "--field", ".data.key"]).await.exits_with(0);
        assert!(said.contains("  unknown  history cut off  ") && said.contains("\"1\"  (then or earlier)"), "{said}");
        assert!(!said.contains("ann") && !said.contains("ben") && said.contains("shallow"), "{said}");
        let said = home().run(&["blame", "--repo", clone, "cm/web", "--field", ".data.other", "-o", "json"]).await;
        let document: Value = serde_json::from_str(&said.exits_with(0)).unwrap();
        let told = |index: usize, key: &str| document["history"][index][key].clone();
        assert_eq!(
            (told(0, "who"), told(1, "who"), told(1, "change")),
            (json!("ann"), json!("unknown"), json!("found"))
        );
        assert_eq!((told(1, "author"), told(1, "actors"), told(1, "isCut")), (json!(null), json!([]), json!(true)));
    });
}

/// Returns the lines of a table without dates and commits, and without its head.
async fn blame(repo: &BareRepo, arguments: &[&str]) -> Vec<String> {
    let said = home().run(&[&["blame", "--repo", &repo.url()], arguments].concat()).await.exits_with(0);
    let row = |line: &str| {
        let Some((_date, rest)) = line.split_once("Z  ") else { return line.to_owned() };
        let columns: Vec<_> = rest.splitn(2, "  ").map(str::trim).collect();
        let (how, rest) = columns[1].split_once("  ").unwrap();
        let (_commit, last) = rest.trim().split_once("  ").unwrap();
        format!("{} {how} {last}", columns[0])
    };
    said.lines().filter(|line| !line.starts_with("WHEN")).map(row).collect()
}
