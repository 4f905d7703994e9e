//! Who is called how: rules, as a file or a ConfigMap has them.

use std::{
    collections::{BTreeMap, HashMap},
    str::FromStr,
};

use serde_json::{Map, Value};

use super::template::{Field, Template, Values};
use crate::{Actor, Glob, yaml};

/// Rules that give users names and e-mail addresses for Git. The first one that is about a user counts.
///
/// ```yaml
/// rules:
/// - user: alice                           # the user name; * and ? are wildcards
///   name: Alice Liddell
///   email: alice.liddell@example.com
/// - prefix: "oidc:"                       # {rest} is what stands between prefix and suffix
///   suffix: "@corp.example"
///   name: "{rest|title}"
///   email: "{rest|lower}@corp.example"
/// - serviceAccount: flux-system/*         # NAMESPACE/NAME: {namespace} and {name}
///   name: "Flux {name}"
///   email: "{name}@bots.example.com"
/// - group: contractors                    # whoever is a member, where groups are known
///   extra: {example.com/email: "*"}       # what the authenticator says besides: {extra:example.com/email}
///   email: "{extra:example.com/email}"
/// ```
///
/// All conditions of a rule have to hold. What a rule doesn't give, name or address, is the default's, and so is what a
/// user name would make something that it isn't: an address with two `@`, a name with `<`.
///
/// ```
/// use reverser_core::{Actor, identity::{Identities, IdentityRules}};
///
/// let rules: IdentityRules = r#"rules: [{suffix: "@corp.example", name: "{rest|title}", email: "{user|lower}"}]"#.parse()?;
/// let identities = Identities::default();
/// identities.set_rules(rules);
/// let author = |name: &str| identities.author(&Actor::user(name)).to_string();
/// assert_eq!(author("Ann.Lee@corp.example"), "Ann Lee <ann.lee@corp.example>");
/// assert_eq!(author("bob"), "bob <bob@cluster.local>");
///
/// let refused = r#"rules: [{user: bob, mail: bob@example.com}]"#.parse::<IdentityRules>().unwrap_err();
/// assert!(refused.to_string().starts_with("rules[0].mail: there is no such field; there are "), "{refused}");
/// # Ok::<(), reverser_core::identity::IdentityRulesError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct IdentityRules {
    rules: Vec<Rule>,
    /// Which rule is about one user name and asks nothing else: they may be very many.
    exact: HashMap<String, usize>,
    /// All others, in their order.
    others: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Rule {
    about: About,
    name: Option<Template>,
    email: Option<Template>,
}

/// Whom a rule is about. What isn't asked for is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct About {
    user: Option<Glob>,
    prefix: Option<String>,
    suffix: Option<String>,
    /// Namespace and name.
    service_account: Option<(Glob, Glob)>,
    group: Option<Glob>,
    /// Sorted by key.
    extra: Vec<(String, Glob)>,
}

/// What a rule gives to a user.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
}

impl IdentityRules {
    /// Returns how many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns what the first rule that is about the user gives; nothing where there is none.
    pub(super) fn given(&self, actor: &Actor) -> Given {
        let exact = self.exact.get(&actor.name).copied();
        let before = self.others.iter().take_while(|index| exact.is_none_or(|exact| **index < exact));
        let mut rules = before.chain(exact.as_ref()).filter_map(|index| self.rules.get(*index));
        let found = rules.find_map(|rule| Some((rule, rule.about.values(actor)?)));
        found.map_or_else(Given::default, |(rule, values)| Given {
            name: rule.name.as_ref().and_then(|name| name.name(&values)),
            email: rule.email.as_ref().and_then(|email| email.email(&values)),
        })
    }
}

impl FromStr for IdentityRules {
    type Err = IdentityRulesError;

