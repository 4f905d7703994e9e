//! The text of notes, and where in a tree they stand: what git-notes(1) reads.

use crate::{
    objects::{Id, Objects},
    sink::SinkError,
    trees::{File, Folder, Standing},
};

/// Where the notes of all writers are.
pub(crate) const REF: &str = "refs/notes/reverser";

/// Returns where the note about a commit stands in a tree of notes, or is to stand, and what stands there: the commit's digits, the
/// first of them two by two as folders, where there are such.
pub(crate) fn place(tree: &mut Folder, commit: Id, objects: &Objects) -> Result<(Vec<u8>, Option<File>), SinkError> {
    let digits = commit.to_string().into_bytes();
    let (mut folder, mut rest) = (Vec::new(), digits.as_slice());
    loop {
        let path = [&folder, rest].concat();
        match tree.standing(&path, objects)? {
            Standing::File(file) if file.is_regular() => return Ok((path, Some(file))),
            _ if rest.len() <= 2 => return Ok((path, None)),
            _ => {}
        }
        let inner = [&folder, &rest[..2]].concat();
        if tree.standing(&inner, objects)? != Standing::Folder {
            return Ok((path, None));
        }
        folder = [&inner[..], b"/"].concat();
        rest = &rest[2..];
    }
}

/// Puts a note at its place. A folder in which notes have become many is divided, as git does it: when behind each first digit
/// there are two or more (`determine_fanout` in git's notes.c).
pub(crate) fn put(tree: &mut Folder, place: &[u8], file: File, objects: &Objects) -> Result<(), SinkError> {
    tree.put(place, file, objects)?;
    let split = place.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (folder, name) = place.split_at(split);
    if name.len() <= 2 {
        return Ok(());
    }
    let entries = tree.entries(folder, objects)?;
    let mut behind = [0_usize; 16];
    for (entry, file) in &entries {
        let digit = entry.first().and_then(|digit| char::from(*digit).to_digit(16));
        let Some(count) = digit.and_then(|digit| behind.get_mut(digit as usize)) else { continue };
        *count += if file.is_folder() && entry.len() == 2 { 2 } else { usize::from(is_note(entry, name.len())) };
    }
    if behind.iter().any(|count| *count < 2) {
        return Ok(());
    }
    for (entry, file) in entries.into_iter().filter(|(entry, file)| !file.is_folder() && is_note(entry, name.len())) {
        tree.remove(&[folder, &entry].concat(), objects)?;
        tree.put(&[folder, &entry[..2], b"/", &entry[2..]].concat(), file, objects)?;
    }
    Ok(())
}

fn is_note(name: &[u8], digits: usize) -> bool {
    name.len() == digits && name.iter().all(u8::is_ascii_hexdigit)
}

/// Returns a note with what of another one isn't in it, or `None` when it has all of that.
pub(crate) fn merge(standing: &str, text: &str) -> Option<String> {
    let mut merged = None;
    for paragraph in clean(text).split("\n\n") {
        merged = join(merged.as_deref().unwrap_or(standing), paragraph).or(merged);
    }
    merged
}

/// Returns a note with one more fact as its last paragraph, or `None` when it has it, or when there is none.
pub(crate) fn join(standing: &str, text: &str) -> Option<String> {
    let text = clean(text);
    let before = standing.trim_end();
    if text.is_empty() || has(before, &text) {
        return None;
    }
    Some(if before.is_empty() { format!("{text}\n") } else { format!("{before}\n\n{text}\n") })
}

/// Whether a text is among the paragraphs of a note, as a whole.
fn has(note: &str, text: &str) -> bool {
    format!("\n\n{note}\n\n").contains(&format!("\n\n{text}\n\n"))
}

/// A text as git keeps notes: lines that end alike, no blank ones around them or two in a row, without the one character that it
/// refuses; cut at 64 KiB.
fn clean(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(|line| line.trim_end_matches([' ', '\t', '\r'])) {
        if !(line.is_empty() && lines.last().is_none_or(|last| last.is_empty())) {
            lines.push(line);
        }
    }
    let mut text = lines.join("\n").replace('\0', "");
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text.trim_end().to_owned()
}

