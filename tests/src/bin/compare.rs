//! What kubectl-neat, katafygio and reverser keep and drop of the same objects: writes `docs/COMPARISON.md` from real runs.
//!
//! ```text
//! objects.yaml ──kubectl apply──► API server 1 ──kubectl get -o yaml──► each tool ──► its manifest
//!      │                                                                                 │
//!      └─────────────kubectl create --dry-run=server──► API server 2, empty ◄────────────┘
//! ```
//! `cargo run -p reverser-tests --bin compare`. `KUBECTL_NEAT` and `KATAFYGIO` name other builds than those of
//! `tests/compare/go.mod`; without the latter katafygio's column is worked out from its source.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
    io::{Seek, Write as _, stdout},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use reverser_core::{Sanitizer, yaml};
use reverser_testbed::{Audit, ControlPlane, ControlPlaneOptions, eventually};
use serde_json::{Value, json};
use tokio::process::Command;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compare");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/COMPARISON.md");
const LIMIT: Duration = Duration::from_secs(60);

/// In the order of the page's columns.
const TOOLS: [&str; 4] = ["kubectl-neat", "katafygio", "reverser, faithful", "reverser, neat"];

fn main() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let tools = Tools::build().await?;
        let options = ControlPlaneOptions { audit: Audit::Off, ..ControlPlaneOptions::default() };
        let (first, second) = (ControlPlane::start(options.clone()).await?, ControlPlane::start(options).await?);
        say("two control planes are up; creating the objects")?;
        let authored = yaml::parse(&fs::read_to_string(format!("{FOLDER}/objects.yaml"))?)?;
        let live = live(&first, &authored).await?;
        let dump = tools.dump(&first).await?;
        let mut cases = vec![];
        for (authored, live) in authored.into_iter().zip(live) {
            let manifests = tools.run(&first, &authored, &live, &dump).await?;
            let case = Case::judge(&second, authored, live, manifests).await?;
            say(&case.title())?;
            cases.push(case);
        }
        fs::write(PAGE, page(&cases, &tools, &first.version().await?)?)?;
        say("written: docs/COMPARISON.md")
    })
}

/// The programs to compare with.
struct Tools {
    kubectl_neat: PathBuf,
    is_pinned_neat: bool,
    katafygio: Option<PathBuf>,
}

impl Tools {
    async fn build() -> anyhow::Result<Self> {
        let katafygio = env::var_os("KATAFYGIO").map(PathBuf::from);
        if let Some(kubectl_neat) = env::var_os("KUBECTL_NEAT") {
            return Ok(Self { kubectl_neat: kubectl_neat.into(), is_pinned_neat: false, katafygio });
        }
        say("building kubectl-neat from its Go module")?;
        let program = env::current_exe()?.with_file_name("kubectl-neat");
        let mut go = Command::new("go");
        go.current_dir(FOLDER).env("CGO_ENABLED", "0").env("GOWORK", "off");
        go.args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o"]).arg(&program);
        run(go.arg("github.com/itaysk/kubectl-neat"), "").await?;
        Ok(Self { kubectl_neat: program, is_pinned_neat: true, katafygio })
    }

    /// Returns katafygio's files of the whole cluster.
    async fn dump(&self, plane: &ControlPlane) -> anyhow::Result<Vec<String>> {
        let Some(katafygio) = &self.katafygio else { return Ok(vec![]) };
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(katafygio);
        command.args(["--no-git", "--dump-only", "--local-dir"]).arg(folder.path());
        run(command.arg("--kube-config").arg(plane.kubeconfig()), "").await?;
        let (mut folders, mut texts) = (vec![folder.path().to_owned()], vec![]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() { folders.push(path) } else { texts.push(fs::read_to_string(path)?) }
            }
        }
        Ok(texts)
    }

    /// Returns each tool's manifest of an object, as text.
    async fn run(
        &self,
        plane: &ControlPlane,
        authored: &Value,
        live: &Value,
        dump: &[String],
    ) -> anyhow::Result<[String; 4]> {
        let text = kubectl(plane, &get(authored), "").await?;
        let neat_text = run(&mut Command::new(&self.kubectl_neat), &text).await?;
        let katafygio = match &self.katafygio {
            None => yaml::to_string(&without_katafygios_list(live.clone())),
            Some(_) => dump
                .iter()
                .find(|text| {
                    yaml::parse(text).is_ok_and(|objects| objects.first().is_some_and(|object| is_same(object, live)))
                })
                .with_context(|| format!("katafygio has no {}", title(live)))?
                .clone(),
        };
        // A Menu's status is the author's: its CRD has no status subresource, as API discovery says.
        // Its CRD has no status subresource, as discovery tells.
        let keeps_status = authored["kind"] == "Menu";
        let [faithful, neat] = [Sanitizer::faithful(), Sanitizer::neat()].map(|sanitizer| {
            let sanitizer = if keeps_status { sanitizer.keep_status() } else { sanitizer };
            yaml::to_string(&sanitizer.clean(live.clone()))
        });
        Ok([neat_text, katafygio, faithful, neat])
    }
}

