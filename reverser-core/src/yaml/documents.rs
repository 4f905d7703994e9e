//! Where one document ends and the next begins, in a stream that arrives in pieces.

use serde_json::Value;

use super::{
    compose::compose,
    json::{self, Failure},
    read::{ParseError, expand},
};

/// Splits a stream of YAML or JSON documents: bytes in, whenever they come, and each document out as soon as it is whole.
///
/// JSON values may follow one another without anything between them, as `kubectl get --watch -o json` prints them, and
/// come out with their last bracket. A YAML document ends at a line that begins with `---` or `...`, or with the stream.
/// Documents without content are left out, and not counted.
///
/// A document that can't be read costs none of the others; one that begins as JSON and breaks off in a string goes up to
/// the next `---`. None takes more memory than 64 MiB here: of a longer one only the error comes out.
///
/// ```
/// use reverser_core::yaml::Documents;
///
/// let mut documents = Documents::new();
/// documents.push(b"{\"kind\": \"A\"}\n{\"kind\":");
/// assert_eq!(documents.next_document().unwrap().read().unwrap()["kind"], "A");
/// assert!(documents.next_document().is_none()); // not yet
///
/// documents.push(b" \"B\", \"kind\": \"C\"}\n---\nkind: D\n");
/// documents.finish();
/// let second = documents.next_document().unwrap();
/// assert_eq!(second.number(), 2);
/// assert_eq!(second.read().unwrap_err().to_string(), "line 2, column 15: key \"kind\" stands twice");
/// assert_eq!(documents.next_document().unwrap().read().unwrap()["kind"], "D");
/// assert!(documents.next_document().is_none());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Documents {
    buffer: Vec<u8>,
    /// Where in the buffer the current document begins.
    start: usize,
    /// Where the current line begins; only for YAML.
    line_start: usize,
    /// What has been looked at.
    seen: usize,
    state: State,
    /// Where the current document began, when it is longer than it may be and its first bytes are gone.
    too_long: Option<(u64, u64)>,
    /// The current line's first bytes are gone, too: it is no marker, however it goes on.
    is_cut: bool,
    is_finished: bool,
    /// How many documents came out.
    count: usize,
    /// Lines before `start`, and characters before it on its line.
    lines: u64,
    columns: u64,
}

/// What the current document is, as far as it was seen.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Blanks and empty lines.
    #[default]
    Between,
    /// What begins with a bracket: JSON, or YAML in flow style.
    Brackets { depth: usize, quotes: Quotes },
    /// Anything else. With directives (`%YAML 1.2`), the next `---` belongs to the document.
    Lines { has_content: bool, has_directives: bool },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Quotes {
    Escaped,
    Inside,
    Outside,
}

impl Documents {
    /// Returns a splitter for a stream that is about to begin.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the stream, which may be cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.line_start -= self.start;
        self.seen -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Says that the stream has ended: what there is, is the last document.
    pub fn finish(&mut self) {
        self.is_finished = true;
    }

    /// Returns the next document that is whole; `None` until more is pushed, and after the last.
    pub fn next_document(&mut self) -> Option<Document> {
        loop {
            let document = match self.state {
                State::Between => {
                    self.begin()?;
                    continue;
                }
                State::Brackets { depth, quotes } => self.brackets(depth, quotes),
                State::Lines { .. } => self.lines(),
            };
            match document {
                Step::Again => {}
                Step::Document(document) => return Some(document),
                Step::More => return None,
            }
        }
    }