    fn from_str(text: &str) -> Result<Self, IdentityRulesError> {
        let documents = yaml::parse(text).map_err(|error| IdentityRulesError::new("", error.to_string()))?;
        let [document] = documents.as_slice() else {
            let reason = match documents.len() {
                0 => "is empty; without any rule it says rules: []".to_owned(),
                several => format!("has {several} documents; it has to be one, with all rules"),
            };
            return Err(IdentityRulesError::new("", reason));
        };
        let fields = Fields::of(document, String::new(), &["rules"])?;
        let rules = match fields.map.get("rules") {
            Some(Value::Array(rules)) => rules,
            Some(_) => return Err(fields.wrong("rules", "has to be a list")),
            None => return Err(fields.wrong("rules", "is missing; without any it is an empty list, rules: []")),
        };
        let (mut read, mut known) = (Self::default(), HashMap::new());
        for (index, rule) in rules.iter().enumerate() {
            let rule = Rule::read(rule, index)?;
            if let Some(before) = known.insert(rule.about.clone(), index) {
                let reason = format!("is about the same as rules[{before}], which comes first: remove one of them");
                return Err(IdentityRulesError::new(format!("rules[{index}]"), reason));
            }
            match rule.about.only_user() {
                Some(user) => drop(read.exact.insert(user.to_owned(), index)),
                None => read.others.push(index),
            }
            read.rules.push(rule);
        }
        Ok(read)
    }
}

impl Rule {
    fn read(rule: &Value, index: usize) -> Result<Self, IdentityRulesError> {
        let fields = Fields::of(rule, format!("rules[{index}]"), &KEYS)?;
        let about = About::read(&fields)?;
        if about == About::default() {
            let reason = "doesn't say whom it is about; give user, prefix, suffix, serviceAccount, group or extra \
                          (user: \"*\" is everybody)";
            return Err(IdentityRulesError::new(&fields.at, reason));
        }
        let template = |key: &str, check: fn(&Template) -> Result<(), String>| {
            let text = fields.text(key)?;
            let read = |text: &str| {
                let template = Template::parse(text, |field| about.has(field))?;
                check(&template).map(|()| template)
            };
            text.map(|text| read(text).map_err(|reason| fields.wrong(key, reason))).transpose()
        };
        let (name, email) = (template("name", Template::check_name)?, template("email", Template::check_email)?);
        if name.is_none() && email.is_none() {
            return Err(IdentityRulesError::new(&fields.at, "gives nothing; give name, email, or both"));
        }
        Ok(Self { about, name, email })
    }
}

impl About {
    fn read(fields: &Fields<'_>) -> Result<Self, IdentityRulesError> {
        let given = |key: &str| match fields.text(key)? {
            Some("") => Err(fields.wrong(key, "is empty")),
            text => Ok(text.map(str::to_owned)),
        };
        let account = given("serviceAccount")?.map(|account| {
            let (namespace, name) = account.split_once('/').filter(|(namespace, name)| {
                ![namespace, name].iter().any(|part| part.is_empty() || part.contains(['/', ':']))
            })?;
            Some((Glob::new(namespace), Glob::new(name)))
        });
        let service_account = match account {
            Some(None) => return Err(fields.wrong("serviceAccount", "is NAMESPACE/NAME, such as flux-system/*")),
            Some(account) => account,
            None => None,
        };
        Ok(Self {
            user: given("user")?.map(Glob::new),
            prefix: given("prefix")?,
            suffix: given("suffix")?,
            service_account,
            group: given("group")?.map(Glob::new),
            extra: Self::read_extra(fields)?,
        })
    }

    fn read_extra(fields: &Fields<'_>) -> Result<Vec<(String, Glob)>, IdentityRulesError> {
        let Some(value) = fields.map.get("extra") else { return Ok(vec![]) };
        let Some(map) = value.as_object().filter(|map| !map.is_empty()) else {
            return Err(fields.wrong("extra", "is a map of keys to patterns, such as {example.com/email: \"*\"}"));
        };
        let read = |(key, pattern): (&String, &Value)| match pattern.as_str() {
            Some(pattern) => Ok((key.clone(), Glob::new(pattern))),
            None => Err(fields.wrong(&format!("extra[{key:?}]"), "has to be text; put it in quotes")),
        };
        map.iter().map(read).collect::<Result<BTreeMap<_, _>, _>>().map(|extra| extra.into_iter().collect())
    }

