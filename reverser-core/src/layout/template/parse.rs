//! From a template's text to its parts, or to the character that it is refused at.

use std::{collections::BTreeSet, fmt};

use super::{Field, Part};
use crate::RepoPath;

/// Reads a template whose paths tell objects apart.
pub(super) fn segments(template: &str) -> Result<Vec<Vec<Part>>, LayoutTemplateError> {
    let refuse = |(at, reason): (usize, Refusal)| LayoutTemplateError {
        template: template.to_owned(),
        character: template.get(..at).unwrap_or(template).chars().count() + 1,
        reason,
    };
    let segments = read(template).map_err(refuse)?;
    check_ending(template).map_err(refuse)?;
    check_uniqueness(template, &segments).map_err(refuse)?;
    Ok(segments.into_iter().map(|segment| segment.into_iter().map(|(_, part)| part).collect()).collect())
}

/// What is wrong at which byte of the template.
type Refused = (usize, Refusal);

/// The parts between two `/`, with the byte where each begins.
type Segment = Vec<(usize, Part)>;

fn read(template: &str) -> Result<Vec<Segment>, Refused> {
    let mut segments = Vec::new();
    let mut rest = template;
    loop {
        let start = template.len() - rest.len();
        let mut segment = Segment::new();
        loop {
            let at = template.len() - rest.len();
            let literal = rest.find(['/', '{']).unwrap_or(rest.len());
            if literal > 0 {
                let text = &rest[..literal];
                if let Some((byte, c)) = text.char_indices().find(|(_, c)| !is_plain(*c)) {
                    return Err((at + byte, Refusal::Character(c)));
                }
                segment.push((at, Part::Literal(text.to_owned())));
                rest = &rest[literal..];
            } else if rest.starts_with('{') {
                let end = rest[1..].find(['{', '}']).map_or(rest.len(), |end| end + 1);
                if !rest[end..].starts_with('}') {
                    return Err((at, Refusal::Unclosed));
                }
                segment.push((at, placeholder(at + 1, &rest[1..end])?));
                rest = &rest[end + 1..];
            } else {
                break;
            }
        }
        check_segment(start, &segment)?;
        segments.push(segment);
        if segments.len() > MAX_SEGMENTS {
            return Err((start, Refusal::TooDeep));
        }
        match rest.strip_prefix('/') {
            Some(more) => rest = more,
            None => return Ok(segments),
        }
    }
}

/// The file among them. At 255 bytes each this is far below the [`MAX_BYTES`](crate::repo_path::MAX_BYTES) at which a
/// path would become one name.
const MAX_SEGMENTS: usize = 12;

/// Reads what stands between the braces: a name and filters.
fn placeholder(start: usize, text: &str) -> Result<Part, Refused> {
    let mut pieces = text.split('|').scan(start, |next, piece| {
        let at = *next + (piece.len() - piece.trim_start().len());
        *next += piece.len() + 1;
        Some((at, piece.trim()))
    });
    let (at, name) = pieces.next().unwrap_or((start, ""));
    let (mut field, mut or) = match name {
        "group" => (Field::Group, "_core"),
        "kind" => (Field::Kind, ""),
        "name" => (Field::Name, ""),
        "namespace" => (Field::Namespace, "_cluster"),
        "resource" => (Field::Resource, ""),
        "version" => (Field::Version, ""),
        _ => return Err((at, Refusal::NoSuchPlaceholder(name.to_owned()))),
    };
    for (at, filter) in pieces {
        if filter == "lower" {
            field = match field {
                Field::Kind | Field::KindInLowerCase => Field::KindInLowerCase,
                Field::Name => return Err((at, Refusal::LowerName)),
                _ => return Err((at, Refusal::LowerAlready)),
            };
        } else if let Some(word) = filter.strip_prefix("default(").and_then(|filter| filter.strip_suffix(')')) {
            let word = word.trim();
            let quoted = ['"', '\''].iter().find_map(|quote| word.strip_prefix(*quote)?.strip_suffix(*quote));
            or = match (field, quoted) {
                (Field::Group | Field::Namespace, Some(word))
                    if word.starts_with('_') && word.len() <= MAX_DEFAULT && word.chars().all(is_plain) =>
                {
                    word
                }
                (Field::Group | Field::Namespace, _) => return Err((at, Refusal::Default)),
                _ => return Err((at, Refusal::NeverEmpty)),
            };
        } else {
            return Err((at, Refusal::NoSuchFilter(filter.to_owned())));
        }
    }
    Ok(Part::Field { field, or: or.to_owned() })
}

