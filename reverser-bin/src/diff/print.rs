//! How differences are written: for people, for programs, or as names.

use std::io::{self, Write, stdout};

use reverser_core::{Drift, ObjectRef, Pipeline, yaml};
use reverser_git::ReadCommit;
use reverser_k8s::Difference;
use serde::Serialize;
use serde_json::Value;

use crate::{
    args::{DiffArgs, DiffFormat},
    unified::{self, unified},
};

/// Writes differences to standard output as they are found, and counts them.
pub(super) struct Printer<'a> {
    args: &'a DiffArgs,
    pipeline: &'a Pipeline,
    is_coloured: bool,
    commit: String,
    summary: Summary,
}

/// How it went.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    /// How many objects were compared.
    pub(super) objects: usize,
    pub(super) missing: usize,
    pub(super) extra: usize,
    pub(super) different: usize,
    pub(super) superseded: usize,
    /// How many resources weren't.
    pub(super) not_compared: usize,
}

impl Summary {
    pub(super) fn differences(&self) -> usize {
        self.missing + self.extra + self.different + self.superseded
    }

    fn count(&mut self, drift: Drift) {
        *match drift {
            Drift::Different => &mut self.different,
            Drift::Extra => &mut self.extra,
            Drift::Missing => &mut self.missing,
            Drift::Superseded => &mut self.superseded,
        } += 1;
    }
}

/// A difference as programs read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    state: &'a str,
    api_version: String,
    kind: &'a str,
    resource: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    name: &'a str,
    /// From the repository's root.
    path: String,
    /// What Git says, as it reads it; absent where nothing stands there, or when it is sensitive.
    #[serde(skip_serializing_if = "Option::is_none")]
    git: Option<Value>,
    /// What it would say of the living object.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Value>,
    /// From Git to the cluster, of what is there on both sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
}

impl<'a> Printer<'a> {
    pub(super) fn new(args: &'a DiffArgs, pipeline: &'a Pipeline, is_coloured: bool, commit: &ReadCommit) -> Self {
        Self { args, pipeline, is_coloured, commit: commit.id.to_string(), summary: Summary::default() }
    }

    pub(super) fn difference(&mut self, difference: &Difference) -> io::Result<()> {
        let mut out = stdout().lock();
        if self.args.output == DiffFormat::Json {
            out.write_all(if self.summary.differences() == 0 { self.head()? } else { ",\n".to_owned() }.as_bytes())?;
        }
        self.summary.count(difference.drift);
        match self.args.output {
            DiffFormat::Diff => self.write_diff(&mut out, difference),
            DiffFormat::Json => out.write_all(serde_json::to_string(&self.told(difference))?.as_bytes()),
            DiffFormat::Name => writeln!(out, "{} {}", difference.drift, name(&difference.object)),
        }
    }

    /// Returns whether no difference was found.
    pub(super) fn is_silent(&self) -> bool {
        self.summary.differences() == 0
    }

    /// Writes what comes last.
    pub(super) fn finish(mut self, objects: usize, not_compared: Vec<String>) -> io::Result<Summary> {
        let mut out = stdout().lock();
        let differences = self.summary.differences();
        self.summary.objects = objects;
        self.summary.not_compared = not_compared.len();
        match self.args.output {
            DiffFormat::Diff => writeln!(out, "{}", self.line())?,
            DiffFormat::Json => {
                if differences == 0 {
                    out.write_all(self.head()?.as_bytes())?;
                }
                let (not_compared, summary) =
                    (serde_json::to_string(&not_compared)?, serde_json::to_string(&self.summary)?);
                writeln!(out, "],\n\"notCompared\":{not_compared},\n\"summary\":{summary}}}")?;
            }
            DiffFormat::Name => {}
        }
        out.flush()?;
        Ok(self.summary)
    }

    /// The document's beginning: what Git is at.
    fn head(&self) -> io::Result<String> {
        let text = |text: &str| serde_json::to_string(text);
        Ok(format!(
            "{{\"repository\":{},\"branch\":{},\"commit\":{},\n\"differences\":[\n",
            text(&self.args.repo.to_string())?,
            text(&self.args.files.branch.to_string())?,
            text(&self.commit)?
        ))
    }