/// pkg/controller/controller.go of katafygio 0.8.3: all that it removes.
fn without_katafygios_list(mut object: Value) -> Value {
    let removed = ["selfLink", "uid", "resourceVersion", "generation", "managedFields"];
    object.as_object_mut().map(|object| object.remove("status"));
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|key, _| !removed.contains(&key.as_str()));
    }
    object
}

/// Creates the objects as users do, plays scheduler and certificate injector, waits for the controllers, and returns the
/// objects as the API server serves them.
async fn live(plane: &ControlPlane, authored: &[Value]) -> anyhow::Result<Vec<Value>> {
    for object in authored {
        let manifest = yaml::to_string(object);
        eventually(&title(object), LIMIT, async || {
            kubectl(plane, &["apply", "-f", "-"], &manifest).await.map_err(|error| format!("{error:#}"))
        })
        .await;
    }
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "probe"}, "target": {"kind": "Node", "name": "node-1"}});
    kubectl(plane, &["create", "--raw", "/api/v1/namespaces/shop/pods/probe/binding", "-f", "-"], &binding.to_string())
        .await?;
    let bundle = r#"[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCi0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K"}]"#;
    kubectl(plane, &["patch", "validatingwebhookconfiguration", "shop-checks", "--type=json", "-p", bundle], "")
        .await?;
    let live = eventually("the controllers' work", LIMIT, async || {
        let mut live = vec![];
        for object in authored {
            let arguments = [&get(object)[..], &["--show-managed-fields"]].concat();
            let text = kubectl(plane, &arguments, "").await.map_err(|error| format!("{error:#}"))?;
            live.extend(yaml::parse(&text).map_err(|error| error.to_string())?);
        }
        let one = |kind: &str, name: &str| {
            live.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        };
        let is_bound = one("PersistentVolumeClaim", "disk").is_some_and(|claim| claim["status"]["phase"] == "Bound");
        let is_whole = one("ClusterRole", "shop-whole").is_some_and(|role| role["rules"][0].is_object());
        let is_seen = one("Deployment", "web").is_some_and(|web| web["status"]["observedGeneration"] == 1);
        let missing =
            [(is_bound, "the claim's volume"), (is_whole, "the role's rules"), (is_seen, "the Deployment's status")];
        let missing: Vec<_> = missing.iter().filter(|(is_there, _)| !is_there).map(|(_, what)| *what).collect();
        if missing.is_empty() { Ok(live) } else { Err(format!("missing: {}", missing.join(", "))) }
    })
    .await;
    Ok(live)
}

fn get(object: &Value) -> [&str; 6] {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let (kind, name) =
        (object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str().unwrap_or_default());
    ["get", "--output=yaml", "--namespace", namespace, kind, name]
}

/// An object, and what became of it.
struct Case {
    authored: BTreeMap<String, Value>,
    live: BTreeMap<String, Value>,
    defaults: BTreeSet<String>,
    outcomes: Vec<Outcome>,
    object: Value,
}

/// What a tool made of an object.
struct Outcome {
    text: String,
    fields: BTreeMap<String, Value>,
    /// What an empty server makes of it, or why it refuses it.
    restored: Result<BTreeMap<String, Value>, String>,
    /// Where that differs from what it makes of the author's manifest.
    differ: Vec<String>,
}

