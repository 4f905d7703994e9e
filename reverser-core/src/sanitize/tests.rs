//! What is kept and what goes, a test for each group of rows.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    field_path::{FieldPath, Step},
    yaml,
};

/// Cleans a manifest given as YAML.
fn cleaned(text: &str) -> String {
    let object = yaml::parse(text).unwrap().remove(0);
    yaml::to_string(&Sanitizer::faithful().clean(object))
}

#[test]
fn metadata_and_status_of_the_server_go_in_every_kind() {
    insta::assert_snapshot!(cleaned(r#"
        apiVersion: example.com/v1
        kind: NobodyHasHeardOf
        metadata:
          name: a-x7k2p
          generateName: a-
          namespace: shop
          uid: 4f1c
          resourceVersion: "8"
          generation: 2
          creationTimestamp: "2026-01-01T00:00:00Z"
          deletionTimestamp: "2026-01-01T00:00:00Z"
          deletionGracePeriodSeconds: 30
          selfLink: /apis/x
          managedFields: [{manager: kubectl, operation: Update}]
          annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}"}
          labels: {kustomize.toolkit.fluxcd.io/name: apps, kustomize.toolkit.fluxcd.io/namespace: flux-system}
          ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: o, uid: 1-2}]
          finalizers: [foregroundDeletion, orphan]
        spec: {uid: 1, status: {}, clusterIP: 10.0.0.1, nodeName: node-1, managedFields: [], none: null, never: false, zero: 0, empty: ""}
        extra: []
        status: {ready: true}
    "#), @r#"
    apiVersion: example.com/v1
    kind: NobodyHasHeardOf
    metadata:
      name: a-x7k2p
      namespace: shop
      generateName: a-
    extra: []
    spec:
      clusterIP: "10.0.0.1"
      empty: ""
      managedFields: []
      never: false
      nodeName: node-1
      none: null
      status: {}
      uid: 1
      zero: 0
    "#);
}

#[test]
fn what_was_empty_stays_and_what_others_wrote_too() {
    let text = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  labels: {}
  annotations:
    argocd.argoproj.io/sync-wave: \"1\"
    kubectl.kubernetes.io/restartedAt: \"2026-01-01T00:00:00Z\"
    kustomize.toolkit.fluxcd.io/prune: disabled
    meta.helm.sh/release-name: web
  finalizers:
  - example.com/mine
  ownerReferences: []
data: {}
";
    assert_eq!(cleaned(text), text);
}

#[test]
fn the_status_of_a_custom_resource_without_that_subresource_is_kept_on_request() {
    let object =
        json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a", "uid": "u"}, "status": "open"});
    assert_eq!(Sanitizer::faithful().keep_status().clean(object)["status"], "open");
}

