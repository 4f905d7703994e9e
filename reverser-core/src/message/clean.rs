//! Text of others on one line: names and reasons are whatever a client of the API sent.

/// Returns the text as one line without blanks at its ends.
pub(crate) fn line(text: &str) -> String {
    text.chars().map(visible).collect::<String>().trim().to_owned()
}

/// Returns a user's name as one line in which it isn't somebody else's: what would vanish at its ends, and what has no width,
/// is `U+FFFD`. Those that join letters stay, as names in some scripts need them.
pub(crate) fn name(text: &str) -> String {
    let is_hidden = |c: &char| matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}');
    let text: String = text.chars().map(|c| if is_hidden(&c) { '\u{fffd}' } else { visible(c) }).collect();
    let end = |is_bare: bool| if is_bare { "" } else { "\u{fffd}" };
    format!("{}{}{}", end(text.trim_start() == text), text.trim(), end(text.trim_end() == text))
}

/// Returns what is written for a character. Control characters and Unicode's line ends are blanks: they would begin
/// something else, and git cuts a message at NUL. Those that turn the direction of what follows are `U+FFFD`: with them a
/// name could show another one's letters (Unicode TR36, section 2.5).
pub(crate) fn visible(c: char) -> char {
    match c {
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() => ' ',
        c => c,
    }
}

/// Returns the text, or its beginning and `…` when it has more bytes than `most`.
pub(crate) fn bounded(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", beginning(text, most.saturating_sub('…'.len_utf8())).trim_end())
}

/// Returns as many whole characters as have at most so many bytes.
pub(crate) fn beginning(text: &str, most: usize) -> &str {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= most).last();
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_shows_what_it_says() {
        assert_eq!(line(" a\r\n\tb\0\u{85}c\u{2028}d "), "a   b  c d");
        assert_eq!(line("eve\u{202e}ecila"), "eve\u{fffd}ecila");
        assert_eq!(line("👩\u{200d}🚀 é"), "👩\u{200d}🚀 é");
    }

    #[test]
    fn a_name_is_not_shown_as_another_one() {
        for alike in
            [" alice", "alice ", "alice\n", "alice\x7f", "\u{a0}alice", "\u{200b}alice", "ali\u{ad}ce", "alice\u{feff}"]
        {
            assert_ne!(name(alike), "alice", "{alike:?}");
            assert_eq!(line(&name(alike)), name(alike), "{alike:?}");
        }
        assert_eq!(name("\t alice\r\nbob "), "\u{fffd}alice  bob\u{fffd}");
        assert_eq!(name("علی\u{200c}رضا 👩\u{200d}🚀"), "علی\u{200c}رضا 👩\u{200d}🚀");
        assert_eq!((name(" "), name("")), ("\u{fffd}\u{fffd}".to_owned(), String::new()));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(bounded("äöü", 6), "äöü");
        assert_eq!(bounded("äöüä", 7), "äö…");
        assert_eq!(bounded("abc", 1), "…");
    }
}
