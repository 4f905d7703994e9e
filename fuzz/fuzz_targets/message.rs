//! Any text is a template for messages or is refused at a place that it has; whatever it makes of whatever names and
//! reasons, the commit's subject is one line and its trailers are ours, as git would read them. The parts of the input
//! stand between lines of `====`: template, actor, reason, name, namespace, uid, resourceVersion, user agent, impersonator,
//! candidate, manager. The last two take the place of the actor.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use reverser_core::{
    Actor, Attribution, Change, CommitMessage, DefaultMessage, Evidence, MessageTemplateError, ObjectRef, Operation,
    RequestInfo, Resource, TemplateMessage,
    message::{Synced, with_trailers, without_trailers},
};

fuzz_target!(|input: &str| {
    let mut parts = input.split("\n====\n");
    let template = parts.next().unwrap_or_default();
    let change = change(parts);
    let sync = Synced { objects: [((*change.object.resource).clone(), 3)].into(), removed: input.len() };
    check_change(&DefaultMessage, &change);
    check_sync(&DefaultMessage, &sync);
    match TemplateMessage::default().changes(template) {
        Ok(message) => check_change(&message, &change),
        Err(error) => check_place(&error, template),
    }
    match TemplateMessage::default().syncs(template) {
        Ok(message) => check_sync(&message, &sync),
        Err(error) => check_place(&error, template),
    }
    // Whatever an embedder's own words are.
    let text = with_trailers(template, &change);
    check_text(&text, &change);
});

fn change<'t>(mut parts: impl Iterator<Item = &'t str>) -> Change {
    let mut part = || parts.next();
    let (actor, reason, name) = (part(), part(), part().unwrap_or("web"));
    let (namespace, uid, version) = (part(), part(), part());
    let resource = Resource {
        group: "apps".into(),
        version: "v1".into(),
        kind: "Deployment".into(),
        plural: "deployments".into(),
        namespaced: namespace.is_some(),
        has_status: true,
    };
    let object = ObjectRef {
        resource: Arc::new(resource),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        uid: uid.map(str::to_owned),
    };
    let mut change = Change::new(object, Operation::Update, None);
    change.resource_version = version.map(str::to_owned);
    change.reason = reason.map(str::to_owned);
    let (user_agent, impersonator, candidate, manager) = (part(), part(), part(), part());
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let request =
        RequestInfo { user_agent: owned(user_agent), impersonator: owned(impersonator), ..RequestInfo::default() };
    change.attribution = match (manager, candidate, actor) {
        (Some(manager), _, _) => Attribution::Manager(manager.to_owned()),
        (None, Some(candidate), _) => Attribution::Ambiguous(vec![Actor::user(candidate)]),
        (None, None, Some(actor)) => {
            Attribution::Known { actor: Actor::user(actor), evidence: Evidence::Host, request: Box::new(request) }
        }
        (None, None, None) => Attribution::Unknown,
    };
    change
}

fn check_change(message: &dyn CommitMessage, change: &Change) {
    let words = message.change(change);
    assert!(!is_blank(&words), "{words:?}");
    let text = with_trailers(&words, change);
    check_text(&text, change);
}

fn check_sync(message: &dyn CommitMessage, sync: &Synced) {
    let words = message.sync(sync);
    assert!(!is_blank(&words), "{words:?}");
    check_subject(&without_trailers(&words));
}

fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c.is_control())
}

fn check_text(text: &str, change: &Change) {
    check_subject(text);
    assert_eq!(trailers(text), expected(change), "{text}");
}

fn check_subject(text: &str) {
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    let mut lines = text.lines();
    let subject = lines.next().unwrap_or_default();
    assert!(!subject.trim().is_empty() && subject.len() <= 1024, "{text:?}");
    assert!(lines.next().unwrap_or_default().is_empty(), "{text:?}");
}