#[test]
fn bookkeeping_of_gitops_tools_goes_by_exact_key() {
    insta::assert_snapshot!(cleaned(r#"
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: a
          annotations:
            argocd.argoproj.io/tracking-id: "apps:/ConfigMap:shop/a"
            applyset.kubernetes.io/tooling: kubectl/v1.32
            kro.run/reconcile: suspended
            argocd.argoproj.io/hook: PreSync
            kubectl.kubernetes.io/default-container: web
          labels:
            applyset.kubernetes.io/part-of: applyset-x-v1
            kro.run/owned: "true"
            kro.run/instance-id: 4f1c
            helm.toolkit.fluxcd.io/name: web
            app.kubernetes.io/managed-by: Helm
    "#), @"
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: a
      labels:
        app.kubernetes.io/managed-by: Helm
      annotations:
        argocd.argoproj.io/hook: PreSync
        kro.run/reconcile: suspended
        kubectl.kubernetes.io/default-container: web
    ");
}

#[test]
fn a_namespace_is_its_name() {
    insta::assert_snapshot!(cleaned("
        {apiVersion: v1, kind: Namespace, spec: {finalizers: [kubernetes]}, status: {phase: Active},
        metadata: {name: shop, uid: u, labels: {kubernetes.io/metadata.name: shop}}}
    "), @"
    apiVersion: v1
    kind: Namespace
    metadata:
      name: shop
    ");
}

#[test]
fn what_a_service_got_allocated_goes() {
    insta::assert_snapshot!(cleaned("
        apiVersion: v1
        kind: Service
        metadata: {name: web, uid: u, finalizers: [service.kubernetes.io/load-balancer-cleanup]}
        spec:
          type: LoadBalancer
          clusterIP: 10.96.0.17
          clusterIPs: [10.96.0.17]
          ipFamilies: [IPv4]
          healthCheckNodePort: 31000
          ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 0}]
    "), @"
    apiVersion: v1
    kind: Service
    metadata:
      name: web
    spec:
      ipFamilies:
      - IPv4
      ports:
      - name: a
        port: 80
      - name: b
        nodePort: 0
        port: 81
      type: LoadBalancer
    ");
}

#[test]
fn a_headless_service_keeps_cluster_ip_none() {
    insta::assert_snapshot!(cleaned(r#"
        {apiVersion: v1, kind: Service, metadata: {name: db, uid: u}, spec: {clusterIP: None, clusterIPs: [None]}}
    "#), @"
    apiVersion: v1
    kind: Service
    metadata:
      name: db
    spec:
      clusterIP: None
      clusterIPs:
      - None
    ");
}

#[test]
fn a_node_port_that_somebody_sent_is_kept_and_its_allocated_neighbour_is_not() {
    let service = |metadata: Value| {
        let mut service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"clusterIP": "10.96.0.9", "ports": [
            {"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 81, "protocol": "TCP", "nodePort": 30081},
        ]}});
        service["metadata"] = metadata;
        Sanitizer::faithful().clean(service)["spec"].clone()
    };
    let kept = json!({"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 81, "protocol": "TCP"}]});
    let last_applied = json!({"spec": {"ports": [{"port": 81}, {"port": 80, "nodePort": 30080}]}}).to_string();
    let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": last_applied});
    assert_eq!(service(json!({"uid": "u", "annotations": annotations})), kept);

    let fields = json!({"f:spec": {"f:ports": {
        "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:nodePort": {}},
        "k:{\"port\":81,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
    }}});
    assert_eq!(service(json!({"uid": "u", "managedFields": [{"operation": "Apply", "fieldsV1": fields}]})), kept);
    // What created the object owns what it sent, and not what the server allocated afterwards.
    assert_eq!(service(json!({"uid": "u", "managedFields": [{"operation": "Update", "fieldsV1": fields}]})), kept);
    let none = json!({"ports": [{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]});
    let report = json!([{"operation": "Update", "subresource": "status", "fieldsV1": fields}]);
    assert_eq!(service(json!({"uid": "u", "managedFields": report})), none);
}

#[test]
fn a_manifest_that_no_server_has_stored_keeps_its_addresses() {
    let manifest =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"clusterIP": "10.96.0.9"}});
    assert_eq!(Sanitizer::faithful().clean(manifest.clone()), manifest);
}

#[test]
fn a_pod_loses_what_admission_and_scheduler_added() {
    insta::assert_snapshot!(cleaned(r#"
        apiVersion: v1
        kind: Pod
        metadata: {name: web, uid: u, annotations: {cni.projectcalico.org/podIP: 10.0.0.3/32}}
        spec:
          nodeName: node-1
          priority: 0
          containers:
          - name: web
            volumeMounts:
            - {name: kube-api-access-x7k2p, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
          - name: side
            volumeMounts:
            - {name: data, mountPath: /data}
            - {name: kube-api-access-x7k2p, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
          initContainers:
          - name: init
            volumeMounts:
            - {name: kube-api-access-x7k2p, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
          volumes:
          - {name: kube-api-access-x7k2p, projected: {sources: [{serviceAccountToken: {path: token}}]}}
          - {name: data, emptyDir: {}}
          - {name: kube-api-access-mine, projected: {sources: [{serviceAccountToken: {path: token}}]}}
          tolerations:
          - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 60}
          - {key: gpu, operator: Exists}
          - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
    "#), @"
    apiVersion: v1
    kind: Pod
    metadata:
      name: web
    spec:
      containers:
      - name: web
      - name: side
        volumeMounts:
        - mountPath: /data
          name: data
      initContainers:
      - name: init
      tolerations:
      - effect: NoExecute
        key: node.kubernetes.io/unreachable
        operator: Exists
        tolerationSeconds: 60
      - key: gpu
        operator: Exists
      volumes:
      - emptyDir: {}
        name: data
      - name: kube-api-access-mine
        projected:
          sources:
          - serviceAccountToken:
              path: token
    ");
}

/// The plugin appends its own, not ready before unreachable: what it puts back at another place changes the Pod.
#[test]
fn only_what_admission_would_put_back_in_its_place_goes_from_a_pods_tolerations() {
    let toleration = |key: &str| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    let (not_ready, unreachable) = (toleration("not-ready"), toleration("unreachable"));
    let gpu = json!({"key": "gpu"});
    let kept = |tolerations: &[&Value]| {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"uid": "u"}, "spec": {"tolerations": tolerations}});
        Sanitizer::faithful().clean(pod)["spec"]["tolerations"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(kept(&[&not_ready, &unreachable]), 0);
    assert_eq!(kept(&[&gpu, &not_ready, &unreachable]), 1);
    assert_eq!(kept(&[&not_ready, &gpu, &unreachable]), 2);
    assert_eq!(kept(&[&unreachable, &not_ready]), 1);
    assert_eq!(kept(&[&not_ready, &unreachable, &gpu]), 3);
}

#[test]
fn a_node_keeps_the_taints_and_labels_of_its_administrator() {
    insta::assert_snapshot!(cleaned(r#"
        apiVersion: v1
        kind: Node
        metadata:
          name: worker-1
          uid: u
          annotations: {node.alpha.kubernetes.io/ttl: "0", volumes.kubernetes.io/controller-managed-attach-detach: "true", team: a}
          labels: {beta.kubernetes.io/arch: amd64, beta.kubernetes.io/os: linux, kubernetes.io/arch: amd64}
        spec:
          taints:
          - {key: node.kubernetes.io/not-ready, effect: NoSchedule}
          - {key: node.kubernetes.io/out-of-service, effect: NoExecute}
          - {key: node.kubernetes.io/memory-pressure, effect: NoSchedule}
          - {key: dedicated, value: gpu, effect: NoSchedule}
        "#), @"
    apiVersion: v1
    kind: Node
    metadata:
      name: worker-1
      labels:
        kubernetes.io/arch: amd64
      annotations:
        team: a
    spec:
      taints:
      - effect: NoExecute
        key: node.kubernetes.io/out-of-service
      - effect: NoSchedule
        key: dedicated
        value: gpu
    ");
}

#[test]
fn what_a_part_of_kubernetes_wrote_into_a_node_is_not_sent() {
    let kept = |manager: &str| {
        let fields = json!({"f:spec": {"f:podCIDR": {}}, "f:metadata": {"f:labels": {"f:beta.kubernetes.io/os": {}}}});
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "uid": "u", "labels": {"beta.kubernetes.io/os": "linux"},
                "managedFields": [{"manager": manager, "operation": "Update", "fieldsV1": fields}]},
            "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "providerID": "kind://a", "unschedulable": true},
        });
        Sanitizer::faithful().clean(node)
    };
    assert_eq!(kept("kube-controller-manager")["spec"], json!({"unschedulable": true}));
    assert_eq!(kept("kubectl-create")["spec"], json!({"podCIDR": "10.0.0.0/24", "unschedulable": true}));
    assert_eq!(kept("kubectl-create")["metadata"]["labels"], json!({"beta.kubernetes.io/os": "linux"}));
}

#[test]
fn a_pod_loses_what_admission_computed_unless_somebody_sent_it() {
    let pod = |fields: &str| {
        cleaned(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a, uid: u, labels: {{topology.kubernetes.io/zone: z, app: a}}, managedFields: [{{operation: Update, fieldsV1: {fields}}}]}}, \
             spec: {{overhead: {{cpu: 1m}}, preemptionPolicy: Never, priority: 5}}}}"
        ))
    };
    let nothing = pod("{'f:spec': {}}");
    assert!(!nothing.contains("zone") && !nothing.contains("overhead") && !nothing.contains("Never"), "{nothing}");
    let sent = pod(
        "{'f:metadata': {'f:labels': {'f:topology.kubernetes.io/zone': {}}}, 'f:spec': {'f:preemptionPolicy': {}}}",
    );
    assert!(
        sent.contains("zone: z") && sent.contains("preemptionPolicy: Never") && !sent.contains("overhead"),
        "{sent}"
    );
}