    /// Skips blanks; `None` when there is nothing else.
    fn begin(&mut self) -> Option<()> {
        let rest = &self.buffer[self.start..];
        let blanks = rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(rest.len());
        let (blank, rest) = rest.split_at(blanks);
        if !self.is_finished
            && !rest.is_empty()
            && rest.len() < BYTE_ORDER_MARK.len()
            && BYTE_ORDER_MARK.starts_with(rest)
        {
            return None;
        }
        let first = rest.first().copied();
        if rest.starts_with(BYTE_ORDER_MARK) {
            self.advance(self.start + blanks + BYTE_ORDER_MARK.len());
            return Some(());
        }
        // The blanks of the first line are YAML's indentation.
        let start = match blank.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => newline + 1,
            None if blanks > MAX_BYTES => blanks,
            None => 0,
        };
        self.advance(self.start + start);
        self.state = match first? {
            b'[' | b'{' => State::Brackets { depth: 0, quotes: Quotes::Outside },
            _ => State::Lines { has_content: false, has_directives: false },
        };
        Some(())
    }

    fn brackets(&mut self, mut depth: usize, mut quotes: Quotes) -> Step {
        for at in self.seen..self.buffer.len() {
            let byte = self.buffer[at];
            match (quotes, byte) {
                (Quotes::Escaped, _) => quotes = Quotes::Inside,
                (Quotes::Inside, b'"') => quotes = Quotes::Outside,
                (Quotes::Inside, b'\\') => quotes = Quotes::Escaped,
                (Quotes::Outside, b'"') => quotes = Quotes::Inside,
                (Quotes::Outside, b'[' | b'{') => depth += 1,
                (Quotes::Outside, b']' | b'}') if depth == 1 => return self.end(at + 1, at + 1),
                (Quotes::Outside, b']' | b'}') => depth -= 1,
                // JSON has none of these: YAML, whose flow style may hide brackets in more places than strings.
                (Quotes::Inside, b'\n') | (Quotes::Outside, b'#' | b'\'') => return self.go_on_by_lines(),
                (Quotes::Outside, b'-') if self.buffer[self.start..=at].ends_with(b"---") => {
                    return self.go_on_by_lines();
                }
                _ => {}
            }
        }
        self.seen = self.buffer.len();
        self.state = State::Brackets { depth, quotes };
        if self.is_finished {
            return self.end(self.seen, self.seen);
        }
        if self.seen - self.start > MAX_BYTES {
            self.cut();
        }
        Step::More
    }

    fn go_on_by_lines(&mut self) -> Step {
        self.state = State::Lines { has_content: true, has_directives: false };
        self.line_start = self.start;
        self.seen = self.start;
        self.is_cut = self.too_long.is_some();
        Step::Again
    }

    fn lines(&mut self) -> Step {
        let newline = self.buffer[self.seen..].iter().position(|byte| *byte == b'\n');
        let end = match newline {
            Some(newline) => self.seen + newline + 1,
            None if self.is_finished && self.line_start == self.buffer.len() => {
                return self.end(self.line_start, self.line_start);
            }
            None if self.is_finished => self.buffer.len(),
            None => {
                self.seen = self.buffer.len();
                if self.seen - self.start > MAX_BYTES {
                    self.is_cut = true;
                    self.cut();
                }
                return Step::More;
            }
        };
        let line =
            if std::mem::take(&mut self.is_cut) { Line::Content } else { Line::of(&self.buffer[self.line_start..end]) };
        let State::Lines { has_content, has_directives } = &mut self.state else { return Step::Again };
        match line {
            Line::Begin { .. } | Line::End if *has_content => {
                // A `---` belongs to what it begins; one that stands alone is skipped then.
                let next = if line == Line::End { end } else { self.line_start };
                return self.end(self.line_start, next);
            }
            Line::Begin { is_alone } if *has_directives => {
                *has_directives = false;
                *has_content = !is_alone;
            }
            Line::Begin { is_alone: false } => *has_content = true,
            Line::Begin { is_alone: true } | Line::End => {
                self.state = State::Between;
                self.advance(end);
                return Step::Again;
            }
            Line::Content => *has_content = true,
            Line::Directive => *has_directives = true,
            Line::Empty => {}
        }
        self.line_start = end;
        self.seen = end;
        if self.seen - self.start > MAX_BYTES {
            self.cut();
        }
        Step::Again
    }

    /// Ends the current document at `end`, and goes on at `next`.
    fn end(&mut self, end: usize, next: usize) -> Step {
        let is_empty = matches!(self.state, State::Lines { has_content: false, .. });
        if end - self.start > MAX_BYTES {
            self.too_long.get_or_insert((self.lines, self.columns));
        }
        let too_long = self.too_long.take();
        let (lines, columns) = too_long.unwrap_or((self.lines, self.columns));
        let text = too_long.is_none().then(|| self.buffer[self.start..end].to_vec());
        let document = Document { number: self.count + 1, lines, columns, text };
        self.state = State::Between;
        self.advance(next);
        if is_empty {
            return Step::Again;
        }
        self.count += 1;
        Step::Document(document)
    }

    /// Forgets what was seen of a document that is too long.
    fn cut(&mut self) {
        self.too_long.get_or_insert((self.lines, self.columns));
        self.advance(self.seen);
    }

    /// Forgets what stands before `start`.
    fn advance(&mut self, start: usize) {
        for line in self.buffer[self.start..start].split_inclusive(|byte| *byte == b'\n') {
            if line.ends_with(b"\n") {
                self.lines += 1;
                self.columns = 0;
            } else {
                self.columns += line.iter().filter(|byte| **byte & 0xC0 != 0x80).count() as u64;
            }
        }
        self.start = start;
        self.line_start = start;
        self.seen = start;
    }
}