/// In bytes: longer than any word that somebody reads.
const MAX_DEFAULT: usize = 63;

/// Returns whether [`RepoPath::from_segments`] leaves the character as it is.
fn is_plain(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.')
}

/// A folder that is written down must be the folder that is made.
fn check_segment(start: usize, segment: &Segment) -> Result<(), Refused> {
    match segment.as_slice() {
        [] => Err((start, Refusal::Empty)),
        [(_, Part::Literal(name))] if RepoPath::from_segments([name.as_str()]).as_str() != name => {
            Err((start, Refusal::Name(name.clone())))
        }
        _ => Ok(()),
    }
}

fn check_ending(template: &str) -> Result<(), Refused> {
    if template.ends_with(".sops.yaml") || template.ends_with(".sops.yml") {
        return Err((template.rfind(".sops.").unwrap_or_default(), Refusal::Sealed));
    }
    if template.ends_with(".yaml") || template.ends_with(".yml") {
        Ok(())
    } else {
        Err((template.len(), Refusal::Ending))
    }
}

/// Whatever tells objects apart for the API must be readable from the path.
fn check_uniqueness(template: &str, segments: &[Segment]) -> Result<(), Refused> {
    let known = readable(segments);
    let wanted: [(&str, &[Field]); 4] = [
        ("{group}", &[Field::Group]),
        ("{resource}", &[Field::Resource, Field::KindInLowerCase, Field::Kind]),
        ("{namespace}", &[Field::Namespace]),
        ("{name}", &[Field::Name]),
    ];
    for (name, fields) in wanted {
        if fields.iter().any(|field| known.contains(field)) {
            continue;
        }
        let place = segments.iter().flatten().find_map(|(at, part)| match part {
            Part::Field { field, .. } if fields.contains(field) => Some((*at, *field)),
            _ => None,
        });
        return Err(match place {
            Some((at, field)) => (at, Refusal::Ambiguous(field)),
            None => (template.len(), Refusal::Missing(name)),
        });
    }
    Ok(())
}

/// Returns what can be read back from every path of the template.
fn readable(segments: &[Segment]) -> BTreeSet<Field> {
    let mut known = BTreeSet::new();
    loop {
        let before = known.len();
        for segment in segments {
            read_back(&segment.iter().map(|(_, part)| part).collect::<Vec<_>>(), &mut known);
        }
        if known.contains(&Field::Kind) {
            known.insert(Field::KindInLowerCase);
        }
        if known.contains(&Field::KindInLowerCase) {
            known.insert(Field::Resource);
        }
        if known.len() == before {
            return known;
        }
    }
}

/// Adds what can be read back from one segment: takes away from both ends what is known, or ends at a character that it
/// can't have; a single placeholder that remains is all that is left.
fn read_back(mut parts: &[&Part], known: &mut BTreeSet<Field>) {
    while let [part, rest @ ..] = parts {
        match (part, rest.first()) {
            (Part::Literal(_), _) => {}
            (Part::Field { field, .. }, _) if known.contains(field) => {}
            // What stands for nothing begins with `_`, as nothing else does: it is known where it ends.
            (Part::Field { field, .. }, Some(Part::Literal(next))) if !next.starts_with(|c| field.may_have(c)) => {
                known.insert(*field);
            }
            _ => break,
        }
        parts = rest;
    }
    while let [rest @ .., part] = parts {
        match (rest.last(), part) {
            (_, Part::Literal(_)) => {}
            (_, Part::Field { field, .. }) if known.contains(field) => {}
            (Some(Part::Literal(before)), Part::Field { field, or })
                if !before.ends_with(|c| field.may_have(c) || or.contains(c)) =>
            {
                known.insert(*field);
            }
            _ => break,
        }
        parts = rest;
    }
    if let [Part::Field { field, .. }] = parts {
        known.insert(*field);
    }
}

