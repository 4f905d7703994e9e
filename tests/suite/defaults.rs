//! `DryRun`: what the API server puts back is left out, and nothing else.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
};
use reverser_core::{
    Sanitizer,
    sanitize::{Defaults, DefaultsError},
    yaml,
};
use reverser_k8s::{Answer, Catalog, DryRun};
use reverser_testbed::{client_for, eventually};
use reverser_tests::LIMIT;
use serde_json::Value;

use crate::scene::{Scene, run};

/// Counts what it is asked.
#[derive(Debug)]
struct Counted {
    defaults: DryRun,
    questions: AtomicUsize,
}

#[async_trait::async_trait]
impl Defaults for Counted {
    async fn complete(&self, manifest: &Value) -> Result<Option<Value>, DefaultsError> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.defaults.complete(manifest).await
    }
}

/// Served in a group of its own, so that no other test sees it come.
const WIDGETS: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.defaults.example.com}
spec:
  group: defaults.example.com
  names: {kind: Widget, plural: widgets}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, default: 3}
              colour: {type: string}
              border:
                type: object
                default: {}
                properties:
                  width: {type: integer, default: 1}
                  style: {type: string, default: solid}
";

#[test]
fn what_was_created_comes_back_with_no_more_than_was_written_and_gives_the_same_object() {
    run(async {
        let scene = Scene::shared("minimized").await;
        let client = scene.plane.client();
        scene.kubectl(&["create", "-f", "-"], WIDGETS).await;
        let catalog = eventually("the CRD to be served", LIMIT, async || {
            let catalog = Catalog::read(&client).await.unwrap();
            let is_served = catalog.of_kind("defaults.example.com/v1", "Widget").is_some();
            if is_served { Ok(catalog) } else { Err("not served") }
        })
        .await;
        let crd = yaml::parse(WIDGETS).unwrap().remove(0);
        let live = get(&client, &catalog, &crd, &scene.namespace).await;
        let minimal = Sanitizer::minimal().minimize(live, &DryRun::new(client.clone(), catalog.clone())).await.unwrap();
        assert_eq!(minimal, crd, "asked about under its own name");
        let authored = yaml::parse(AUTHORED).unwrap();
        scene.kubectl(&["create", "-f", "-"], AUTHORED).await;
        scene.kubectl(&["create", "namespace", "minimized-again"], "").await;
        for manifest in authored {
            let kind = manifest["kind"].as_str().unwrap();
            let live = get(&client, &catalog, &manifest, &scene.namespace).await;
            let defaults =
                Counted { defaults: DryRun::new(client.clone(), catalog.clone()), questions: AtomicUsize::new(0) };
            let begun = Instant::now();
            let mut minimal = Sanitizer::minimal().minimize(live.clone(), &defaults).await.unwrap();
            eprintln!("{kind}: {} questions in {:?}", defaults.questions.into_inner(), begun.elapsed());

            minimal["metadata"].as_object_mut().unwrap().remove("namespace");
            let (written, left) = (leaves(&manifest), leaves(&minimal));
            assert!(
                left.is_subset(&written),
                "{kind}: {:?} is nobody's",
                left.difference(&written).collect::<Vec<_>>()
            );
            let text = yaml::to_string(&minimal);
            scene.kubectl(&["apply", "--namespace", "minimized-again", "-f", "-"], &text).await;
            let again = get(&client, &catalog, &manifest, "minimized-again").await;
            let spec = |object: &Value| Sanitizer::faithful().clean(object.clone())["spec"].clone();
            assert_eq!(spec(&again), spec(&live), "{kind}");
        }
    });
}

#[test]
fn a_port_that_was_asked_for_stays() {
    run(async {
        let scene = Scene::shared("asked").await;
        let client = scene.plane.client();
        let text = "{apiVersion: v1, kind: Service, metadata: {name: web}, \
                    spec: {type: NodePort, ports: [{port: 80, nodePort: 30811}]}}";
        scene.kubectl(&["create", "-f", "-"], text).await;
        let catalog = Catalog::read(&client).await.unwrap();
        let manifest = yaml::parse(text).unwrap().remove(0);
        let live = get(&client, &catalog, &manifest, &scene.namespace).await;
        let minimal = Sanitizer::minimal().minimize(live, &DryRun::new(client, catalog)).await.unwrap();
        assert_eq!(minimal["spec"], manifest["spec"]);
    });
}