enum Step {
    Again,
    Document(Document),
    More,
}

/// What a line does to the document that it stands in. <https://yaml.org/spec/1.2.2/#91-documents>
#[derive(PartialEq)]
enum Line {
    /// `---`, with or without something behind it.
    Begin {
        is_alone: bool,
    },
    Content,
    /// `%…`, which is content unless the document is still to begin.
    Directive,
    /// Nothing, or a comment.
    Empty,
    /// `...`
    End,
}

impl Line {
    fn of(line: &[u8]) -> Self {
        let is_empty = |text: &[u8]| matches!(text.trim_ascii_start(), [] | [b'#', ..]);
        match line {
            [b'-', b'-', b'-', rest @ ..] if rest.first().is_none_or(u8::is_ascii_whitespace) => {
                Self::Begin { is_alone: is_empty(rest) }
            }
            [b'.', b'.', b'.', rest @ ..] if rest.first().is_none_or(u8::is_ascii_whitespace) => Self::End,
            [b'%', ..] => Self::Directive,
            line if is_empty(line) => Self::Empty,
            _ => Self::Content,
        }
    }
}

/// One document of a stream, whole but not read yet; it comes from [`Documents`].
///
/// ```
/// let mut documents = reverser_core::yaml::Documents::new();
/// documents.push(b"# nothing\n---\nkind: List\nitems: [{kind: A}, {kind: B}]\n");
/// documents.finish();
/// let document = documents.next_document().unwrap();
/// assert_eq!((document.number(), document.line()), (1, 3));
/// assert_eq!(document.objects().unwrap().len(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Document {
    number: usize,
    /// What stands before it in the stream: lines, and characters on its first one.
    lines: u64,
    columns: u64,
    /// `None` when it is too long.
    text: Option<Vec<u8>>,
}

impl Document {
    /// Returns its number, counted from one.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns the line of the stream on which it begins, counted from one.
    pub fn line(&self) -> u64 {
        self.lines + 1
    }

    /// Returns its value, with anchors and merge keys resolved; the rules and bounds are those of [`parse`](super::parse).
    ///
    /// # Errors
    /// Lines are those of the stream.
    pub fn read(&self) -> Result<Value, ParseError> {
        self.read_here().map_err(|error| error.behind(self.lines, self.columns))
    }

    /// Returns its objects in order: one, or the items of a list, as [`objects`](super::objects) does; none when it is `null`.
    ///
    /// # Errors
    /// As [`Document::read`].
    pub fn objects(&self) -> Result<Vec<Value>, ParseError> {
        let value = self.read()?;
        let mut objects = Vec::new();
        if !value.is_null() {
            expand(value, &mut objects);
        }
        Ok(objects)
    }