impl Field {
    /// Returns whether such a name may have the character, of those that a template may have. What stands for an empty
    /// one doesn't count.
    fn may_have(self, c: char) -> bool {
        match self {
            Self::Name => true,
            // Lower-case RFC 1123 subdomains.
            Self::Group => c != '_',
            // A `_` stands between kind and plural.
            Self::Kind | Self::KindInLowerCase => c != '.',
            // Lower-case RFC 1035 and RFC 1123 labels.
            Self::Namespace | Self::Resource | Self::Version => !matches!(c, '.' | '_'),
        }
    }
}

/// `{namespace}`, as it is written.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Group => "{group}",
            Self::Kind => "{kind}",
            Self::KindInLowerCase => "{kind|lower}",
            Self::Name => "{name}",
            Self::Namespace => "{namespace}",
            Self::Resource => "{resource}",
            Self::Version => "{version}",
        })
    }
}

/// The text is no template that gives each object a path of its own.
///
/// ```
/// let refused = "{group}/{resource}/{namespace}-{name}.yaml".parse::<reverser_core::TemplateLayout>().unwrap_err();
/// assert_eq!(refused.character(), 20);
/// assert!(refused.to_string().contains("it can't be told where {namespace} begins or ends"), "{refused}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("layout {template:?}, character {character}: {reason}")]
pub struct LayoutTemplateError {
    template: String,
    character: usize,
    reason: Refusal,
}

impl LayoutTemplateError {
    /// Returns the character of the template that it is refused at, counted from 1; one behind the last when something
    /// is missing.
    pub fn character(&self) -> usize {
        self.character
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    Ambiguous(Field),
    Character(char),
    Default,
    Empty,
    Ending,
    LowerAlready,
    LowerName,
    Missing(&'static str),
    Name(String),
    NeverEmpty,
    NoSuchFilter(String),
    NoSuchPlaceholder(String),
    Sealed,
    TooDeep,
    Unclosed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous(field) => {
                let between = match field {
                    Field::Group => ", or set it off with '_'",
                    Field::Name => "",
                    _ => ", or set it off with '.'",
                };
                write!(
                    f,
                    "two objects could get the same path: it can't be told where {field} begins or ends, since it may \
                     contain what stands there; give it a folder of its own{between}"
                )
            }
            Self::Character(c) => {
                write!(f, "{c:?} can't stand here: a-z, 0-9, '-', '_', '.', '/' and placeholders such as {{name}} can")
            }
            Self::Default => f.write_str(
                "write default(\"_word\"): '_', then a-z, 0-9, '-', '_' or '.'; names of the API never begin with '_'",
            ),
            Self::Empty => f.write_str("a folder without a name: single slashes, and none at the ends"),
            Self::Ending => f.write_str("the file has to end with .yaml or .yml"),
            Self::LowerAlready => {
                f.write_str("lower is for kinds; all other names but {name} are in lower case already")
            }
            Self::LowerName => f.write_str("two objects could get the same path: names may differ in nothing but case"),
            Self::Missing(field) => write!(f, "two objects could get the same path: {field} is missing"),
            Self::Name(name) => {
                write!(f, "{name:?} is no name that a checkout on Linux, macOS and Windows keeps as it is")
            }
            Self::NeverEmpty => f.write_str("default is for {group} and {namespace}; nothing else is ever empty"),
            Self::NoSuchFilter(name) => {
                write!(f, "there is no filter {name:?}, but lower (for kinds) and default(\"_word\")")
            }
            Self::NoSuchPlaceholder(name) => write!(
                f,
                "there is no {{{name}}}, but {{group}}, {{version}}, {{resource}}, {{kind}}, {{namespace}} and {{name}}"
            ),
            Self::Sealed => f.write_str(".sops.yaml is for what is encrypted; write .yaml"),
            Self::TooDeep => write!(f, "more than {MAX_SEGMENTS} folders"),
            Self::Unclosed => f.write_str("this '{' has no '}'"),
        }
    }
}
