//! From a user of the API to an author in Git.
//!
//! ```text
//! Actor ─► pseudonym, where there is a key
//!       └► the first rule that is about the user ─► name and e-mail address, or what of both it doesn't give: the default
//! ```

mod domain;
mod pseudonyms;
mod rules;
mod template;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

pub use self::{
    domain::{EmailDomain, EmailDomainError},
    pseudonyms::Pseudonyms,
    rules::{IdentityRules, IdentityRulesError},
};
use crate::{Actor, Attribution, Change, RequestInfo, Signature, message::clean};

/// Who is called how in commits. Cheap to clone; all clones have the same rules, which may be replaced at any time.
///
/// The default calls users by the names that they have, which is safe: an e-mail address is its own, any other user name gets
/// `<name>@cluster.local`.
///
/// ```
/// use reverser_core::{Actor, identity::Identities};
///
/// let identities = Identities::default().at("users.example.com".parse()?);
/// identities.set_rules("rules: [{user: alice, name: Alice Liddell}]".parse()?);
/// let author = |name: &str| identities.author(&Actor::user(name)).to_string();
/// assert_eq!(author("alice"), "Alice Liddell <alice@users.example.com>");
/// assert_eq!(author("ann@example.com"), "ann@example.com <ann@example.com>");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Identities {
    domain: EmailDomain,
    pseudonyms: Option<Pseudonyms>,
    records_groups: bool,
    rules: Arc<RwLock<Arc<IdentityRules>>>,
}

impl Identities {
    /// Sets the domain of those whose user name isn't an e-mail address. Choose one in which nobody has an address: a user
    /// `a:b` and a user `a.b` get the same one. Default: `cluster.local`.
    #[must_use]
    pub fn at(mut self, domain: EmailDomain) -> Self {
        self.domain = domain;
        self
    }

    /// Calls everybody by a pseudonym, and leaves out what else would tell who they are: groups, impersonators' names, field
    /// managers and user agents, which are whatever a client sends. Rules don't count then.
    #[must_use]
    pub fn pseudonyms(mut self, pseudonyms: Pseudonyms) -> Self {
        self.pseudonyms = Some(pseudonyms);
        self
    }

    /// Has commits name the groups of users, where they are known, without those that Kubernetes itself gives them
    /// (`system:authenticated`). Default: they don't.
    #[must_use]
    pub fn record_groups(mut self) -> Self {
        self.records_groups = true;
        self
    }

    /// Replaces the rules, in all clones.
    pub fn set_rules(&self, rules: IdentityRules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Returns the author for `actor`. Nobody appears as somebody else: what only becomes a name or an address when something
    /// is left out of it (`a<>nn@example.com`) is none.
    ///
    /// ```
    /// use reverser_core::{Actor, identity::Identities};
    ///
    /// let bot = Actor::user("system:serviceaccount:shop:bot");
    /// assert_eq!(Identities::default().author(&bot).email(), "system.serviceaccount.shop.bot@cluster.local");
    /// ```
    pub fn author(&self, actor: &Actor) -> Signature {
        if let Some(pseudonyms) = &self.pseudonyms {
            let name = pseudonyms.of(&actor.name);
            return Signature::new(&name, &format!("{name}@{}", self.domain));
        }
        let rules = Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner));
        let given = rules.given(actor);
        let email = given.email.unwrap_or_else(|| self.address(&actor.name));
        let name = given.name.unwrap_or_else(|| clean::name(&actor.name));
        Signature::new(&name, &email)
    }

    /// Returns an attribution as commits may tell it: with pseudonyms, and without the groups that aren't asked for.
    ///
    /// ```
    /// use reverser_core::{Actor, Attribution, Evidence, identity::Identities};
    ///
    /// let groups = ["developers", "system:authenticated"].map(str::to_owned).to_vec();
    /// let known = Attribution::known(Actor { groups, ..Actor::user("alice") }, Evidence::Admission);
    /// let groups = |identities: Identities| identities.shown(&known).actor().map(|actor| actor.groups.clone());
    /// assert_eq!(groups(Identities::default()), Some(vec![]));
    /// assert_eq!(groups(Identities::default().record_groups()), Some(vec!["developers".to_owned()]));
    /// ```
    pub fn shown<'a>(&self, attribution: &'a Attribution) -> Cow<'a, Attribution> {
        if let Some(pseudonyms) = &self.pseudonyms {
            return Cow::Owned(disguised(pseudonyms, attribution));
        }
        let is_left_out = |group: &String| !self.records_groups || group.starts_with("system:");
        match attribution {
            Attribution::Known { actor, evidence, request } if actor.groups.iter().any(is_left_out) => {
                let groups = actor.groups.iter().filter(|group| !is_left_out(group)).cloned().collect();
                // Nothing in a commit is about what else the authenticator said.
                let actor = Actor { name: actor.name.clone(), groups, extra: BTreeMap::new() };
                Cow::Owned(Attribution::Known { actor, evidence: *evidence, request: request.clone() })
            }
            _ => Cow::Borrowed(attribution),
        }
    }

    /// Returns changes as commits may tell them.
    pub(crate) fn shown_changes<'a>(&self, changes: &'a [Change]) -> Cow<'a, [Change]> {
        let is_as_it_is = |change: &Change| matches!(self.shown(&change.attribution), Cow::Borrowed(_));
        if changes.iter().all(is_as_it_is) {
            return Cow::Borrowed(changes);
        }
        let shown =
            |change: &Change| Change { attribution: self.shown(&change.attribution).into_owned(), ..change.clone() };
        Cow::Owned(changes.iter().map(shown).collect())
    }

    /// Returns the default address for a user name.
    fn address(&self, name: &str) -> String {
        if is_address(name) {
            return name.to_owned();
        }
        let local: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_.+".contains(c) { c } else { '.' }).collect();
        let local = clean::beginning(&local, Signature::MAX_BYTES - self.domain.as_str().len() - 1);
        // RFC 5321 has none at the ends. Without them `:ann` would be `ann`, who is somebody else.
        let inner = local.trim_matches('.');
        let local = match (inner, local.starts_with('.'), local.ends_with('.')) {
            ("", _, _) => "unknown".to_owned(),
            (inner, before, behind) => {
                format!("{}{inner}{}", if before { "_" } else { "" }, if behind { "_" } else { "" })
            }
        };
        format!("{local}@{}", self.domain)
    }
}

