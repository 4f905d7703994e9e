//! What is told of an object's history: a table, or one document.

use std::io::{self, Write};

use anyhow::Context;
use reverser_core::{FieldPath, leaves::Leaves};
use reverser_k8s::blame::{Blame, Change, Facts, FieldStep, Found, Step};
use serde_json::{Map, Value, json};

pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever read our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("could not write to standard output"),
    }
}

pub(super) fn object_table(found: &Found, blame: &Blame) -> String {
    if found.body.is_none() {
        let row = |step: &Step| cells(&step.facts, what(step));
        let rows = blame.latest.iter().map(row).collect();
        return format!("{} is gone; it was in {}\n{}", found.object, found.file, table("WHAT", rows));
    }
    let row = |(path, count, origin): (String, usize, usize)| {
        let value = match blame.fields.iter().find(|(leaf, _)| *leaf == path) {
            Some((_, value)) => cut(&value.to_string()),
            None => format!("({count} fields)"),
        };
        blame.steps.get(origin).map(|step| cells(&step.facts, format!("{path}  {value}")))
    };
    let folded = blame.fields.folded(|path| blame.origins.get(path).copied());
    let mut text = format!("{} in {}\n", found.object, found.file);
    text += &table("FIELD", folded.into_iter().filter_map(row).collect());
    if let Some(latest) = without_fields(blame) {
        let [when, who, how, commit, what] = cells(&latest.facts, what(latest));
        text += &clean(&format!("last changed {when} by {who} ({how}), {commit}: {what}"));
        text.push('\n');
    }
    text + cut_words(blame.is_cut)
}

pub(super) fn field_table(path: &FieldPath, steps: &[FieldStep], is_cut: bool) -> String {
    let row = |step: &FieldStep| cells(&step.step.facts, value_words(path, step));
    table("VALUE", steps.iter().map(row).collect()) + cut_words(is_cut)
}

pub(super) fn object_json(found: &Found, blame: &Blame) -> String {
    let field = |(path, value): (String, &Value)| {
        let step = blame.origins.get(&path).and_then(|origin| blame.steps.get(*origin));
        let mut field = json!({"path": path, "value": value});
        if let (Value::Object(field), Some(Value::Object(step))) = (&mut field, step.map(step_json)) {
            field.extend(step);
        }
        field
    };
    let mut document = object_of(found);
    document["fields"] = blame.fields.iter().map(field).collect();
    document["latest"] = blame.latest.as_ref().map(step_json).into();
    document["isCut"] = blame.is_cut.into();
    format!("{document:#}\n")
}

pub(super) fn field_json(found: &Found, path: &FieldPath, steps: &[FieldStep], is_cut: bool) -> String {
    let step = |field: &FieldStep| {
        let mut step = step_json(&field.step);
        let values: Map<_, _> = field.values.iter().map(|(path, value)| (path, value.clone())).collect();
        step["value"] = field.value.clone().into();
        step["isSet"] = (!field.values.is_empty()).into();
        step["values"] = values.into();
        step
    };
    let mut document = object_of(found);
    document["field"] = path.to_string().into();
    document["history"] = steps.iter().map(step).collect();
    document["isCut"] = is_cut.into();
    format!("{document:#}\n")
}

fn object_of(found: &Found) -> Value {
    let object = &found.object;
    json!({
        "object": {"group": object.group, "kind": object.kind, "namespace": object.namespace, "name": object.name},
        "file": found.file.as_str(),
        "isGone": found.body.is_none(),
    })
}

fn step_json(step: &Step) -> Value {
    let facts = &step.facts;
    let (change, moved_from) = match &step.change {
        Change::Created => ("created", None),
        Change::Deleted => ("deleted", None),
        Change::Found => ("found", None),
        Change::Moved { from } => ("moved", Some(from.as_str())),
        Change::Updated => ("updated", None),
    };
    json!({
        "commit": facts.commit.as_str(),
        "subject": facts.subject,
        "change": change,
        "file": step.file.as_str(),
        "movedFrom": moved_from,
        "author": facts.author.as_ref().map(|author| json!({"name": author.name(), "email": author.email()})),
        "date": facts.at.to_string(),
        "committed": facts.committed_at.to_string(),
        "who": facts.who(),
        "how": facts.how(),
        "actors": facts.actors,
        "evidence": facts.evidence,
        "impersonator": facts.impersonator,
        "isCut": facts.is_cut,
        "isLate": facts.is_late,
        "userAgent": facts.user_agent,
        "auditId": facts.audit_id,
        "uid": facts.uid,
        "note": facts.note,
    })
}

/// Returns the latest step when no field is from it: it has taken something away, or moved the file.
fn without_fields(blame: &Blame) -> Option<&Step> {
    let latest = blame.latest.as_ref()?;
    blame.steps.first().is_none_or(|step| step.facts.commit != latest.facts.commit).then_some(latest)
}

/// What happened to the object, in words.
fn what(step: &Step) -> String {
    match &step.change {
        // A list shows what is there, not since when; so does somebody's file.
        Change::Created if step.facts.evidence.is_none() => "first recorded".to_owned(),
        Change::Created => "object created".to_owned(),
        Change::Deleted => "object deleted".to_owned(),
        Change::Found => "then or earlier".to_owned(),
        Change::Moved { from } => format!("file moved from {from}"),
        Change::Updated => "fields removed".to_owned(),
    }
}

/// What a field was since a step, and what else happened then.
fn value_words(path: &FieldPath, step: &FieldStep) -> String {
    let value = match &step.value {
        Some(value) => cut(&value.to_string()),
        None if step.step.body.is_none() => return "(object deleted)".to_owned(),
        None if step.values.is_empty() => return "(removed)".to_owned(),
        None => values_words(path, &step.values),
    };
    if matches!(step.step.change, Change::Created | Change::Found) {
        format!("{value}  ({})", what(&step.step))
    } else {
        value
    }
}

fn values_words(path: &FieldPath, values: &Leaves) -> String {
    let path = path.to_string();
    let value = |(leaf, value): (String, &Value)| format!("{}={value}", leaf.strip_prefix(&path).unwrap_or(&leaf));
    cut(&values.iter().map(value).collect::<Vec<_>>().join(" "))
}

fn cut_words(is_cut: bool) -> &'static str {
    if is_cut { "this is a shallow clone: what came before its first commit isn't known here\n" } else { "" }
}

/// On one line, and not longer than the rest of a terminal's.
fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(MOST_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// In characters.
const MOST_SHOWN: usize = 60;

fn cells(facts: &Facts, last: String) -> [String; 5] {
    let when = facts.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    [when, facts.who(), facts.how(), facts.commit.short().to_owned(), last]
}

/// Columns as wide as what is in them; the last one as it is.
fn table(last: &str, rows: Vec<[String; 5]>) -> String {
    let head = ["WHEN", "WHO", "HOW", "COMMIT", last].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(rows).map(|row| row.map(|cell| clean(&cell))).collect();
    let widths: [usize; 5] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let line = |row: &[String; 5]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Commits say what their authors like, and a terminal isn't to obey it.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