    /// Returns the name of the only user that it is about.
    fn only_user(&self) -> Option<&str> {
        let user = self.user.as_ref().filter(|user| user.is_exact())?;
        let rest = Self { user: None, ..self.clone() };
        (rest == Self::default()).then(|| user.as_str())
    }

    /// Returns why a template can't have this placeholder.
    fn has(&self, field: &Field) -> Result<(), String> {
        match field {
            Field::User => Ok(()),
            Field::Rest if self.prefix.is_some() || self.suffix.is_some() => Ok(()),
            Field::Rest => Err("{rest} is what is left beside prefix or suffix, and the rule has neither".to_owned()),
            Field::Name | Field::Namespace if self.service_account.is_some() => Ok(()),
            Field::Name | Field::Namespace => {
                Err("{namespace} and {name} are a service account's, and the rule has no serviceAccount".to_owned())
            }
            Field::Extra(key) if self.extra.iter().any(|(known, _)| known == key) => Ok(()),
            Field::Extra(key) => Err(format!("{{extra:{key}}} needs the rule to ask for it: extra: {{{key}: \"*\"}}")),
        }
    }

    /// Returns what placeholders stand for; `None`: it isn't about this user.
    fn values<'a>(&'a self, actor: &'a Actor) -> Option<Values<'a>> {
        let mut values = Values { user: &actor.name, rest: &actor.name, ..Values::default() };
        let holds = |glob: &Option<Glob>, text: &str| glob.as_ref().is_none_or(|glob| glob.matches(text));
        if !holds(&self.user, &actor.name) {
            return None;
        }
        if let Some(prefix) = &self.prefix {
            values.rest = values.rest.strip_prefix(prefix.as_str())?;
        }
        if let Some(suffix) = &self.suffix {
            values.rest = values.rest.strip_suffix(suffix.as_str())?;
        }
        if let Some((namespace, name)) = &self.service_account {
            (values.namespace, values.name) = service_account(&actor.name)?;
            if !namespace.matches(values.namespace) || !name.matches(values.name) {
                return None;
            }
        }
        if self.group.is_some() && !actor.groups.iter().any(|group| holds(&self.group, group)) {
            return None;
        }
        for (key, pattern) in &self.extra {
            let value = actor.extra.get(key)?.iter().find(|value| pattern.matches(value))?;
            values.extra.insert(key, value);
        }
        Some(values)
    }
}

/// Returns namespace and name of the service account that a user is.
fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':').filter(|(_, name)| !name.contains(':'))
}

const KEYS: [&str; 8] = ["user", "prefix", "suffix", "serviceAccount", "group", "extra", "name", "email"];

/// The fields of a map, and where it stands.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    at: String,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value, at: String, known: &[&str]) -> Result<Self, IdentityRulesError> {
        let Some(map) = value.as_object() else {
            return Err(IdentityRulesError::new(at, format!("has to be a map with {}", known.join(", "))));
        };
        let fields = Self { map, at };
        match fields.map.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(fields.wrong(key, format!("there is no such field; there are {}", known.join(", ")))),
            None => Ok(fields),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, IdentityRulesError> {
        match self.map.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "has to be text; put it in quotes")),
        }
    }

    fn wrong(&self, key: &str, reason: impl Into<String>) -> IdentityRulesError {
        let dot = if self.at.is_empty() { "" } else { "." };
        IdentityRulesError::new(format!("{}{dot}{key}", self.at), reason)
    }
}

/// The text isn't a file of rules; names the field and what helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", if field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct IdentityRulesError {
    field: String,
    reason: String,
}

impl IdentityRulesError {
    fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    /// Returns which field is wrong, such as `rules[3].email`; empty: the text as a whole.
    pub fn field(&self) -> &str {
        &self.field
    }
}
