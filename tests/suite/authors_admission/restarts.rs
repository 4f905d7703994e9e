//! What is known of who did it when reverser or the API server was away.

use reverser_testbed::{Ending, Faults, TcpProxy};
use serde_json::json;

use super::Attributed;
use crate::scene::{Scene, config_map, create, delete, patch, run};

#[test]
fn after_a_kill_nobody_is_named_for_what_was_not_asked_about_and_everybody_for_what_is_again() {
    run(async {
        let watched = Attributed::namespaced(Scene::unwatched("killed").await, &[]).await;
        let (alices, bobs) = (watched.alices(), watched.bobs());
        for name in ["kept", "away", "deleted"] {
            create(&alices, config_map(name, "1")).await;
        }
        patch(&bobs, "kept", json!({"data": {"key": "2"}})).await;
        watched.tells("kept", &["alice admission [CREATE]", "bob admission [UPDATE]"]).await;
        let watched = watched.killed().await;
        // What a killed run registered asks in vain, and holds nobody up for long.
        patch(&bobs, "away", json!({"data": {"key": "2"}})).await;
        delete(&bobs, "deleted").await;
        create(&bobs, config_map("made", "1")).await;
        let watched = watched.again().await;
        let (alices, bobs) = (watched.alices(), watched.bobs());
        // Over a version that was listed, and that nobody has told of since.
        patch(&alices, "kept", json!({"data": {"key": "3"}})).await;
        // Over one that was written meanwhile, to what it was before that.
        patch(&alices, "away", json!({"data": {"key": "1"}})).await;
        delete(&alices, "made").await;
        create(&alices, config_map("deleted", "1")).await;
        delete(&bobs, "kept").await;
        let kept = [
            "alice admission [CREATE]",
            "bob admission [UPDATE]",
            "alice admission [UPDATE]",
            "bob admission [DELETE]",
        ];
        watched.tells("kept", &kept).await;
        watched
            .tells("away", &["alice admission [CREATE]", "reverser unknown [UPDATE]", "alice admission [UPDATE]"])
            .await;
        watched.tells("made", &["reverser unknown [CREATE]", "alice admission [DELETE]"]).await;
        let deleted = ["alice admission [CREATE]", "reverser unknown [DELETE]", "alice admission [CREATE]"];
        watched.tells("deleted", &deleted).await;
        watched.ends().await;
    });
}

#[test]
fn what_is_recovered_after_a_restart_of_the_api_server_is_by_whoever_asked_for_it() {
    run(async {
        let scene = Scene::unwatched("recovered").await;
        let proxy = TcpProxy::start(scene.plane.address()).await.unwrap();
        let kubeconfig = scene.plane.kubeconfig_via(&proxy).unwrap();
        let selection = ["-r", "configmaps", "--namespace", "recovered"];
        let watched = Attributed::through(scene, &kubeconfig, &selection).await;
        let (alices, bobs) = (watched.alices(), watched.bobs());
        for name in ["web", "gone"] {
            create(&alices, config_map(name, "0")).await;
            watched.tells(name, &["alice admission [CREATE]"]).await;
        }
        // It is asked for each request, and sees nothing of what comes of them.
        proxy.set(Faults { refuses: true, ..Faults::default() });
        proxy.end(Ending::Cut);
        for (configs, value) in [(&bobs, "1"), (&alices, "2"), (&bobs, "0"), (&bobs, "3"), (&alices, "0")] {
            patch(configs, "web", json!({"data": {"key": value}})).await;
        }
        delete(&bobs, "gone").await;
        create(&bobs, config_map("made", "1")).await;
        patch(&alices, "made", json!({"data": {"key": "2"}})).await;
        watched.scene.plane.restart_api_server().await.unwrap();
        proxy.heal();
        watched.watch.says(r#""message":"history recovered""#).await;
        let web = [
            "alice admission [CREATE]",
            "bob admission [UPDATE]",
            "alice admission [UPDATE]",
            "bob admission [UPDATE]",
            "bob admission [UPDATE]",
            "alice admission [UPDATE]",
        ];
        watched.tells("web", &web).await;
        watched.tells("gone", &["alice admission [CREATE]", "bob admission [DELETE]"]).await;
        watched.tells("made", &["bob admission [CREATE]", "alice admission [UPDATE]"]).await;
        watched.ends().await;
    });
}
