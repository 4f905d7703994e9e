//! Messages that are written down: `{{ operation }} {{ kind }} {{ namespace }}/{{ name }}`.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, Write},
};

use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::{CommitMessage, DefaultMessage, Grouped, Synced, group::LISTED};
use crate::{Actor, Attribution, Change, Evidence, ObjectRef, Operation, Resource};

mod language;

/// Words commits as templates say, in the language of [Jinja] as [minijinja] has it: `{{ }}` prints, there are `if` and
/// `for`, and the filters capitalize, default, first, join, last, length, lines, list, lower, replace, reverse, sort, split,
/// string, title, trim, unique and upper. There are no variables, functions or macros, and no calculation, so that no
/// template costs more time and memory than a message is worth.
///
/// | in a change's template | is |
/// |---|---|
/// | `operation` | `CREATE`, `UPDATE` or `DELETE` |
/// | `group`, `version`, `kind`, `resource` | as in the API; `resource` is the plural, `group` is empty for the core group |
/// | `namespace`, `name`, `uid`, `resourceVersion` | as in the object's metadata |
/// | `actor`, `evidence` | who did it, and how that is known: `admission`, `audit`, `host`, `unknown` |
/// | `reason` | why, in the words of whoever recorded it |
///
/// | in a group's template | is |
/// |---|---|
/// | `changes`, `total` | how many changes it has, and of how many objects |
/// | `operation` | what was done to all of the objects, or `CHANGE` |
/// | `actor`, `actors` | who made all of the changes, or nobody; a list of all who are known |
/// | `reasons` | a list of texts |
/// | `objects`, `more` | a list of the first 100 objects, each with `operation` (`CREATE, DELETE` where it came and went), `group`, `version`, `kind`, `resource`, `namespace`, `name`, `uid`, `resourceVersion` and `actors`; how many more there are |
///
/// | in a sync's template | is |
/// |---|---|
/// | `total`, `removed` | how many objects were listed, how many files of vanished ones removed |
/// | `objects` | a list, by resource: each with `group`, `version`, `kind`, `resource` and `count` |
///
/// What there isn't is an empty text. Names that don't exist, mistakes in filters and blank messages are refused when a
/// template is given: it is tried on samples. Should it fail on a change all the same, or need more than 100,000 steps or
/// give more than 64 KiB, then the commit has [`DefaultMessage`]'s words and says why: no change waits for a template.
/// Trailers follow in any case ([`with_trailers`](super::with_trailers)).
///
/// [Jinja]: https://jinja.palletsprojects.com/en/stable/templates/
/// [minijinja]: https://docs.rs/minijinja/latest/minijinja/syntax/
///
/// ```
/// use reverser_core::{CommitMessage, TemplateMessage, message::Synced};
///
/// let message = TemplateMessage::default()
///     .changes("{{ operation|lower }} {{ kind }} {{ name }}{% if namespace %} in {{ namespace }}{% endif %}")?
///     .syncs("sync {{ total }} objects")?;
/// assert_eq!(message.sync(&Synced::default()), "sync 0 objects");
///
/// let refused = TemplateMessage::default().changes("{{ operation }} {{ nmae }}").unwrap_err();
/// assert_eq!((refused.line(), refused.column()), (1, 20));
/// # Ok::<(), reverser_core::MessageTemplateError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TemplateMessage {
    changes: Option<Template>,
    groups: Option<Template>,
    syncs: Option<Template>,
}

impl TemplateMessage {
    /// Takes the template for commits of one change.
    ///
    /// # Errors
    /// It isn't a template, or fails on a sample of a change: it asks for a name that doesn't exist, or says nothing.
    pub fn changes(mut self, template: &str) -> Result<Self, MessageTemplateError> {
        self.changes = Some(Template::parse(template, &samples().map(|change| of_change(&change)))?);
        Ok(self)
    }

