//! What the audit log says that has to be in Git, and whether it is.
//!
//! A change that was authored is one commit: one whose labels, annotations, finalizers, data or spec differ from the version
//! before it, or a deletion. It may be missing for one of two reasons, which reverser's log names with the versions
//! in between: etcd had forgotten ("history lost"), or the object came and went within a gap, where no list can show it
//! ("history recovered", "nothing missed"). The last line of a connection of a killed API server is missing in the audit log: a
//! commit that it doesn't explain is counted, and no error.
//!
//! Verifications run beside all that. What differs there was missed, or is a change under way that it took for a difference.

mod history;

use std::{collections::BTreeMap, fmt};

use jiff::{SignedDuration, Timestamp};
use reverser_core::message::trailers;
use reverser_testbed::LoggedCommit;
use serde_json::Value;

pub(super) use self::history::authored;
use self::history::{Certain, Change, Gone, History, Life};
use super::{Feed, kinds};

/// A time at which reverser could not be told of requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Away {
    pub(super) from: Timestamp,
    /// `None`: until it watches again.
    pub(super) until: Option<Timestamp>,
}

impl Away {
    fn until_watching(self, said: &str) -> (Timestamp, Timestamp) {
        let watching = || {
            let lines = messages(said).filter(|line| line["message"] == "watching");
            lines.filter_map(|line| line["timestamp"].as_str()?.parse().ok()).find(|at| *at > self.from)
        };
        let until = self.until.or_else(watching).unwrap_or(Timestamp::MAX - SLACK);
        (self.from - SLACK, until + SLACK)
    }
}

/// Both ends are seen from outside, and the API server heeds a registration a moment later.
const SLACK: SignedDuration = SignedDuration::from_millis(1_000);

/// Compares what the audit log says with what is in Git; `said` is what reverser logged.
pub(super) fn judge(
    audit: &str,
    said: &str,
    log: &[LoggedCommit],
    faults: usize,
    feed: Feed,
    away: &[Away],
) -> Verdict {
    let history = History::read(audit);
    let (gaps, away) = (gaps(said), away.iter().map(|away| away.until_watching(said)).collect::<Vec<_>>());
    let mut verdict = Verdict { losses_at_most: faults * kinds().len(), ..Verdict::default() };
    let mut commits: BTreeMap<String, Vec<Commit>> = BTreeMap::new();
    for commit in log {
        match Commit::read(commit) {
            Some(commit) => commits.entry(commit.uid.clone()).or_default().push(commit),
            None if commit.subject().starts_with("[VERIFY]") => verdict.drifts.push(commit.message.clone()),
            None => verdict.syncs += 1,
        }
    }
    for line in messages(said) {
        match line["message"].as_str() {
            Some("verified") => verdict.verified += 1,
            Some(message) if message.starts_with("verified:") => verdict.drifts.push(line.to_string()),
            _ => {}
        }
    }
    verdict.panics = said.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect();
    verdict.gaps = gaps.iter().filter(|gap| gap.is_lost).count();
    verdict.recovered = gaps.len() - verdict.gaps;
    for (uid, life) in &history.lives {
        let made = commits.remove(uid).unwrap_or_default();
        Judge { feed, away: &away, history: &history, gaps: &gaps, life, uid, verdict: &mut verdict }.judge(&made);
    }
    // Of objects that others made: none of the eight.
    verdict.others = commits.values().map(Vec::len).sum();
    verdict
}

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    changes: usize,
    commits: usize,
    syncs: usize,
    /// How often a resource was compared with Git.
    verified: usize,
    gaps: usize,
    /// Each fault is the reason for one in each kind.
    losses_at_most: usize,
    recovered: usize,
    /// Changes without a commit of objects that came and went within a gap.
    unseen: usize,
    /// Changes without a commit that a loss explains.
    lost: usize,
    unlogged: usize,
    unknown_authors: usize,
    others: usize,
    missing: Vec<String>,
    doubled: Vec<String>,
    disordered: Vec<String>,
    superfluous: Vec<String>,
    wrong_authors: Vec<String>,
    /// Of how many commits it is certain who it was.
    certain: usize,
    ambiguous: usize,
    /// Those of them that name nobody, though reverser was there and read on.
    unnamed: Vec<String>,
    drifts: Vec<String>,
    panics: Vec<String>,
}

