//! Who is called how: rules that are followed while it runs, pseudonyms, and users who are ignored.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use reverser_testbed::{BareRepo, LoggedCommit};
use serde_json::json;

use crate::{
    authors::{text, user},
    scene::{Scene, assert_subjects, config_map, create, delete, home, object, patch, run},
};

fn author(commit: &LoggedCommit) -> String {
    format!("{} <{}>", commit.author, commit.author_email)
}

/// What is logged when rules are taken over, and when they aren't.
const READ: &str = "identities read again";
const NOT_READ: &str = "identities not read";

#[test]
fn a_file_of_rules_is_followed_and_a_wrong_one_changes_nothing() {
    run(async {
        let scene = Scene::shared("identities").await;
        let (ann, ben) = (user(&scene, "ann").await, user(&scene, "ben").await);
        let audit_log = scene.plane.audit_log().unwrap();
        let file = scene.home.path().join("people.yaml");
        // As a volume of a ConfigMap has it.
        let put = |version: &str, rules: &str| {
            let folder = scene.home.path();
            fs::write(folder.join(version), rules).unwrap();
            std::os::unix::fs::symlink(version, folder.join("new")).unwrap();
            fs::rename(folder.join("new"), &file).unwrap();
        };
        put("1", "rules:\n- {user: ann, name: Ann Lee, email: ann.lee@corp.example}\n");
        let flags = ["-r", "cm", "--audit-log", text(&audit_log), "--author-domain", "Users.Example.com"];
        let watch = scene.watch(&[&flags[..], &["--identities", "people.yaml"]].concat()).await;
        create(&ann, config_map("web", "1")).await;
        patch(&ben, "web", json!({"data": {"key": "2"}})).await;
        let log = scene.history(2).await;
        assert_eq!(author(&log[0]), "Ann Lee <ann.lee@corp.example>");
        assert!(log[0].message.contains("\nReverser-Actor: ann\nReverser-Evidence: audit\n"), "{}", log[0].message);
        assert_eq!(author(&log[1]), "ben <ben@users.example.com>");

        put("2", "rules:\n- {user: '*', name: '{user|title}', email: '{user}@corp.example'}\n");
        watch.says(READ).await;
        patch(&ben, "web", json!({"data": {"key": "3"}})).await;
        assert_eq!(author(&scene.history(3).await[2]), "Ben <ben@corp.example>");

        put("3", "rules:\n- {user: '*', mail: '{user}@corp.example'}\n");
        watch.says(NOT_READ).await;
        watch.says("rules[0].mail: there is no such field").await;
        patch(&ann, "web", json!({"data": {"key": "4"}})).await;
        assert_eq!(author(&scene.history(4).await[3]), "Ann <ann@corp.example>");
        watch.terminate().await.exits_with(0);

        // The wrong one is still there.
        let repo = scene.repo.url();
        let again = [&["watch", "--repo", &repo][..], &scene.cluster(), &flags, &["--identities", "people.yaml"]];
        let said = scene.home.run(&again.concat()).await.exits_with(1);
        assert!(said.contains("--identities: people.yaml: rules[0].mail: there is no such field; there are"), "{said}");
        let check = [&["check", "--repo", &repo, "-r", "cm", "--identities", "people.yaml"][..], &scene.cluster()];
        let said = scene.home.run(&check.concat()).await.exits_with(1);
        assert!(said.contains("FAIL  identities people.yaml: rules[0].mail: there is no such field"), "{said}");
    });
}

#[test]
fn a_config_map_of_rules_is_followed() {
    run(async {
        let scene = Scene::shared("identities-map").await;
        let ann = user(&scene, "ann").await;
        let maps = scene.api::<ConfigMap>();
        let audit_log = scene.plane.audit_log().unwrap();
        let rules = |name: &str| json!({"data": {"identities.yaml": format!("rules: [{{user: ann, name: {name}}}]")}});
        let source = format!("configmap:{}/people", scene.namespace);
        let flags = ["-r", "cm", "--except", "name=people", "--audit-log", text(&audit_log), "--identities", &source];
        let repo = scene.repo.url();
        let arguments = [&["watch", "--repo", &repo][..], &scene.cluster(), &flags].concat();
        let said = scene.home.run(&arguments).await.exits_with(1);
        assert!(
            said.contains("/people/identities.yaml: it has to exist, and this user has to be allowed to"),
            "{said}"
        );

        let mut people = rules("Ann One");
        people["metadata"] = json!({"name": "people"});
        create(&maps, object::<ConfigMap>(people)).await;
        let watch = scene.watch(&flags).await;
        create(&ann, config_map("web", "1")).await;
        scene.history(1).await;
        patch(&maps, "people", rules("Ann Two")).await;
        watch.says(READ).await;
        patch(&ann, "web", json!({"data": {"key": "2"}})).await;
        scene.history(2).await;
        delete(&maps, "people").await;
        watch.says(NOT_READ).await;
        patch(&ann, "web", json!({"data": {"key": "3"}})).await;
        let authors: Vec<_> = scene.history(3).await.iter().map(author).collect();
        let two = "Ann Two <ann@cluster.local>";
        assert_eq!(authors, ["Ann One <ann@cluster.local>", two, two]);
    });
}

