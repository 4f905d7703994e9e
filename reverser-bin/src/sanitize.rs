//! `reverser sanitize`: a filter from objects as the API serves them to manifests.
//!
//! Reading and writing block: nothing else runs on this thread, and the requests of `--defaults-from-cluster` have the
//! runtime's own.

mod diff;

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Read, StdoutLock, Write, stdin, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::OnceLock,
};

use anyhow::Context;
use async_trait::async_trait;
use reverser_core::{
    Profile, Sanitizer,
    sanitize::{Defaults, DefaultsError},
    yaml::{self, Document, Documents},
};
use reverser_k8s::{Answer, DryRun, report::chain};
use serde_json::Value;

use crate::{
    Usage,
    args::{ManifestFormat, SanitizeArgs},
    connect,
};

/// Bytes that are read at a time: what a pipe holds.
const CHUNK: usize = 64 << 10;

/// Sanitizes what it is given, and says what it can't; the exit code is 1 when there was any such document or file.
pub(crate) async fn run(args: SanitizeArgs) -> anyhow::Result<ExitCode> {
    let SanitizeArgs { files, recursive, output, diff, clean, defaults_from_cluster, cluster } = args;
    let sanitizer = clean.sanitizer()?;
    if defaults_from_cluster && clean.profile.0 != Profile::Minimal {
        return Err(
            Usage("--defaults-from-cluster: of the profiles only minimal asks; add --profile minimal".into()).into()
        );
    }
    if !defaults_from_cluster && (cluster.kubeconfig.is_some() || cluster.context.is_some()) {
        return Err(Usage("--kubeconfig, --context: only --defaults-from-cluster talks to a cluster".into()).into());
    }
    let defaults = if defaults_from_cluster { Some(connect::dry_run(&cluster).await?) } else { None };
    let written = if diff { Written::Diff } else { Written::Manifests(output) };
    let out = BufWriter::new(stdout().lock());
    let asks_witnesses = clean.profile.0 == Profile::Minimal && !defaults_from_cluster;
    let mut filter =
        Filter { sanitizer, defaults, written, out, asks_witnesses, is_first: true, failures: 0, unwitnessed: 0 };
    let files = if files.is_empty() { vec![PathBuf::from("-")] } else { files };
    match filter.all(&files, recursive).await {
        // Whoever read our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        done => done.context("could not write to standard output")?,
    }
    if filter.unwitnessed > 0 {
        tell(&format!(
            "note: profile minimal found no managedFields in {} of the objects, and left their defaults: `kubectl get` shows \
             them with --show-managed-fields, and --defaults-from-cluster needs none",
            filter.unwitnessed
        ));
    }
    Ok(if filter.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What comes out.
enum Written {
    /// What is removed of each object.
    Diff,
    /// The objects without it.
    Manifests(ManifestFormat),
}

struct Filter {
    sanitizer: Sanitizer,
    defaults: Option<DryRun>,
    written: Written,
    out: BufWriter<StdoutLock<'static>>,
    /// Only the objects themselves tell what is a default.
    asks_witnesses: bool,
    is_first: bool,
    failures: usize,
    /// Objects that a server has stored, and that don't tell.
    unwitnessed: usize,
}

/// Errors are those of standard output: what is wrong with an input is told, and the next one is read.
impl Filter {
    async fn all(&mut self, files: &[PathBuf], recursive: bool) -> io::Result<()> {
        for file in files {
            if file == Path::new("-") {
                if stdin().is_terminal() {
                    tell("reading manifests from standard input; Ctrl-D ends it, --help says more");
                }
                self.stream("standard input", stdin().lock()).await?;
            } else if file.is_dir() {
                self.folder(file, recursive).await?;
            } else {
                self.file(file).await?;
            }
        }
        Ok(())
    }

    /// Reads what `kubectl apply -f` would read of a folder.
    async fn folder(&mut self, folder: &Path, recursive: bool) -> io::Result<()> {
        let mut files = vec![];
        if let Err((path, error)) = manifests_in(folder, recursive, &mut files) {
            self.fail(&path.display().to_string(), &error.to_string())?;
        }
        if files.is_empty() {
            let deeper = if recursive { "" } else { "; -R looks into its folders, too" };
            self.fail(
                &folder.display().to_string(),
                &format!("no .yaml, .yml or .json file is in this folder{deeper}"),
            )?;
        }
        for file in files {
            self.file(&file).await?;
        }
        Ok(())
    }

    async fn file(&mut self, path: &Path) -> io::Result<()> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => self.stream(&name, file).await,
            Err(error) => self.fail(&name, &error.to_string()),
        }
    }

    /// Each document comes out as soon as its end has come in.
    async fn stream(&mut self, name: &str, mut input: impl Read) -> io::Result<()> {
        let mut documents = Documents::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = match input.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read,
            };
            match read {
                Ok(0) => documents.finish(),
                Ok(length) => documents.push(&chunk[..length]),
                // The document that isn't whole would come out as if it were.
                Err(error) => return self.fail(name, &error.to_string()),
            }
            while let Some(document) = documents.next_document() {
                self.document(name, &document).await?;
            }
            self.out.flush()?;
            if matches!(read, Ok(0)) {
                return Ok(());
            }
        }
    }

    async fn document(&mut self, name: &str, document: &Document) -> io::Result<()> {
        let number = document.number();
        let objects = match document.objects() {
            Ok(objects) => objects,
            Err(error) => return self.fail(name, &format!("document {number}, {error}")),
        };
        let is_list = objects.len() > 1;
        for (index, object) in objects.into_iter().enumerate() {
            let item = if is_list { format!(", item {} of the list", index + 1) } else { String::new() };
            let place = format!("document {number}, line {}{item}", document.line());
            if let Err(lack) = is_kubernetes(&object) {
                self.fail(name, &format!("{place}: {lack}"))?;
                continue;
            }
            let metadata = &object["metadata"];
            if self.asks_witnesses && !metadata["uid"].is_null() && metadata["managedFields"].is_null() {
                self.unwitnessed += 1;
            }
            match self.clean(name, &place, &object).await {
                Ok(manifest) => self.write(object, manifest)?,
                Err(error) => self.fail(name, &format!("{place}: {}", chain(&error)))?,
            }
        }
        Ok(())
    }

    async fn clean(&self, name: &str, place: &str, object: &Value) -> Result<Value, DefaultsError> {
        let Some(dry_run) = &self.defaults else { return Ok(self.sanitizer.clean(object.clone())) };
        let text = |key: &str| object[key].as_str().unwrap_or_default();
        let resource = dry_run.catalog().of_kind(text("apiVersion"), text("kind"));
        let is_authored = resource.is_some_and(|resource| !resource.has_status);
        let sanitizer = if is_authored { self.sanitizer.clone().keep_status() } else { self.sanitizer.clone() };
        let asked = Asked { dry_run, first: OnceLock::new() };
        let manifest = sanitizer.minimize(object.clone(), &asked).await?;
        if let Some(Some(why)) = asked.first.get() {
            tell(&format!("note: {name}: {place}: its defaults stay, as the API server refuses it by dry run: {why}"));
        }
        Ok(manifest)
    }

    fn write(&mut self, object: Value, mut manifest: Value) -> io::Result<()> {
        match self.written {
            Written::Diff => diff::write(&mut self.out, &object, &manifest),
            Written::Manifests(ManifestFormat::Json) => {
                // Whatever order it was read in: the same object gives the same bytes.
                manifest.sort_all_objects();
                serde_json::to_writer_pretty(&mut self.out, &manifest)?;
                self.out.write_all(b"\n")
            }
            Written::Manifests(ManifestFormat::Yaml) => {
                if !std::mem::take(&mut self.is_first) {
                    self.out.write_all(b"---\n")?;
                }
                self.out.write_all(yaml::to_string(&manifest).as_bytes())
            }
        }
    }

    /// Says what is wrong with an input, behind what came out of it before: both may go to one terminal.
    fn fail(&mut self, name: &str, what: &str) -> io::Result<()> {
        self.failures += 1;
        self.out.flush()?;
        tell(&format!("error: {name}: {what}"));
        Ok(())
    }
}