impl Verdict {
    /// Returns whether something was done, and nothing is wrong.
    pub(super) fn is_sound(&self) -> bool {
        let wrong = [
            &self.missing,
            &self.doubled,
            &self.disordered,
            &self.superfluous,
            &self.wrong_authors,
            &self.drifts,
            &self.panics,
        ];
        wrong.iter().all(|list| list.is_empty())
            && self.changes > 0
            && self.commits > 0
            && self.verified > 0
            && self.gaps <= self.losses_at_most
            // A machine that is very busy doesn't answer within the second that the API server waits.
            && self.unnamed.len() <= self.certain / 200
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} authored changes in the audit log, {} commits of them and {} others, {} syncs; {} gaps recovered, {} with \
             losses; {} changes came and went within a gap, {} were lost; {} commits without a line in the audit log, {} \
             without an author; of {} it is certain who it was, and {} of them name several, {} nobody without a reason; {} missing, {} doubled, {} out of order, {} superfluous, {} by a wrong author; {} \
             verifications, {} times something differed; {} panics",
            self.changes,
            self.commits,
            self.others,
            self.syncs,
            self.recovered,
            self.gaps,
            self.unseen,
            self.lost,
            self.unlogged,
            self.unknown_authors,
            self.certain,
            self.ambiguous,
            self.unnamed.len(),
            self.missing.len(),
            self.doubled.len(),
            self.disordered.len(),
            self.superfluous.len(),
            self.wrong_authors.len(),
            self.verified,
            self.drifts.len(),
            self.panics.len(),
        )
    }
}

/// A commit of one change.
#[derive(Debug)]
struct Commit {
    subject: String,
    uid: String,
    version: u64,
    is_deletion: bool,
    /// `None` without evidence.
    author: Option<String>,
    /// Of whom one is the author.
    candidates: Vec<String>,
}

impl Commit {
    fn read(commit: &LoggedCommit) -> Option<Self> {
        let all = trailers(&commit.message);
        let candidates = all.iter().filter(|(key, _)| *key == "Reverser-Candidate").map(|(_, user)| user.clone());
        let candidates = candidates.collect();
        let trailers: BTreeMap<_, _> = all.into_iter().collect();
        Some(Self {
            candidates,
            subject: commit.subject().to_owned(),
            uid: trailers.get("Reverser-Uid")?.clone(),
            version: trailers.get("Reverser-Resource-Version")?.parse().ok()?,
            is_deletion: commit.subject().starts_with("[DELETE]"),
            author: trailers.get("Reverser-Actor").map(|_| commit.author.clone()),
        })
    }
}

/// What reverser couldn't read as it happened.
#[derive(Debug)]
struct Gap {
    resource: String,
    /// Excluded.
    from: u64,
    until: u64,
    is_lost: bool,
}

impl Gap {
    fn has(&self, resource: &str, version: u64) -> bool {
        self.resource == resource && self.from < version && version <= self.until
    }
}

fn messages(said: &str) -> impl Iterator<Item = Value> {
    said.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn gaps(said: &str) -> Vec<Gap> {
    let gap = |line: Value| {
        let is_lost = match line["message"].as_str()? {
            message if message.starts_with("history lost") => true,
            "history recovered" | "nothing missed" => false,
            _ => return None,
        };
        let number = |field: &str| line[field].as_str()?.parse().ok();
        Some(Gap {
            resource: line["source"].as_str()?.to_owned(),
            from: number("from").unwrap_or(0),
            until: number("until").unwrap_or(u64::MAX),
            is_lost,
        })
    };
    messages(said).filter_map(gap).collect()
}

/// Judges the life of one object.
struct Judge<'a> {
    feed: Feed,
    away: &'a [(Timestamp, Timestamp)],
    history: &'a History,
    gaps: &'a [Gap],
    life: &'a Life,
    uid: &'a str,
    verdict: &'a mut Verdict,
}

