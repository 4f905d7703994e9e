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
    /// Of how many commits the oracle knows who it was.
    pub(super) certain: usize,
    pub(super) ambiguous: usize,
    /// Of how many commits that name nobody the API server didn't wait for an answer: it took longer than the timeout, as on a
    /// busy machine.
    pub(super) unasked: usize,
    /// Commits that name the garbage collector, though somebody is behind it.
    pub(super) by_collector: usize,
    pub(super) unlogged: usize,
    /// The most memory that reverser took, as it ran last.
    pub(super) peak_mib: f64,
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
            "{} commits ({} of them certain), {} named ({:.3} %), {} wrong, {} without a name, {} of them ambiguous and {} not waited for, {} not in the audit log, {} by the garbage collector itself, {:.0} MiB",
            self.commits,
            self.certain,
            self.named,
            self.named_share() * 100.0,
            self.wrong.len(),
            self.unnamed.len(),
            self.ambiguous,
            self.unasked,
            self.unlogged,
            self.by_collector,
            self.peak_mib,
        )
    }
}

/// Who may have made a version.
#[derive(Debug, Default)]
struct Claims(Vec<Claim>);

#[derive(Debug)]
struct Claim {
    user: String,
    received: Timestamp,
    answered: Timestamp,
    /// Whether nobody else can have been it.
    is_certain: bool,
    /// Whether the API server gave up to ask about it.
    is_unasked: bool,
}

impl Claims {
    /// Returns when it was there.
    fn at(&self) -> Option<Timestamp> {
        self.0.iter().map(|claim| claim.answered).min()
    }

    /// Returns who may have been it: nobody who asked when it was there already.
    fn users(&self) -> BTreeSet<&str> {
        let (at, is_certain) = (self.at(), self.0.iter().any(|claim| claim.is_certain));
        let may = |claim: &&Claim| if is_certain { claim.is_certain } else { Some(claim.received) <= at };
        self.0.iter().filter(may).map(|claim| &*claim.user).collect()
    }
}

/// What the audit log tells.
#[derive(Debug, Default)]
struct Told {
    /// By uid and version.
    writes: HashMap<(String, String), Claims>,
    /// By uid.
    deletions: HashMap<String, Claims>,
    owners: HashMap<String, String>,
}

impl Told {
    /// Returns who deleted an object, or made the garbage collector do so.
    fn deleters(&self, uid: &str) -> BTreeSet<&str> {
        let users = self.deletions.get(uid).map(Claims::users).unwrap_or_default();
        if !users.contains(COLLECTOR) {
            return users;
        }
        let owners = self.owners.get(uid).map(|owner| self.deleters(owner)).unwrap_or_default();
        let others = users.iter().copied().filter(|user| *user != COLLECTOR);
        if owners.is_empty() { users } else { others.chain(owners).collect() }
    }

    /// Returns whether the API server gave up to ask about a deletion of an object or of its owner.
    fn is_unasked(&self, uid: &str) -> bool {
        let claims = self.deletions.get(uid).is_some_and(|claims| claims.0.iter().any(|claim| claim.is_unasked));
        claims || self.owners.get(uid).is_some_and(|owner| self.is_unasked(owner))
    }

    /// Returns whether the garbage collector deleted an object.
    fn collected(&self, uid: &str) -> bool {
        self.deletions.get(uid).is_some_and(|claims| claims.users().contains(COLLECTOR))
    }
}

const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";

