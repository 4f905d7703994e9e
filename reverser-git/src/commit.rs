//! The text of commit objects, and of the one that is a writer's state.

use std::{collections::BTreeMap, fmt::Write};

use jiff::Timestamp;
use reverser_core::Signature;

use crate::{
    branch::{percent_decode, percent_encode},
    objects::{Id, ObjectFormat},
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
    /// Reads a commit object. Other headers, such as signatures, are left out: a commit that is made again is signed again.
    pub(crate) fn parse(object: &[u8]) -> Option<Self> {
        let end = end_of_headers(object)?;
        let mut tree = None;
        let mut commit = Self {
            // Every commit has one; that is checked below.
            tree: ObjectFormat::default().empty_tree(),
            parents: Vec::new(),
            author: Vec::new(),
            committer: Vec::new(),
            message: object[end + 2..].to_vec(),
        };
        let id = |hex| std::str::from_utf8(hex).ok().and_then(Id::from_hex);
        for line in object[..end].split(|byte| *byte == b'\n') {
            if let Some(hex) = line.strip_prefix(b"tree ") {
                tree = Some(id(hex)?);
            } else if let Some(hex) = line.strip_prefix(b"parent ") {
                commit.parents.push(id(hex)?);
            } else if let Some(author) = line.strip_prefix(b"author ") {
                commit.author = author.to_vec();
            } else if let Some(committer) = line.strip_prefix(b"committer ") {
                commit.committer = committer.to_vec();
            }
        }
        Some(Self { tree: tree?, ..commit })
    }

    /// Returns the commit object's text.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut head = format!("tree {}\n", self.tree);
        for parent in &self.parents {
            head.push_str(&format!("parent {parent}\n"));
        }
        [head.as_bytes(), b"author ", &self.author, b"\ncommitter ", &self.committer, b"\n\n", &self.message].concat()
    }

    /// Returns whose change it is; `None` when that isn't `Name <mail>`.
    pub(crate) fn authored_by(&self) -> Option<Signature> {
        person(&self.author)
    }

    /// Returns who committed it; `None` when that isn't `Name <mail>`.
    pub(crate) fn committed_by(&self) -> Option<Signature> {
        person(&self.committer)
    }

    /// Returns when it was committed.
    pub(crate) fn committed_at(&self) -> Option<Timestamp> {
        time(&self.committer)
    }

    /// Returns when its author made it.
    pub(crate) fn authored_at(&self) -> Option<Timestamp> {
        time(&self.author)
    }
}

/// Reads the end of `Name <mail> <seconds> <zone>`.
fn time(line: &[u8]) -> Option<Timestamp> {
    let line = String::from_utf8_lossy(line);
    let seconds = line.rsplit(' ').nth(1)?.parse().ok()?;
    Timestamp::from_second(seconds).ok()
}

/// Reads the beginning of `Name <mail> <seconds> <zone>`.
fn person(line: &[u8]) -> Option<Signature> {
    let line = std::str::from_utf8(line).ok()?;
    line.get(..=line.rfind('>')?)?.parse().ok()
}

/// Returns a commit object with its armored signature, as gitformat-signature(5) has it: the last of the headers, its lines
/// after the first indented by a blank. What is signed is the object without it.
pub(crate) fn signed(object: &[u8], signature: &str) -> Vec<u8> {
    let end = end_of_headers(object).unwrap_or(object.len());
    let header = if object.iter().position(|byte| *byte == b'\n') == Some(SHA256_TREE_LINE) {
        "gpgsig-sha256"
    } else {
        "gpgsig"
    };
    let signature = signature.trim_end().replace('\n', "\n ");
    [&object[..end], format!("\n{header} {signature}").as_bytes(), &object[end..]].concat()
}

/// Returns whether a commit object has a signature, whoever's it is.
pub(crate) fn is_signed(object: &[u8]) -> bool {
    let headers = &object[..end_of_headers(object).unwrap_or(object.len())];
    headers.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"gpgsig ") || line.starts_with(b"gpgsig-sha256 "))
}

fn end_of_headers(object: &[u8]) -> Option<usize> {
    object.windows(2).position(|pair| pair == b"\n\n")
}

