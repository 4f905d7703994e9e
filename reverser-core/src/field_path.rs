//! `FieldPath`: which values of an object are meant, as people write it for kubectl.
//!
//! ```text
//! .spec.replicas                             a field; the first dot may be left out
//! .metadata.annotations["example.com/x"]     a key with dots in it, in double or single quotes
//! .metadata.annotations.example\.com/x       the same, as kubectl's JSONPath has it
//! .metadata.labels["kro.run/"*]              every key that begins so
//! .spec.containers[*].image                  each item of a list, each value of a map
//! .spec.containers[0].image                  one item
//! .spec.containers[?(@.name=="istio-proxy")] the items with this value; also !=, joined by &&
//! .metadata.finalizers[?(@=="orphan")]       the items that are this value
//! ```

use std::{borrow::Cow, fmt, str::FromStr};

use serde_json::Value;

/// A path that any number of values of an object may stand at.
///
/// The syntax is the part of kubectl's JSONPath that names fields
/// (<https://kubernetes.io/docs/reference/kubectl/jsonpath/>), and keys by prefix.
///
/// ```
/// use reverser_core::FieldPath;
///
/// let path: FieldPath = ".spec.containers[?(@.name==\"istio-proxy\")]".parse()?;
/// assert_eq!(path.to_string(), ".spec.containers[?(@.name==\"istio-proxy\")]");
///
/// let error = ".spec.containers[first]".parse::<FieldPath>().unwrap_err();
/// assert_eq!(error.at(), 18);
/// # Ok::<(), reverser_core::FieldPathError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FieldPath(Vec<Step>);

/// One step down.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Each item of a list, each value of a map.
    Each,
    /// The item at this place, counted from 0.
    Index(usize),
    /// The value at this key.
    Key(String),
    /// The values whose keys begin with this.
    Prefix(String),
    /// The items of a list that all of these hold for.
    Where(Vec<Condition>),
}

/// What a list's item has to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    /// Fields below the item; none: the item itself.
    field: Vec<String>,
    is_equal: bool,
    value: Value,
}

impl Condition {
    /// A missing field is unlike every value.
    fn holds(&self, item: &Value) -> bool {
        let found = self.field.iter().try_fold(item, |value, key| value.get(key));
        (found == Some(&self.value)) == self.is_equal
    }
}

/// A step that was taken: where a value stands in its parent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At<'a> {
    Index(usize),
    Key(Cow<'a, str>),
}

/// Where a value stands below another one.
pub(crate) type Location = Vec<At<'static>>;

impl FieldPath {
    /// Returns the path of one place.
    pub(crate) fn of(location: &[At<'_>]) -> Self {
        let step = |at: &At<'_>| match at {
            At::Index(index) => Step::Index(*index),
            At::Key(key) => Step::Key(key.to_string()),
        };
        Self(location.iter().map(step).collect())
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Returns where in `value` there is something at the path.
    pub(crate) fn find(&self, value: &Value) -> Vec<Location> {
        let mut found = vec![];
        descend(&self.0, value, &mut vec![], &mut |location| found.push(owned(location)));
        found
    }

    /// Returns the value at the path, if it is a single one.
    pub fn only<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        let (mut found, mut rest) = (None, self.find(value).into_iter());
        if let (Some(location), None) = (rest.next(), rest.next()) {
            found = location.iter().try_fold(value, |value, at| match at {
                At::Index(index) => value.get(index),
                At::Key(key) => value.get(key.as_ref()),
            });
        }
        found
    }

    /// Returns whether the path may mean the field that stands at these keys.
    pub(crate) fn may_mean(&self, keys: &[&str]) -> bool {
        self.0.len() == keys.len()
            && self.0.iter().zip(keys).all(|(step, key)| match step {
                Step::Each => true,
                Step::Index(_) | Step::Where(_) => false,
                Step::Key(own) => own == key,
                Step::Prefix(prefix) => key.starts_with(prefix.as_str()),
            })
    }
}

