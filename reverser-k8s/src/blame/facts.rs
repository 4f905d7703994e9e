//! What a commit and its note say of who made a change.

use jiff::Timestamp;
use reverser_core::{Signature, message::trailers};
use reverser_git::{CommitId, GitHistory, HistoryCommit, ReadError};

use super::{Identity, name::plural};

/// Who made a change, when, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The commit.
    pub commit: CommitId,
    /// The first line of its message.
    pub subject: String,
    /// Whose change it is, as Git has it; `None` when that isn't `Name <mail>`.
    pub author: Option<Signature>,
    /// When it was made.
    pub at: Timestamp,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// The users of the API; several where several changed the object in one commit, where that doesn't tell whose changes were of
    /// this object, and where nothing does (`ambiguous`).
    pub actors: Vec<String>,
    /// How that is known, such as `audit`; `None` in a commit that wasn't made by a writer of ours, or isn't of single changes.
    pub evidence: Option<String>,
    /// Who impersonated the actor.
    pub impersonator: Option<String>,
    /// Whether that became known after the commit, and stands in its note.
    pub is_late: bool,
    /// The program, where that is known.
    pub user_agent: Option<String>,
    /// The API server's id of the request, where that is known.
    pub audit_id: Option<String>,
    /// The object's uid, where the commit tells.
    pub uid: Option<String>,
    /// What was noted about the commit.
    pub note: Option<String>,
    /// Whether the history is cut off at the commit, as in a shallow clone: it doesn't tell who made what is there, which may be older.
    pub is_cut: bool,
    /// Whether the commit is of changes as they happened, and not of what was found, or by somebody's hand.
    pub(super) is_of_changes: bool,
}

impl Facts {
    /// Reads what is said of one object.
    pub(super) async fn read(history: &GitHistory, id: &CommitId, object: &Identity) -> Result<Self, ReadError> {
        let commit = history.commit(id).await?;
        let note = history.note(id).await?;
        Ok(Self::of(commit, note, object))
    }

    fn of(commit: HistoryCommit, note: Option<String>, object: &Identity) -> Self {
        let trailers = trailers(&commit.message);
        let uid = uid(&commit.message, &trailers, object);
        let mut facts = Self {
            subject: commit.message.lines().next().unwrap_or_default().to_owned(),
            author: commit.author,
            at: commit.authored_at,
            committed_at: commit.committed_at,
            commit: commit.id,
            actors: Vec::new(),
            evidence: None,
            impersonator: None,
            is_late: false,
            user_agent: None,
            audit_id: None,
            uid,
            note,
            is_cut: false,
            is_of_changes: !values(&trailers, "Reverser-Evidence").is_empty(),
        };
        facts.take(facts.uid.as_ref().and_then(|uid| below(&trailers, uid)).unwrap_or(&trailers));
        let paragraphs: Vec<_> = facts.note.iter().flat_map(|note| note.split("\n\n")).map(str::to_owned).collect();
        for paragraph in paragraphs {
            // As the last paragraph of a message, which they are read from.
            let text = format!("Note\n\n{paragraph}");
            let noted = self::trailers(&text);
            let of = values(&noted, "Reverser-Uid");
            let is_of_this = of.is_empty() || facts.uid.as_ref().is_none_or(|uid| of.contains(uid));
            if is_of_this && !values(&noted, "Reverser-Evidence").is_empty() {
                facts.take(&noted);
                facts.is_late = true;
            }
        }
        facts
    }

    /// Takes in what trailers say, in the place of what was known before.
    fn take(&mut self, trailers: &[(&str, String)]) {
        let first = |key| values(trailers, key).into_iter().next();
        let names = ["Reverser-Actor", "Reverser-Candidate", "Reverser-Manager"];
        self.actors = unique(names.into_iter().flat_map(|key| values(trailers, key)));
        let evidence = values(trailers, "Reverser-Evidence");
        // Of several changes it isn't said which one was made so.
        self.impersonator = first("Reverser-Impersonator").filter(|_| evidence.len() == 1);
        self.evidence = Some(unique(evidence).join(", ")).filter(|evidence| !evidence.is_empty());
        self.user_agent = first("Reverser-User-Agent");
        self.audit_id = first("Reverser-Audit-Id");
    }