    fn line(&self) -> String {
        let Summary { objects, missing, extra, different, superseded, not_compared } = self.summary;
        let objects = format!("{objects} object{}", if objects == 1 { "" } else { "s" });
        let at = format!("{} at {}", self.args.files.branch, self.commit.get(..8).unwrap_or(&self.commit));
        let counts = [
            (missing, "missing"),
            (extra, "extra"),
            (different, "different"),
            (superseded, "superseded"),
            (not_compared, "not compared"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
        match counts.collect::<Vec<_>>() {
            counts if counts.is_empty() => format!("no difference: {objects} compared with {at}"),
            counts => format!("{}; {objects} compared with {at}", counts.join(", ")),
        }
    }

    fn write_diff(&self, out: &mut impl Write, difference: &Difference) -> io::Result<()> {
        let Difference { drift, object, .. } = difference;
        let path = self.path(difference);
        let line = format!("{:<10} {}  ({path})", drift.name(), visible(&full_name(object)));
        match colour(*drift).filter(|_| self.is_coloured) {
            Some(colour) => writeln!(out, "{colour}{line}\x1b[0m")?,
            None => writeln!(out, "{line}")?,
        }
        match self.diff(difference) {
            Some(diff) => unified::write(out, &diff, self.is_coloured),
            None => Ok(()),
        }
    }

    /// Returns how the file would become the living object; `None` where one of them isn't there, or when it is sensitive.
    fn diff(&self, difference: &Difference) -> Option<String> {
        if self.pipeline.seal.is_sensitive(&difference.object.resource) {
            return None;
        }
        let (git, live) = (difference.git.as_deref()?, difference.live.as_deref()?);
        let path = self.path(difference);
        let names = (format!("{path} (Git)"), format!("{path} (cluster)"));
        // Without what only its author's formatting makes different.
        let git = match value(git) {
            Value::String(text) => visible_lines(&text),
            value => yaml::to_string(&value),
        };
        Some(unified((&names.0, &git), (&names.1, &String::from_utf8_lossy(live))))
    }

    fn told<'d>(&self, difference: &'d Difference) -> Told<'d> {
        let object = &difference.object;
        let is_sensitive = self.pipeline.seal.is_sensitive(&object.resource);
        let side = |text: &Option<Vec<u8>>| text.as_deref().filter(|_| !is_sensitive).map(value);
        Told {
            state: difference.drift.name(),
            api_version: object.resource.api_version(),
            kind: &object.resource.kind,
            resource: &object.resource.plural,
            namespace: object.namespace.as_deref(),
            name: &object.name,
            path: self.path(difference),
            git: side(&difference.git),
            live: side(&difference.live),
            diff: self.diff(difference),
        }
    }

    fn path(&self, difference: &Difference) -> String {
        let path = match &self.args.files.path {
            Some(folder) => folder.join(&difference.path),
            None => difference.path.clone(),
        };
        path.as_str().to_owned()
    }
}

/// Returns what a file says; its text when that is no YAML, or several documents.
fn value(text: &[u8]) -> Value {
    let text = String::from_utf8_lossy(text);
    match yaml::parse(&text).as_deref() {
        Ok([value]) => value.clone(),
        _ => text.into(),
    }
}

/// Returns `deployment.apps/web -n shop`, as kubectl takes it.
fn name(object: &ObjectRef) -> String {
    let kind = object.resource.kind.to_lowercase();
    let group = Some(&object.resource.group).filter(|group| !group.is_empty());
    let group = group.map(|group| format!(".{group}")).unwrap_or_default();
    let namespace = object.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    visible(&format!("{kind}{group}/{}{namespace}", object.name))
}

/// Returns `apps/v1 Deployment shop/web`.
fn full_name(object: &ObjectRef) -> String {
    let namespace = object.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{} {} {namespace}{}", object.resource.api_version(), object.resource.kind, object.name)
}

/// Names of some objects may be anything, and end up on terminals.
fn visible(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn visible_lines(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', " ")
}

/// Those of the diff that would follow: what the cluster has and Git lacks is green.
fn colour(drift: Drift) -> Option<&'static str> {
    Some(match drift {
        Drift::Different => "\x1b[33m",
        Drift::Extra | Drift::Superseded => "\x1b[31m",
        Drift::Missing => "\x1b[32m",
    })
}
