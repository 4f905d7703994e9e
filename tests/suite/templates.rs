//! `--layout`, `--message`, `--sync-message`: files and commits as users word them.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use crate::scene::{Scene, assert_subjects, config_map, create, delete, patch, run};

#[test]
fn files_stand_and_commits_read_as_the_templates_say() {
    run(async {
        let scene = Scene::shared("templates").await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("before", "1")).await;
        let watch = scene
            .watch(&[
                "--resource=configmaps",
                "--layout={namespace}/{kind|lower}.{group}/{name}.yaml",
                "--message={{ operation|lower }}: {{ kind }} {{ namespace }}/{{ name }}\n\nReverser-Evidence: audit",
                "--sync-message=Listed:{% for o in objects %} {{ o.count }} {{ o.kind }}{% endfor %}",
            ])
            .await;
        create(&configs, config_map("web", "1")).await;
        patch(&configs, "web", json!({"data": {"key": "2"}})).await;
        delete(&configs, "before").await;
        let log = scene.history(4).await;
        assert_subjects(
            &log,
            &[
                "Listed: 1 ConfigMap",
                "create: ConfigMap templates/web",
                "update: ConfigMap templates/web",
                "delete: ConfigMap templates/before",
            ],
        );
        scene.has_files(&["templates/configmap._core/web.yaml".to_owned()]).await;
        let trailers = scene.repo.git(&["log", "-1", "--format=%(trailers:key=Reverser-Evidence,valueonly)", "main"]);
        assert_eq!(trailers.await.unwrap().trim(), "unknown", "a template can't forge a trailer");
        watch.terminate().await.exits_with(0);
        scene.repo.fsck().await.unwrap();
    });
}

#[test]
fn another_layout_begins_with_a_list_and_leaves_the_files_of_the_first() {
    run(async {
        let scene = Scene::shared("relayout").await;
        let configs = scene.api::<ConfigMap>();
        create(&configs, config_map("web", "1")).await;
        scene.watch(&["--resource=configmaps"]).await.terminate().await.exits_with(0);
        let layout = "--layout={group|default('_')}/{resource}/{namespace}.{name}.yml";
        let watch = scene.watch(&["--resource=configmaps", layout]).await;
        let both = ["_/configmaps/relayout.web.yml".to_owned(), scene.path("v1/configmaps", "web")];
        scene.has_files(&both).await;
        delete(&configs, "web").await;
        scene.has_files(&both[1..]).await;
        watch.terminate().await.exits_with(0);
    });
}

#[test]
fn a_sweep_finds_the_files_of_a_layout_whose_folders_are_namespaces() {
    run(async {
        let scene = Scene::shared("by-namespace").await;
        let configs = scene.api::<ConfigMap>();
        for name in ["a", "b"] {
            create(&configs, config_map(name, "1")).await;
        }
        let repo = scene.repo.url();
        let layout = "--layout={namespace}/{group}_{resource}_{name}.yaml";
        let arguments = [&["snapshot", "--repo", &repo, layout, "-r", "configmaps"], &scene.cluster()[..]].concat();
        scene.home.run(&arguments).await.exits_with(0);
        scene.repo.commit_as_other("main", "by-namespace/mine.yaml", "# mine\n").await.unwrap();
        delete(&configs, "b").await;
        scene.home.run(&arguments).await.exits_with(0);
        let files = scene.repo.files("main").await.unwrap();
        assert_eq!(files, ["by-namespace/_core_configmaps_a.yaml", "by-namespace/mine.yaml"]);
    });
}

#[test]
fn a_replay_refuses_a_layout_that_needs_what_a_log_does_not_tell() {
    run(async {
        let scene = Scene::shared("replay-layout").await;
        let repo = scene.repo.url();
        let log = scene.home.path().join("audit.log");
        std::fs::write(&log, "").unwrap();
        let replay = async |layout| scene.home.run(&["replay", log.to_str().unwrap(), "--repo", &repo, layout]).await;
        let said = replay("--layout={group}/{kind|lower}/{namespace}/{name}.yaml").await.exits_with(2);
        assert!(said.contains("--layout") && said.contains("{resource}"), "{said}");
        replay("--layout={group}/{resource}/{namespace}/{name}.yaml").await.exits_with(0);
    });
}