#[test]
fn a_service_account_keeps_the_secrets_that_an_author_lists() {
    insta::assert_snapshot!(cleaned("
        {apiVersion: v1, kind: ServiceAccount, metadata: {name: bot, uid: u}, imagePullSecrets: [{name: bot-dockercfg-x7k2p}],
        secrets: [{name: bot-token-x7k2p}, {name: bot-token-extra}, {name: other-token-x7k2p}]}
    "), @"
    apiVersion: v1
    kind: ServiceAccount
    metadata:
      name: bot
    secrets:
    - name: bot-token-extra
    - name: other-token-x7k2p
    ");
}

#[test]
fn a_secret_that_a_controller_listed_is_no_authors() {
    let account = |operation: &str| {
        let fields = json!({"f:secrets": {"k:{\"name\":\"bot-token-x7k2p\"}": {".": {}, "f:name": {}}}});
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "secrets": [{"name": "bot-token-x7k2p"}],
            "metadata": {"name": "bot", "uid": "u", "managedFields": [{"operation": operation, "fieldsV1": fields}]},
        });
        Sanitizer::faithful().clean(account)
    };
    assert!(account("Update").get("secrets").is_none());
    assert!(account("Apply").get("secrets").is_some());
}

#[test]
fn a_binding_goes_when_the_binder_marked_it_as_its_own() {
    let claim = |annotations: &str| {
        cleaned(&format!(
            "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: a, uid: u, annotations: {{pv.kubernetes.io/bind-completed: 'yes', \
             {annotations}}}, finalizers: [kubernetes.io/pvc-protection]}}, spec: {{volumeMode: Block, volumeName: pv-1}}}}"
        ))
    };
    insta::assert_snapshot!(claim("pv.kubernetes.io/bound-by-controller: 'yes'"), @"
    apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: a
    spec:
      volumeMode: Block
    ");
    insta::assert_snapshot!(claim("mine: x"), @"
    apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: a
      annotations:
        mine: x
    spec:
      volumeMode: Block
      volumeName: pv-1
    ");
}

#[test]
fn a_volume_keeps_which_claim_it_was_made_for_but_not_its_uid() {
    let volume = |annotation: &str| {
        cleaned(&format!(
            "{{apiVersion: v1, kind: PersistentVolume, metadata: {{name: a, uid: u, annotations: {{{annotation}: 'yes'}}}}, \
             spec: {{claimRef: {{namespace: shop, name: db, uid: '1', resourceVersion: '2'}}, storageClassName: fast}}}}"
        ))
    };
    insta::assert_snapshot!(volume("pv.kubernetes.io/provisioned-by"), @r#"
    apiVersion: v1
    kind: PersistentVolume
    metadata:
      name: a
      annotations:
        pv.kubernetes.io/provisioned-by: "yes"
    spec:
      claimRef:
        name: db
        namespace: shop
      storageClassName: fast
    "#);
    insta::assert_snapshot!(volume("pv.kubernetes.io/bound-by-controller"), @"
    apiVersion: v1
    kind: PersistentVolume
    metadata:
      name: a
    spec:
      storageClassName: fast
    ");
}

#[test]
fn a_workload_loses_counters_and_unset_times() {
    insta::assert_snapshot!(cleaned(r#"
        apiVersion: apps/v1
        kind: StatefulSet
        metadata: {name: db, uid: u}
        spec:
          template: {metadata: {creationTimestamp: null}, spec: {nodeName: authored-here}}
          volumeClaimTemplates: [{metadata: {name: data, creationTimestamp: null}, spec: {}, status: {phase: Pending}}]
    "#), @"
    apiVersion: apps/v1
    kind: StatefulSet
    metadata:
      name: db
    spec:
      template:
        spec:
          nodeName: authored-here
      volumeClaimTemplates:
      - metadata:
          name: data
        spec: {}
    ");
    insta::assert_snapshot!(cleaned(r#"
        {apiVersion: apps/v1, kind: Deployment, metadata: {name: web, annotations: {deployment.kubernetes.io/revision: "3"}}, spec: {paused: false}}
    "#), @"
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: web
    spec:
      paused: false
    ");
}

const JOB: &str = "
    apiVersion: batch/v1
    kind: Job
    metadata: {name: once, uid: u, labels: {app: x, batch.kubernetes.io/controller-uid: u, job-name: once}}
    spec:
      manualSelector: MANUAL
      selector: {matchLabels: {batch.kubernetes.io/controller-uid: u}}
      template:
        metadata: {labels: {batch.kubernetes.io/controller-uid: u, batch.kubernetes.io/job-name: once, controller-uid: u, job-name: once}}
        spec: {restartPolicy: Never}
";

#[test]
fn a_job_loses_its_generated_selector_and_labels() {
    insta::assert_snapshot!(cleaned(&JOB.replace("MANUAL", "false")), @"
    apiVersion: batch/v1
    kind: Job
    metadata:
      name: once
      labels:
        app: x
    spec:
      manualSelector: false
      template:
        spec:
          restartPolicy: Never
    ");
}

#[test]
fn a_job_with_a_manual_selector_keeps_it() {
    let manual = JOB.replace("MANUAL", "true");
    let mut object = yaml::parse(&manual).unwrap().remove(0);
    object["metadata"].as_object_mut().unwrap().remove("uid");
    assert_eq!(cleaned(&manual), yaml::to_string(&object));
}

#[test]
fn an_aggregated_role_has_the_rule_that_aggregates_and_no_others() {
    let role = |rest: &str| {
        cleaned(&format!(
            "{{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {{name: a}}, rules: [{{verbs: [get]}}]{rest}}}"
        ))
    };
    assert!(!role(", aggregationRule: {clusterRoleSelectors: []}").contains("verbs"));
    assert!(role("").contains("verbs"));
}

#[test]
fn a_ca_bundle_goes_when_an_annotation_asks_for_its_injection() {
    let webhook = |annotations: &str| {
        cleaned(&format!(
            "{{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {{name: a, annotations: \
             {annotations}}}, webhooks: [{{name: w, clientConfig: {{url: u, caBundle: Q0E=}}}}]}}"
        ))
    };
    assert!(!webhook("{cert-manager.io/inject-ca-from: ns/cert}").contains("caBundle"));
    assert!(webhook("{cert-manager.io/issuer: mine}").contains("caBundle"));
    let service = "{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: a, annotations: {cert-manager.io/inject-ca-from: x}}, spec: {caBundle: Q0E=, group: g}}";
    assert!(!cleaned(service).contains("caBundle"));
}

#[test]
fn who_asked_for_a_certificate_is_the_servers_word() {
    let request = "{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: a}, spec: {request: cg==, username: u, uid: i, groups: [g], extra: {}}}";
    let spec = yaml::parse(&cleaned(request)).unwrap()[0]["spec"].clone();
    assert_eq!(spec, json!({"request": "cg=="}));
}

#[test]
fn no_row_of_the_table_stands_twice_or_lacks_a_reason() {
    let mut rows = BTreeSet::new();
    for rule in Sanitizer::rules() {
        assert!(rows.insert(format!("{:?} {} {:?}", rule.kinds(), rule.path(), rule.when)), "{rule:?}");
        assert!(!rule.reason().is_empty() && rule.source().starts_with("https://"), "{rule:?}");
    }
}

#[test]
fn what_is_no_object_comes_back_as_it_is() {
    for value in [json!(null), json!([{"status": 1}]), json!("text"), json!({}), json!({"metadata": "odd", "kind": 1})]
    {
        assert_eq!(Sanitizer::faithful().clean(value.clone()), value);
    }
}

/// A Deployment as `kubectl apply` creates it, with what defaulting adds, and an image that somebody edited since.
fn applied_deployment() -> Value {
    let given = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "annotations": {}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "nginx:1", "ports": [{"containerPort": 80}]}]},
        }},
    });
    let container = json!({
        "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}},
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": given.to_string(), "team": "shop"},
            "managedFields": [
                {"manager": "kubectl-client-side-apply", "operation": "Update", "fieldsV1": {
                    "f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/last-applied-configuration": {}}},
                    "f:spec": {"f:replicas": {}, "f:selector": {}, "f:strategy": {"f:type": {}}, "f:template": {"f:spec": {
                        "f:containers": {"k:{\"name\":\"web\"}": container}, "f:dnsPolicy": {}}}}}},
                {"manager": "kubectl-annotate", "operation": "Update", "fieldsV1": {
                    "f:metadata": {"f:annotations": {"f:team": {}}},
                    "f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {"f:tty": {}}}}}}}},
            ]},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "strategy": {"type": "RollingUpdate"},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"dnsPolicy": "ClusterFirst", "containers": [
                {"name": "web", "image": "nginx:2", "imagePullPolicy": "IfNotPresent", "tty": true, "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}}},
    })
}

#[test]
fn minimal_gives_back_what_was_applied_and_what_others_wrote_since() {
    insta::assert_snapshot!(yaml::to_string(&Sanitizer::minimal().clean(applied_deployment())), @"
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: web
      namespace: shop
      annotations:
        team: shop
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
          - image: nginx:2
            name: web
            ports:
            - containerPort: 80
            tty: true
    ");
}

#[test]
fn minimal_keeps_what_only_managed_fields_of_ordinary_writes_speak_for() {
    let mut object = applied_deployment();
    object["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove("kubectl.kubernetes.io/last-applied-configuration");
    let clean = Sanitizer::minimal().clean(object.clone());
    assert_eq!(clean["spec"]["replicas"], 1);
}

#[test]
fn minimal_takes_only_known_defaults_for_such_where_managed_fields_are_hidden() {
    let mut object = applied_deployment();
    object["metadata"].as_object_mut().unwrap().remove("managedFields");
    object["spec"]["minReadySeconds"] = 7.into();
    object["spec"]["replicas"] = 1.into();
    let clean = Sanitizer::minimal().clean(object.clone());
    // Somebody may have edited these in; the others are defaults that nobody applied.
    assert_eq!(clean["spec"]["minReadySeconds"], 7);
    assert_eq!(clean["spec"]["template"]["spec"]["containers"][0]["tty"], true);
    assert_eq!(clean["metadata"]["annotations"]["team"], "shop");
    assert!(clean["spec"]["replicas"].is_null() && clean["spec"]["template"]["spec"]["dnsPolicy"].is_null(), "{clean}");
    assert_eq!(clean["spec"]["template"]["spec"]["containers"][0]["ports"], json!([{"containerPort": 80}]));

    // A default that was applied stays, and without any evidence everything does.
    let annotations = &mut object["metadata"]["annotations"];
    annotations["kubectl.kubernetes.io/last-applied-configuration"] =
        json!({"spec": {"replicas": 1}}).to_string().into();
    assert_eq!(Sanitizer::minimal().clean(object.clone())["spec"]["replicas"], 1);
    object["metadata"]["annotations"] = json!({});
    assert_eq!(Sanitizer::minimal().clean(object.clone()), Sanitizer::faithful().clean(object));
}

#[test]
fn neat_keeps_what_a_user_keeps() {
    let rule = |text: &str| text.parse::<FieldRule>().unwrap();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "uid": "1", "generation": 2},
        "spec": {"type": "ClusterIP", "sessionAffinity": "None", "ports": [{"port": 80, "protocol": "TCP"}]},
    });
    let sanitizer = Sanitizer::neat().keep(rule(".spec.ports[*].protocol")).keep(rule(".metadata.uid"));
    let clean = sanitizer.clean(service);
    assert_eq!(clean["metadata"], json!({"name": "web", "uid": "1"}));
    assert_eq!(clean["spec"], json!({"ports": [{"port": 80, "protocol": "TCP"}]}));
}

#[test]
fn minimal_takes_a_part_that_is_owned_as_a_whole_for_written() {
    let object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "uid": "u", "managedFields": [
            {"operation": "Apply", "fieldsV1": {"f:spec": {"f:selector": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}}},
            {"operation": "Update", "subresource": "scale", "fieldsV1": {"f:spec": {"f:scaled": {}}}}]},
        "spec": {"selector": {"app": "web"}, "type": "ClusterIP", "scaled": 3,
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}, {"port": 81, "protocol": "TCP"}]},
    });
    let spec =
        json!({"selector": {"app": "web"}, "scaled": 3, "ports": [{"port": 80}, {"port": 81, "protocol": "TCP"}]});
    assert_eq!(Sanitizer::minimal().clean(object)["spec"], spec);
}

