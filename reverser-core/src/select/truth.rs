//! Answers to questions that can't always be answered: `None` is "not known (yet)".
//!
//! Source: <https://en.wikipedia.org/wiki/Three-valued_logic>, Kleene's.

/// Returns whether all are true; one that isn't settles it, whatever is unknown.
pub(super) fn all(answers: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(true);
    for answer in answers {
        match answer {
            Some(true) => {}
            Some(false) => return Some(false),
            None => all = None,
        }
    }
    all
}

/// Returns whether one is true; one that is settles it, whatever is unknown.
pub(super) fn any(answers: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    not(all(answers.into_iter().map(not)))
}

/// Returns the opposite; of what isn't known, neither is that.
pub(super) fn not(answer: Option<bool>) -> Option<bool> {
    answer.map(|answer| !answer)
}