pub(super) fn judge(audit: &str, namespaces: &[String], log: &[LoggedCommit], away: &[Away]) -> Verdict {
    let told = read(audit, namespaces);
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
        let found =
            if is_deletion { told.deletions.get(uid) } else { told.writes.get(&(uid.clone(), version.clone())) };
        let Some(claims) = found else {
            verdict.unlogged += 1;
            continue;
        };
        let users = if is_deletion { told.deleters(uid) } else { claims.users() };
        let is_unasked = if is_deletion { told.is_unasked(uid) } else { claims.0.iter().any(|claim| claim.is_unasked) };
        verdict.certain += usize::from(users.len() == 1);
        verdict.commits += 1;
        let text = format!("{} {version} {uid} by {}, not {:?}", commit.subject(), commit.author, users);
        match trailers.get("Reverser-Actor") {
            Some(actor) => {
                assert_eq!(*actor, commit.author, "the author is who the trailer names");
                verdict.named += 1;
                // What was missed while reverser was away, or too slow, may hide who made the owner go; the controller is named
                // itself then.
                let is_itself = actor == COLLECTOR && (!away.is_empty() || is_unasked) && told.collected(uid);
                verdict.by_collector += usize::from(is_itself && !users.contains(&**actor));
                let is_right = users.contains(&**actor) || is_itself;
                if !is_right {
                    verdict.wrong.push(text);
                }
            }
            None => {
                if !candidates.is_empty() {
                    verdict.ambiguous += 1;
                    if !candidates.iter().any(|user| users.contains(&***user)) {
                        verdict.wrong.push(format!("{text}, of {candidates:?}"));
                    }
                } else if is_unasked {
                    verdict.unasked += 1;
                } else if !claims.at().is_some_and(|at| away.iter().any(|away| away.has(at))) {
                    verdict.unexplained.push(format!("{text} at {:?}", claims.at()));
                }
                verdict.unnamed.push(commit.message.clone());
            }
        }
    }
    verdict
}

fn read(audit: &str, namespaces: &[String]) -> Told {
    let mut told = Told::default();
    for line in audit.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let at = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let is_accepted = event["responseStatus"]["code"].as_u64().is_some_and(|code| (200..300).contains(&code))
            && event["stage"] == "ResponseComplete"
            && at("/objectRef/namespace").is_some_and(|namespace| namespaces.iter().any(|it| it == namespace))
            && !at("/requestURI").unwrap_or_default().contains("dryRun=");
        let (Some(user), Some(verb), true) = (at("/user/username"), at("/verb"), is_accepted) else { continue };
        let time = |pointer: &str| at(pointer).unwrap().parse::<Timestamp>().unwrap();
        let (received, answered) = (time("/requestReceivedTimestamp"), time("/stageTimestamp"));
        let is_unasked = event["annotations"]
            .as_object()
            .is_some_and(|annotations| annotations.keys().any(|key| key.starts_with("failed-open.validat")));
        let claim = |is_certain| Claim { user: user.to_owned(), received, answered, is_certain, is_unasked };
        let answer = &event["responseObject"];
        let metadata = &answer["metadata"];
        match verb {
            "delete" => {
                // With a finalizer several are accepted, and answered with the object.
                let is_gone = answer["details"]["uid"].as_str();
                let uid = is_gone.or(metadata["uid"].as_str()).unwrap();
                told.deletions.entry(uid.to_owned()).or_default().0.push(claim(is_gone.is_some()));
            }
            // Lists also what somebody else has deleted meanwhile.
            "deletecollection" => {
                for item in answer["items"].as_array().into_iter().flatten() {
                    let uid = item["metadata"]["uid"].as_str().unwrap();
                    told.deletions.entry(uid.to_owned()).or_default().0.push(claim(false));
                }
            }
            _ => {
                let (Some(uid), Some(version)) = (metadata["uid"].as_str(), metadata["resourceVersion"].as_str())
                else {
                    continue;
                };
                if let Some(owner) = metadata["ownerReferences"][0]["uid"].as_str() {
                    told.owners.insert(uid.to_owned(), owner.to_owned());
                }
                let value = at("/requestObject/data/value").or(at("/requestObject/spec/value"));
                let is_own = value.is_some_and(|value| value.starts_with(&format!("{user}/")));
                let is_scale =
                    at("/objectRef/resource") == Some("widgets") && at("/objectRef/subresource") == Some("scale");
                let key = (uid.to_owned(), version.to_owned());
                told.writes.entry(key).or_default().0.push(claim(is_own || is_scale || verb == "create"));
            }
        }
    }
    for Claims(claims) in told.deletions.values_mut() {
        // Who is told that it is gone may have ended what somebody else began.
        if claims.iter().any(|claim| !claim.is_certain) {
            claims.iter_mut().for_each(|claim| claim.is_certain = false);
        }
    }
    told
}