fn descend<'v>(steps: &'v [Step], value: &'v Value, location: &mut Vec<At<'v>>, found: &mut dyn FnMut(&[At<'v>])) {
    let Some((step, rest)) = steps.split_first() else { return found(location) };
    step.each(value, |at, part| {
        location.push(at);
        descend(rest, part, location, found);
        location.pop();
    });
}

/// Returns the location without what it borrows.
pub(crate) fn owned(location: &[At<'_>]) -> Location {
    let own = |at: &At<'_>| match at {
        At::Index(index) => At::Index(*index),
        At::Key(key) => At::Key(Cow::Owned(key.to_string())),
    };
    location.iter().map(own).collect()
}

impl Step {
    /// Calls `found` with each part of `value` that the step leads to.
    pub(crate) fn each<'v>(&'v self, value: &'v Value, mut found: impl FnMut(At<'v>, &'v Value)) {
        match (self, value) {
            (Self::Key(key), Value::Object(map)) => {
                if let Some(part) = map.get(key) {
                    found(At::Key(key.into()), part);
                }
            }
            (Self::Each, Value::Object(map)) => map.iter().for_each(|(key, part)| found(At::Key(key.into()), part)),
            (Self::Prefix(prefix), Value::Object(map)) => {
                for (key, part) in map.iter().filter(|(key, _)| key.starts_with(prefix.as_str())) {
                    found(At::Key(key.into()), part);
                }
            }
            (Self::Index(index), Value::Array(items)) => {
                if let Some(item) = items.get(*index) {
                    found(At::Index(*index), item);
                }
            }
            (Self::Each, Value::Array(items)) => {
                items.iter().enumerate().for_each(|(index, item)| found(At::Index(index), item));
            }
            (Self::Where(conditions), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    if conditions.iter().all(|condition| condition.holds(item)) {
                        found(At::Index(index), item);
                    }
                }
            }
            _ => {}
        }
    }
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, FieldPathError> {
        let mut rest = Cursor { text, at: 0 };
        let mut steps = vec![];
        // kubectl's examples begin with a dot, people often don't.
        if !rest.sees('.') && !rest.sees('[') {
            steps.push(rest.name()?);
        }
        while !rest.is_done() {
            if rest.takes(".") {
                steps.push(rest.name()?);
            } else if rest.takes("[") {
                steps.push(rest.bracket()?);
                rest.expect(']', "to close the bracket")?;
            } else {
                return Err(rest.error("expected '.' or '['"));
            }
        }
        Ok(Self(steps))
    }
}

/// What is still to be read.
struct Cursor<'t> {
    text: &'t str,
    /// In bytes.
    at: usize,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    fn sees(&self, c: char) -> bool {
        self.rest().starts_with(c)
    }

    fn takes(&mut self, token: impl AsRef<str>) -> bool {
        let is_next = self.rest().starts_with(token.as_ref());
        if is_next {
            self.at += token.as_ref().len();
        }
        is_next
    }

    fn expect(&mut self, token: char, why: &str) -> Result<(), FieldPathError> {
        if self.takes(token.to_string()) { Ok(()) } else { Err(self.error(format!("expected '{token}' {why}"))) }
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches(' ').len();
    }

    fn error(&self, reason: impl Into<String>) -> FieldPathError {
        FieldPathError::new(self.text, self.at, reason)
    }

    /// Reads a plain name; `\` takes the meaning from the character behind it.
    fn name(&mut self) -> Result<Step, FieldPathError> {
        let name = self.plain(|c| c.is_alphanumeric() || "_-/$".contains(c))?;
        if name.is_empty() {
            let reason = if self.sees('*') {
                "'*' stands in brackets: [*] for each, [\"prefix\"*] for keys that begin so"
            } else {
                "expected the name of a field"
            };
            return Err(self.error(reason));
        }
        Ok(Step::Key(name))
    }

    fn plain(&mut self, is_plain: impl Fn(char) -> bool) -> Result<String, FieldPathError> {
        let mut name = String::new();
        while let Some(c) = self.rest().chars().next() {
            if c == '\\' {
                self.at += 1;
                let escaped = self.rest().chars().next();
                let escaped = escaped.ok_or_else(|| self.error("expected a character behind '\\'"))?;
                name.push(escaped);
                self.at += escaped.len_utf8();
            } else if is_plain(c) {
                name.push(c);
                self.at += c.len_utf8();
            } else {
                break;
            }
        }
        Ok(name)
    }

    /// Reads what stands between brackets.
    fn bracket(&mut self) -> Result<Step, FieldPathError> {
        if self.takes("*") {
            return Ok(Step::Each);
        }
        if self.takes("?(") {
            let conditions = self.conditions()?;
            self.expect(')', "to close the condition")?;
            return Ok(Step::Where(conditions));
        }
        if self.sees('"') || self.sees('\'') {
            let key = self.quoted()?;
            return Ok(if self.takes("*") { Step::Prefix(key) } else { Step::Key(key) });
        }
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let index = self.rest()[..digits].parse();
        let index =
            index.map_err(|_| self.error("expected \"key\", \"prefix\"*, *, ?(@.field==\"value\") or a number"))?;
        self.at += digits;
        Ok(Step::Index(index))
    }

    fn conditions(&mut self) -> Result<Vec<Condition>, FieldPathError> {
        let mut conditions = vec![];
        loop {
            self.skip_blanks();
            self.expect('@', "for the item, as in ?(@.name==\"web\")")?;
            let mut field = vec![];
            while self.takes(".") {
                let Step::Key(key) = self.name()? else { continue };
                field.push(key);
            }
            self.skip_blanks();
            let is_equal = self.takes("==");
            if !is_equal && !self.takes("!=") {
                return Err(self.error("expected '==' or '!='"));
            }
            self.skip_blanks();
            conditions.push(Condition { field, is_equal, value: self.literal()? });
            self.skip_blanks();
            if !self.takes("&&") {
                return Ok(conditions);
            }
        }
    }

    fn literal(&mut self) -> Result<Value, FieldPathError> {
        if self.sees('"') || self.sees('\'') {
            return self.quoted().map(Value::String);
        }
        let end = self.rest().find([')', ']', ' ', '&']).unwrap_or(self.rest().len());
        let value = serde_json::from_str(&self.rest()[..end]).ok();
        let value = value.filter(|value: &Value| !value.is_object() && !value.is_array());
        let value = value.ok_or_else(|| self.error("expected a value: \"text\", a number, true, false or null"))?;
        self.at += end;
        Ok(value)
    }

    /// Reads text in quotes of either kind; inside, `\` takes the meaning from the character behind it.
    fn quoted(&mut self) -> Result<String, FieldPathError> {
        let opened = self.error("the quote that opens here is not closed");
        let quote = if self.takes("'") { '\'' } else { '"' };
        self.takes("\"");
        let text = self.plain(|c| c != quote)?;
        if self.takes(quote.to_string()) { Ok(text) } else { Err(opened) }
    }
}