/// Returns keys and values as `git interpret-trailers --parse` does: those of the last paragraph before what could be a
/// patch, all of whose lines have to be trailers.
fn trailers(text: &str) -> Vec<(&str, String)> {
    let is_patch = |line: &str| {
        line.strip_prefix("---").is_some_and(|rest| rest.trim_start().len() < rest.len() || rest.is_empty())
    };
    let lines: Vec<_> = text.lines().take_while(|line| !is_patch(line)).collect();
    let paragraph = lines.rsplit(|line| line.trim().is_empty()).find(|paragraph| !paragraph.is_empty());
    let pairs: Option<_> = paragraph.into_iter().flatten().map(|line| line.split_once(": ")).collect();
    let pairs: Vec<(&str, &str)> = pairs.unwrap_or_default();
    pairs.into_iter().map(|(key, value)| (key, value.to_owned())).collect()
}

fn expected(change: &Change) -> Vec<(&'static str, String)> {
    let evidence = change.attribution.evidence().to_owned();
    let (mut actor, mut impersonator, mut user_agent) = (None, None, None);
    let (mut candidate, mut manager) = (None, None);
    match &change.attribution {
        Attribution::Ambiguous(actors) => candidate = actors.first().map(|actor| &actor.name),
        Attribution::Known { actor: known, request, .. } => {
            actor = Some(&known.name);
            (impersonator, user_agent) = (request.impersonator.as_ref(), request.user_agent.as_ref());
        }
        Attribution::Manager(known) => manager = Some(known),
        Attribution::Unknown => {}
    }
    // Those that clients choose freely are told where they aren't blank, up to 1 KiB.
    let trailers = [
        ("Reverser-Actor", actor, true),
        ("Reverser-Evidence", Some(&evidence), true),
        ("Reverser-Candidate", candidate, true),
        ("Reverser-Impersonator", impersonator, false),
        ("Reverser-User-Agent", user_agent, false),
        ("Reverser-Manager", manager, false),
        ("Reverser-Uid", change.object.uid.as_ref(), true),
        ("Reverser-Resource-Version", change.resource_version.as_ref(), true),
    ];
    let told = trailers.into_iter().filter_map(|(key, value, always)| {
        let is_user = ["Reverser-Actor", "Reverser-Candidate", "Reverser-Impersonator"].contains(&key);
        let value = if is_user { as_a_name(value?) } else { on_one_line(value?) };
        let value = if ["Reverser-User-Agent", "Reverser-Manager"].contains(&key) { bounded(value) } else { value };
        (always || !value.is_empty()).then_some((key, value))
    });
    told.collect()
}

fn bounded(mut text: String) -> String {
    if text.len() <= 1024 {
        return text;
    }
    while text.len() > 1024 - '…'.len_utf8() {
        text.pop();
    }
    format!("{}…", text.trim_end())
}

/// Returns a user's name as a trailer's value: what is hidden in it or vanishes at its ends is seen.
fn as_a_name(name: &str) -> String {
    let hidden =
        ['\u{ad}', '\u{180e}', '\u{200b}', '\u{2060}', '\u{2061}', '\u{2062}', '\u{2063}', '\u{2064}', '\u{feff}'];
    let seen = on_one_line(&format!("|{}|", name.replace(hidden, "\u{fffd}")));
    // The bars alone, since a name may have some, too.
    let seen = &seen[1..seen.len() - 1];
    let end = |vanishes: bool| if vanishes { "\u{fffd}" } else { "" };
    format!("{}{}{}", end(seen != seen.trim_start()), seen.trim(), end(seen != seen.trim_end()))
}

/// Returns the text as a trailer's value: nothing in it ends a line or turns the direction of text.
fn on_one_line(text: &str) -> String {
    let blank = |c: char| if c.is_control() || ['\u{2028}', '\u{2029}'].contains(&c) { ' ' } else { c };
    let turns =
        |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text: String = text.chars().map(blank).map(|c| if turns(c) { '\u{fffd}' } else { c }).collect();
    text.trim().to_owned()
}

fn check_place(error: &MessageTemplateError, template: &str) {
    let lines = template.matches('\n').count() + 1;
    assert!((1..=lines).contains(&error.line()), "{error}");
    let line = template.split('\n').nth(error.line() - 1).unwrap_or_default();
    assert!((1..=line.chars().count() + 1).contains(&error.column()), "{error}");
}
