//! What is told of a restore: a line for each object and a summary, or one document.

use std::io::{Write, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reverser_core::ObjectRef;
use reverser_git::{GitReader, ReadCommit};
use reverser_k8s::{
    report::chain,
    restore::{Extra, Kept, Manifests, Outcome, Restored},
};
use serde_json::{Value, json};

use crate::{
    args::{RestoreArgs, RestoreFormat},
    output::print_line,
};

pub(super) struct Show {
    format: RestoreFormat,
    is_dry_run: bool,
    source: String,
    commit: ReadCommit,
    progress: ProgressBar,
    left: Vec<String>,
    sealed: Vec<String>,
    has_secrets: bool,
    unselected: usize,
    kept: Vec<Kept>,
}

impl Show {
    pub(super) fn new(args: &RestoreArgs, reader: &GitReader, manifests: &Manifests) -> Self {
        let show = Self {
            format: args.output,
            is_dry_run: args.dry_run,
            source: format!("{} of {}", args.branch, args.repo),
            commit: reader.commit().clone(),
            progress: ProgressBar::hidden(),
            left: manifests.left.iter().map(ToString::to_string).collect(),
            sealed: manifests.sealed.iter().map(|manifest| manifest.file.to_string()).collect(),
            has_secrets: manifests
                .objects
                .iter()
                .any(|manifest| manifest.api_version == "v1" && manifest.kind == "Secret"),
            unselected: 0,
            kept: Vec::new(),
        };
        if show.commit.clock_was_wrong {
            show.note("commits before this one say that they are later than that time: a clock was wrong; if this isn't the one, name a commit");
        }
        show
    }

    /// Shows how far it has come, on a terminal.
    pub(super) fn expect(&mut self, selected: usize, unselected: usize) {
        self.unselected = unselected;
        let progress = ProgressBar::with_draw_target(Some(selected as u64), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {pos}/{len}") {
            progress.set_style(style.progress_chars("=> "));
        }
        progress.set_message(if self.is_dry_run { "asking" } else { "restoring" });
        self.progress = progress;
    }

    /// Tells of an object.
    pub(super) fn object(&self, object: &Restored) {
        self.progress.inc(1);
        let name = name_of(object);
        let word = word(&object.outcome);
        match (&object.outcome, self.format) {
            (Outcome::Failed(failure), format) => {
                let file = object.file.as_ref().map(ToString::to_string).unwrap_or_default();
                let place = if name.is_empty() { file } else { format!("{name} ({file})") };
                let line = format!("{word:<10} {place}: {}", one_line(&chain(failure)));
                if format == RestoreFormat::Text { self.line(&line) } else { self.note(&line) }
            }
            (_, RestoreFormat::Text) => self.line(&format!("{word:<10} {name}{}", self.dry())),
            (_, RestoreFormat::Name) => self.line(&name),
            (_, RestoreFormat::Json) => {}
        }
    }

    /// Tells what would be deleted, and what stays although Git doesn't have it.
    pub(super) fn extra(&mut self, extra: &Extra) {
        let count = extra.objects.len();
        if count > 0 {
            self.note(&format!("Git doesn't have {count} of {} objects; --prune deletes:", extra.of));
        }
        extra.objects.iter().for_each(|object| self.note(&format!("  {}", named(object))));
        for Kept { object, why } in &extra.kept {
            self.note(&format!("{} is not in Git and stays: {why}", named(object)));
        }
        for error in &extra.unread {
            self.note(&format!("nothing is deleted there: {}", chain(error)));
        }
        self.kept = extra.kept.clone();
    }

    /// Tells people something on standard error.
    pub(super) fn note(&self, text: &str) {
        self.progress.suspend(|| {
            // Nothing is left to do about a closed one.
            let _closed = writeln!(stderr(), "{text}");
        });
    }

    /// Tells how it ended.
    pub(super) fn finish(&self, restored: &[Restored]) {
        self.progress.finish_and_clear();
        match self.format {
            RestoreFormat::Json => print_line(&format!("{:#}", self.document(restored))),
            RestoreFormat::Name => {}
            RestoreFormat::Text => self.summary(restored).iter().for_each(|line| print_line(line)),
        }
    }

    fn summary(&self, restored: &[Restored]) -> Vec<String> {
        let counts = counts(restored).into_iter().filter(|(_, count)| *count > 0);
        let counts: Vec<_> = counts.map(|(word, count)| format!("{count} {word}")).collect();
        let commit = &self.commit;
        let at = commit.committed_at;
        let done = if self.is_dry_run { "would restore" } else { "restored" };
        let mut lines = vec![format!(
            "{done} {} ({at}, {}) of {}: {}",
            commit.id.short(),
            commit.subject,
            self.source,
            counts.join(", ")
        )];
        let mut say = |count: usize, what: &str| {
            if count > 0 {
                lines.push(format!("{count} {what}"));
            }
        };
        say(self.unselected, "in Git not selected");
        match self.left.len() {
            1 => say(1, "file is no manifest, and was left alone"),
            count => say(count, "files are no manifests, and were left alone"),
        }
        say(self.sealed.len(), "encrypted, and left out: decrypt and apply them yourself (sops)");
        if !self.has_secrets {
            lines.push("Secrets aren't in the repository: bring them back by other means".to_owned());
        }
        lines
    }

    fn document(&self, restored: &[Restored]) -> Value {
        let counts: serde_json::Map<_, _> =
            counts(restored).into_iter().map(|(word, count)| (word.to_owned(), count.into())).collect();
        json!({
            "source": self.source,
            "commit": {
                "id": self.commit.id.as_str(),
                "committedAt": self.commit.committed_at.to_string(),
                "subject": self.commit.subject,
            },
            "dryRun": self.is_dry_run,
            "objects": restored.iter().map(document).collect::<Vec<_>>(),
            "kept": self.kept.iter().map(|kept| json!({"name": named(&kept.object), "reason": kept.why})).collect::<Vec<_>>(),
            "noManifests": self.left,
            "encrypted": self.sealed,
            "notSelected": self.unselected,
            "counts": counts,
        })
    }

    fn line(&self, text: &str) {
        self.progress.suspend(|| print_line(text));
    }

    fn dry(&self) -> &'static str {
        if self.is_dry_run { " (dry run)" } else { "" }
    }
}

