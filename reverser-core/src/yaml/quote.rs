//! Which text may stand plain, as a block, or quoted: the writer's half of what YAML 1.1 takes for something else.

/// How a block scalar's last newlines are read: the indicator behind `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chomping {
    /// `|`: one newline at the end.
    Clip,
    /// `|+`: two or more.
    Keep,
    /// `|-`: none.
    Strip,
}

impl Chomping {
    /// Returns what stands behind the key.
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Clip => "|",
            Self::Keep => "|+",
            Self::Strip => "|-",
        }
    }
}

/// Returns how `text` can stand as a literal block, or `None` when it has one line, or some reader would change it.
pub(super) fn block(text: &str) -> Option<Chomping> {
    // A first line that is empty or begins with a blank would need an indentation indicator, and kubectl can't read a
    // block that begins with a tab.
    if !text.contains('\n') || text.starts_with([' ', '\t', '\n']) {
        return None;
    }
    // Blanks at the end of a line are invisible in a review, and editors strip them.
    let is_faithful = |line: &str| !line.ends_with([' ', '\t']) && unescaped(line) == line.len();
    if !text.split('\n').all(is_faithful) {
        return None;
    }
    Some(match text.strip_suffix('\n') {
        None => Chomping::Strip,
        Some(rest) if rest.ends_with('\n') => Chomping::Keep,
        Some(_) => Chomping::Clip,
    })
}

/// Writes `text` on one line: plain where every reader agrees that it is this text, else in double quotes.
pub(super) fn scalar(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        quoted(out, text);
    }
}

/// Returns whether every YAML 1.1 and 1.2 reader takes the bare text for this string, as key, value or list item.
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let [first, ..] = bytes else { return false };
    let starts_plain = match first {
        b'e' | b'E' => !is_exponent(&text[1..]),
        b'/' | b'A'..=b'Z' | b'a'..=b'z' => !is_keyword(text),
        b'0'..=b'9' => !is_numeric(text),
        // `-c`, `--port=80`: a command's arguments. `-1`, `- x`, `---` and `-.inf` aren't followed by a letter.
        b'-' => text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_alphabetic()) && !text.starts_with("---"),
        _ => false,
    };
    starts_plain && !text.ends_with([' ', ':']) && !text.contains(": ") && bytes.iter().all(|byte| is_tame(*byte))
}

/// Returns whether the byte means nothing inside a plain scalar. Quotes, brackets, `#` and the backslash are harmless
/// to most readers and left out all the same.
fn is_tame(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b' ' | b'-' | b'_' | b'.' | b'/' | b'+' | b'=' | b'@'
        | b',' | b'(' | b')' | b';' | b':' | b'~' | b'$' | b'%' | b'^' | b'&' | b'*' | b'!' | b'?' | b'<' | b'>')
}

/// Returns whether some reader takes the word for a boolean, null or a float. <https://yaml.org/type/bool.html>
/// names `y` and `n`, which PyYAML reads as text and kubectl as booleans.
fn is_keyword(text: &str) -> bool {
    const KEYWORDS: [&str; 12] =
        ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity"];
    text.len() <= 8 && KEYWORDS.iter().any(|keyword| text.eq_ignore_ascii_case(keyword))
}

/// Returns whether what stands behind an `e` is an exponent: npm's `yaml`, asked for YAML 1.1, takes `e1` for a float that
/// has nothing before it, and reads it as NaN.
fn is_exponent(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether a text that begins with a digit could be an integer, a float, a sexagesimal number or a timestamp of
/// any YAML version: more than there are, so that versions (`1.25.3`) and addresses (`10.0.0.1`) are quoted as well.
fn is_numeric(text: &str) -> bool {
    let has_radix = matches!(text.as_bytes(), [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..]);
    has_radix
        || text.bytes().all(|byte| {
            matches!(
                byte,
                b'0'..=b'9' | b'_' | b'.' | b',' | b':' | b'+' | b'-' | b'e' | b'E' | b't' | b'T' | b'z' | b'Z' | b' '
            )
        })
}

/// Writes a double-quoted scalar with JSON's escapes, in which YAML 1.1 and 1.2 agree, and `\U` beyond 16 bits, where
/// JSON's surrogate pairs aren't YAML.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    loop {
        let (run, next) = rest.split_at(rest.bytes().position(is_special).unwrap_or(rest.len()));
        out.push_str(run);
        let mut chars = next.chars();
        let Some(c) = chars.next() else { break };
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if !is_escaped(c) => out.push(c),
            c if u32::from(c) <= 0xFFFF => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
        rest = chars.as_str();
    }
    out.push('"');
}