#[test]
fn what_a_user_may_not_ask_is_named_with_the_rule_and_what_is_refused_is_an_answer() {
    run(async {
        let scene = Scene::shared("unasked").await;
        let kubeconfig = scene.plane.user("asker", &[]).unwrap();
        let client = client_for(&kubeconfig).await.unwrap();
        let catalog = Catalog::read(&client).await.unwrap();
        let manifest = |text: &str| yaml::parse(text).unwrap().remove(0);
        let config = manifest("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: unasked}}");
        let error = DryRun::new(client, catalog.clone()).ask(&config).await.unwrap_err().to_string();
        assert_eq!(
            error,
            "not allowed to create configmaps in namespace unasked: grant a Role with \
             {apiGroups: [\"\"], resources: [\"configmaps\"], verbs: [create]}"
        );
        let admin = DryRun::new(scene.plane.client(), catalog);
        let quota = "{apiVersion: v1, kind: ResourceQuota, metadata: {name: none}, spec: {hard: {configmaps: 0}}}";
        scene.kubectl(&["create", "-f", "-"], quota).await;
        let refused = eventually("the quota to be enforced", LIMIT, async || match admin.ask(&config).await.unwrap() {
            Answer::Refused(why) => Ok(why),
            Answer::Stored(stored) => Err(stored),
        })
        .await;
        assert!(refused.contains("exceeded quota"), "{refused}");
        let elsewhere = manifest("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: nowhere}}");
        let error = admin.ask(&elsewhere).await.unwrap_err().to_string();
        assert!(error.contains("no namespace \"nowhere\""), "{error}");
        let unserved = manifest("{apiVersion: example.com/v9, kind: Unheard, metadata: {name: a}}");
        let error = admin.ask(&unserved).await.unwrap_err().to_string();
        assert!(error.contains("serves no Unheard of example.com/v9"), "{error}");
    });
}

/// Reads an object.
async fn get(client: &Client, catalog: &Catalog, manifest: &Value, namespace: &str) -> Value {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let resource = catalog.of_kind(&text(&manifest["apiVersion"]), &text(&manifest["kind"])).unwrap();
    let namespaced = resource.namespaced;
    let resource = ApiResource {
        group: resource.group.clone(),
        version: resource.version.clone(),
        api_version: resource.api_version(),
        kind: resource.kind.clone(),
        plural: resource.plural.clone(),
    };
    let objects = if namespaced {
        Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    serde_json::to_value(objects.get(&text(&manifest["metadata"]["name"])).await.unwrap()).unwrap()
}

/// Returns the paths of all values that hold no others, with the values.
fn leaves(value: &Value) -> BTreeSet<String> {
    fn collect(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                map.iter().for_each(|(key, part)| collect(part, &format!("{path}/{key}"), found));
            }
            Value::Array(items) if !items.is_empty() => {
                items.iter().enumerate().for_each(|(index, part)| collect(part, &format!("{path}/{index}"), found));
            }
            leaf => {
                found.insert(format!("{path}={leaf}"));
            }
        }
    }
    let mut found = BTreeSet::new();
    collect(value, "", &mut found);
    found
}

const AUTHORED: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxSurge: 2}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1.27
        ports: [{containerPort: 80}]
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 5}
        resources: {requests: {cpu: 100m}, limits: {cpu: 200m, memory: 64Mi}}
        volumeMounts: [{name: config, mountPath: /etc/web}]
      - name: sidecar
        image: envoy
      volumes: [{name: config, configMap: {name: web}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: "postgres:17"}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, type: NodePort, sessionAffinity: ClientIP, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {nodeName: nowhere, containers: [{name: a, image: busybox}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: a, image: busybox}]}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Service
metadata: {name: both-families}
spec: {selector: {app: web}, ipFamilyPolicy: PreferDualStack, ports: [{port: 80, name: http}, {port: 443, targetPort: 8443, name: https}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  suspend: true
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: busybox, args: [sh, -c, "true"]}]}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: nobody}
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  ingressClassName: nginx
  rules: [{host: web.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}
---
apiVersion: defaults.example.com/v1
kind: Widget
metadata: {name: red}
spec: {colour: red, border: {width: 2}}
---
apiVersion: defaults.example.com/v1
kind: Widget
metadata: {name: plain}
"#;
