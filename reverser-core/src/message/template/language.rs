//! What of the engine's language templates of messages have: printing, conditions, loops, and filters that take as long
//! as their input is.
//!
//! The engine counts steps, and one step may do anything: `{{ 'x'|indent(9e18|int) }}` ends the process, and a text that
//! is doubled in a variable thirty times has a gigabyte. Whoever may write a template could stop the program for all. So
//! there are no variables to gather anything in, no calculation, no numbers over four digits, and filters that can make a
//! text much longer stop at what a message may have.

use std::borrow::Cow;

use minijinja::{Environment, Error, ErrorKind, Value, filters, tests};

use super::Bounded;

/// Returns the engine with the filters and tests of messages, and without functions.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("count", filters::length);
    environment.add_filter("d", filters::default);
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lines", filters::lines);
    environment.add_filter("list", filters::list);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("replace", replace);
    environment.add_filter("reverse", filters::reverse);
    environment.add_filter("sort", filters::sort);
    environment.add_filter("split", filters::split);
    environment.add_filter("string", filters::string);
    environment.add_filter("title", filters::title);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("unique", filters::unique);
    environment.add_filter("upper", filters::upper);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.add_test("none", tests::is_none);
    environment.add_test("startingwith", tests::is_startingwith);
    environment
}

fn join(items: &Value, between: Option<Cow<'_, str>>) -> Result<String, Error> {
    let between = between.unwrap_or_default();
    let mut joined = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        if index > 0 {
            joined.push_str(&between);
        }
        joined.push_str(&item.to_string());
        bounded(joined.len())?;
    }
    Ok(joined)
}

fn replace(text: Cow<'_, str>, from: Cow<'_, str>, to: Cow<'_, str>) -> Result<String, Error> {
    bounded(text.len() + text.matches(&*from).count() * to.len())?;
    Ok(text.replace(&*from, &to))
}

fn bounded(bytes: usize) -> Result<(), Error> {
    if bytes <= Bounded::MOST {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidOperation, format!("the text is longer than {} bytes", Bounded::MOST)))
}

/// Checks a template that the engine can parse. The error says at which byte it has what messages don't have.
pub(super) fn check(template: &str) -> Result<(), (usize, String)> {
    let mut at = 0;
    while let Some(opening) = template[at..].find('{') {
        at += opening;
        at = match &template.as_bytes()[at..] {
            [b'{', b'#', ..] => template[at..].find("#}").map_or(template.len(), |end| at + end + 2),
            [b'{', b'{', ..] => tag(template, at + 2, Place::Anywhere)?,
            [b'{', b'%', ..] => statement(template, at + 2)?,
            _ => at + 1,
        };
    }
    Ok(())
}

/// Whether what is written becomes a loop's variable, where loops in loops could gather it.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Anywhere,
    Loop,
}

/// Returns where the statement ends that begins at `at`.
fn statement(template: &str, at: usize) -> Result<usize, (usize, String)> {
    let rest = template[at..].trim_start_matches(['-', '+']).trim_start();
    let at = template.len() - rest.len();
    let word = word(rest);
    match word {
        "else" | "elif" | "endfor" | "endif" | "if" => tag(template, at + word.len(), Place::Anywhere),
        "for" => {
            let names = rest.find(" in ").map_or(word.len(), |names| names + " in ".len());
            tag(template, at + names, Place::Loop)
        }
        _ => Err((at, format!("there is no {word:?} in messages; there are if, elif, else, endif, for, endfor"))),
    }
}

/// Returns where the tag ends whose next part is at `at`.
fn tag(template: &str, mut at: usize, place: Place) -> Result<usize, (usize, String)> {
    while let Some(c) = template[at..].chars().next() {
        let rest = &template[at..];
        if rest.starts_with("}}") || rest.starts_with("%}") {
            return Ok(at + 2);
        }
        let word = word(rest);
        at += match c {
            '"' | '\'' => quoted(rest),
            '0'..='9' if word.len() > 4 || !word.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err((at, "numbers have at most four digits".into()));
            }
            '*' | '/' | '%' | '{' | '}' => return Err((at, format!("there is no {c:?} in tags of messages"))),
            '+' | ',' | '[' | '~' if place == Place::Loop => {
                return Err((at, format!("there is no {c:?} in what a loop of a message goes through")));
            }
            _ if word == "recursive" => return Err((at, "there are no recursive loops in messages".into())),
            _ if word.is_empty() => c.len_utf8(),
            _ => word.len(),
        };
    }
    Ok(at)
}

/// Returns the name or number that the text begins with.
fn word(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// Returns the length of the quoted text that the text begins with; `\` takes the meaning from what follows.
fn quoted(text: &str) -> usize {
    let quote = text.chars().next();
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let is_end = !is_escaped && Some(*c) == quote;
        is_escaped = !is_escaped && *c == '\\';
        is_end
    });
    end.map_or(text.len(), |(end, _)| end + 1)
}
