//! Reads what git prints for programs.

use crate::{
    branch::BranchName,
    objects::ObjectFormat,
    remote::{GitVersion, Pushed, RemoteTip, TipMove},
    sink::CommitId,
};

/// Reads `git ls-remote --symref URL HEAD refs/heads/main`:
///
/// ```text
/// ref: refs/heads/main\tHEAD
/// 05f8…\tHEAD
/// 05f8…\trefs/heads/main
/// ```
pub(super) fn parse_tip(output: &[u8], branch: &BranchName) -> Option<RemoteTip> {
    let (mut tip, mut head, mut default_branch) = (None, None, None);
    let mut object_format = ObjectFormat::Sha1;
    for line in std::str::from_utf8(output).ok()?.lines() {
        let (value, name) = line.split_once('\t')?;
        if let Some(target) = value.strip_prefix("ref: ") {
            if name == "HEAD" {
                default_branch = target.strip_prefix("refs/heads/").and_then(|name| name.parse::<BranchName>().ok());
            }
            continue;
        }
        let id = parse_id(value)?;
        if id.as_str().len() == 64 {
            object_format = ObjectFormat::Sha256;
        }
        // A pattern matches the end of a ref's name, so `refs/remotes/x/HEAD` comes too.
        if name == "HEAD" {
            head = Some(id);
        } else if name == branch.full() {
            tip = Some(id);
        }
    }
    Some(RemoteTip { branch: tip, default_branch: default_branch.zip(head), object_format })
}

/// Reads the packets of `git ls-remote` as GIT_TRACE_PACKET shows them: `… packet: ls-remote< object-format=sha256`, or
/// among the capabilities behind the first ref. A server that says nothing has SHA-1; gitprotocol-capabilities(5).
pub(super) fn parse_format(trace: &[u8]) -> ObjectFormat {
    let is_said =
        |line: &str| line.contains(" packet: ") && line.contains("< ") && line.contains("object-format=sha256");
    let is_sha256 = String::from_utf8_lossy(trace).lines().any(is_said);
    if is_sha256 { ObjectFormat::Sha256 } else { ObjectFormat::Sha1 }
}

/// What became of one ref.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RefUpdate {
    Accept(Pushed),
    /// The connection ended before the server said what became of it.
    Lose(String),
    /// Refused here or there because the branch was elsewhere.
    Move(TipMove, String),
    Refuse(String),
}

/// Reads the target's line of `git push --porcelain`: `<flag>\t<from>:<to>\t<summary> (<reason>)`; git-push(1).
///
/// ```text
/// To /srv/a.git
///  \t05f8…:refs/heads/main\t1ab2..05f8
/// !\t05f8…:refs/heads/main\t[rejected] (fetch first)
/// !\t05f8…:refs/heads/main\t[remote rejected] (pre-receive hook declined)
/// Done
/// ```
pub(super) fn parse_push(output: &[u8], target: &str) -> Option<RefUpdate> {
    let output = String::from_utf8_lossy(output);
    let (flag, summary) = output.lines().find_map(|line| {
        let mut fields = line.splitn(3, '\t');
        let (flag, refs, summary) = (fields.next()?, fields.next()?, fields.next()?);
        (refs.split_once(':')?.1 == target).then_some((flag, summary))
    })?;
    let reason = || {
        let reason = summary.split_once(" (").map_or(summary, |(_, reason)| reason.trim_end_matches(')'));
        reason.to_owned()
    };
    let moved = MOVED_REASONS.iter().find(|(words, _)| summary.contains(words));
    match (flag, moved) {
        (" " | "*", _) => Some(RefUpdate::Accept(Pushed::Moved)),
        ("=", _) => Some(RefUpdate::Accept(Pushed::UpToDate)),
        ("!", _) if summary.starts_with("[remote failure]") => Some(RefUpdate::Lose(reason())),
        ("!", Some((_, how))) => Some(RefUpdate::Move(*how, reason())),
        ("!", None) => Some(RefUpdate::Refuse(reason())),
        // `+` and `-` too: nothing is forced or deleted.
        _ => None,
    }
}

/// Whether git got as far as saying what became of a ref.
pub(super) fn has_status(output: &[u8]) -> bool {
    output.split(|byte| *byte == b'\n').any(|line| line.contains(&b'\t'))
}

/// The lines that came from the server: `remote: …`.
pub(super) fn server_words(stderr: &[u8]) -> Vec<u8> {
    let stderr = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = stderr.lines().filter_map(|line| line.strip_prefix("remote:")).map(str::trim).collect();
    lines.join("\n").into_bytes()
}

pub(super) fn parse_id(text: &str) -> Option<CommitId> {
    let is_id = matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then(|| CommitId::new(text))
}

/// Reads `git version 2.39.5 (Apple Git-154)`.
pub(super) fn parse_version(output: &str) -> Option<GitVersion> {
    let mut numbers = output.strip_prefix("git version ")?.split('.');
    Some(GitVersion { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.trim_end().parse().ok()? })
}