    /// Forgets who made the commit: what is found there is of anybody before.
    pub(super) fn forget(&mut self) {
        self.is_cut = true;
        self.actors.clear();
        (self.author, self.evidence, self.impersonator, self.user_agent, self.audit_id) =
            (None, None, None, None, None);
        (self.note, self.is_late) = (None, false);
    }

    /// Returns who it was, in words: `alice as bob` where alice impersonated bob.
    pub fn who(&self) -> String {
        let author = || self.author.as_ref().map_or_else(|| "nobody".to_owned(), |author| author.name().to_owned());
        match &self.actors[..] {
            [] if self.is_unknown() => "unknown".to_owned(),
            [] => author(),
            // Of several changes, some of which nobody is known for.
            some if self
                .evidence
                .as_deref()
                .is_some_and(|evidence| evidence.split(", ").any(|how| how == "unknown")) =>
            {
                format!("{} or unknown", some.join(" or "))
            }
            [one] => match &self.impersonator {
                Some(impersonator) => format!("{impersonator} as {one}"),
                None => one.clone(),
            },
            several => several.join(" or "),
        }
    }

    /// Returns how that is known, in a word or two.
    pub fn how(&self) -> String {
        if self.is_cut {
            return "history cut off".to_owned();
        }
        match (&self.evidence, self.subject.split_once(']').map(|(kind, _)| kind)) {
            (Some(evidence), _) if self.is_late => format!("{evidence} (late)"),
            (Some(evidence), _) => evidence.clone(),
            (None, Some("[SYNC")) => "found at a sync".to_owned(),
            (None, Some("[VERIFY")) => "found by verification".to_owned(),
            (None, _) => "git".to_owned(),
        }
    }

    /// Whether nobody knows who it was: nothing tells, or it was found in a list.
    fn is_unknown(&self) -> bool {
        let is_found = ["[SYNC]", "[VERIFY]"].iter().any(|kind| self.subject.starts_with(kind));
        self.is_cut || self.evidence.as_deref() == Some("unknown") || self.evidence.is_none() && is_found
    }
}

/// Returns what stands below an object's uid, where that is who changed it.
fn below<'a, 't>(trailers: &'a [(&'t str, String)], uid: &str) -> Option<&'a [(&'t str, String)]> {
    let is_uid = |(key, _): &(&str, String)| key.eq_ignore_ascii_case("Reverser-Uid");
    let start = trailers.iter().position(|trailer| is_uid(trailer) && trailer.1 == uid)? + 1;
    let end = trailers[start..].iter().position(is_uid).map_or(trailers.len(), |length| start + length);
    Some(&trailers[start..end]).filter(|below| !values(below, "Reverser-Evidence").is_empty())
}

fn unique(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut unique = Vec::new();
    texts.into_iter().for_each(|text| {
        if !unique.contains(&text) {
            unique.push(text)
        }
    });
    unique
}

fn values(trailers: &[(&str, String)], key: &str) -> Vec<String> {
    let of_key = trailers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(key));
    of_key.map(|(_, value)| value.clone()).collect()
}

/// Returns an object's uid: the only one, or in a commit of several objects the one of its line, as lines and uids have one order.
fn uid(message: &str, trailers: &[(&str, String)], object: &Identity) -> Option<String> {
    let mut uids = values(trailers, "Reverser-Uid");
    if uids.len() <= 1 {
        return uids.pop();
    }
    // `- CREATE, DELETE v1/configmaps/shop/web by alice, bob`: no word before the object's has a slash.
    let named = |line: &'_ str| line.strip_prefix("- ")?.split(' ').find(|word| word.contains('/')).map(str::to_owned);
    let lines: Vec<_> = message.lines().filter_map(named).collect();
    if lines.len() != uids.len() {
        return None;
    }
    let place = format!("/{}", object.place());
    let is_it = |named: &str| {
        let resource = named.strip_suffix(&place);
        resource
            .is_some_and(|resource| resource.rsplit('/').next() == Some(&*plural(&object.kind.to_ascii_lowercase())))
    };
    let mut found = lines.iter().enumerate().filter(|(_, named)| is_it(named));
    match (found.next(), found.next()) {
        (Some((index, _)), None) => Some(uids.swap_remove(index)),
        _ => None,
    }
}