    /// Takes the template for commits of several changes.
    ///
    /// ```
    /// use reverser_core::{CommitMessage, TemplateMessage, message::Grouped};
    ///
    /// let message = TemplateMessage::default().groups("{{ actor or 'several' }}: {{ total }} objects")?;
    /// assert_eq!(message.group(&Grouped::of(&[])), "several: 0 objects");
    /// # Ok::<(), reverser_core::MessageTemplateError>(())
    /// ```
    ///
    /// # Errors
    /// As [`TemplateMessage::changes`].
    pub fn groups(mut self, template: &str) -> Result<Self, MessageTemplateError> {
        let [full, audited, bare, nameless] = samples();
        let samples = [vec![full.clone(), full], vec![audited.clone(), bare], vec![nameless, audited]];
        self.groups = Some(Template::parse(template, &samples.map(|changes| of_group(&Grouped::of(&changes))))?);
        Ok(self)
    }

    /// Takes the template for commits that bring many files in line with a list.
    ///
    /// # Errors
    /// As [`TemplateMessage::changes`].
    pub fn syncs(mut self, template: &str) -> Result<Self, MessageTemplateError> {
        let objects = samples().map(|change| ((*change.object.resource).clone(), 1)).into();
        let samples = [Synced::default(), Synced { objects, removed: 1 }];
        self.syncs = Some(Template::parse(template, &samples.map(|sync| of_sync(&sync)))?);
        Ok(self)
    }
}

impl CommitMessage for TemplateMessage {
    fn change(&self, change: &Change) -> String {
        match &self.changes {
            Some(template) => template.render_or(of_change(change), || DefaultMessage.change(change)),
            None => DefaultMessage.change(change),
        }
    }

    fn group(&self, group: &Grouped<'_>) -> String {
        match &self.groups {
            Some(template) => template.render_or(of_group(group), || DefaultMessage.group(group)),
            None => DefaultMessage.group(group),
        }
    }

    fn sync(&self, sync: &Synced) -> String {
        match &self.syncs {
            Some(template) => template.render_or(of_sync(sync), || DefaultMessage.sync(sync)),
            None => DefaultMessage.sync(sync),
        }
    }
}

fn of_change(change: &Change) -> Value {
    let Change { object, operation, attribution, resource_version, reason, .. } = change;
    let actor = attribution.actor().map_or("", |actor| &actor.name);
    let evidence = attribution.evidence();
    context! {
        operation => operation.to_string(),
        group => object.resource.group.as_str(),
        version => object.resource.version.as_str(),
        kind => object.resource.kind.as_str(),
        resource => object.resource.plural.as_str(),
        namespace => object.namespace.as_deref().unwrap_or_default(),
        name => object.name.as_str(),
        uid => object.uid.as_deref().unwrap_or_default(),
        resourceVersion => resource_version.as_deref().unwrap_or_default(),
        actor => actor,
        evidence => evidence,
        reason => reason.as_deref().unwrap_or_default(),
    }
}

fn of_group(group: &Grouped<'_>) -> Value {
    let objects = group.objects.iter().take(LISTED).map(|changed| {
        let object = changed.object;
        context! {
            operation => changed.told(),
            group => object.resource.group.as_str(),
            version => object.resource.version.as_str(),
            kind => object.resource.kind.as_str(),
            resource => object.resource.plural.as_str(),
            namespace => object.namespace.as_deref().unwrap_or_default(),
            name => object.name.as_str(),
            uid => object.uid.as_deref().unwrap_or_default(),
            resourceVersion => changed.resource_version.unwrap_or_default(),
            actors => names(changed.actors()),
        }
    });
    context! {
        changes => group.changes,
        total => group.objects.len(),
        operation => group.only_operation().map_or_else(|| "CHANGE".to_owned(), |operation| operation.to_string()),
        actor => group.only_actor().map(|actor| actor.name.as_str()).unwrap_or_default(),
        actors => names(group.actors()),
        reasons => group.reasons.iter().map(|reason| (*reason).to_owned()).collect::<Vec<_>>(),
        objects => objects.collect::<Vec<_>>(),
        more => group.objects.len().saturating_sub(LISTED),
    }
}

fn names<'a>(actors: impl Iterator<Item = &'a Actor>) -> Vec<String> {
    actors.map(|actor| actor.name.clone()).collect()
}

