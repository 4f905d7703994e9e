//! The text of commit objects, and of the one that is a writer's state.

use std::{collections::BTreeMap, fmt::Write};

use jiff::Timestamp;
use reverser_core::Signature;

use crate::{
    branch::{percent_decode, percent_encode},
    objects::Id,
};

/// One commit object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) tree: Id,
    pub(crate) parents: Vec<Id>,
    /// `Name <mail> <seconds> <zone>`, as it stands in the object: a replay keeps it to the byte.
    pub(crate) author: Vec<u8>,
    pub(crate) committer: Vec<u8>,
    pub(crate) message: Vec<u8>,
}

impl Commit {
    /// Reads a commit object. Other headers, such as signatures, are left out: they don't survive a replay.
    pub(crate) fn parse(object: &[u8]) -> Option<Self> {
        let end = object.windows(2).position(|pair| pair == b"\n\n")?;
        let mut commit = Self {
            tree: Id::EMPTY_TREE,
            parents: Vec::new(),
            author: Vec::new(),
            committer: Vec::new(),
            message: object[end + 2..].to_vec(),
        };
        let id = |hex| std::str::from_utf8(hex).ok().and_then(Id::from_hex);
        for line in object[..end].split(|byte| *byte == b'\n') {
            if let Some(hex) = line.strip_prefix(b"tree ") {
                commit.tree = id(hex)?;
            } else if let Some(hex) = line.strip_prefix(b"parent ") {
                commit.parents.push(id(hex)?);
            } else if let Some(author) = line.strip_prefix(b"author ") {
                commit.author = author.to_vec();
            } else if let Some(committer) = line.strip_prefix(b"committer ") {
                commit.committer = committer.to_vec();
            }
        }
        Some(commit)
    }

    /// Returns the commit object's text.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut head = format!("tree {}\n", self.tree);
        for parent in &self.parents {
            head.push_str(&format!("parent {parent}\n"));
        }
        [head.as_bytes(), b"author ", &self.author, b"\ncommitter ", &self.committer, b"\n\n", &self.message].concat()
    }

    /// Returns when it was committed.
    pub(crate) fn committed_at(&self) -> Option<Timestamp> {
        let line = String::from_utf8_lossy(&self.committer);
        let seconds = line.rsplit(' ').nth(1)?.parse().ok()?;
        Timestamp::from_second(seconds).ok()
    }
}

/// Returns a header's `Name <mail> <seconds> +0000`. git has no time before 1970.
pub(crate) fn ident(signature: &Signature, at: Timestamp) -> Vec<u8> {
    format!("{signature} {} +0000", at.as_second().max(0)).into_bytes()
}

/// Returns a message as git keeps it: with a line break at the end and without the one character that it refuses.
pub(crate) fn message(text: &str) -> Vec<u8> {
    let mut message = text.replace('\0', "");
    if !message.ends_with('\n') {
        message.push('\n');
    }
    message.into_bytes()
}

/// What the message of a state commit holds; its parent is the branch's tip.
///
/// ```text
/// reverser state
///
/// remote https://git.example.com/team/platform.git
/// base 05f8…
/// cursor configmaps.v1 4711
/// ```
///
/// `remote` is where the branch is pushed to: what is known of one says nothing about another. `base` is the commit that the unpushed ones stand upon; it is missing when there was none. Blanks, control characters
/// and `%` of sources and positions are written as `%XX`. Other lines are left for later versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) remote: Option<String>,
    pub(crate) base: Option<Id>,
    pub(crate) cursors: BTreeMap<String, String>,
}

impl State {
    /// Reads a state commit's message.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(message).ok()?.lines();
        if lines.next() != Some(TITLE) {
            return None;
        }
        let mut state = Self::default();
        for line in lines {
            if let Some(remote) = line.strip_prefix("remote ") {
                state.remote = Some(percent_decode(remote)?);
            } else if let Some(hex) = line.strip_prefix("base ") {
                state.base = Some(Id::from_hex(hex)?);
            } else if let Some(cursor) = line.strip_prefix("cursor ") {
                let (source, position) = cursor.split_once(' ')?;
                state.cursors.insert(percent_decode(source)?, percent_decode(position)?);
            }
        }
        Some(state)
    }

    /// Returns a state commit's message.
    pub(crate) fn encode(&self) -> String {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
        let mut message = format!("{TITLE}\n\n");
        // Writing to a string doesn't fail.
        if let Some(remote) = &self.remote {
            let _ = writeln!(message, "remote {}", percent_encode(remote, plain));
        }
        if let Some(base) = self.base {
            let _ = writeln!(message, "base {base}");
        }
        for (source, position) in &self.cursors {
            let _ = writeln!(message, "cursor {} {}", percent_encode(source, plain), percent_encode(position, plain));
        }
        message
    }
}

const TITLE: &str = "reverser state";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_reads_what_it_writes() {
        let commit = Commit {
            tree: Id::EMPTY_TREE,
            parents: vec![Id([1; Id::BYTES]), Id([2; Id::BYTES])],
            author: ident(&Signature::new("Ann", "ann@example.com"), Timestamp::from_second(1_700_000_000).unwrap()),
            committer: ident(&Signature::new("bot", "bot@example.com"), Timestamp::from_second(-5).unwrap()),
            message: message("subject\n\nbody\0"),
        };
        assert_eq!(Commit::parse(&commit.encode()), Some(commit.clone()));
        assert_eq!(commit.author, b"Ann <ann@example.com> 1700000000 +0000");
        assert_eq!(commit.committed_at(), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(commit.message, b"subject\n\nbody\n");
    }

    #[test]
    fn a_signature_of_others_is_skipped() {
        let text = format!(
            "tree {}\nauthor A <a> 1 +0000\ncommitter C <c> 2 +0100\ngpgsig -----BEGIN\n parent\n -----END\n\nsubject\n",
            Id::EMPTY_TREE
        );
        let commit = Commit::parse(text.as_bytes()).unwrap();
        assert_eq!((commit.author.as_slice(), commit.parents.len()), (b"A <a> 1 +0000".as_slice(), 0));
        assert_eq!(Commit::parse(b"tree 12"), None);
    }

    #[test]
    fn a_state_reads_what_it_writes() {
        let cursors = [("a b\n%", "4711"), ("ü", ""), ("configmaps.v1", "x y")];
        let cursors = cursors.map(|(source, position)| (source.to_owned(), position.to_owned())).into();
        for base in [None, Some(Id::EMPTY_TREE)] {
            let state = State { remote: Some("/a b".to_owned()), base, cursors: BTreeMap::clone(&cursors) };
            assert_eq!(State::parse(state.encode().as_bytes()), Some(state));
        }
        assert_eq!(State::parse(b"subject\n"), None);
        assert_eq!(State::parse(b"reverser state\n\nbase 12\n"), None);
    }
}
