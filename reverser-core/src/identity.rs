//! From a user of the API to an author in Git.

use crate::{Actor, Signature};

/// The domain of authors whose user name isn't an e-mail address; `cluster.local` is the DNS domain that Kubernetes
/// gives to itself and that no mail server answers for.
const DOMAIN: &str = "cluster.local";

/// Returns the author for `actor`: an e-mail address is its own, any other user name gets `<name>@cluster.local` with
/// `:` as `.`, so that `system:serviceaccount:shop:bot` is `system.serviceaccount.shop.bot@cluster.local`.
pub fn author(actor: &Actor) -> Signature {
    let is_address = matches!(actor.name.split_once('@'), Some((local, domain))
        if !local.is_empty() && !domain.is_empty() && !domain.contains('@') && !actor.name.contains(char::is_whitespace));
    if is_address {
        return Signature::new(&actor.name, &actor.name);
    }
    let local: String =
        actor.name.chars().map(|c| if c.is_alphanumeric() || "-_.+".contains(c) { c } else { '.' }).collect();
    Signature::new(&actor.name, &format!("{}@{DOMAIN}", local.trim_matches('.')))
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
}