fn of_sync(sync: &Synced) -> Value {
    let objects = sync.objects.iter().filter(|(_, count)| **count > 0).map(|(resource, count)| {
        context! {
            group => resource.group.as_str(),
            version => resource.version.as_str(),
            kind => resource.kind.as_str(),
            resource => resource.plural.as_str(),
            count => *count,
        }
    });
    context! {
        objects => objects.collect::<Vec<_>>(),
        total => sync.objects.values().sum::<usize>(),
        removed => sync.removed,
    }
}

/// Returns changes that have everything, and that have nothing.
fn samples() -> [Change; 4] {
    let change = |operation, group: &str, kind: &str, plural: &str, namespace: Option<&str>| {
        let resource = Resource { namespaced: namespace.is_some(), ..Resource::new(group, "v1", kind, plural) };
        let (namespace, name) = (namespace.map(str::to_owned), "sample".to_owned());
        Change::new(ObjectRef { resource: resource.into(), namespace, name, uid: None }, operation, None)
    };
    let mut full = change(Operation::Update, "apps", "Deployment", "deployments", Some("sample"));
    full.object.uid = Some("00000000-0000-0000-0000-000000000000".into());
    full.resource_version = Some("1".into());
    let full = full.by(Actor::user("system:serviceaccount:sample:sample")).because("One.\n\nTwo.");
    let mut audited = full.clone();
    if let Attribution::Known { evidence, .. } = &mut audited.attribution {
        *evidence = Evidence::Audit;
    }
    audited.operation = Operation::Delete;
    [
        full,
        audited,
        change(Operation::Create, "", "Node", "nodes", None),
        change(Operation::Delete, "", "", "nodes", None),
    ]
}

/// A template that was tried.
#[derive(Clone)]
struct Template {
    text: String,
    environment: Environment<'static>,
}

impl Template {
    fn parse(text: &str, samples: &[Value]) -> Result<Self, MessageTemplateError> {
        let mut environment = language::environment();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let refuse = |error: &minijinja::Error| MessageTemplateError::new(text, error);
        environment.add_template_owned(NAME, text.to_owned()).map_err(|error| refuse(&error))?;
        language::check(text).map_err(|(at, reason)| MessageTemplateError::at(text, at, reason))?;
        let template = Self { text: text.to_owned(), environment };
        template.check_names(samples)?;
        for sample in samples {
            template.render(sample.clone()).map_err(|error| refuse(&error))?;
        }
        Ok(template)
    }

    /// Also those in branches that no sample takes.
    fn check_names(&self, samples: &[Value]) -> Result<(), MessageTemplateError> {
        let template =
            self.environment.get_template(NAME).map_err(|error| MessageTemplateError::new(&self.text, &error))?;
        let known: BTreeSet<String> = samples.iter().flat_map(keys).collect();
        let unknown: BTreeSet<_> = &template.undeclared_variables(false).into_iter().collect() - &known;
        // Where it is used first. Nothing else finds it, as this is no error for the engine.
        let Some((at, name)) = unknown.iter().filter_map(|name| Some((find(&self.text, name)?, name))).min() else {
            return Ok(());
        };
        let known: Vec<_> = known.into_iter().collect();
        Err(MessageTemplateError::at(&self.text, at, format!("there is no {name}; there are {}", known.join(", "))))
    }

    fn render(&self, values: Value) -> Result<String, minijinja::Error> {
        let mut output = Bounded(Vec::new());
        self.environment.get_template(NAME)?.render_captured_to(values, &mut output)?;
        let text = String::from_utf8_lossy(&output.0).into_owned();
        if text.chars().all(|c| c.is_whitespace() || c.is_control()) {
            return Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, "the message is blank"));
        }
        Ok(text)
    }

    fn render_or(&self, values: Value, default: impl FnOnce() -> String) -> String {
        self.render(values).unwrap_or_else(|error| {
            format!(
                "{}\n\nThe template of this message failed: {}",
                default(),
                MessageTemplateError::new(&self.text, &error)
            )
        })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

const NAME: &str = "message";
/// In instructions of the engine; a message needs some dozens.
const FUEL: u64 = 100_000;

fn keys(values: &Value) -> Vec<String> {
    values.try_iter().into_iter().flatten().map(|key| key.to_string()).collect()
}

/// Returns the byte at which a tag of the template has the name.
fn find(text: &str, name: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).map(|(at, _)| at).find(|at| {
        let (before, after) = (&text[..*at], &text[at + name.len()..]);
        let is_in_tag = before.rfind(['{', '}']).is_some_and(|at| before[at..].starts_with('{'));
        is_in_tag && !before.ends_with(|c| is_part(c) || c == '.') && !after.starts_with(is_part)
    })
}