    fn read_here(&self) -> Result<Value, ParseError> {
        let Some(text) = &self.text else {
            return Err(ParseError::new((1, 1), format!("the document is longer than {MAX_BYTES} bytes")));
        };
        let text = match std::str::from_utf8(text) {
            Ok(text) => text,
            Err(error) => {
                return Err(ParseError::new(json::position(&text[..=error.valid_up_to()]), "not UTF-8".into()));
            }
        };
        if !text.trim_start().starts_with(['[', '{']) {
            return compose(text);
        }
        match json::read(text) {
            Ok(value) => Ok(value),
            Err(Failure::Value(error)) => Err(error),
            Err(Failure::Syntax(error)) => {
                // Whoever quotes the first key meant JSON.
                let is_json = text.trim_start_matches(|c: char| c.is_whitespace() || "[{".contains(c)).starts_with('"');
                compose(text).map_err(|other| if is_json { error } else { other })
            }
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// In bytes. etcd takes objects of 1.5 MiB; this leaves room for lists of many.
const MAX_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::yaml::to_string;

    /// Returns number, line and value or error of each document, of a stream that comes in pieces of so many bytes.
    fn read(stream: &[u8], piece: usize) -> Vec<(usize, u64, Result<Value, String>)> {
        let mut documents = Documents::new();
        let mut read = Vec::new();
        let mut take = |documents: &mut Documents| {
            while let Some(document) = documents.next_document() {
                let value = document.read().map_err(|error| error.to_string());
                read.push((document.number(), document.line(), value));
            }
        };
        for piece in stream.chunks(piece) {
            documents.push(piece);
            take(&mut documents);
        }
        documents.finish();
        take(&mut documents);
        read
    }

    #[test]
    fn documents_are_found_however_they_are_marked_and_cut() {
        let stream = concat!(
            "\u{feff}# a comment\n%YAML 1.1\n---\na: 1\n",
            "---\n# nothing\n--- # nothing\n\n",
            "--- {b: 2}\n...\n",
            "  c: |\n    ---\n  d: '{'\n...\n",
            "{\"e\": \"}\\\"\"}{\"f\": 6}\r\n[7]\n",
            "---\r\ng: 8\r\n---\r\n{h: 'it''s }', i: {}} # }\n",
            "--- |\n j\n--- >-\n k\n l\n---m: 9\n",
        );
        let expected: Vec<_> = [
            (1, json!({"a": 1})),
            (9, json!({"b": 2})),
            (11, json!({"c": "---\n", "d": "{"})),
            (15, json!({"e": "}\""})),
            (15, json!({"f": 6})),
            (16, json!([7])),
            (18, json!({"g": 8})),
            (20, json!({"h": "it's }", "i": {}})),
            (21, json!("j\n")),
        ]
        .into_iter()
        .enumerate()
        .map(|(index, (line, value))| (index + 1, line, Ok(value)))
        .collect();
        for piece in [1, 2, 3, 7, 64, stream.len()] {
            let mut read = read(stream.as_bytes(), piece);
            // `---m` is no marker.
            let last = read.pop().unwrap();
            assert_eq!((last.0, last.1, last.2.is_err()), (10, 23, true));
            assert_eq!(read, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn json_comes_out_with_its_last_bracket_and_yaml_with_the_next_marker() {
        let mut documents = Documents::new();
        documents.push(b"{\"a\": [1,\n{\"b\": \"]}\"}]");
        assert!(documents.next_document().is_none());
        documents.push(b"}");
        assert!(documents.next_document().is_some());
        documents.push(b"\n---\nc: 1\n");
        assert!(documents.next_document().is_none());
        documents.push(b"---\n");
        assert!(documents.next_document().is_some());
        documents.finish();
        assert!(documents.next_document().is_none());
    }

    #[test]
    fn json_is_read_by_its_own_rules() {
        let text = r#"{"a": "\ud83d\ude00\/", "b": 1e2, "c": 18446744073709551615, "d": "\u0000"}"#;
        let value = json!({"a": "😀/", "b": 100.0, "c": u64::MAX, "d": "\0"});
        assert_eq!(read(text.as_bytes(), 9), [(1, 1, Ok(value))]);
        assert_eq!(read(b"{a: yes, b: }", 9), [(1, 1, Ok(json!({"a": true, "b": null})))]);
    }

    #[test]
    fn an_error_has_the_line_of_the_stream_and_the_others_come_out() {
        let stream = b"a: 1\n---\nb: [1\n---\n{\"c\": 1,\n \"\\\"c\": {\"d\\\"\": 1, \"d\\\"\" : 2}}{\"e\": 1, \"e\": 2} {\"f\": 1 \"g\": 2}\n---\n\n\xc3\xbc: \xff\n---\ng: 1\n";
        let errors: Vec<_> = read(stream, 5).into_iter().map(|(number, _, read)| (number, read.err())).collect();
        let expected = [
            None,
            Some("line 3, column 4: unclosed bracket '['"),
            Some("line 6, column 20: key \"d\\\"\" stands twice"),
            Some("line 6, column 40: key \"e\" stands twice"),
            Some("line 6, column 56: expected `,` or `}`"),
            Some("line 9, column 4: not UTF-8"),
            None,
        ];
        let expected: Vec<_> =
            expected.iter().enumerate().map(|(index, error)| (index + 1, error.map(str::to_owned))).collect();
        assert_eq!(errors, expected);
    }

    #[test]
    fn of_a_document_that_is_too_long_only_the_error_comes_out_and_little_is_kept() {
        let line = [b'x'; 1 << 20];
        for (begin, separator, end) in [
            ("a: 1\n", "\n", "\n---\nlast: 1\n"),
            ("a: ", "", "\n---\nlast: 1\n"),
            ("{\"a\": \"", "", "\"}\nlast: 1\n"),
        ] {
            let whole = [begin, &separator.repeat(70), &String::from_utf8(line.repeat(70)).unwrap(), end].concat();
            assert!(read(whole.as_bytes(), usize::MAX)[0].2.is_err());
            let mut documents = Documents::new();
            documents.push(begin.as_bytes());
            for _ in 0..70 {
                documents.push(separator.as_bytes());
                documents.push(&line);
                assert!(documents.next_document().is_none());
                assert!(documents.buffer.len() <= MAX_BYTES + line.len() + 10);
            }
            documents.push(end.as_bytes());
            documents.finish();
            let error = documents.next_document().unwrap().read().unwrap_err();
            assert_eq!(error.to_string(), "line 1, column 1: the document is longer than 67108864 bytes");
            assert_eq!(documents.next_document().unwrap().read(), Ok(json!({"last": 1})));
        }
    }

    #[test]
    fn blanks_without_end_are_not_kept() {
        let mut documents = Documents::new();
        for _ in 0..3 {
            documents.push(b"   \n  ");
            assert!(documents.next_document().is_none());
            assert!(documents.buffer.len() - documents.start <= 2);
        }
        documents.push(b"a: 1\n  b: 2\n");
        documents.finish();
        let document = documents.next_document().unwrap();
        assert_eq!((document.line(), document.read()), (4, Ok(json!({"a": 1, "b": 2}))));
    }

    #[test]
    fn lists_are_replaced_by_their_items() {
        let stream = concat!(
            "kind: List\napiVersion: v1\nitems: [{kind: A}, {kind: List, items: [{kind: B}]}]\n---\n",
            "kind: DeploymentList\napiVersion: apps/v1\nitems: [{metadata: {name: a}}, {kind: C, apiVersion: v2}]\n---\n",
            "kind: AllowList\nmetadata: {name: a}\nitems: [1]\n---\n",
            "kind: Shop\nitems: [1]\n---\nkind: AList\nitems: {}\n---\nkind: List\nitems: []\n",
        );
        let objects = crate::yaml::objects(stream).unwrap();
        let expected = [
            json!({"kind": "A"}),
            json!({"kind": "B"}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}),
            json!({"apiVersion": "v2", "kind": "C"}),
            json!({"kind": "AllowList", "metadata": {"name": "a"}, "items": [1]}),
            json!({"kind": "Shop", "items": [1]}),
            json!({"kind": "AList", "items": {}}),
        ];
        assert_eq!(objects, expected);
        assert_eq!(crate::yaml::objects("kind: List\nitems: [{a: 1}, 1]\n"), Ok(vec![json!({"a": 1}), json!(1)]));
    }

    proptest! {
        /// Whatever the stream, its pieces decide nothing, and reading it ends.
        #[test]
        fn where_a_stream_is_cut_makes_no_difference(stream in "([a{}\\[\\]\"'#: \n\\\\-]|---\n|\n---|\\.\\.\\.\n|%|\r|\u{feff}){0,24}", piece in 1_usize..5) {
            prop_assert_eq!(read(stream.as_bytes(), piece), read(stream.as_bytes(), usize::MAX));
        }

        #[test]
        fn what_was_emitted_comes_out_document_by_document(texts in prop::collection::vec("(a|\n|-|\\.|---|\\{|\"| |%|#){1,9}", 1..4), piece in 1_usize..9) {
            let values: Vec<_> = texts.iter().map(|text| json!({"k": text, text: [text]})).collect();
            let yaml: String = values.iter().map(|value| format!("---\n{}", to_string(value))).collect();
            let json: String = values.iter().map(|value| format!("{value:#}")).collect();
            for stream in [yaml, json] {
                let read: Vec<_> = read(stream.as_bytes(), piece).into_iter().map(|(.., value)| value.unwrap()).collect();
                prop_assert_eq!(&read, &values, "{}", stream);
            }
        }
    }
}