#[test]
fn with_pseudonyms_no_commit_has_a_name_and_users_stay_apart() {
    run(async {
        let scene = Scene::shared("pseudonyms").await;
        let (ann, ben) = (user(&scene, "annabelle").await, user(&scene, "benedict").await);
        let audit_log = scene.plane.audit_log().unwrap();
        let template = "{{ actor }} did {{ operation }} {{ name }}";
        let flags = ["-r", "cm", "--audit-log", text(&audit_log), "--pseudonyms-key", "key", "--message", template];
        // What the filters ask is who it really was.
        let watch = scene.watch(&[&flags[..], &["--only", "user=annabelle", "--only", "user=benedict"]].concat()).await;
        create(&ann, config_map("web", "1")).await;
        patch(&ben, "web", json!({"data": {"key": "2"}})).await;
        patch(&ann, "web", json!({"data": {"key": "3"}})).await;
        scene.history(3).await;
        watch.terminate().await.exits_with(0);
        let key = scene.home.path().join("key");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&key).unwrap().trim_end().len(), 64);

        // The next run has the same key, and groups have no other names.
        let _watch = scene.watch(&[&flags[..], &["--group", "interval", "--group-max-age", "2s"]].concat()).await;
        patch(&ann, "web", json!({"data": {"key": "4"}})).await;
        create(&ben, config_map("db", "4")).await;
        let log = scene.history(4).await;
        let [first, second, third, group] = &log[..] else { panic!("{log:?}") };
        assert_eq!(author(first), author(third));
        assert_ne!(author(first), author(second));
        assert_eq!(first.subject(), format!("{} did CREATE web", first.author));
        let is_named = |commit: &LoggedCommit| group.message.contains(&format!("Co-authored-by: {}", author(commit)));
        assert!(is_named(first) && is_named(second), "{}", group.message);
        for commit in &log {
            let all = format!("{} {}", author(commit), commit.message);
            assert!(!all.contains("annabelle") && !all.contains("benedict"), "{all}");
        }
    });
}

#[test]
fn an_ignored_user_makes_no_commit_and_nothing_is_lost() {
    run(async {
        let scene = Scene::shared("ignored-user").await;
        let (ann, bot) = (user(&scene, "ann").await, user(&scene, "robot-9").await);
        let audit_log = scene.plane.audit_log().unwrap();
        let flags = ["-r", "cm", "--ignore-user", "nobody", "--ignore-user", "robot-*"];
        let repo = scene.repo.url();
        let without = [&["watch", "--repo", &repo][..], &scene.cluster(), &flags].concat();
        let said = scene.home.run(&without).await.exits_with(2);
        assert!(said.contains("--ignore-user needs --attribution"), "{said}");

        let flags = [&flags[..], &["--audit-log", text(&audit_log)]].concat();
        let watch = scene.watch(&flags).await;
        create(&ann, config_map("web", "1")).await;
        create(&ann, config_map("old", "1")).await;
        scene.history(2).await;
        // Its field manager is known at once, and is no user.
        let by_flux = PostParams { field_manager: Some("kustomize-controller".into()), ..PostParams::default() };
        bot.create(&by_flux, &config_map("cache", "1")).await.unwrap();
        patch(&bot, "web", json!({"data": {"bot": "1"}})).await;
        delete(&bot, "old").await;
        patch(&ann, "web", json!({"data": {"key": "2"}})).await;
        let log = scene.history(3).await;
        let (created, updated) = ("[CREATE] v1/configmaps/web", "[UPDATE] v1/configmaps/web");
        assert_subjects(&log, &[created, "[CREATE] v1/configmaps/old", updated]);
        assert_eq!(log[2].author, "ann");
        assert!(scene.file("v1/configmaps", "web").await.contains("bot: \"1\""));
        let path = |name| scene.path("v1/configmaps", name);
        scene.has_files(&[path("old"), path("web")]).await;
        watch.terminate().await.exits_with(0);
        // What nobody's change brings comes with a verification, as nobody's doing.
        let _watch = scene.watch(&[&flags[..], &["--verify-interval", "1s"]].concat()).await;
        scene.has_files(&[path("cache"), path("web")]).await;
        let log = scene.history(4).await;
        assert!(log[3..].iter().all(|commit| commit.author == "reverser"), "{log:?}");
    });
}

#[test]
fn a_log_is_replayed_with_the_same_names_and_without_the_same_users() {
    run(async {
        let home = home();
        fs::write(home.path().join("audit.log"), include_str!("../../reverser-bin/demo/recording.audit.log")).unwrap();
        fs::write(home.path().join("people.yaml"), r#"{"rules": [{"user": "speaker", "name": "The Speaker"}]}"#)
            .unwrap();
        let replay = ["replay", "audit.log", "--repo", "repo.git", "--author-domain", "vote.example"];
        let named = ["--identities", "people.yaml", "--ignore-user", "voter-*"];
        home.run(&[&replay[..], &named].concat()).await.exits_with(0);
        let repo = BareRepo::existing(home.path().join("repo.git"));
        let authors: BTreeSet<_> = repo.log("main").await.unwrap().iter().map(author).collect();
        let told: Vec<_> = authors.iter().map(String::as_str).collect();
        assert_eq!(told, ["The Speaker <speaker@vote.example>", "admin <admin@vote.example>"]);
        let of_cluster = ["--identities", "configmap:shop/people"];
        let said = home.run(&[&replay[..], &of_cluster].concat()).await.exits_with(1);
        assert!(said.contains("there is no cluster to read it from; give a file"), "{said}");
    });
}