impl Case {
    async fn judge(plane: &ControlPlane, object: Value, live: Value, manifests: [String; 4]) -> anyhow::Result<Self> {
        let create = async |text: &str| {
            let arguments = ["create", "--dry-run=server", "--output=json", "-f", "-"];
            anyhow::Ok(fields(&serde_json::from_str(&kubectl(plane, &arguments, text).await?)?))
        };
        let text = yaml::to_string(&object);
        let original = create(&text).await?;
        // What differs between creates of one manifest is allocated, and says nothing. Two more: one may pick the same.
        let again = [create(&text).await?, create(&text).await?];
        let is_fixed = |path: &str| {
            again.iter().all(|again| original.get(path) == again.get(path)) && !is_bookkeeping(path, &object)
        };
        let (authored, live) = (fields(&object), fields(&live));
        for (path, value) in &authored {
            ensure!(live.get(path) == Some(value), "{}: the server has another {path}", title(&object));
        }
        let mut outcomes = vec![];
        for text in manifests {
            let manifest = yaml::parse(&text)?.into_iter().next().context("the tool wrote nothing")?;
            let restored = create(&text).await.map_err(|error| reason(&format!("{error:#}")));
            let paths: BTreeSet<_> = restored.iter().flatten().map(|(path, _)| path).chain(original.keys()).collect();
            let differs = |path: &&String| {
                is_fixed(path) && restored.as_ref().is_ok_and(|restored| restored.get(*path) != original.get(*path))
            };
            let differ = paths.into_iter().filter(differs).cloned().collect();
            outcomes.push(Outcome { text, fields: fields(&manifest), restored, differ });
        }
        // Later objects need it.
        kubectl(plane, &["create", "-f", "-"], &text).await?;
        if object["kind"] == "CustomResourceDefinition" {
            kubectl(plane, &["wait", "--for=condition=Established", "crd", "--all"], "").await?;
        }
        let is_default = |path: &&String| {
            !authored.contains_key(*path)
                && !path.starts_with("metadata")
                && !path.starts_with("status")
                && is_fixed(path)
                && live.get(*path) == original.get(*path)
        };
        let defaults = live.keys().filter(is_default).cloned().collect();
        Ok(Self { authored, live, defaults, outcomes, object })
    }

    fn title(&self) -> String {
        title(&self.object)
    }

    /// Returns how many authored fields the tool's manifest lacks or changes, and how many the server doesn't put back.
    fn lost(&self, tool: usize) -> (usize, usize) {
        let outcome = &self.outcomes[tool];
        let lost: Vec<_> =
            self.authored.iter().filter(|(path, value)| outcome.fields.get(*path) != Some(value)).collect();
        let gone = lost.iter().filter(|(path, value)| !outcome.puts_back(path, value)).count();
        (lost.len(), gone)
    }

    /// Returns how many fields of the tool's manifest are defaults, and how many are somebody else's.
    fn added(&self, tool: usize) -> (usize, usize) {
        let added: Vec<_> =
            self.outcomes[tool].fields.keys().filter(|path| !self.authored.contains_key(*path)).collect();
        let defaults = added.iter().filter(|path| self.defaults.contains(**path)).count();
        (defaults, added.len() - defaults)
    }