/// How long a commit's first line is where ids are SHA-256: `tree ` and 64 digits.
const SHA256_TREE_LINE: usize = 5 + 64;

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
/// lost
/// aside 7c21…
/// notes 9e0b…
/// cursor configmaps.v1 4711
/// ```
///
/// `remote` is where the branch is pushed to: what is known of one says nothing about another. `base` is the commit that
/// the unpushed ones stand upon; it is missing when there was none. `lost` is there when the remote's branch was gone, until
/// it is pushed again. `aside` is a commit that was put aside by the step that made this state, or by one before it. `notes` is a commit
/// with the notes that aren't on the remote, which is a parent of this one, too. Blanks, control characters and `%` of sources and positions are written as `%XX`. Other lines are left
/// for later versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) remote: Option<String>,
    pub(crate) base: Option<Id>,
    pub(crate) is_lost: bool,
    pub(crate) asides: Vec<Id>,
    pub(crate) notes: Option<Id>,
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
            } else if line == "lost" {
                state.is_lost = true;
            } else if let Some(hex) = line.strip_prefix("aside ") {
                state.asides.push(Id::from_hex(hex)?);
            } else if let Some(hex) = line.strip_prefix("notes ") {
                state.notes = Some(Id::from_hex(hex)?);
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
        if self.is_lost {
            message.push_str("lost\n");
        }
        for id in &self.asides {
            let _ = writeln!(message, "aside {id}");
        }
        if let Some(id) = self.notes {
            let _ = writeln!(message, "notes {id}");
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
            tree: ObjectFormat::Sha1.empty_tree(),
            parents: vec![ObjectFormat::Sha1.empty_tree(), ObjectFormat::Sha256.empty_tree()],
            author: ident(&Signature::new("Ann", "ann@example.com"), Timestamp::from_second(1_700_000_000).unwrap()),
            committer: ident(&Signature::new("bot", "bot@example.com"), Timestamp::from_second(-5).unwrap()),
            message: message("subject\n\nbody\0"),
        };
        assert_eq!(Commit::parse(&commit.encode()), Some(commit.clone()));
        assert_eq!(commit.author, b"Ann <ann@example.com> 1700000000 +0000");
        assert_eq!(commit.committed_at(), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(commit.committed_by(), Some(Signature::new("bot", "bot@example.com")));
        assert_eq!(commit.message, b"subject\n\nbody\n");
    }

    #[test]
    fn a_signature_of_others_is_skipped() {
        let text = format!(
            "tree {}\nauthor A <a> 1 +0000\ncommitter C <c> 2 +0100\ngpgsig -----BEGIN\n parent\n -----END\n\nsubject\n",
            ObjectFormat::Sha1.empty_tree()
        );
        let commit = Commit::parse(text.as_bytes()).unwrap();
        assert_eq!((commit.author.as_slice(), commit.parents.len()), (b"A <a> 1 +0000".as_slice(), 0));
        assert_eq!(Commit::parse(b"tree 12"), None);
    }

    #[test]
    fn a_signature_stands_where_git_puts_it() {
        const ARMORED: &str = "-----BEGIN SSH SIGNATURE-----\n\nabc=\n-----END SSH SIGNATURE-----\n";
        for (format, header) in [("sha1", "gpgsig "), ("sha256", "gpgsig-sha256 ")] {
            let folder = tempfile::tempdir().unwrap();
            let run = |program: &str, arguments: &[&str]| {
                let mut command = std::process::Command::new(program);
                command.current_dir(folder.path()).args(arguments);
                command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
                let output = command.output().unwrap();
                assert!(output.status.success(), "{arguments:?}: {output:?}");
                output.stdout
            };
            let git = |arguments: &[&str]| run("git", arguments);
            // The last argument is the file to sign.
            let script = format!("#!/bin/sh\nfor file; do :; done\necho '{}' >\"$file.sig\"\n", ARMORED.trim_end());
            run("sh", &["-c", "printf %s \"$0\" >sign && chmod +x sign", &script]);
            git(&["init", "--quiet", &format!("--object-format={format}")]);
            let program = folder.path().join("sign");
            let program = program.to_str().unwrap();
            let options = [
                ("user.name", "Ann"),
                ("user.email", "ann@example.com"),
                ("user.signingKey", "key::ssh-ed25519 AAAA"),
                ("gpg.format", "ssh"),
                ("gpg.ssh.program", program),
            ];
            for (name, value) in options {
                git(&["config", name, value]);
            }
            let hash = |arguments: &[&str]| String::from_utf8(git(arguments)).unwrap().trim_end().to_owned();
            let tree = hash(&["hash-object", "-t", "tree", "-w", "/dev/null"]);
            let of_git = git(&["cat-file", "commit", &hash(&["commit-tree", "-S", "-m", "subject", &tree])]);

            let text = String::from_utf8(of_git.clone()).unwrap();
            let unsigned = format!("{}\nsubject\n", &text[..text.find(header).unwrap()]);
            assert_eq!(String::from_utf8(signed(unsigned.as_bytes(), ARMORED)).unwrap(), text);
            assert!(is_signed(&of_git) && !is_signed(unsigned.as_bytes()));
        }
        assert!(!is_signed(b"tree 1\n\ngpgsig in a message\n"));
    }

    #[test]
    fn a_state_reads_what_it_writes() {
        let cursors = [("a b\n%", "4711"), ("ü", ""), ("configmaps.v1", "x y")];
        let cursors = cursors.map(|(source, position)| (source.to_owned(), position.to_owned())).into();
        for base in [None, Some(ObjectFormat::Sha1.empty_tree())] {
            let (remote, is_lost) = (Some("/a b".to_owned()), base.is_some());
            let (asides, notes) = (base.into_iter().collect(), base);
            let state = State { remote, base, is_lost, asides, notes, cursors: BTreeMap::clone(&cursors) };
            assert_eq!(State::parse(state.encode().as_bytes()), Some(state));
        }
        assert_eq!(State::parse(b"subject\n"), None);
        assert_eq!(State::parse(b"reverser state\n\nbase 12\n"), None);
    }
}
