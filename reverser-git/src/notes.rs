//! The text of notes, and where in a tree they stand: what git-notes(1) reads.

/// Returns a note with one more fact as its last paragraph, or `None` when it has it, or when there is none.
pub(crate) fn join(standing: &str, text: &str) -> Option<String> {
    let text = clean(text);
    let before = clean(standing);
    if text.is_empty() || has(&before, &text) {
        return None;
    }
    Some(if before.is_empty() { format!("{text}\n") } else { format!("{before}\n\n{text}\n") })
}

/// Whether a text is among the paragraphs of a note, as a whole.
fn has(note: &str, text: &str) -> bool {
    format!("\n\n{note}\n\n").contains(&format!("\n\n{text}\n\n"))
}

/// A text as git keeps notes: lines that end alike, no blank ones around them, and without the one character that it refuses.
fn clean(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\0', "").trim_matches('\n').trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
