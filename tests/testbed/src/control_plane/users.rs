//! Users of a control plane: their certificates, kubeconfigs, clients and what they may do.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{PoisonError, atomic::Ordering},
    time::SystemTime,
};

use k8s_openapi::{
    ByteString,
    api::{
        authorization::v1::SubjectAccessReview,
        core::v1::{Secret, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding},
    },
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{ControlPlane, describe, private_folder, write_private};
use crate::{
    authority::{Authority, Identity},
    error::Error,
};

/// A service account, its kubeconfig, and the token file that it names.
#[derive(Debug)]
pub struct ServiceAccountUser {
    /// The user's name, for [`ControlPlane::grant`].
    pub user: String,
    /// Its kubeconfig (context `testbed`).
    pub kubeconfig: PathBuf,
    /// Where its token stands; see [`ControlPlane::rotate`].
    pub token_file: PathBuf,
    namespace: String,
    name: String,
    /// The Secret whose end is the token's.
    bound_to: Option<String>,
}

/// A role that a user has.
#[derive(Debug)]
pub(super) struct Grant {
    /// `None`: a role of the cluster.
    namespace: Option<String>,
    /// Of the role and its binding.
    role: String,
}

impl ControlPlane {
    /// Makes a client certificate for a user, with up to two groups besides `system:authenticated`, and returns the
    /// path of its kubeconfig (context `testbed`). The user may do nothing until [`grant`](Self::grant)ed.
    pub fn user(&self, name: &str, groups: &[&str]) -> Result<PathBuf, Error> {
        self.write_user(name, groups, None)
    }

    /// Like [`user`](Self::user), with a certificate that expires then; in the past for one that is refused.
    pub fn user_until(&self, name: &str, groups: &[&str], expires: SystemTime) -> Result<PathBuf, Error> {
        self.write_user(name, groups, Some(expires))
    }

    /// Allows a user what the rules say, in one namespace or (`None`) everywhere, and returns when the API server
    /// heeds it.
    pub async fn grant(&self, user: &str, namespace: Option<&str>, rules: Vec<PolicyRule>) -> Result<(), Error> {
        let name = format!("testbed-{}", self.made.fetch_add(1, Ordering::Relaxed));
        let subject = json!([{"apiGroup": RBAC, "kind": "User", "name": user}]);
        let metadata = json!({"name": name});
        let role = json!({"metadata": metadata, "rules": rules});
        let binding = |kind: &str| {
            json!({
                "metadata": metadata,
                "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
                "subjects": subject,
            })
        };
        match namespace {
            Some(namespace) => {
                create(Api::<Role>::namespaced(self.client(), namespace), role).await?;
                create(Api::<RoleBinding>::namespaced(self.client(), namespace), binding("Role")).await?;
            }
            None => {
                create(Api::<ClusterRole>::all(self.client()), role).await?;
                create(Api::<ClusterRoleBinding>::all(self.client()), binding("ClusterRole")).await?;
            }
        }
        let granted = Grant { namespace: namespace.map(str::to_owned), role: name };
        self.grants.lock().unwrap_or_else(PoisonError::into_inner).entry(user.to_owned()).or_default().push(granted);
        let reviews: Vec<_> = rules.iter().flat_map(|rule| reviews(user, namespace, rule)).collect();
        self.until("the API server to heed the new role", || self.allows(&reviews)).await
    }

    /// Takes away what a user was [`grant`](Self::grant)ed, and returns when the API server heeds it.
    pub async fn revoke(&self, user: &str) -> Result<(), Error> {
        let mut reviews = vec![];
        for Grant { namespace, role: name } in self.granted(user) {
            let rules = match &namespace {
                Some(namespace) => {
                    delete(Api::<RoleBinding>::namespaced(self.client(), namespace), &name).await?;
                    read(Api::<Role>::namespaced(self.client(), namespace), &name).await?.rules
                }
                None => {
                    delete(Api::<ClusterRoleBinding>::all(self.client()), &name).await?;
                    read(Api::<ClusterRole>::all(self.client()), &name).await?.rules
                }
            };
            reviews.extend(rules.iter().flatten().flat_map(|rule| self::reviews(user, namespace.as_deref(), rule)));
        }
        self.until("the API server to heed that a role is gone", || async {
            for review in &reviews {
                if self.allows(std::slice::from_ref(review)).await.is_ok() {
                    return Err(format!("allowed: {review}"));
                }
            }
            Ok(())
        })
        .await
    }

    /// Makes a service account whose kubeconfig names a token file, as a Pod has one. Its user name is
    /// `system:serviceaccount:NAMESPACE:NAME`; it may do nothing until it is [`grant`](Self::grant)ed.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<ServiceAccountUser, Error> {
        create(Api::<ServiceAccount>::namespaced(self.client(), namespace), json!({"metadata": {"name": name}}))
            .await?;
        let folder = self.file("users");
        private_folder(&folder)?;
        let stem = format!("{name}-{}", self.made.fetch_add(1, Ordering::Relaxed));
        let token_file = folder.join(format!("{stem}.token"));
        let kubeconfig = folder.join(format!("{stem}.kubeconfig"));
        write_config(&kubeconfig, &self.url(), &self.authority, &json!({"tokenFile": token_file}))?;
        let mut user = ServiceAccountUser {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            kubeconfig,
            token_file,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            bound_to: None,
        };
        self.rotate(&mut user).await?;
        Ok(user)
    }

    /// Writes another token into the account's file, and lets the API server refuse the one before (401), which it does after
    /// ten seconds at the latest: so long it trusts what it has checked.
    pub async fn rotate(&self, user: &mut ServiceAccountUser) -> Result<(), Error> {
        let secrets = Api::<Secret>::namespaced(self.client(), &user.namespace);
        // A token counts for as long as what it is bound to is there.
        let name = format!("{}-{}", user.name, self.made.fetch_add(1, Ordering::Relaxed));
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let secret = Secret { metadata, ..Secret::default() };
        let secret = secrets.create(&PostParams::default(), &secret).await.map_err(Error::kube("create a Secret"))?;
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "audiences": [],
            "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": name, "uid": secret.metadata.uid},
        }});
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{}/token", user.namespace, user.name);
        let request = http::Request::post(path).body(request.to_string().into_bytes()).expect("names of the test bed");
        let answer: Value = self.client.request(request).await.map_err(Error::kube("request a token"))?;
        write_private(&user.token_file, answer["status"]["token"].as_str().unwrap_or_default())?;
        match user.bound_to.replace(name) {
            Some(before) => delete(secrets, &before).await,
            None => Ok(()),
        }
    }

    fn granted(&self, user: &str) -> Vec<Grant> {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants.remove(user).unwrap_or_default()
    }

    fn write_user(&self, name: &str, groups: &[&str], expires: Option<SystemTime>) -> Result<PathBuf, Error> {
        let folder = self.file("users");
        private_folder(&folder)?;
        let sequence = self.made.fetch_add(1, Ordering::Relaxed);
        let stem: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let path = folder.join(format!("{stem}-{sequence}.kubeconfig"));
        write_kubeconfig(&path, &self.url(), &self.authority, &self.authority.user(name, groups, expires)?)?;
        Ok(path)
    }

    async fn allows(&self, reviews: &[Value]) -> Result<(), String> {
        let api = Api::<SubjectAccessReview>::all(self.client());
        for review in reviews {
            let request = serde_json::from_value(json!({"spec": review})).map_err(describe)?;
            let answer = api.create(&PostParams::default(), &request).await.map_err(describe)?;
            if !answer.status.is_some_and(|status| status.allowed) {
                return Err(format!("denied: {review}"));
            }
        }
        Ok(())
    }
}