impl Judge<'_> {
    fn judge(mut self, made: &[Commit]) {
        self.verdict.commits += made.len();
        for pair in made.windows(2) {
            let text =
                format!("{} {} behind {} {}", pair[1].subject, pair[1].version, pair[0].subject, pair[0].version);
            if pair[1].subject.starts_with("[CREATE]") {
                self.verdict.superfluous.push(text.clone());
            }
            match pair[0].version.cmp(&pair[1].version) {
                std::cmp::Ordering::Less if !pair[0].is_deletion => {}
                std::cmp::Ordering::Equal => self.verdict.doubled.push(text),
                _ => self.verdict.disordered.push(text),
            }
        }
        let (mut was, mut stands, mut excused) = (None, None, false);
        // Its line is missing in the audit log, and what comes next shows what it wrote.
        let is_unlogged = |before: u64, version: u64| {
            let between = made.iter().filter(|commit| before < commit.version && commit.version < version);
            between.filter(|commit| !commit.is_deletion).count() > 0
        };
        let mut before = 0;
        // What a scaling left isn't known where what it changed has no line.
        let mut is_unsure = false;
        for (version, change) in &self.life.changes {
            let commit = made.iter().find(|commit| commit.version == *version);
            let is_news = was != Some(&change.authored);
            was = Some(&change.authored);
            let follows_unsure = is_unsure;
            is_unsure = change.is_derived && (is_unsure || is_unlogged(before, *version));
            if let Some(commit) = commit {
                // After a loss Git may have stood elsewhere.
                if !is_news && !excused && !is_unsure && !follows_unsure {
                    self.verdict.superfluous.push(self.tell(*version));
                }
                stands = was;
                self.check_author(commit, change);
            } else if follows_unsure {
                stands = was;
            } else if is_news && stands != was && !is_unlogged(before, *version) {
                if self.is_excused(*version) {
                    excused = true;
                } else {
                    let text = format!("{} by {:?}: {}", self.tell(*version), change.users, change.authored);
                    self.verdict.missing.push(text);
                }
            }
            self.verdict.changes += usize::from(is_news);
            before = *version;
        }
        if let Some(gone) = &self.life.gone {
            self.verdict.changes += 1;
            let deletions = made.iter().filter(|commit| commit.is_deletion).count();
            let has_stood = made.iter().any(|commit| !commit.is_deletion);
            if deletions == 0 && has_stood && !self.is_deletion_excused(gone) {
                self.verdict
                    .missing
                    .push(format!("deletion of {} {}, uid {}: {gone:?}", self.life.resource, self.life.name, self.uid));
            }
            self.verdict.lost += usize::from(deletions == 0 && has_stood && self.is_deletion_excused(gone));
            self.verdict.unseen += usize::from(deletions == 0 && !has_stood);
        }
        if let Some(deleted) = &self.life.deleted {
            let deletion = made.iter().find(|commit| commit.is_deletion);
            deletion.into_iter().for_each(|commit| self.check_certain(commit, deleted));
        }
        let is_logged = |commit: &&Commit| !commit.is_deletion && !self.life.changes.contains_key(&commit.version);
        self.verdict.unlogged += made.iter().filter(is_logged).count();
    }

    fn check_author(&mut self, commit: &Commit, change: &Change) {
        if let Some(certain) = &change.certain {
            self.check_certain(commit, certain);
        }
        match &commit.author {
            None => self.verdict.unknown_authors += 1,
            Some(author) if change.users.contains(author) || self.feed != Feed::Audit => {}
            Some(author) => {
                let text = format!("{} {} by {author}, not {:?}", commit.subject, commit.version, change.users);
                self.verdict.wrong_authors.push(text);
            }
        }
    }

    fn check_certain(&mut self, commit: &Commit, certain: &Certain) {
        self.verdict.certain += 1;
        let text = || format!("{} {} by {:?}, not {certain:?}", commit.subject, commit.version, commit.author);
        match &commit.author {
            Some(author) if *author == certain.user => {}
            None if commit.candidates.contains(&certain.user) => self.verdict.ambiguous += 1,
            None if !commit.candidates.is_empty() => self.verdict.wrong_authors.push(text()),
            Some(_) => self.verdict.wrong_authors.push(text()),
            None => {
                let [received, answered] =
                    [&certain.received, &certain.answered].map(|at| at.parse::<Timestamp>().unwrap());
                let is_missed = self.away.iter().any(|(from, until)| *from <= answered && received <= *until);
                let resource = &self.life.resource;
                let is_in_gap = self.gaps.iter().any(|gap| gap.has(resource, commit.version));
                if !is_missed && !is_in_gap {
                    self.verdict.unnamed.push(text());
                }
            }
        }
    }

    /// Returns whether a version of this object may be missing, and counts it.
    fn is_excused(&mut self, version: u64) -> bool {
        let resource = &self.life.resource;
        let is_lost = self.gaps.iter().any(|gap| gap.is_lost && gap.has(resource, version));
        let is_unseen = !is_lost && self.has_come_and_gone();
        self.verdict.lost += usize::from(is_lost);
        self.verdict.unseen += usize::from(is_unseen);
        is_lost || is_unseen
    }

    /// Returns whether the object lived within a gap.
    fn has_come_and_gone(&self) -> bool {
        let (Some((first, _)), Some(gone)) = (self.life.changes.first_key_value(), &self.life.gone) else {
            return false;
        };
        let (earliest, _) = self.history.bounds(gone);
        let resource = &self.life.resource;
        let is_within = |gap: &Gap| gap.has(resource, *first) && earliest < gap.until;
        self.gaps.iter().any(is_within)
    }

    fn is_deletion_excused(&self, gone: &Gone) -> bool {
        let (earliest, latest) = self.history.bounds(gone);
        let resource = &self.life.resource;
        self.gaps
            .iter()
            .any(|gap| gap.is_lost && gap.resource == *resource && gap.from < latest && earliest < gap.until)
    }

    fn tell(&self, version: u64) -> String {
        format!("{} {} at {version}, uid {}", self.life.resource, self.life.name, self.uid)
    }
}
