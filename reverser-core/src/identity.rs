//! From a user of the API to an author in Git.

use crate::{Actor, Signature, message::clean};

/// The domain of authors whose user name isn't an e-mail address; `cluster.local` is the DNS domain that Kubernetes
/// gives to itself and that no mail server answers for.
const DOMAIN: &str = "cluster.local";

/// Returns the author for `actor`: an e-mail address is its own, any other user name gets `<name>@cluster.local` with
/// `:` as `.`, so that `system:serviceaccount:shop:bot` is `system.serviceaccount.shop.bot@cluster.local`.
///
/// A name that only becomes an address when something is left out of it (`a<>nn@example.com`) is none: nobody is to
/// appear as somebody else.
///
/// ```
/// use reverser_core::{Actor, identity::author};
///
/// assert_eq!(author(&Actor::user("ann@example.com")).to_string(), "ann@example.com <ann@example.com>");
/// assert_eq!(author(&Actor::user("oidc:ann")).to_string(), "oidc:ann <oidc.ann@cluster.local>");
/// ```
pub fn author(actor: &Actor) -> Signature {
    if is_address(&actor.name) {
        return Signature::new(&actor.name, &actor.name);
    }
    let local: String =
        actor.name.chars().map(|c| if c.is_alphanumeric() || "-_.+".contains(c) { c } else { '.' }).collect();
    let local = clean::beginning(&local, Signature::MAX_BYTES - DOMAIN.len() - 1);
    let local = Some(local.trim_matches('.')).filter(|local| !local.is_empty()).unwrap_or("unknown");
    Signature::new(&actor.name, &format!("{local}@{DOMAIN}"))
}

/// Returns whether the name is an address as RFC 5321 has it without quotes and comments, or RFC 6531 in other scripts.
fn is_address(name: &str) -> bool {
    let is_local = |c: char| c.is_alphanumeric() || "-_.+!#$%&'*/=?^`{|}~".contains(c);
    let is_domain = |c: char| c.is_alphanumeric() || "-.".contains(c);
    name.len() <= Signature::MAX_BYTES
        && name.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && local.chars().all(is_local) && !domain.is_empty() && domain.chars().all(is_domain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_becomes_an_author() {
        let author = |name: &str| author(&Actor::user(name)).to_string();
        assert_eq!(author("alice"), "alice <alice@cluster.local>");
        assert_eq!(author("ann@example.com"), "ann@example.com <ann@example.com>");
        assert_eq!(
            author("system:serviceaccount:shop:bot"),
            "system:serviceaccount:shop:bot <system.serviceaccount.shop.bot@cluster.local>"
        );
        assert_eq!(author("eve\n<x@y> 0"), "eve x@y 0 <eve..x.y..0@cluster.local>");
    }

    #[test]
    fn nobody_becomes_somebody_else() {
        for name in
            ["a<>nn@example.com", "ann@exam\u{202e}ple.com", "ann@example.com\0", "ann @example.com", "x:ann@y.z", "@"]
        {
            let author = author(&Actor::user(name));
            assert!(author.email().ends_with("@cluster.local"), "{author}");
        }
        let author = author(&Actor::user("ann@example.com, bob@example.com"));
        assert_eq!(author.email(), "ann.example.com..bob.example.com@cluster.local");
    }

    #[test]
    fn every_name_gives_an_author_of_a_sane_length() {
        for name in ["", "...", "<>", "\0\n", "\u{202e}"] {
            let author = author(&Actor::user(name));
            assert!(!author.name().is_empty() && author.email() == "unknown@cluster.local", "{author:?}");
        }
        for name in ["x".repeat(4096), "😀".repeat(1024), format!("{}@example.com", "é".repeat(2048))] {
            let author = author(&Actor::user(&name));
            assert!(author.name().len() <= Signature::MAX_BYTES && author.email().len() <= Signature::MAX_BYTES);
            assert!(author.email().ends_with("@cluster.local"), "{author}");
        }
        let bot = format!("system:serviceaccount:{}:{}", "n".repeat(63), "b".repeat(253));
        assert!(author(&Actor::user(&bot)).to_string().starts_with(&format!("{bot} <system.serviceaccount.nn")));
    }
}