/// Returns the author that [`Identities::default`] gives: an e-mail address is its own, any other user name gets
/// `<name>@cluster.local` with `:` as `.`, so that `system:serviceaccount:shop:bot` is
/// `system.serviceaccount.shop.bot@cluster.local`.
///
/// ```
/// use reverser_core::{Actor, identity::author};
///
/// assert_eq!(author(&Actor::user("ann@example.com")).to_string(), "ann@example.com <ann@example.com>");
/// assert_eq!(author(&Actor::user("oidc:ann")).to_string(), "oidc:ann <oidc.ann@cluster.local>");
/// ```
pub fn author(actor: &Actor) -> Signature {
    Identities::default().author(actor)
}

/// Leaves out all that clients choose freely.
fn disguised(pseudonyms: &Pseudonyms, attribution: &Attribution) -> Attribution {
    let of = |actor: &Actor| Actor::user(pseudonyms.of(&actor.name));
    match attribution {
        Attribution::Ambiguous(actors) => Attribution::Ambiguous(actors.iter().map(of).collect()),
        Attribution::Known { actor, evidence, request } => {
            let RequestInfo { audit_id, impersonator, is_by_managed_fields, user_agent: _ } = &**request;
            let request = RequestInfo {
                audit_id: audit_id.clone(),
                impersonator: impersonator.as_deref().map(|name| pseudonyms.of(name)),
                is_by_managed_fields: *is_by_managed_fields,
                user_agent: None,
            };
            Attribution::Known { actor: of(actor), evidence: *evidence, request: Box::new(request) }
        }
        Attribution::Manager(_) => Attribution::Manager(String::new()),
        Attribution::Unknown => Attribution::Unknown,
    }
}

/// Returns whether the name is an address as RFC 5321 has it without quotes and comments, or RFC 6531 in other scripts.
fn is_address(name: &str) -> bool {
    let is_local = |c: char| c.is_alphanumeric() || "-_.+!#$%&'*/=?^`{|}~".contains(c);
    let is_domain = |c: char| c.is_alphanumeric() || "-.".contains(c);
    // What some git commands take away at the ends of an address would make it somebody else's.
    name.len() <= Signature::MAX_BYTES
        && name.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && local.chars().all(is_local)
                && !local.starts_with(['.', '\''])
                && !local.ends_with('.')
                && !domain.is_empty()
                && domain.chars().all(is_domain)
                && !domain.starts_with('.')
                && !domain.ends_with('.')
        })
}
