//! What the audit log says of who it was.
//!
//! A request that changes nothing is answered with the version that somebody else wrote, so that several may claim one. One that
//! wrote a value that nobody else writes was it; of those who wrote the same, each may have been.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use jiff::{SignedDuration, Timestamp};
use reverser_core::message::trailers;
use reverser_testbed::LoggedCommit;
use serde_json::Value;

/// A time at which reverser didn't run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Away {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Away {
    /// Both ends are seen from outside, and what was under way at one of them may have been told or not.
    fn has(&self, at: Timestamp) -> bool {
        self.from - SLACK <= at && at <= self.until + SLACK
    }
}

const SLACK: SignedDuration = SignedDuration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) commits: usize,
    pub(super) named: usize,
    pub(super) ambiguous: usize,
    pub(super) unlogged: usize,
    /// Commits that name somebody whose write it was not.
    pub(super) wrong: Vec<String>,
    /// Commits that name nobody.
    pub(super) unnamed: Vec<String>,
    /// Those of them whose write was not made while reverser was away.
    pub(super) unexplained: Vec<String>,
}

impl Verdict {
    pub(super) fn named_share(&self) -> f64 {
        self.named as f64 / self.commits as f64
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} commits, {} named ({:.3} %), {} wrong, {} without a name, {} of them ambiguous, {} not in the audit log",
            self.commits,
            self.named,
            self.named_share() * 100.0,
            self.wrong.len(),
            self.unnamed.len(),
            self.ambiguous,
            self.unlogged,
        )
    }
}

/// Who may have made a version.
#[derive(Debug, Default)]
struct Claims {
    users: BTreeSet<String>,
    /// Whether the only one of them was it for certain.
    is_certain: bool,
    /// When the first of them was answered.
    at: Option<Timestamp>,
}

impl Claims {
    fn add(&mut self, user: &str, is_certain: bool, at: Timestamp) {
        if is_certain && !self.is_certain {
            self.users.clear();
        }
        if is_certain || !self.is_certain {
            self.users.insert(user.to_owned());
        }
        self.is_certain |= is_certain;
        self.at = Some(self.at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// By uid, and the version; a deletion has none.
type All = HashMap<(String, Option<String>), Claims>;

pub(super) fn judge(audit: &str, namespace: &str, log: &[LoggedCommit], away: &[Away]) -> Verdict {
    let claims = claims(audit, namespace);
    let mut verdict = Verdict::default();
    for commit in log {
        let all = trailers(&commit.message);
        let candidates: Vec<_> =
            all.iter().filter(|(key, _)| *key == "Reverser-Candidate").map(|(_, user)| user).collect();
        let trailers: BTreeMap<_, _> = all.iter().map(|(key, value)| (*key, value.clone())).collect();
        let (Some(uid), Some(version)) = (trailers.get("Reverser-Uid"), trailers.get("Reverser-Resource-Version"))
        else {
            continue;
        };
        let is_deletion = commit.subject().starts_with("[DELETE]");
        let Some(claims) = claims.get(&(uid.clone(), (!is_deletion).then(|| version.clone()))) else {
            verdict.unlogged += 1;
            continue;
        };
        verdict.commits += 1;
        let text = format!("{} {version} {uid} by {}, not {:?}", commit.subject(), commit.author, claims.users);
        match trailers.get("Reverser-Actor") {
            Some(actor) => {
                assert_eq!(*actor, commit.author, "the author is who the trailer names");
                verdict.named += 1;
                if !claims.users.contains(actor) {
                    verdict.wrong.push(text);
                }
            }
            None => {
                if !candidates.is_empty() {
                    verdict.ambiguous += 1;
                    if !candidates.iter().any(|user| claims.users.contains(*user)) {
                        verdict.wrong.push(format!("{text}, of {candidates:?}"));
                    }
                } else if !claims.at.is_some_and(|at| away.iter().any(|away| away.has(at))) {
                    verdict.unexplained.push(format!("{text} at {:?}", claims.at));
                }
                verdict.unnamed.push(commit.message.clone());
            }
        }
    }
    verdict
}

fn claims(audit: &str, namespace: &str) -> All {
    let mut all = All::new();
    let mut deleted = HashMap::<String, (Timestamp, String)>::new();
    for line in audit.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let at = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let is_accepted = event["responseStatus"]["code"].as_u64().is_some_and(|code| (200..300).contains(&code))
            && event["stage"] == "ResponseComplete"
            && at("/objectRef/namespace") == Some(namespace)
            && !at("/requestURI").unwrap_or_default().contains("dryRun=");
        let (Some(user), Some(verb), Some(when)) = (at("/user/username"), at("/verb"), at("/stageTimestamp")) else {
            continue;
        };
        let when: Timestamp = when.parse().unwrap();
        let answer = &event["responseObject"];
        if !is_accepted {
            continue;
        }
        if verb == "delete" {
            let uid = answer["details"]["uid"].as_str().or(answer["metadata"]["uid"].as_str());
            let earlier = deleted.entry(uid.unwrap().to_owned()).or_insert((when, user.to_owned()));
            // With a finalizer several are accepted; the first was it.
            if when < earlier.0 {
                *earlier = (when, user.to_owned());
            }
            continue;
        }
        let (Some(uid), Some(version)) =
            (at("/responseObject/metadata/uid"), at("/responseObject/metadata/resourceVersion"))
        else {
            continue;
        };
        let own = format!("{user}/");
        let is_own = at("/requestObject/data/value").is_some_and(|value| value.starts_with(&own));
        all.entry((uid.to_owned(), Some(version.to_owned()))).or_default().add(user, is_own || verb == "create", when);
    }
    for (uid, (when, user)) in deleted {
        all.entry((uid, None)).or_default().add(&user, true, when);
    }
    all
}
