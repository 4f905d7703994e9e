//! `reverser sanitize`: in pipes, as people use it.

use std::{fs, os::unix::fs::symlink, process::Stdio};

use k8s_openapi::api::core::v1::ConfigMap;
use reverser_testbed::rule;
use reverser_tests::LIMIT;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time::timeout,
};

use crate::scene::{Scene, assert_subjects, config_map, create, home, run};

/// What a command wrote, and how it ended.
struct Piped {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs a command with this on its standard input.
async fn piped(mut command: Command, input: &str) -> Piped {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (input, output) = (input.to_owned(), timeout(LIMIT, child.wait_with_output()));
    // At the same time: a pipe holds 64 KiB.
    let write = tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
    let output = output.await.unwrap().unwrap();
    // A command that is used wrongly ends without reading; of any other the output shows what it has read.
    let _unread = write.await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Piped { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

async fn sanitized(arguments: &[&str], input: &str) -> Piped {
    piped(home().command(&[&["sanitize"], arguments].concat()), input).await
}

#[test]
fn kubectl_pipes_into_its_plugin() {
    run(async {
        let scene = Scene::shared("plugged").await;
        scene.kubectl(&["create", "deployment", "web", "--image", "nginx:1.27"], "").await;
        let bin = scene.home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let kubectl = scene.plane.kubectl(scene.plane.kubeconfig()).await.unwrap();
        symlink(kubectl.as_std().get_program(), bin.join("kubectl")).unwrap();
        symlink(env!("CARGO_BIN_EXE_reverser-under-test"), bin.join("kubectl-reverser")).unwrap();
        let shell = async |script: &str| {
            let mut shell = Command::new("sh");
            for (name, value) in kubectl.as_std().get_envs() {
                shell.env(name, value.unwrap());
            }
            shell.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).args(["-c", script]);
            piped(shell, "").await
        };
        let done = shell("kubectl get -n plugged deploy web -o yaml | kubectl reverser sanitize").await;
        assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
        insta::assert_snapshot!(done.out, @r"
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: web
          namespace: plugged
          labels:
            app: web
        spec:
          progressDeadlineSeconds: 600
          replicas: 1
          revisionHistoryLimit: 10
          selector:
            matchLabels:
              app: web
          strategy:
            rollingUpdate:
              maxSurge: 25%
              maxUnavailable: 25%
            type: RollingUpdate
          template:
            metadata:
              labels:
                app: web
            spec:
              containers:
              - image: nginx:1.27
                imagePullPolicy: IfNotPresent
                name: nginx
                resources: {}
                terminationMessagePath: /dev/termination-log
                terminationMessagePolicy: File
              dnsPolicy: ClusterFirst
              restartPolicy: Always
              schedulerName: default-scheduler
              securityContext: {}
              terminationGracePeriodSeconds: 30
        ");
        let each = r#"kubectl get -n plugged deploy -o jsonpath='{range .items[*]}{@}{"\n"}{end}' | kubectl reverser sanitize"#;
        assert_eq!(shell(each).await.out, done.out);
        let wrong = shell("kubectl reverser sanitize --nonsense").await;
        assert_ne!(wrong.code, Some(0));
        assert!(wrong.err.contains("Usage: kubectl reverser sanitize"), "{}", wrong.err);
        // What comes out can go in.
        let script = "kubectl get -n plugged deploy,sa -o json | kubectl reverser sanitize -o json \
             | kubectl apply -n plugged --dry-run=server -f -";
        let done = shell(script).await;
        assert!(done.out.contains("deployment.apps/web configured (server dry run)"), "{}{}", done.out, done.err);
    });
}

#[test]
fn what_is_wrong_is_named_and_the_rest_comes_out_in_order() {
    run(async {
        let input = "\
apiVersion: v1
kind: ConfigMap
metadata: {name: a, uid: u}
---
# nothing
---
a: 1
---
just text
---
apiVersion: v1
kind: [
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: b, resourceVersion: '7'}}
- {kind: ConfigMap}
- 5
- {apiVersion: v1, kind: Secret, metadata: {name: c}, data: {key: dmFsdWU=}}
---
{\"apiVersion\": \"v1\", \"kind\": \"ConfigMapList\", \"items\": [{\"metadata\": {\"name\": \"d\"}}]}
{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"e\"}}
";
        let done = sanitized(&[], input).await;
        assert_eq!(done.code, Some(1));
        insta::assert_snapshot!(done.out, @r"
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: a
        ---
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: b
        ---
        apiVersion: v1
        kind: Secret
        metadata:
          name: c
        data:
          key: dmFsdWU=
        ---
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: d
        ---
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: e
        ");
        insta::assert_snapshot!(done.err, @r"
        error: standard input: document 2, line 7: no Kubernetes object: it has neither apiVersion nor kind
        error: standard input: document 3, line 9: no Kubernetes object: it is a single value
        error: standard input: document 4, line 12, column 7: unclosed bracket '['
        error: standard input: document 5, line 14, item 2 of the list: no Kubernetes object: it has no apiVersion
        error: standard input: document 5, line 14, item 3 of the list: no Kubernetes object: it is a single value
        ");
    });
}

#[test]
fn a_document_comes_out_before_the_next_one_has_come_in() {
    run(async {
        let home = home();
        let mut command = home.command(&["sanitize", "-"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut lines = BufReader::new(stdout).lines();
        for name in ["a", "b"] {
            // As `kubectl get --watch -o json` writes them.
            let object =
                format!("{{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {{\"name\": \"{name}\"}}}}");
            stdin.write_all(object.as_bytes()).await.unwrap();
            let last = format!("  name: {name}");
            while timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap() != last {}
        }
        drop(stdin);
        assert_eq!(timeout(LIMIT, child.wait()).await.unwrap().unwrap().code(), Some(0));
    });
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    run(async {
        let home = home();
        let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n";
        fs::write(home.path().join("many.yaml"), object.repeat(20_000)).unwrap();
        let mut child = home.command(&["sanitize", "many.yaml"]).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 10]).await.unwrap();
        drop(stdout);
        let output = timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    });
}

#[test]
fn files_and_folders_are_read_in_order_and_a_missing_one_is_named() {
    run(async {
        let home = home();
        let write = |path: &str, name: &str| {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")).unwrap();
        };
        write("folder/b.yml", "b");
        write("folder/a.json", "a");
        write("folder/deeper/c.yaml", "c");
        write("folder/notes.txt", "n");
        write("first.yaml", "first");
        let names = async |arguments: &[&str], code: i32| {
            let done = piped(home.command(&[&["sanitize"], arguments].concat()), "").await;
            assert_eq!(done.code, Some(code), "{}", done.err);
            let names: Vec<_> = done.out.lines().filter_map(|line| line.strip_prefix("  name: ")).collect();
            (names.join(" "), done.err)
        };
        assert_eq!(names(&["first.yaml", "folder"], 0).await.0, "first a b");
        assert_eq!(names(&["-R", "folder"], 0).await.0, "a b c");
        let (read, said) = names(&["none.yaml", "first.yaml"], 1).await;
        assert!(read == "first" && said.contains("error: none.yaml: "), "{read}: {said}");
        fs::create_dir(home.path().join("empty")).unwrap();
        let (_, said) = names(&["empty"], 1).await;
        assert!(said.contains("empty: no .yaml, .yml or .json file"), "{said}");
    });
}

#[test]
fn a_difference_is_shown_and_is_no_failure() {
    run(async {
        let live =
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nspec: {nodeName: one}\nstatus: {}\n";
        let done = sanitized(&["--diff", "--drop", "Pod:.spec.nodeName"], live).await;
        assert_eq!(done.code, Some(0), "{}", done.err);
        insta::assert_snapshot!(done.out, @r"
        --- v1 Pod shop/a (given)
        +++ v1 Pod shop/a (sanitized)
        @@ -3,6 +3,3 @@
         metadata:
           name: a
           namespace: shop
        -spec:
        -  nodeName: one
        -status: {}
        ");
        assert_eq!(sanitized(&["--diff", "-o", "json"], live).await.code, Some(2));
    });
}

#[test]
fn the_example_for_embedders_is_such_a_filter() {
    let mut out = vec![];
    let live = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, uid: u}\n---\n{\"kind\": \"B\"}{\"kind\": \"C\"}";
    reverser_examples::pipe::run(live.as_bytes(), &mut out).unwrap();
    let expected = "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n---\nkind: B\n---\nkind: C\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_minimal_profile_that_finds_no_evidence_says_so() {
    run(async {
        let live = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, uid: u}\n";
        let done = sanitized(&["--profile", "minimal"], live).await;
        assert_eq!(done.code, Some(0));
        assert!(done.err.contains("note: ") && done.err.contains("--show-managed-fields"), "{}", done.err);
        assert_eq!(sanitized(&["--profile", "minimal"], "apiVersion: v1\nkind: Pod\n").await.err, "");
    });
}

#[test]
fn wrong_flags_are_usage_errors_that_say_what_is_right() {
    run(async {
        for (wrong, helpful) in [
            (&["--keep", ".spec[first]"][..], "  .spec[first]\n        ^"),
            (&["--drop", ".metadata.name"], "names no object"),
            (&["--profile", "tiny"], "minimal"),
            (&["--defaults-from-cluster"], "--profile minimal"),
            (&["--context", "x"], "--defaults-from-cluster"),
        ] {
            let done = sanitized(wrong, "").await;
            assert_eq!(done.code, Some(2), "{wrong:?}");
            assert!(done.err.contains(helpful), "{wrong:?}: {}", done.err);
        }
    });
}

#[test]
fn defaults_are_asked_of_the_cluster_and_what_may_not_be_asked_is_named() {
    run(async {
        let scene = Scene::shared("asking").await;
        scene.kubectl(&["create", "deployment", "web", "--image", "nginx:1.27"], "").await;
        scene.kubectl(&["create", "configmap", "settings", "--from-literal", "a=b"], "").await;
        let kubeconfig = scene.plane.user("dry-runner", &[]).unwrap();
        scene
            .plane
            .grant("dry-runner", Some("asking"), vec![rule(&["create"], "apps", &["deployments"])])
            .await
            .unwrap();
        let live = scene.kubectl(&["get", "configmap/settings", "deployment/web", "-o", "yaml"], "").await;
        let arguments =
            ["--profile", "minimal", "--defaults-from-cluster", "--kubeconfig", kubeconfig.to_str().unwrap()];
        let done = sanitized(&arguments, &live).await;
        assert_eq!(done.code, Some(1), "{}", done.err);
        insta::assert_snapshot!(done.out, @r"
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          name: web
          namespace: asking
          labels:
            app: web
        spec:
          selector:
            matchLabels:
              app: web
          template:
            metadata:
              labels:
                app: web
            spec:
              containers:
              - image: nginx:1.27
                name: nginx
        ");
        let lacking = "error: standard input: document 1, line 1, item 1 of the list: could not ask for the defaults of \
             ConfigMap/settings: not allowed to create configmaps in namespace asking: grant a Role with \
             {apiGroups: [\"\"], resources: [\"configmaps\"], verbs: [create]}\n";
        assert_eq!(done.err, lacking);
    });
}

#[test]
fn a_watch_with_another_profile_brings_files_in_line_although_no_object_has_changed() {
    run(async {
        let scene = Scene::shared("reprofiled").await;
        create(&scene.api::<ConfigMap>(), config_map("web", "1")).await;
        let first = scene.watch(&[]).await;
        scene.history(1).await;
        first.terminate().await.exits_with(0);
        let second = scene.watch(&["--drop", "ConfigMap:.data.key"]).await;
        let log = scene.history(2).await;
        second.terminate().await.exits_with(0);
        assert_subjects(&log, &["[SYNC] 1 object", "[SYNC] 1 object"]);
        let file = scene.file("v1/configmaps", "web").await;
        assert!(!file.contains("key"), "{file}");
    });
}