/// In bytes. A fact has some lines.
const LONGEST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Kind;

    #[test]
    fn facts_are_paragraphs_and_none_is_there_twice() {
        let first = join("", "Reverser-Actor: alice\n").unwrap();
        assert_eq!(first, "Reverser-Actor: alice\n");
        let both = join(&first, "Reverser-Actor: bob\r\nReverser-Evidence: audit").unwrap();
        assert_eq!(both, "Reverser-Actor: alice\n\nReverser-Actor: bob\nReverser-Evidence: audit\n");
        for text in ["Reverser-Actor: alice", "Reverser-Actor: bob\nReverser-Evidence: audit\n\n", "", "\0\n"] {
            assert_eq!(join(&both, text), None, "{text:?}");
        }
        // A part of one is another fact.
        assert!(join(&both, "Reverser-Actor: bob").is_some());
        assert!(join(&both, "Actor: alice").is_some());
    }

    #[test]
    fn notes_of_two_writers_are_one_with_what_either_says() {
        let (ours, theirs) = ("a: 1\n\nb: 2\n", "c: 3\n\na: 1\n");
        assert_eq!(merge(theirs, ours).as_deref(), Some("c: 3\n\na: 1\n\nb: 2\n"));
        assert_eq!(merge(&merge(theirs, ours).unwrap(), ours), None);
        assert_eq!(merge("", "\n\na: 1  \r\n\n\n\nb: 2").as_deref(), Some("a: 1\n\nb: 2\n"));
        assert_eq!(merge("", "\n"), None);
    }

    #[test]
    fn a_long_fact_is_cut_and_what_stands_is_not() {
        let long = "ü".repeat(LONGEST);
        let cut = merge("", &long).unwrap();
        assert!(cut.len() <= LONGEST + 4 && cut.ends_with("…\n"), "{}", cut.len());
        assert_eq!(merge(&cut, &long), None);
        let more = merge(&cut, &"b".repeat(LONGEST)).unwrap();
        assert!(more.len() > 2 * LONGEST);
    }

    #[test]
    fn git_reads_and_goes_on_with_our_trees_and_we_with_its() {
        let folder = tempfile::tempdir().unwrap();
        crate::store::create(folder.path(), &crate::BranchName::default()).unwrap();
        let git = |arguments: &[&str]| {
            let mut command = std::process::Command::new("git");
            command.arg("--git-dir").arg(folder.path()).args([
                "-c",
                "user.name=Ann",
                "-c",
                "user.email=ann@example.com",
            ]);
            let output = command.args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let open = || Objects::open(folder.path(), crate::CompressionLevel::default()).unwrap();
        let mut objects = open();
        let text = objects.add(Kind::Blob, b"fact\n".to_vec()).unwrap();
        let mut tree = Folder::of(objects.empty_tree());
        let mut commits = Vec::new();
        for n in 0..3_000 {
            // git only shows notes about what is there.
            let commit = objects.add(Kind::Blob, format!("{n}").into_bytes()).unwrap();
            let (path, standing) = place(&mut tree, commit, &objects).unwrap();
            assert_eq!(standing, None);
            put(&mut tree, &path, File { id: text, mode: crate::trees::REGULAR }, &objects).unwrap();
            commits.push(commit);
        }
        let depths = |commits: &[Id], tree: &mut Folder, objects: &Objects| -> Vec<usize> {
            let depth = |commit: &Id| {
                let (path, standing) = place(tree, *commit, objects).unwrap();
                assert!(standing.is_some(), "{commit}");
                path.iter().filter(|byte| **byte == b'/').count()
            };
            commits.iter().map(depth).collect()
        };
        assert!(depths(&commits, &mut tree, &objects).iter().all(|depth| *depth == 1), "3,000 are divided once");
        let id = tree.write(&mut objects).unwrap();
        let by = crate::commit::ident(&"Ann <ann@example.com>".parse().unwrap(), jiff::Timestamp::UNIX_EPOCH);
        let commit = crate::commit::Commit {
            tree: id,
            parents: vec![],
            author: by.clone(),
            committer: by,
            message: b"n\n".to_vec(),
        };
        let commit = objects.add(Kind::Commit, commit.encode()).unwrap();
        let pack = objects.take_pack().unwrap();
        let name = pack.name.to_string();
        crate::store::write_pack_files(folder.path(), &crate::BranchName::default(), &name, &pack.pack, &pack.index)
            .unwrap();
        git(&["update-ref", REF, &commit.to_string()]);
        assert_eq!(git(&["notes", "--ref=reverser", "list"]).lines().count(), 3_000);
        for commit in commits.iter().step_by(500) {
            assert_eq!(git(&["notes", "--ref=reverser", "show", &commit.to_string()]), "fact\n");
        }
        // git lays the whole tree out anew; nothing moves, as it does it in the same way.
        git(&["notes", "--ref=reverser", "append", "-m", "more", &commits[0].to_string()]);
        let theirs = git(&["rev-parse", &format!("{REF}^{{tree}}")]);
        let objects = open();
        let mut theirs = Folder::of(Id::from_hex(theirs.trim()).unwrap());
        assert!(depths(&commits, &mut theirs, &objects).iter().all(|depth| *depth == 1));
        let changed = git(&["diff-tree", "-r", "--name-only", &format!("{REF}~"), REF]);
        assert_eq!(changed.lines().count(), 1, "{changed}");
        // A few are flat, as git has it.
        let mut few = Folder::of(objects.empty_tree());
        for commit in &commits[..10] {
            let (path, _) = place(&mut few, *commit, &objects).unwrap();
            put(&mut few, &path, File { id: text, mode: crate::trees::REGULAR }, &objects).unwrap();
        }
        assert!(depths(&commits[..10], &mut few, &objects).iter().all(|depth| *depth == 0));
    }
}