    /// Writes the fields in which the tools differ, and what came back.
    fn write(&self, page: &mut String) -> anyhow::Result<()> {
        writeln!(page, "\n### {}\n", self.title())?;
        writeln!(page, "| field | whose | {} |\n|---|---|{}|", TOOLS.join(" | "), ["---"; 4].join("|"))?;
        let paths: BTreeSet<_> =
            self.live.keys().chain(self.outcomes.iter().flat_map(|outcome| outcome.fields.keys())).collect();
        for path in paths.into_iter().filter(|path| !is_bookkeeping(path, &self.object)) {
            let authored = self.authored.get(path);
            let is_new = !self.live.contains_key(path);
            let whose = match authored {
                Some(value) => format!("author: `{}`", short(value)),
                None if self.defaults.contains(path) => format!("default: `{}`", short(&self.live[path])),
                None if is_new => "the tool".to_owned(),
                None => "server".to_owned(),
            };
            let marks: Vec<_> = self
                .outcomes
                .iter()
                .map(|outcome| match outcome.fields.get(path) {
                    None if authored.is_some_and(|value| outcome.puts_back(path, value)) => {
                        "left to the server".to_owned()
                    }
                    None if authored.is_some() => "**lost**".to_owned(),
                    None => "–".to_owned(),
                    Some(value) if is_new => format!("`{}`", short(value)),
                    Some(value) if self.live.get(path) == Some(value) => "kept".to_owned(),
                    Some(value) => format!("**`{}`**", short(value)),
                })
                .collect();
            if marks.iter().any(|mark| *mark != marks[0]) {
                writeln!(page, "| `{}` | {whose} | {} |", path.replace('|', "\\|"), marks.join(" | "))?;
            }
        }
        let restored = self.outcomes.iter().map(|outcome| match &outcome.restored {
            Err(reason) => format!("refused: {}", reason.replace('|', "\\|")),
            Ok(_) if outcome.differ.is_empty() => "the same".to_owned(),
            Ok(_) => format!("another: {}", named(&outcome.differ)),
        });
        writeln!(page, "| *an empty server makes of it* | | {} |", restored.collect::<Vec<_>>().join(" | "))?;
        Ok(())
    }
}

impl Outcome {
    fn puts_back(&self, path: &str, value: &Value) -> bool {
        self.restored.as_ref().is_ok_and(|restored| restored.get(path) == Some(value))
    }
}

/// What every object has, whatever its author wrote.
fn is_bookkeeping(path: &str, authored: &Value) -> bool {
    path == LAST_APPLIED
        || path == "status" && authored["status"].is_null()
        || ["creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"]
            .iter()
            .any(|field| path.strip_prefix("metadata.") == Some(field))
}

const LAST_APPLIED: &str = "metadata.annotations[kubectl.kubernetes.io/last-applied-configuration]";

/// Returns at most three of the paths.
fn named(paths: &[String]) -> String {
    let mut named = paths.iter().take(3).map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
    if paths.len() > 3 {
        named += &format!(" and {} more", paths.len() - 3);
    }
    named
}

fn short(value: &Value) -> String {
    let text = value.to_string().replace('|', "\\|");
    if text.chars().count() > 40 { text.chars().take(39).chain(['…']).collect() } else { text }
}

/// Returns the beginning of what kubectl says, without what differs between runs.
fn reason(error: &str) -> String {
    let is_uid = |word: &str| word.matches('-').count() >= 4;
    let words: Vec<_> = error.split_whitespace().map(|word| if is_uid(word) { "…" } else { word }).collect();
    let text = words.join(" ");
    if text.chars().count() > 160 { text.chars().take(159).chain(['…']).collect() } else { text }
}