#[test]
fn users_keep_and_drop_what_they_like() {
    let rule = |text: &str| text.parse::<FieldRule>().unwrap();
    let pod = || {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "uid": "u", "annotations": {"a": "1", "b": "2"}},
            "spec": {"nodeName": "n", "containers": [{"name": "web"}, {"name": "istio-proxy", "image": "x"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
        })
    };
    let kept = Sanitizer::faithful()
        .keep(rule("Pod:.spec.nodeName"))
        .keep(rule("Deployment:.metadata.uid"))
        .keep(rule(r#".status.conditions[?(@.type=="Ready")]"#))
        .clean(pod());
    assert_eq!(kept["spec"]["nodeName"], "n");
    assert!(kept["metadata"]["uid"].is_null());
    assert_eq!(kept["status"], json!({"conditions": [{"type": "Ready", "status": "True"}]}));

    let dropped = Sanitizer::faithful().drop(rule(r#"pod:.spec.containers[?(@.name=="istio-proxy")]"#)).unwrap();
    let dropped =
        dropped.drop(rule(".metadata.annotations")).unwrap().keep(rule(".metadata.annotations.a")).clean(pod());
    assert_eq!(dropped["spec"], json!({"containers": [{"name": "web"}]}));
    assert_eq!(dropped["metadata"]["annotations"], json!({"a": "1"}));
}

#[test]
fn what_names_an_object_is_not_dropped() {
    for path in [".kind", "Pod:.metadata", ".metadata[*]", ".metadata[\"na\"*]", ".metadata.namespace"] {
        let error = Sanitizer::faithful().drop(path.parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("names no object"), "{error}");
    }
}

#[test]
fn a_rules_kind_is_checked_where_it_stands() {
    for (text, at) in [(":.spec", 1), ("Pod..:.spec", 1), ("Pod/x:.spec", 1), ("Pod:.spec[", 11)] {
        let error = text.parse::<FieldRule>().unwrap_err();
        assert_eq!((error.at(), error.text()), (at, text), "{error}");
    }
}

/// Fills in what a server would: two defaults, and one that depends on the image.
#[derive(Debug)]
struct TwoDefaults;

#[async_trait::async_trait]
impl Defaults for TwoDefaults {
    async fn complete(&self, manifest: &Value) -> Result<Option<Value>, DefaultsError> {
        assert_eq!(manifest["metadata"]["resourceVersion"], "7");
        let mut object = manifest.clone();
        let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(None) };
        if !spec.contains_key("items") {
            return Ok(None);
        }
        spec.entry("replicas").or_insert(json!(1));
        spec.entry("strategy").or_insert(json!({"type": "Rolling", "surge": 1}));
        for item in spec["items"].as_array_mut().unwrap() {
            item.as_object_mut().unwrap().entry("protocol").or_insert(json!("TCP"));
        }
        Ok(Some(object))
    }
}

#[test]
fn what_the_server_puts_back_is_left_out_and_what_it_needs_is_not() {
    let object = |annotations: Value| {
        json!({
            "apiVersion": "v1", "kind": "App", "metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "annotations": annotations},
            "spec": {"replicas": 1, "strategy": {"type": "Rolling", "surge": 2}, "image": "x",
                "items": [{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "UDP"}]},
            "status": {"ready": true},
        })
    };
    let minimal = |object| futures::executor::block_on(Sanitizer::minimal().minimize(object, &TwoDefaults)).unwrap();
    let items = json!([{"port": 80}, {"port": 81, "protocol": "UDP"}]);
    let strategy = json!({"type": "Rolling", "surge": 2});
    assert_eq!(
        minimal(object(json!({"a": "b"}))),
        json!({
            "apiVersion": "v1", "kind": "App", "metadata": {"name": "a", "annotations": {"a": "b"}},
            "spec": {"strategy": strategy, "image": "x", "items": items},
        })
    );
    let applied = json!({"kubectl.kubernetes.io/last-applied-configuration": "{\"spec\": {\"replicas\": 1}}"});
    assert_eq!(minimal(object(applied))["spec"]["replicas"], 1);
}

/// Puts `spec.mode` back, and says who sent what, as a server does although `kubectl get` hid it; counts its answers.
#[derive(Debug, Default)]
struct OneDefault {
    refuses: bool,
    answers: AtomicUsize,
}

#[async_trait::async_trait]
impl Defaults for OneDefault {
    async fn complete(&self, manifest: &Value) -> Result<Option<Value>, DefaultsError> {
        self.answers.fetch_add(1, Ordering::Relaxed);
        let mut object = manifest.clone();
        let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(None) };
        spec.entry("mode").or_insert(json!("Auto"));
        object["metadata"]["managedFields"] = json!([{"manager": "kubectl-create", "operation": "Update",
            "fieldsV1": {"f:spec": {"f:mode": {}, "f:nodeName": {}, "f:size": {}}}}]);
        object["spec"]["nodeName"] = json!("n");
        Ok(Some(object).filter(|_| !self.refuses))
    }
}

fn pod_with_a_default(metadata: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"mode": "Auto", "nodeName": "n", "size": 1}});
    object["metadata"] = metadata;
    object
}