/// What a message may have.
struct Bounded(Vec<u8>);

impl Bounded {
    /// In bytes.
    const MOST: usize = 64 * 1024;
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > Self::MOST {
            return Err(io::Error::other(format!("the message is longer than {} bytes", Self::MOST)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text is no template for messages.
///
/// ```
/// let refused = reverser_core::TemplateMessage::default().syncs("{{ total }").unwrap_err();
/// assert_eq!((refused.line(), refused.column()), (1, 10));
/// assert!(refused.to_string().starts_with("line 1, column 10: syntax error: "), "{refused}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct MessageTemplateError {
    line: usize,
    column: usize,
    reason: String,
}

impl MessageTemplateError {
    fn new(text: &str, error: &minijinja::Error) -> Self {
        let mut reason = error.kind().to_string();
        if let Some(detail) = error.detail() {
            reason = format!("{reason}: {detail}");
        }
        if let Some(source) = std::error::Error::source(error) {
            reason = format!("{reason}: {source}");
        }
        match (error.range(), error.line()) {
            (Some(range), _) => Self::at(text, range.start, reason),
            (None, line) => Self { line: line.unwrap_or(1), column: 1, reason },
        }
    }

    fn at(text: &str, byte: usize, reason: String) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1, reason }
    }

    /// Returns the template's line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns the character in the line, counted from 1.
    pub fn column(&self) -> usize {
        self.column
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::message_conforms;

    const SEED: &str = "[{{ operation }}] {% if group %}{{ group }}/{% endif %}{{ version }}/{{ resource }}/{{ name }}
{% if namespace %}
Namespace: {{ namespace }}
{% endif %}
{{ reason }}";

    fn of(template: &str) -> TemplateMessage {
        TemplateMessage::default().changes(template).unwrap_or_else(|error| panic!("{template}: {error}"))
    }

    #[test]
    fn the_default_can_be_written_as_a_template() {
        for change in samples() {
            let written = super::super::with_trailers(&of(SEED).change(&change), &change);
            let default = super::super::with_trailers(&DefaultMessage.change(&change), &change);
            assert_eq!(written.replace("\n\n\n", "\n\n"), default);
        }
    }

    #[test]
    fn every_name_has_its_value() {
        let [full, _, bare, _] = samples();
        let template = "{{ operation }} {{ group }} {{ version }} {{ kind }} {{ resource }} {{ namespace }} {{ name }} \
                        {{ uid }} {{ actor }} {{ evidence }} {{ resourceVersion }} {{ reason|length }}";
        insta::assert_snapshot!(of(template).change(&full), @"UPDATE apps v1 Deployment deployments sample sample 00000000-0000-0000-0000-000000000000 system:serviceaccount:sample:sample host 1 10");
        insta::assert_snapshot!(of(template).change(&bare), @"CREATE  v1 Node nodes  sample   unknown  0");
        let sync = "{{ total }} -{{ removed }}{% for o in objects %}\n{{ o.group }}/{{ o.version }} {{ o.kind }} {{ o.resource }} {{ o.count }}{% endfor %}";
        let message = TemplateMessage::default().syncs(sync).unwrap();
        let objects = [((*full.object.resource).clone(), 2), ((*bare.object.resource).clone(), 0)].into();
        insta::assert_snapshot!(message.sync(&Synced { objects, removed: 3 }), @r"
        2 -3
        apps/v1 Deployment deployments 2
        ");
    }

    #[test]
    fn a_mistake_is_refused_where_it_is() {
        let refused = [
            "{{ nmae }}",
            "{{ name }}\n  {% if namespace == 'never' %}{{ actr }}{% endif %}",
            "{{ name",
            "ä {{ name }} {% if %}",
            "{% for x in name %}",
            "{{ name|shout }}",
            "{{ reason.text }}",
            "{{ name() }}",
            "{{ debug() }}",
            "{% include 'x' %}",
            "{% macro m() %}{% endmacro %}",
            "",
            "{% if actor %}{{ name }}{% endif %}",
            "{% for a in actor|list %}{% for b in actor|list %}{% for c in actor|list %}{% for d in actor|list %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
            "{% for a in actor|list %}{% for b in actor|list %}{% for c in actor|list %}{{ reason ~ reason }}{% endfor %}{% endfor %}{% endfor %}",
        ]
        .map(|template| TemplateMessage::default().changes(template).unwrap_err().to_string());
        insta::assert_snapshot!(refused.join("\n"), @r"
        line 1, column 4: there is no nmae; there are actor, evidence, group, kind, name, namespace, operation, reason, resource, resourceVersion, uid, version
        line 2, column 35: there is no actr; there are actor, evidence, group, kind, name, namespace, operation, reason, resource, resourceVersion, uid, version
        line 1, column 4: syntax error: unexpected end of input, expected end of variable block
        line 1, column 20: syntax error: unexpected end of block
        line 1, column 18: syntax error: unexpected end of input, expected end of block
        line 1, column 9: unknown filter: filter shout is unknown
        line 1, column 4: undefined value: `reason.text` is undefined
        line 1, column 4: invalid operation: value of type string is not callable
        line 1, column 4: there is no debug; there are actor, evidence, group, kind, name, namespace, operation, reason, resource, resourceVersion, uid, version
        line 1, column 4: syntax error: unknown statement include
        line 1, column 4: syntax error: unknown statement macro
        line 1, column 1: invalid operation: the message is blank
        line 1, column 1: invalid operation: the message is blank
        line 1, column 1: engine ran out of fuel
        line 1, column 1: failed to write output: I/O error during rendering: the message is longer than 65536 bytes
        ");
        let refused = TemplateMessage::default().syncs("{{ name }}").unwrap_err();
        insta::assert_snapshot!(refused, @"line 1, column 4: there is no name; there are objects, removed, total");
    }

    #[test]
    fn a_template_that_fails_on_a_change_loses_neither_the_commit_nor_the_reason() {
        let [full, ..] = samples();
        let late = Change { object: ObjectRef { name: "late".into(), ..full.object.clone() }, ..full };
        let message = of("{{ name }}{% if name == 'late' %}{{ name|shout }}{% endif %}").change(&late);
        insta::assert_snapshot!(message, @r"
        [UPDATE] apps/v1/deployments/late

        Namespace: sample

        One.

        Two.

        The template of this message failed: line 1, column 42: unknown filter: filter shout is unknown
        ");
        let long = late.because("x".repeat(70_000));
        assert!(of("{{ name }} {{ reason }}").change(&long).starts_with("[UPDATE] apps/v1/deployments/late\n"));
        assert!(of("{{ reason or name }}").change(&long.because(" \n")).starts_with("[UPDATE] "));
    }

    /// Each of these would take all the time or memory that there is, or end the process.
    #[test]
    fn no_template_costs_more_than_a_message_is_worth() {
        let refused = [
            "{{ name|indent(9223372036854775807, true) }}",
            "{{ '%99999999999d'|format(1) }}",
            "{{ '%99999999999d' % 1 }}",
            "{{ name|slice(99999999999)|first }}",
            "{{ ([1] * 99999999)|list|length }}",
            "{{ 9 ** 9 }}",
            "{{ name[0:9223372036854775807:-9223372036854775807] }}",
            "{{ name[:1e9] }}",
            "{% set a = name ~ name %}{{ a }}",
            "{% set a %}{{ name }}{{ name }}{% endset %}{{ a }}",
            "{% with a = name ~ name %}{{ a }}{% endwith %}",
            "{% filter upper %}{{ name }}{% endfilter %}",
            "{%- for a in [name ~ name] -%}{{ a }}{%- endfor -%}",
            "{% for a in (name, name) %}{{ a }}{% endfor %}",
            "{% for a in name|list + name|list %}{{ a }}{% endfor %}",
            "{% for a in name|list recursive %}{{ loop([a]) }}{% endfor %}",
            "{{ '}}' }}{{ '\\'' * 9 }}",
            "{# {{ #}{{ 'a' * 9 }}",
            "{% raw %}{% endraw %}{{ 'a' * 9 }}",
            "{{ {'a': 1}.a }}",
            "{% for a in range(9999) %}{{ a }}{% endfor %}",
            "{{ 'aaaaaaaaaa'|replace('a', 'aaaaaaaaaa')|replace('a', 'aaaaaaaaaa')|replace('a', 'aaaaaaaaaa')\
             |replace('a', 'aaaaaaaaaa')|replace('a', 'aaaaaaaaaa')|replace('a', 'aaaaaaaaaa')|length }}",
            "{{ actor|list|join(actor|list|join(actor|list|join(actor|list|join(actor))))|length }}",
        ]
        .map(|template| TemplateMessage::default().changes(template).unwrap_err().to_string());
        insta::assert_snapshot!(refused.join("\n"), @r#"
        line 1, column 16: numbers have at most four digits
        line 1, column 20: unknown filter: filter format is unknown
        line 1, column 20: there is no '%' in tags of messages
        line 1, column 15: numbers have at most four digits
        line 1, column 9: there is no '*' in tags of messages
        line 1, column 6: there is no '*' in tags of messages
        line 1, column 11: numbers have at most four digits
        line 1, column 10: numbers have at most four digits
        line 1, column 4: there is no "set" in messages; there are if, elif, else, endif, for, endfor
        line 1, column 4: there is no "set" in messages; there are if, elif, else, endif, for, endfor
        line 1, column 4: there is no "with" in messages; there are if, elif, else, endif, for, endfor
        line 1, column 4: there is no "filter" in messages; there are if, elif, else, endif, for, endfor
        line 1, column 14: there is no '[' in what a loop of a message goes through
        line 1, column 18: there is no ',' in what a loop of a message goes through
        line 1, column 23: there is no '+' in what a loop of a message goes through
        line 1, column 23: there are no recursive loops in messages
        line 1, column 19: there is no '*' in tags of messages
        line 1, column 16: there is no '*' in tags of messages
        line 1, column 4: there is no "raw" in messages; there are if, elif, else, endif, for, endfor
        line 1, column 4: there is no '{' in tags of messages
        line 1, column 13: there is no range; there are actor, evidence, group, kind, name, namespace, operation, reason, resource, resourceVersion, uid, version
        line 1, column 98: invalid operation: the text is longer than 65536 bytes
        line 1, column 31: invalid operation: the text is longer than 65536 bytes
        "#);
    }

    #[test]
    fn what_stands_outside_of_tags_and_in_quotes_is_text() {
        let template = "* 12345 / {name} %{# 9 * 9 #} {{ '{% set * 12345' }}{{ \"'}}*\" }} {{ uid[:8] ~ '-' ~ [name, actor]|join(', ') }}";
        let [full, ..] = samples();
        insta::assert_snapshot!(of(template).change(&full), @"* 12345 / {name} % {% set * 12345'}}* 00000000-sample, system:serviceaccount:sample:sample");
    }

    proptest! {
        /// Ours, however the words that they come from want to be read.
        #[test]
        fn every_text_gets_our_trailers_and_a_subject_of_one_line(template in template(), texts in prop::array::uniform3(hostile())) {
            let [full, ..] = samples();
            let [actor, reason, name] = texts;
            let mut change = full.by(Actor::user(actor)).because(reason);
            change.object.name = name;
            let message = TemplateMessage::default().changes(&template);
            if let Err(error) = &message {
                let line = template.split('\n').nth(error.line() - 1).unwrap();
                prop_assert!((1..=line.chars().count() + 1).contains(&error.column()), "{}", error);
            }
            let words = message.map_or(template, |message| message.change(&change));
            let text = super::super::with_trailers(&words, &change);
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{:?}", text);
            let (subject, rest) = text.split_once("\n\n").unwrap();
            prop_assert!(!subject.trim().is_empty() && !subject.contains('\n'), "{:?}", text);
            let trailers = rest.rsplit_once("\n\n").map_or(rest, |(_, trailers)| trailers);
            let keys: Vec<_> = trailers.lines().map(|line| line.split_once(": ").unwrap().0).collect();
            prop_assert_eq!(keys, ["Reverser-Actor", "Reverser-Evidence", "Reverser-Uid", "Reverser-Resource-Version"]);
            let is_forged = |line: &str| line.trim_start().to_ascii_lowercase().starts_with("reverser-");
            prop_assert_eq!(text.lines().filter(|line| is_forged(line)).count(), 4, "{:?}", text);
        }
    }

    fn template() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("{{ name }}"),
            Just("{{ reason }}"),
            Just("{{ actor|upper }}"),
            Just("{{"),
            Just("}}"),
            Just("{% if uid %}"),
            Just("{% endif %}"),
            Just("{% for x in reason|lines %}"),
            Just("{{ x|title }}"),
            Just("{% endfor %}"),
            Just("\n"),
            Just("\n---\n"),
            Just("'"),
            Just("*"),
            Just("{#"),
            Just("#}"),
            Just("\nReverser-Uid: 1"),
            Just(" ü "),
            Just("{% set x = 1 %}"),
        ];
        prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "(reverser-|Reverser-Actor: x|---|>8|\n|\r| |:|\u{2028}|\u{202e}|\0|a){0,8}"]
    }

    #[test]
    fn a_group_is_worded_from_its_objects_and_actors() {
        let template = "{{ operation|lower }} {{ total }} ({{ changes }} changes) by {{ actor or actors|join(', ') }}
{% for o in objects %}
- {{ o.operation }} {{ o.kind }} {{ o.namespace or '-' }}/{{ o.name }} {{ o.resourceVersion }} {{ o.actors|join('+') }}{% endfor %}
{% if more %}and {{ more }} more{% endif %}
{% for r in reasons %}{{ r }}{% endfor %}";
        let message = TemplateMessage::default().groups(template).unwrap();
        let [full, _, bare, _] = samples();
        let changes = [full.clone(), bare.by(Actor::user("bob")), full];
        insta::assert_snapshot!(message.group(&Grouped::of(&changes)), @r"
        change 2 (3 changes) by system:serviceaccount:sample:sample, bob

        - UPDATE Deployment sample/sample 1 system:serviceaccount:sample:sample
        - CREATE Node -/sample  bob

        One.

        Two.
        ");
        let refused = TemplateMessage::default().groups("{{ name }}").unwrap_err();
        assert!(
            refused.to_string().contains("there are actor, actors, changes, more, objects, operation"),
            "{refused}"
        );
        assert_eq!(
            TemplateMessage::default().group(&Grouped::of(&changes)),
            DefaultMessage.group(&Grouped::of(&changes))
        );
    }

    #[test]
    fn the_largest_group_that_there_is_has_the_words_of_its_template() {
        let template = "{{ total }}{% for o in objects %}
{{ o.operation }} {{ o.group }} {{ o.version }} {{ o.kind }} {{ o.resource }} {{ o.namespace }} {{ o.name }} {{ o.uid }}
{{ o.resourceVersion }} {{ o.actors|join(', ') }}{% if o.namespace %} in {{ o.namespace|upper }}{% endif %}{% endfor %}";
        let [full, ..] = samples();
        let with_name = |number: usize| {
            let mut change = full.clone();
            change.object.name = format!("{}-{number}", "n".repeat(240));
            change
        };
        let changes: Vec<_> = (0..1_000).map(with_name).collect();
        let said = TemplateMessage::default().groups(template).unwrap().group(&Grouped::of(&changes));
        assert!(said.starts_with("1000\nUPDATE apps v1 Deployment deployments sample nnn"), "{said}");
        assert!(!said.contains("failed"), "{said}");
    }

    #[test]
    fn templates_conform() {
        let all = "{{ operation }}{{ namespace }}{{ name }}{{ uid }}{{ actor }}{{ resourceVersion }}\n{{ reason }}";
        for template in [SEED, all, "{{ name }}", "{{ reason or actor or name }}", "fixed"] {
            message_conforms(
                &of(template)
                    .groups("{{ total }}{% for o in objects %}\n{{ o.name }} {{ o.actors|join }}{% endfor %}")
                    .and_then(|message| message.syncs("{{ total }}{% for o in objects %}\n{{ o.kind }}{% endfor %}"))
                    .unwrap(),
            );
        }
    }
}