/// In the one form that reads back as the same path.
impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| match step {
            Step::Each => f.write_str("[*]"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) if is_plain(key) => write!(f, ".{key}"),
            Step::Key(key) => write!(f, "[{}]", Quoted(key)),
            Step::Prefix(prefix) => write!(f, "[{}*]", Quoted(prefix)),
            Step::Where(conditions) => {
                f.write_str("[?(")?;
                for (index, condition) in conditions.iter().enumerate() {
                    let and = if index == 0 { "" } else { " && " };
                    write!(f, "{and}@")?;
                    condition.field.iter().try_for_each(|key| write!(f, ".{}", Escaped(key)))?;
                    f.write_str(if condition.is_equal { "==" } else { "!=" })?;
                    match &condition.value {
                        Value::String(text) => write!(f, "{}", Quoted(text))?,
                        other => write!(f, "{other}")?,
                    }
                }
                f.write_str(")]")
            }
        })
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-$".contains(c))
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if !is_plain(c.encode_utf8(&mut [0; 4])) {
                f.write_str("\\")?;
            }
            write!(f, "{c}")
        })
    }
}

/// The text is no field path.
///
/// ```
/// let error = ".spec[first]".parse::<reverser_core::FieldPath>().unwrap_err();
/// assert_eq!((error.text(), error.at()), (".spec[first]", 7));
/// assert_eq!(error.to_string(), format!("field path \".spec[first]\", character 7: {}", error.reason()));
/// assert_eq!(error.reason(), r#"expected "key", "prefix"*, *, ?(@.field=="value") or a number"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field path {path:?}, character {at}: {reason}")]
pub struct FieldPathError {
    path: String,
    at: usize,
    reason: String,
}

impl FieldPathError {
    /// `at` is in bytes, and counted from 0.
    pub(crate) fn new(path: &str, at: usize, reason: impl Into<String>) -> Self {
        Self { path: path.into(), at: path[..at].chars().count() + 1, reason: reason.into() }
    }

    /// Returns the same mistake in a text with something before the path.
    pub(crate) fn behind(self, prefix: &str) -> Self {
        Self { path: format!("{prefix}{}", self.path), at: self.at + prefix.chars().count(), ..self }
    }

    /// Returns the text with the mistake.
    pub fn text(&self) -> &str {
        &self.path
    }