/// No API server answers so; what stands behind an aggregated API may.
#[derive(Debug)]
struct NoObject(Value);

#[async_trait::async_trait]
impl Defaults for NoObject {
    async fn complete(&self, _manifest: &Value) -> Result<Option<Value>, DefaultsError> {
        Ok(Some(self.0.clone()))
    }
}

#[test]
fn an_answer_that_is_no_object_tells_of_no_defaults() {
    let object = json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "a", "annotations": {
        "kubectl.kubernetes.io/last-applied-configuration": "{}"}}, "spec": {"size": 1}});
    for answer in [json!("text"), json!([]), json!(null), json!({"metadata": []})] {
        let (sanitizer, defaults) = (Sanitizer::minimal(), NoObject(answer));
        let minimal = futures::executor::block_on(sanitizer.minimize(object.clone(), &defaults));
        assert_eq!(minimal.unwrap()["spec"], json!({"size": 1}), "{defaults:?}");
    }
}

#[test]
fn the_servers_answer_counts_as_written_by_whoever_wrote_the_object() {
    let minimize = |object| {
        futures::executor::block_on(Sanitizer::minimal().minimize(object, &OneDefault::default())).unwrap()["spec"]
            .clone()
    };
    assert_eq!(minimize(pod_with_a_default(json!({"name": "a", "uid": "u"}))), json!({"size": 1}));
    let applied = |spec: &str| {
        json!({"name": "a", "uid": "u",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": format!("{{\"spec\": {spec}}}")}})
    };
    assert_eq!(minimize(pod_with_a_default(applied(r#"{"size": 1}"#))), json!({"size": 1}));
    let mode = json!({"mode": "Auto", "size": 1});
    assert_eq!(minimize(pod_with_a_default(applied(r#"{"mode": "Auto", "size": 1}"#))), mode);
}

#[test]
fn what_nobody_seems_to_have_written_stays_when_the_server_does_not_put_it_back() {
    let entry = json!({"manager": "a", "operation": "Apply", "fieldsV1": {"f:spec": {"f:nodeName": {}}}});
    let object = pod_with_a_default(json!({"name": "a", "uid": "u", "managedFields": [entry]}));
    assert_eq!(Sanitizer::minimal().clean(object.clone())["spec"], json!({"nodeName": "n"}));
    let minimal = futures::executor::block_on(Sanitizer::minimal().minimize(object, &OneDefault::default())).unwrap();
    assert_eq!(minimal["spec"], json!({"nodeName": "n", "size": 1}));
}

#[test]
fn what_a_rule_keeps_stays_although_the_server_puts_it_back() {
    let sanitizer = Sanitizer::minimal().keep(".spec.mode".parse().unwrap());
    let object = pod_with_a_default(json!({"name": "a", "uid": "u"}));
    let minimal = futures::executor::block_on(sanitizer.minimize(object, &OneDefault::default())).unwrap();
    assert_eq!(minimal["spec"], json!({"mode": "Auto", "size": 1}));
}

#[test]
fn an_object_that_the_server_refuses_as_it_is_costs_one_question() {
    let defaults = OneDefault { refuses: true, ..OneDefault::default() };
    let object = pod_with_a_default(json!({"name": "a", "uid": "u"}));
    let minimal = futures::executor::block_on(Sanitizer::minimal().minimize(object, &defaults)).unwrap();
    assert_eq!(minimal["spec"], json!({"mode": "Auto", "size": 1}));
    assert_eq!(defaults.answers.into_inner(), 1);
}

#[test]
fn what_is_not_an_object_is_not_read() {
    for text in ["", "1", "[{}]", "{} {}", "{\"a\": }"] {
        assert!(Sanitizer::faithful().read(text).is_err(), "{text}");
    }
}

#[test]
fn a_reason_is_not_stored_unless_it_is_kept_and_a_change_cause_is() {
    let live = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "uid": "1", "annotations": {
        "configbutler.ai/reason": "Black Friday", "kubernetes.io/change-cause": "kubectl scale"}}});
    let annotations = |sanitizer: &Sanitizer| sanitizer.clean(live.clone())["metadata"]["annotations"].clone();
    for profile in Profile::ALL {
        let sanitizer = Sanitizer::new(profile);
        assert_eq!(annotations(&sanitizer), json!({"kubernetes.io/change-cause": "kubectl scale"}), "{profile:?}");
        let keeping = sanitizer.keep(r#".metadata.annotations["configbutler.ai/reason"]"#.parse().unwrap());
        assert_eq!(annotations(&keeping), live["metadata"]["annotations"], "{profile:?}");
    }
}

/// `UPDATE_DOCS=1 cargo test -p reverser-core the_documented_table` writes it.
#[test]
#[expect(clippy::disallowed_methods, reason = "the page is a file")]
fn the_documented_table_is_the_one_that_is_used() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/SANITIZING.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (begin, end) = ("<!-- the table begins -->\n", "<!-- the table ends -->");
    let (head, rest) = text.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    let rendered = format!("{head}{begin}{}{end}{tail}", documented());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(page, &rendered).unwrap();
    }
    assert!(text == rendered, "docs/SANITIZING.md is out of date: set UPDATE_DOCS=1 and run this test again");
}

/// A table for each kind, those about all objects first.
fn documented() -> String {
    let mut tables: Vec<(String, String)> = vec![];
    for rule in Sanitizer::rules() {
        let kinds: Vec<_> =
            rule.kinds().iter().map(|(group, kind)| format!("{kind} ({group})").replace(" ()", "")).collect();
        let title = if kinds.is_empty() { "Every object".to_owned() } else { kinds.join(", ") };
        let row = format!(
            "| `{}` | {} | {} | [docs]({}) |\n",
            rule.path(),
            rule.condition().unwrap_or_default(),
            rule.reason(),
            rule.source()
        );
        match tables.iter_mut().find(|(its, _)| *its == title) {
            Some((_, rows)) => rows.push_str(&row),
            None => tables.push((title, row)),
        }
    }
    let table = |(title, rows): &(String, String)| {
        format!("\n### {title}\n\n| removed | only | why | source |\n|---|---|---|---|\n{rows}")
    };
    tables.iter().map(table).collect::<String>() + "\n"
}

proptest! {
    #[test]
    fn cleaning_what_was_read_is_cleaning_all_of_it(object in object(), profile in prop::sample::select(Profile::ALL.to_vec()), keeps in any::<bool>()) {
        let mut sanitizer = Sanitizer::new(profile);
        if keeps {
            sanitizer = sanitizer.keep(".status".parse().unwrap()).keep_status();
        }
        let read = sanitizer.read(&object.to_string()).unwrap();
        prop_assert_eq!(sanitizer.clean(read), sanitizer.clean(object));
    }

    #[test]
    fn every_profile_only_removes_and_that_once(object in object(), profile in prop::sample::select(Profile::ALL.to_vec())) {
        let sanitizer = Sanitizer::new(profile);
        let clean = sanitizer.clean(object.clone());
        prop_assert!(is_part_of(&clean, &object), "{}", clean);
        prop_assert_eq!(sanitizer.clean(clean.clone()), clean);
    }

    #[test]
    fn with_rules_of_a_user_it_only_removes_and_never_what_names_the_object(object in object(), profile in prop::sample::select(Profile::ALL.to_vec()), rules in rules()) {
        let sanitizer = rules.into_iter().fold(Sanitizer::new(profile), |sanitizer, (rule, keeps)| {
            if keeps { sanitizer.keep(rule) } else { sanitizer.clone().drop(rule).unwrap_or(sanitizer) }
        });
        let clean = sanitizer.clean(object.clone());
        prop_assert!(is_part_of(&clean, &object), "{}", clean);
        for name in ["/apiVersion", "/kind", "/metadata/name"] {
            prop_assert_eq!(clean.pointer(name), object.pointer(name));
        }
        if ["uid", "resourceVersion"].iter().all(|key| clean["metadata"][key].is_null()) {
            prop_assert_eq!(sanitizer.clean(clean.clone()), clean.clone());
        }
        prop_assert_eq!(sanitizer.clean(sanitizer.read(&object.to_string()).unwrap()), clean);
    }

    #[test]
    fn cleaning_twice_is_cleaning_once(object in object()) {
        let once = Sanitizer::faithful().clean(object);
        prop_assert_eq!(Sanitizer::faithful().clean(once.clone()), once);
    }

    #[test]
    fn cleaning_only_removes(object in object()) {
        let clean = Sanitizer::faithful().clean(object.clone());
        prop_assert!(is_part_of(&clean, &object), "{}", clean);
    }

    #[test]
    fn of_an_unknown_kind_only_metadata_and_status_are_touched(object in object()) {
        let mut object = object;
        object["apiVersion"] = "example.com/v1".into();
        let clean = Sanitizer::faithful().clean(object.clone());
        for (key, value) in object.as_object().unwrap().iter().filter(|(key, _)| *key != "metadata" && *key != "status") {
            prop_assert_eq!(clean.get(key), Some(value));
        }
    }
}

/// Rules to keep (`true`) and to drop, about what the table names and around it. None says which item of a list: that is
/// another one when it is gone.
fn rules() -> impl Strategy<Value = Vec<(FieldRule, bool)>> {
    let of_table = prop::sample::select(Sanitizer::rules()).prop_map(|rule| rule.path().to_owned());
    let others = prop::sample::select(vec![
        ".",
        ".metadata",
        ".metadata.labels",
        ".metadata.annotations[*]",
        ".metadata[\"u\"*]",
        ".spec",
        ".spec[*]",
        ".spec.ports[*]",
        ".status",
    ]);
    let path = prop_oneof![of_table, others.prop_map(str::to_owned)];
    let rule =
        path.prop_filter_map(
            "is a rule for every list",
            |path| {
                if path.contains("[?(") { None } else { path.parse().ok() }
            },
        );
    prop::collection::vec((rule, any::<bool>()), 1..4)
}

fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| is_part_of(part, whole)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            let mut whole = whole.iter();
            part.iter().all(|part| whole.any(|whole| is_part_of(part, whole)))
        }
        (part, whole) => part == whole,
    }
}

/// Objects of the kinds of the table, with something at many of their rows' paths, and at others'.
fn object() -> impl Strategy<Value = Value> {
    let kinds: Vec<_> = Sanitizer::rules().iter().flat_map(Rule::kinds).chain([("example.com", "Foo")]).collect();
    let rest = prop::collection::vec(("[a-z]{1,3}|spec|status|rules", odd()), 0..3);
    let stranger = (prop::sample::select(Sanitizer::rules()), odd());
    (prop::sample::select(kinds), rest, prop::collection::vec(stranger, 0..3), metadata()).prop_flat_map(
        |((group, kind), rest, strangers, metadata)| {
            let its_own: Vec<_> =
                RULES.iter().filter(|rule| rule.kinds().is_empty() || rule.kinds().contains(&(group, kind))).collect();
            let placed = prop::collection::vec((prop::sample::select(its_own), odd()), 0..20);
            placed.prop_map(move |placed| {
                let mut object: Value = Value::Object(rest.iter().cloned().collect());
                object["apiVersion"] = format!("{group}/v1").trim_start_matches('/').into();
                object["kind"] = kind.into();
                object["metadata"] = metadata.clone();
                let strangers = strangers.iter().map(|(rule, value)| (rule, value.clone()));
                for (rule, value) in placed.iter().map(|(rule, value)| (*rule, value.clone())).chain(strangers) {
                    put(&mut object, rule.path(), value);
                }
                object
            })
        },
    )
}

/// Stored by a server or not, with evidence for some addresses or without.
fn metadata() -> impl Strategy<Value = Value> {
    let applied =
        json!({"spec": {"clusterIP": "10.0.0.1", "nodeName": "10.0.0.1", "ports": [{"nodePort": 30080}]}}).to_string();
    let fields = json!({"f:spec": {"f:clusterIP": {}, "f:priority": {}, "f:ports": {"k:{}": {"f:nodePort": {}}}}});
    prop::sample::select(vec![
        json!({"name": "a"}),
        json!({"name": "a", "uid": "u"}),
        json!({"name": "a", "uid": "u", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}}),
        json!({"name": "a", "uid": "u", "managedFields": [{"operation": "Apply", "fieldsV1": fields}]}),
    ])
}

fn put(value: &mut Value, path: &str, leaf: Value) {
    let path: FieldPath = path.parse().unwrap();
    put_below(value, path.steps(), leaf);
}

fn put_below(value: &mut Value, steps: &[Step], leaf: Value) {
    let Some((step, rest)) = steps.split_first() else {
        *value = leaf;
        return;
    };
    if let Step::Key(key) | Step::Prefix(key) = step {
        if !value.is_object() {
            *value = json!({});
        }
        return put_below(&mut value[key], rest, leaf);
    }
    if !value.is_array() {
        *value = json!([]);
    }
    let items = value.as_array_mut().unwrap();
    if items.is_empty() || rest.is_empty() {
        items.push(Value::Null);
    }
    put_below(items.last_mut().unwrap(), rest, leaf);
}

fn odd() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!({}),
        json!([]),
        json!(""),
        json!(0),
        json!(false),
        json!(true),
        json!("None"),
        json!("10.0.0.1"),
        json!(30080),
        json!("orphan"),
        json!("kubernetes"),
        json!({"uid": "u"}),
        json!({"a": {}}),
        json!([{}, []]),
        json!({"name": "a-token-x7k2p"}),
    ])
}