/// Remembers why the first manifest, which is the object as it is, was refused.
#[derive(Debug)]
struct Asked<'a> {
    dry_run: &'a DryRun,
    first: OnceLock<Option<String>>,
}

#[async_trait]
impl Defaults for Asked<'_> {
    async fn complete(&self, manifest: &Value) -> Result<Option<Value>, DefaultsError> {
        let (stored, refusal) = match self.dry_run.ask(manifest).await {
            Ok(Answer::Refused(why)) => (None, Some(why)),
            Ok(Answer::Stored(stored)) => (Some(stored), None),
            Err(error) => return Err(error.about(manifest)),
        };
        self.first.get_or_init(|| refusal);
        Ok(stored)
    }
}

/// Says what an object lacks that every object of the API has.
fn is_kubernetes(object: &Value) -> Result<(), String> {
    let kind = match object {
        Value::Array(_) => "a list",
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => "a single value",
        Value::Object(_) => {
            let is_text = |key: &str| object[key].as_str().is_some_and(|text| !text.is_empty());
            return match (is_text("apiVersion"), is_text("kind")) {
                (true, true) => Ok(()),
                (true, false) => Err("no Kubernetes object: it has no kind".into()),
                (false, true) => Err("no Kubernetes object: it has no apiVersion".into()),
                (false, false) => Err("no Kubernetes object: it has neither apiVersion nor kind".into()),
            };
        }
    };
    Err(format!("no Kubernetes object: it is {kind}"))
}

/// Adds the manifests in a folder, in the order of their names.
fn manifests_in(folder: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let at = |error| (folder.to_owned(), error);
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut paths: Vec<_> = entries.map_err(at)?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let is_manifest = path.extension().is_some_and(|ending| ["json", "yaml", "yml"].iter().any(|it| ending == *it));
        if path.is_dir() {
            // A link could lead back up.
            if recursive && !path.is_symlink() {
                manifests_in(&path, recursive, files)?;
            }
        } else if is_manifest {
            files.push(path);
        }
    }
    Ok(())
}

/// Nothing is left to do about a closed standard error.
fn tell(text: &str) {
    let _closed = writeln!(io::stderr(), "{text}");
}