/// Each object has a line; the API server explains some refusals in several.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn document(object: &Restored) -> Value {
    let mut document = json!({
        "outcome": word(&object.outcome),
        "apiVersion": object.api_version,
        "kind": object.kind,
        "namespace": object.namespace,
        "name": object.name,
        "file": object.file.as_ref().map(ToString::to_string),
    });
    if let Outcome::Failed(failure) = &object.outcome {
        document["reason"] = chain(failure).into();
    }
    document
}

fn counts(restored: &[Restored]) -> Vec<(&'static str, usize)> {
    let count =
        |word: &'static str| (word, restored.iter().filter(|object| self::word(&object.outcome) == word).count());
    ["created", "changed", "unchanged", "deleted", "failed"].map(count).to_vec()
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Changed => "changed",
        Outcome::Deleted => "deleted",
        Outcome::Failed(_) => "failed",
        Outcome::Unchanged => "unchanged",
    }
}

/// As kubectl takes it: `deployment.apps/web -n shop`.
fn name_of(object: &Restored) -> String {
    if object.name.is_empty() {
        return String::new();
    }
    let group = object.api_version.split_once('/').map(|(group, _)| group);
    full_name(&object.kind, group, &object.name, object.namespace.as_deref())
}

pub(super) fn named(object: &ObjectRef) -> String {
    let group = Some(object.resource.group.as_str()).filter(|group| !group.is_empty());
    full_name(&object.resource.kind, group, &object.name, object.namespace.as_deref())
}

fn full_name(kind: &str, group: Option<&str>, name: &str, namespace: Option<&str>) -> String {
    let group = group.map(|group| format!(".{group}")).unwrap_or_default();
    let namespace = namespace.map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    format!("{}{group}/{name}{namespace}", kind.to_lowercase())
}