/// Returns a client for the kubeconfig's current context.
pub async fn client_for(kubeconfig: &Path) -> Result<Client, Error> {
    let failed = |source| Error::Kubeconfig { path: kubeconfig.to_owned(), source: Box::new(source) };
    let file = Kubeconfig::read_from(kubeconfig).map_err(failed)?;
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)?;
    config.proxy_url = None; // the user's proxy can't reach our loopback
    Client::try_from(config).map_err(Error::kube("make a client"))
}

/// Returns an RBAC rule for [`ControlPlane::grant`]: these verbs for these resources of one API group (`""`: the core).
pub fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> PolicyRule {
    let list = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    PolicyRule {
        api_groups: Some(list(&[group])),
        resources: Some(list(resources)),
        verbs: list(verbs),
        ..PolicyRule::default()
    }
}

/// Writes JSON, which is YAML.
pub(super) fn write_kubeconfig(path: &Path, url: &str, authority: &Authority, user: &Identity) -> Result<(), Error> {
    let user = json!({
        "client-certificate-data": base64(&user.certificate_pem),
        "client-key-data": base64(&user.key_pem),
    });
    write_config(path, url, authority, &user)
}

fn write_config(path: &Path, url: &str, authority: &Authority, user: &Value) -> Result<(), Error> {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "testbed",
        "clusters": [{"name": "testbed", "cluster": {
            "server": url,
            "certificate-authority-data": base64(authority.certificate_pem()),
        }}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
        "users": [{"name": "testbed", "user": user}],
    });
    write_private(path, &format!("{kubeconfig:#}\n"))
}

fn base64(pem: &str) -> Value {
    json!(ByteString(pem.as_bytes().to_vec()))
}

/// Returns the questions, one for each thing that the rule allows.
fn reviews(user: &str, namespace: Option<&str>, rule: &PolicyRule) -> Vec<Value> {
    let any = |list: &Option<Vec<String>>| match list.as_deref() {
        None | Some([]) => vec![String::new()],
        Some(list) => list.to_vec(),
    };
    let mut reviews = vec![];
    for verb in &rule.verbs {
        for path in rule.non_resource_urls.iter().flatten() {
            reviews.push(json!({"user": user, "nonResourceAttributes": {"path": path, "verb": verb}}));
        }
        for resource in rule.resources.iter().flatten() {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            for group in any(&rule.api_groups) {
                for name in any(&rule.resource_names) {
                    reviews.push(json!({"user": user, "resourceAttributes": {
                        "namespace": namespace, "verb": verb, "group": group,
                        "resource": resource, "subresource": subresource, "name": name,
                    }}));
                }
            }
        }
    }
    reviews
}

async fn create<K>(api: Api<K>, object: Value) -> Result<(), Error>
where
    K: Clone + fmt::Debug + Serialize + DeserializeOwned,
{
    let action = format!("create {object}");
    let object = serde_json::from_value(object).map_err(kube::Error::SerdeError).map_err(Error::kube(&action))?;
    api.create(&PostParams::default(), &object).await.map(drop).map_err(Error::kube(&action))
}

async fn read<K>(api: Api<K>, name: &str) -> Result<K, Error>
where
    K: Clone + fmt::Debug + DeserializeOwned,
{
    api.get(name).await.map_err(Error::kube(format!("read {name}")))
}

async fn delete<K>(api: Api<K>, name: &str) -> Result<(), Error>
where
    K: Clone + fmt::Debug + DeserializeOwned,
{
    api.delete(name, &DeleteParams::default()).await.map(drop).map_err(Error::kube(format!("delete {name}")))
}

const RBAC: &str = "rbac.authorization.k8s.io";