/// Returns whether the byte begins something that may not stand in double quotes as it is.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\') || !is_printable(byte)
}

/// Returns whether the byte is a character of its own that no reader changes.
fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Returns the length of the text before the first character that has to be escaped.
fn unescaped(text: &str) -> usize {
    // Most text is ASCII, and this form of the question is one that the compiler answers for many bytes at once.
    let is_tame = |bytes: &[u8]| bytes.iter().fold(true, |all, byte| all & is_printable(*byte));
    let skipped = text.as_bytes().chunks(32).take_while(|bytes| is_tame(bytes)).map(<[u8]>::len).sum();
    // The skipped bytes are ASCII, so that a character begins behind them.
    text[skipped..].find(is_escaped).map_or(text.len(), |at| skipped + at)
}

/// Returns whether the character is written as an escape: what YAML calls not printable, what some reader takes for a
/// line break or a byte order mark, and what is invisible and turns the text around it (a reviewer sees another text
/// than the one that is applied). The joiners U+200C and U+200D stay: emoji and scripts need them.
fn is_escaped(c: char) -> bool {
    match c {
        '\t' => false,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => true,
        // Private use, non-characters and tags.
        '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{e0000}'.. => true,
        c => c.is_control() || u32::from(c) & 0xFFFE == 0xFFFE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = String::new();
        scalar(&mut out, text);
        out
    }

    #[test]
    fn what_manifests_are_full_of_stays_plain() {
        for text in [
            "web",
            "None",
            "apps/v1",
            "/var/run/x",
            "nginx:1.25@sha256:0a",
            "https://example.com:8080/a?b=c&d=%20",
            "10Gi",
            "100m",
            "1h30m",
            "8080-tcp",
            "-c",
            "--port=80",
            "app.kubernetes.io/name",
            "system:node",
            "a b",
            "x=y,z",
            "yesterday",
            "nope",
            "e",
            "e2e",
            "e1.example.com",
        ] {
            assert_eq!(written(text), text);
        }
    }

    #[test]
    fn what_some_reader_takes_for_something_else_is_quoted() {
        for text in [
            "",
            "~",
            "y",
            "N",
            "yes",
            "oFF",
            "True",
            "NULL",
            ".inf",
            "nan",
            "=",
            "<<",
            "0x1F",
            "0o17",
            "0b1",
            "1_000",
            "0777",
            "1e3",
            "12:30",
            "1.25.3",
            "10.0.0.1",
            "2026-01-01",
            "2026-01-01T00:00:00Z",
            "1,000",
            "-1",
            "+1",
            ".5",
            "e1",
            "E07",
            "e-1",
            "-",
            "---",
            "--- a",
            "-.5",
            "...",
            "a: b",
            "a:",
            "a ",
            " a",
            "a #b",
            "#a",
            "@a",
            "`a",
            "%a",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "{a",
            "[a",
            "?",
            "'a",
            "a\"",
        ] {
            assert!(written(text).starts_with('"'), "{text}");
        }
    }

    #[test]
    fn people_can_read_what_is_printable_and_see_what_is_not() {
        assert_eq!(written("Füße 🚀 👩\u{200d}💻"), "\"Füße 🚀 👩\u{200d}💻\"");
        assert_eq!(
            written("a\u{feff}\u{85}\u{2028}\u{202e}\u{7f}\u{fffe}\0"),
            r#""a\ufeff\u0085\u2028\u202e\u007f\ufffe\u0000""#
        );
        assert_eq!(written("\u{e0041}\u{1ffff}\t\"\\"), r#""\U000e0041\U0001ffff\t\"\\""#);
    }
}