/// Reasons that say that the branch was elsewhere: the first three from the client, the others from the server.
const MOVED_REASONS: [(&str, TipMove); 8] = [
    ("(fetch first)", TipMove::FetchFirst),
    ("(non-fast-forward)", TipMove::FetchFirst),
    ("(stale info)", TipMove::Stale),
    ("(failed to update ref)", TipMove::LostRace),
    ("cannot lock ref", TipMove::LostRace),
    ("(incorrect old value provided)", TipMove::LostRace),
    ("reference already exists", TipMove::LostRace),
    ("(remote ref updated since checkout)", TipMove::Stale),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::MINIMUM_GIT_VERSION;

    const ID: &str = "05f8e0a7b2f5f5e0a1c8b3d4e5f60718293a4b5c";

    fn main() -> BranchName {
        BranchName::default()
    }

    fn line(flag: &str, summary: &str) -> Option<RefUpdate> {
        let output = format!("To /srv/a.git\n{flag}\t{ID}:refs/heads/main\t{summary}\nDone\n");
        parse_push(output.as_bytes(), "refs/heads/main")
    }

    #[test]
    fn tips_are_read_by_their_exact_names() {
        let output = format!(
            "ref: refs/heads/trunk\tHEAD\n{ID}\tHEAD\n{ID}\trefs/heads/main\nref: refs/remotes/o/x\trefs/remotes/o/HEAD\n\
             {ID}\trefs/remotes/o/HEAD\n"
        );
        let tip = parse_tip(output.as_bytes(), &main()).unwrap();
        assert_eq!(tip.branch, Some(CommitId::new(ID)));
        assert_eq!(tip.default_branch, Some(("trunk".parse().unwrap(), CommitId::new(ID))));
    }

    #[test]
    fn an_empty_repository_has_no_tips() {
        assert_eq!(parse_tip(b"", &main()), Some(RemoteTip::default()));
        // A HEAD that names a branch without commits.
        assert_eq!(parse_tip(b"ref: refs/heads/main\tHEAD\n", &main()), Some(RemoteTip::default()));
    }

    #[test]
    fn malformed_refs_are_an_error() {
        for output in ["nonsense", "05f8\trefs/heads/main\n", "warning: x\n", "\tHEAD\n"] {
            assert_eq!(parse_tip(output.as_bytes(), &main()), None, "{output:?}");
        }
        assert_eq!(parse_tip(b"\xff\tHEAD\n", &main()), None);
    }

    #[test]
    fn an_accepted_push_is_told_from_one_that_was_there() {
        assert_eq!(line(" ", "1ab2c3d..05f8e0a"), Some(RefUpdate::Accept(Pushed::Moved)));
        assert_eq!(line("*", "[new branch]"), Some(RefUpdate::Accept(Pushed::Moved)));
        assert_eq!(line("=", "[up to date]"), Some(RefUpdate::Accept(Pushed::UpToDate)));
    }

    #[test]
    fn a_moved_tip_is_told_from_a_refusal() {
        let moved = |summary, how, reason: &str| {
            assert_eq!(line("!", summary), Some(RefUpdate::Move(how, reason.to_owned())), "{summary}");
        };
        moved("[rejected] (fetch first)", TipMove::FetchFirst, "fetch first");
        moved("[rejected] (non-fast-forward)", TipMove::FetchFirst, "non-fast-forward");
        moved("[rejected] (stale info)", TipMove::Stale, "stale info");
        moved("[remote rejected] (failed to update ref)", TipMove::LostRace, "failed to update ref");
        moved("[remote rejected] (incorrect old value provided)", TipMove::LostRace, "incorrect old value provided");
        let refused = |summary, reason: &str| {
            assert_eq!(line("!", summary), Some(RefUpdate::Refuse(reason.to_owned())), "{summary}");
        };
        refused("[remote rejected] (pre-receive hook declined)", "pre-receive hook declined");
        refused("[remote rejected] (branch is currently checked out)", "branch is currently checked out");
    }

    #[test]
    fn a_server_that_says_nothing_of_the_ref_has_neither_taken_nor_refused_it() {
        let reason = "remote failed to report status".to_owned();
        assert_eq!(line("!", "[remote failure] (remote failed to report status)"), Some(RefUpdate::Lose(reason)));
    }

    #[test]
    fn malformed_or_forced_push_output_is_an_error() {
        assert_eq!(line("+", "1ab2...05f8 (forced update)"), None);
        assert_eq!(line("-", "[deleted]"), None);
        assert_eq!(line("?", "[new]"), None);
        assert_eq!(parse_push(b"To /srv/a.git\nDone\n", "refs/heads/main"), None);
        assert_eq!(parse_push(b"*\tno-colon\t[new branch]\n", "refs/heads/main"), None);
        let other = format!("*\t{ID}:refs/heads/other\t[new branch]\n");
        assert_eq!(parse_push(other.as_bytes(), "refs/heads/main"), None);
    }

    #[test]
    fn the_servers_words_are_kept() {
        let stderr = b"Enumerating\nremote: no pushes on Friday        \nremote:\nerror: failed to push some refs\n";
        assert_eq!(server_words(stderr), b"no pushes on Friday\n");
    }

    #[test]
    fn versions_compare_as_numbers() {
        let version = |text| parse_version(text).unwrap();
        assert_eq!(version("git version 2.39.5 (Apple Git-154)\n"), GitVersion { major: 2, minor: 39 });
        assert!(version("git version 2.9.1") < MINIMUM_GIT_VERSION);
        assert!(version("git version 2.100") > MINIMUM_GIT_VERSION);
        assert_eq!(parse_version("hub version 2.14"), None);
    }
}
