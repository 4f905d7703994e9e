//! Differences of two texts, as a unified diff in git's colours.

use std::{
    env,
    io::{self, IsTerminal, Write, stdout},
    time::Duration,
};

use similar::TextDiff;

/// After this a difference needn't be the smallest one: objects of a megabyte take a moment.
const LIMIT: Duration = Duration::from_secs(2);

/// Returns how `before` becomes `after`, below their names; nothing when they are the same.
pub(crate) fn unified(before: (&str, &str), after: (&str, &str)) -> String {
    let lines = TextDiff::configure().timeout(LIMIT).diff_lines(before.1, after.1);
    lines.unified_diff().header(before.0, after.0).to_string()
}

/// Writes a unified diff.
pub(crate) fn write(out: &mut impl Write, diff: &str, is_coloured: bool) -> io::Result<()> {
    if !is_coloured {
        return out.write_all(diff.as_bytes());
    }
    for (number, line) in diff.lines().enumerate() {
        match colour(number, line) {
            Some(colour) => writeln!(out, "{colour}{line}\x1b[0m")?,
            None => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

/// Returns the sequence that begins a line's colour, one of git's diffs; the first two lines are names.
fn colour(number: usize, line: &str) -> Option<&'static str> {
    Some(match line.as_bytes().first() {
        _ if number < 2 => "\x1b[1m",
        Some(b'@') => "\x1b[36m",
        Some(b'-') => "\x1b[31m",
        Some(b'+') => "\x1b[32m",
        _ => return None,
    })
}

/// Returns whether what goes to standard output is to be coloured: on a terminal that can, unless the user says no.
/// <https://no-color.org>
pub(crate) fn is_coloured() -> bool {
    let is_unset = |name: &str| env::var_os(name).is_none_or(|value| value.is_empty());
    stdout().is_terminal() && is_unset("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_those_of_git() {
        let colours = [(0, "--- a"), (1, "+++ b"), (2, "@@ -1 +1 @@"), (3, "--- x"), (4, "+b"), (5, " c")];
        let expected = [Some("\x1b[1m"), Some("\x1b[1m"), Some("\x1b[36m"), Some("\x1b[31m"), Some("\x1b[32m"), None];
        assert_eq!(colours.map(|(number, line)| colour(number, line)), expected);
    }

    #[test]
    fn texts_that_are_the_same_have_no_diff() {
        assert_eq!(unified(("a", "x\n"), ("b", "x\n")), "");
        let diff = unified(("a", "x\n"), ("b", "y\n"));
        assert_eq!(diff, "--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n");
        let mut out = vec![];
        write(&mut out, &diff, false).unwrap();
        assert_eq!(out, diff.as_bytes());
    }
}