/// Returns all leaves by their path: scalars, null, and what is empty. Items of a list stand under their name or key.
/// `status`, managedFields and an annotation count as one each.
fn fields(object: &Value) -> BTreeMap<String, Value> {
    fn collect(value: &Value, path: String, found: &mut BTreeMap<String, Value>) {
        match value {
            Value::Array(items) if !items.is_empty() && path != "metadata.managedFields" => {
                for (index, item) in items.iter().enumerate() {
                    let name = ["name", "key", "port"].iter().find_map(|key| item.get(*key)).map(|name| match name {
                        Value::String(name) => name.clone(),
                        name => name.to_string(),
                    });
                    collect(item, format!("{path}[{}]", name.unwrap_or_else(|| index.to_string())), found);
                }
            }
            Value::Object(map) if !map.is_empty() && path != "status" => {
                for (key, part) in map {
                    let dot = if path.is_empty() { "" } else { "." };
                    let key = if key.contains('.') { format!("[{key}]") } else { format!("{dot}{key}") };
                    collect(part, format!("{path}{key}"), found);
                }
            }
            value => {
                found.insert(path, value.clone());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(object, String::new(), &mut found);
    found
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn is_same(a: &Value, b: &Value) -> bool {
    title(a) == title(b) && a["metadata"]["namespace"] == b["metadata"]["namespace"]
}

fn page(cases: &[Case], tools: &Tools, version: &str) -> anyhow::Result<String> {
    let mut page = String::new();
    let neat = if tools.is_pinned_neat { "1.2.0" } else { "of another build" };
    let katafygio = if tools.katafygio.is_some() {
        "run"
    } else {
        "**not run**: its module could not be had, so its column is its strip list (`pkg/controller/controller.go` of 0.8.3), applied to the same objects"
    };
    let head = fs::read_to_string(format!("{FOLDER}/head.md"))?;
    write!(
        page,
        "{}",
        head.replace("{neat}", neat)
            .replace("{katafygio}", katafygio)
            .replace("{version}", version)
            .replace("{objects}", &cases.len().to_string())
    )?;
    let authored: usize = cases.iter().map(|case| case.authored.len()).sum();
    writeln!(page, "\n## Summary\n\n| | {} |\n|---|{}|", TOOLS.join(" | "), ["---"; 4].join("|"))?;
    let row = |page: &mut String, name: &str, count: &dyn Fn(usize) -> usize| {
        let counts: Vec<_> = (0..TOOLS.len()).map(|tool| count(tool).to_string()).collect();
        writeln!(page, "| {name} | {} |", counts.join(" | "))
    };
    row(&mut page, &format!("authored fields left out, of {authored}"), &|tool| {
        cases.iter().map(|case| case.lost(tool).0).sum()
    })?;
    row(&mut page, "… that no default puts back: **lost**", &|tool| {
        cases.iter().map(|case| case.lost(tool).1).sum()
    })?;
    row(&mut page, "fields left over that servers, controllers and tools wrote", &|tool| {
        cases.iter().map(|case| case.added(tool).1).sum()
    })?;
    row(&mut page, "what the server fills in at each create, written out", &|tool| {
        cases.iter().map(|case| case.added(tool).0).sum()
    })?;
    row(&mut page, &format!("manifests that an empty server takes, of {}", cases.len()), &|tool| {
        cases.iter().filter(|case| case.outcomes[tool].restored.is_ok()).count()
    })?;
    row(&mut page, "… and that give the author's object", &|tool| {
        cases
            .iter()
            .filter(|case| case.outcomes[tool].restored.is_ok() && case.outcomes[tool].differ.is_empty())
            .count()
    })?;
    row(&mut page, "lines of YAML", &|tool| cases.iter().map(|case| case.outcomes[tool].text.lines().count()).sum())?;
    traps(&mut page, cases, tools)?;
    writeln!(
        page,
        "\n## Object by object\n\nOnly fields in which the tools differ, and none of the bookkeeping above."
    )?;
    cases.iter().try_for_each(|case| case.write(&mut page))?;
    Ok(page)
}

/// Writes the lines that each tool writes for texts that YAML readers take for something else.
fn traps(page: &mut String, cases: &[Case], tools: &Tools) -> anyhow::Result<()> {
    let case = cases.iter().find(|case| case.object["metadata"]["name"] == "traps").context("the traps are there")?;
    writeln!(page, "\n## Texts that look like something else\n")?;
    writeln!(
        page,
        "The values are strings. A reader of YAML 1.1 takes some of them for a boolean, a number, a time or nothing unless they are quoted; others, readers of 1.2.\n"
    )?;
    writeln!(page, "| string | kubectl-neat | katafygio | reverser |\n|---|---|---|---|")?;
    let line = |tool: usize, key: &str| {
        let prefix = format!("  {key}: ");
        let written = case.outcomes[tool].text.lines().find_map(|line| line.strip_prefix(&prefix));
        written.map_or_else(|| "**lost**".to_owned(), |written| format!("`{written}`"))
    };
    for (key, value) in case.object["data"].as_object().context("the traps have data")? {
        let katafygio = if tools.katafygio.is_some() { line(1, key) } else { "not run".to_owned() };
        writeln!(
            page,
            "| `{}` | {} | {katafygio} | {} |",
            value.as_str().unwrap_or_default(),
            line(0, key),
            line(2, key)
        )?;
    }
    Ok(())
}

async fn kubectl(plane: &ControlPlane, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let mut kubectl = plane.kubectl(plane.kubeconfig()).await?;
    run(kubectl.args(arguments), input).await
}

/// Runs a program with this on its standard input, and returns what it prints.
async fn run(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let mut file = tempfile::tempfile()?;
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    let output = command.stdin(Stdio::from(file)).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("run {}", Path::new(command.as_std().get_program()).display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(stdout(), "{line}")?)
}