    /// Returns the place of the mistake, in characters counted from 1.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Returns what is wrong there and what may stand there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn found(path: &str, value: &Value) -> Vec<Value> {
        let path: FieldPath = path.parse().unwrap();
        let at = |value: &Value, at: &At<'_>| match at {
            At::Index(index) => value[index].clone(),
            At::Key(key) => value[key.as_ref()].clone(),
        };
        path.find(value).iter().map(|location| location.iter().fold(value.clone(), |v, step| at(&v, step))).collect()
    }

    #[test]
    fn each_form_finds_what_it_says() {
        let object = json!({
            "metadata": {"labels": {"kro.run/a": 1, "kro.run/b": 2, "app": 3}, "finalizers": ["orphan", "x"]},
            "spec": {"containers": [{"name": "web", "ports": [{"port": 80}]}, {"name": "istio-proxy", "ports": []}, {"name": "x", "port": 1}]},
        });
        for (path, values) in [
            (".metadata.labels.app", json!([3])),
            ("metadata.labels.app", json!([3])),
            (".metadata.labels[\"kro.run/a\"]", json!([1])),
            (".metadata.labels['kro.run/a']", json!([1])),
            (".metadata.labels.kro\\.run/a", json!([1])),
            (".metadata.labels['kro.run/'*]", json!([1, 2])),
            (".metadata.labels[*]", json!([3, 1, 2])),
            (".metadata.finalizers[?(@==\"orphan\")]", json!(["orphan"])),
            (".metadata.finalizers[?(@ != 'orphan')]", json!(["x"])),
            (".spec.containers[*].name", json!(["web", "istio-proxy", "x"])),
            (".spec.containers[1].name", json!(["istio-proxy"])),
            (".spec.containers[?(@.name==\"istio-proxy\")].ports", json!([[]])),
            (".spec.containers[?(@.name!=\"web\" && @.port==1)].name", json!(["x"])),
            (".spec.containers[9]", json!([])),
            (".spec.containers.name", json!([])),
            (".spec.missing[*]", json!([])),
            ("['spec']['containers'][0]['name']", json!(["web"])),
        ] {
            assert_eq!(json!(found(path, &object)), values, "{path}");
        }
    }

    #[test]
    fn an_error_points_at_the_character() {
        for (path, at) in [
            ("", 1),
            (".", 2),
            (".spec..x", 7),
            (".spec.*", 7),
            (".spec[", 7),
            (".spec[x]", 7),
            (".spec[*", 8),
            (".spec[\"x]", 7),
            (".spec[\"x\"", 10),
            (".spec x", 6),
            (".ü[?(name==1)]", 6),
            (".a[?(@.name=1)]", 12),
            (".a[?(@.name==)]", 14),
            (".a[?(@.name==[1])]", 14),
            (".a[?(@.name==1]", 15),
            (".a\\", 4),
        ] {
            let error = path.parse::<FieldPath>().unwrap_err();
            assert_eq!(error.at(), at, "{error}");
        }
        assert_eq!(
            ".spec[x]".parse::<FieldPath>().unwrap_err().to_string(),
            "field path \".spec[x]\", character 7: expected \"key\", \"prefix\"*, *, ?(@.field==\"value\") or a number"
        );
    }

    proptest! {
        #[test]
        fn reading_ends_for_any_text(text in "\\PC{0,40}|[.\\[\\]?(@=!&*'\"\\\\ a0-]{0,20}") {
            if let Ok(path) = text.parse::<FieldPath>() {
                prop_assert_eq!(path.to_string().parse::<FieldPath>(), Ok(path));
            }
        }

        #[test]
        fn any_path_reads_back(steps in prop::collection::vec(step(), 1..6)) {
            let path = FieldPath(steps);
            prop_assert_eq!(path.to_string().parse::<FieldPath>(), Ok(path.clone()), "{}", path);
        }

        /// Each once, in the order in which they stand.
        #[test]
        fn what_is_found_is_there(steps in prop::collection::vec(narrow_step(), 0..4), value in value()) {
            let found = FieldPath(steps).find(&value);
            prop_assert!(found.is_sorted() && found.windows(2).all(|pair| pair[0] != pair[1]));
            for location in found {
                let there = location.iter().try_fold(&value, |value, at| match at {
                    At::Index(index) => value.get(index),
                    At::Key(key) => value.get(key.as_ref()),
                });
                prop_assert!(there.is_some(), "{:?}", location);
            }
        }
    }

    /// Of few keys, so that there is something to be found.
    fn narrow_step() -> impl Strategy<Value = Step> {
        let condition = ("[ab]", any::<bool>(), prop::sample::select(vec![json!(0), json!("a"), json!({})]))
            .prop_map(|(key, is_equal, value)| Condition { field: vec![key], is_equal, value });
        prop_oneof![
            Just(Step::Each),
            (0..3_usize).prop_map(Step::Index),
            "[ab]".prop_map(Step::Key),
            "[ab]?".prop_map(Step::Prefix),
            prop::collection::vec(condition, 0..2).prop_map(Step::Where),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop::sample::select(vec![json!(null), json!(0), json!("a"), json!({}), json!([])]);
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[ab]{1,2}", inner), 0..4).prop_map(|entries| entries.into_iter().collect()),
            ]
        })
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = || "[a-z.\"'\\\\/ ü*]{1,6}";
        let literal = prop_oneof![
            any::<String>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
        ];
        let condition = (prop::collection::vec(key(), 0..3), any::<bool>(), literal)
            .prop_map(|(field, is_equal, value)| Condition { field, is_equal, value });
        prop_oneof![
            Just(Step::Each),
            (0..1000_usize).prop_map(Step::Index),
            any::<String>().prop_map(Step::Key),
            key().prop_map(Step::Prefix),
            prop::collection::vec(condition, 1..3).prop_map(Step::Where),
        ]
    }
}
