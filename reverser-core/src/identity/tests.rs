//! Who becomes which author.

use proptest::prelude::*;

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
    for name in [
        "a<>nn@example.com",
        ".ann@example.com",
        "'ann@example.com",
        "ann@example.com.",
        "ann@exam\u{202e}ple.com",
        "ann@example.com\0",
        "ann @example.com",
        "x:ann@y.z",
        "@",
    ] {
        let author = author(&Actor::user(name));
        assert!(author.email().ends_with("@cluster.local"), "{author}");
    }
    let ann = author(&Actor::user("ann"));
    for name in [":ann", ".ann", "ann.", "ann:", ":ann:", "ann\n", "<ann>", "ann,"] {
        assert_ne!(author(&Actor::user(name)).email(), ann.email(), "{name:?}");
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

fn rules(text: &str) -> Identities {
    let identities = Identities::default();
    identities.set_rules(text.parse().unwrap_or_else(|error| panic!("{error}\n{text}")));
    identities
}

const RULES: &str = r#"
rules:
- {user: alice, name: Alice Liddell, email: alice.liddell@example.com}
- {user: "admin-?", name: Administrator}
- {prefix: "oidc:", suffix: "@corp.example", name: "{rest|title}", email: "{rest|lower}@corp.example"}
- {prefix: "oidc:", email: "{rest}"}
- {serviceAccount: flux-system/*, name: "Flux {name}", email: "{name}@bots.example.com"}
- {serviceAccount: "*/*", name: "{name} of {namespace}"}
- {group: contractors, extra: {example.com/email: "*@partner.example"}, name: "{user} (contractor)", email: "{extra:example.com/email}"}
- {group: ops-*, name: "Ops {user}"}
"#;

#[test]
fn the_first_rule_that_is_about_a_user_names_them() {
    let identities = rules(RULES);
    let author = |name: &str| identities.author(&Actor::user(name)).to_string();
    assert_eq!(author("alice"), "Alice Liddell <alice.liddell@example.com>");
    assert_eq!(author("alicea"), "alicea <alicea@cluster.local>");
    assert_eq!(author("admin-1"), "Administrator <admin-1@cluster.local>");
    assert_eq!(author("oidc:Ann.van-Lee@corp.example"), "Ann Van Lee <ann.van-lee@corp.example>");
    assert_eq!(author("oidc:bob@example.com"), "oidc:bob@example.com <bob@example.com>");
    assert_eq!(author("system:serviceaccount:flux-system:kustomize"), "Flux kustomize <kustomize@bots.example.com>");
    assert_eq!(author("system:serviceaccount:shop:bot"), "bot of shop <system.serviceaccount.shop.bot@cluster.local>");
    let member = |groups: &[&str], email: Option<&str>| Actor {
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        extra: email
            .map(|email| ("example.com/email".to_owned(), vec!["x".into(), email.into()]))
            .into_iter()
            .collect(),
        ..Actor::user("eve")
    };
    let author = |groups, email| identities.author(&member(groups, email)).to_string();
    assert_eq!(author(&["contractors"], Some("eve@partner.example")), "eve (contractor) <eve@partner.example>");
    assert_eq!(author(&["contractors"], Some("eve@corp.example")), "eve <eve@cluster.local>");
    assert_eq!(author(&["contractors", "ops-1"], None), "Ops eve <eve@cluster.local>");
    assert_eq!(author(&["ops"], None), "eve <eve@cluster.local>");
}

#[test]
fn an_exact_name_counts_in_its_turn_among_patterns() {
    let text = |first: &str, second: &str| format!("rules: [{first}, {second}]");
    let (exact, pattern) = ("{user: alice, name: A}", "{user: 'al*', name: P}");
    let name = |text: String| rules(&text).author(&Actor::user("alice")).name().to_owned();
    assert_eq!([name(text(exact, pattern)), name(text(pattern, exact))], ["A", "P"]);
}

#[test]
fn rules_are_replaced_in_all_clones() {
    let identities = rules("rules: [{user: alice, name: A}]");
    let clone = identities.clone();
    identities.set_rules("rules: [{user: alice, name: B}]".parse().unwrap());
    assert_eq!(clone.author(&Actor::user("alice")).name(), "B");
}

#[test]
fn nobody_becomes_somebody_else_by_a_rule() {
    let identities = rules(
        r#"rules:
           - {prefix: "p:", suffix: "@corp.example", name: "{rest}", email: "{rest}@corp.example"}
           - {prefix: "x:", name: "{rest}", email: "{rest}"}
           - {prefix: "low:", email: "{rest|lower}@corp.example"}"#,
    );
    let author = |name: &str| identities.author(&Actor::user(name));
    assert_eq!(author("p:ann@corp.example").to_string(), "ann <ann@corp.example>");
    for rest in [
        "ann@corp.example> <x",
        "a<>nn",
        "ann\n",
        "ann\0",
        "ann@evil.example",
        "",
        " ann",
        "an\u{202e}n",
        "ann@corp.example,bob",
        "ann,bob",
        "ann lee",
        ".ann",
        "ann:",
        "'ann",
    ] {
        for name in [format!("p:{rest}@corp.example"), format!("x:{rest}")] {
            let author = author(&name);
            let is_own = author.email().ends_with("@cluster.local") || author.email() == format!("{rest}@corp.example");
            // An address that is one as it is, and that the rule asks for.
            assert!(is_own || name == "x:ann@evil.example", "{name:?}: {author}");
            assert!(author.email() != "ann@corp.example", "{name:?}: {author}");
            assert!(!author.to_string().contains('\n') && author.name() != "ann", "{name:?}: {author}");
        }
    }
    // U+212A, the sign of the kelvin, is `k` in lower case.
    assert_eq!(author("low:\u{212a}im").email(), "\u{212a}im@corp.example");
    assert!(author("low:KIM").email() == "kim@corp.example");
}

#[test]
fn a_mistake_is_named_with_its_field_and_what_helps() {
    let refused = [
        "",
        "rules: []\n---\nrules: []",
        "[]",
        "rule: []",
        "{}",
        "rules: {}",
        "rules: [alice]",
        "rules: [{user: alice, name: A, name: B}]",
        "rules: [{user: alice, e-mail: a@b}]",
        "rules: [{user: 7, name: A}]",
        "rules: [{user: '', name: A}]",
        "rules: [{name: A}]",
        "rules: [{user: alice}]",
        "rules: [{user: alice, name: ''}]",
        "rules: [{user: alice, name: 'A <a@b>'}]",
        "rules: [{user: alice, email: alice}]",
        "rules: [{user: alice, email: 'a@b@c'}]",
        "rules: [{user: alice, email: 'a b@c'}]",
        "rules: [{user: '*', email: '{user}@'}]",
        "rules: [{user: alice, name: '{nmae}'}]",
        "rules: [{user: alice, name: '{user'}]",
        "rules: [{user: alice, name: 'user}'}]",
        "rules: [{user: alice, name: '{user|upper}'}]",
        "rules: [{user: alice, name: '{rest}'}]",
        "rules: [{user: alice, name: '{namespace}'}]",
        "rules: [{serviceAccount: flux, name: A}]",
        "rules: [{serviceAccount: '*/*', email: '{name}'}]",
        "rules: [{user: alice, name: '{extra:team}'}]",
        "rules: [{extra: team, name: A}]",
        "rules: [{extra: {team: 7}, name: A}]",
        "rules: [{user: alice, name: A}, {user: bob, name: B}, {user: alice, name: C}]",
    ]
    .map(|text| text.parse::<IdentityRules>().unwrap_err().to_string());
    insta::assert_snapshot!(refused.join("\n"), @r#"
    is empty; without any rule it says rules: []
    has 2 documents; it has to be one, with all rules
    has to be a map with rules
    rule: there is no such field; there are rules
    rules: is missing; without any it is an empty list, rules: []
    rules: has to be a list
    rules[0]: has to be a map with user, prefix, suffix, serviceAccount, group, extra, name, email
    line 1, column 32: key "name" stands twice
    rules[0].e-mail: there is no such field; there are user, prefix, suffix, serviceAccount, group, extra, name, email
    rules[0].user: has to be text; put it in quotes
    rules[0].user: is empty
    rules[0]: doesn't say whom it is about; give user, prefix, suffix, serviceAccount, group or extra (user: "*" is everybody)
    rules[0]: gives nothing; give name, email, or both
    rules[0].name: is empty
    rules[0].name: has what no name in a commit can have: < > or a control character
    rules[0].email: is no address, as it has no @: write it like {rest}@example.com
    rules[0].email: is no address: it gives "a@b@c"
    rules[0].email: is no address: it gives "a b@c"
    rules[0].email: is no address: it gives "x@"
    rules[0].name: there is no {nmae}; there are {user}, {rest}, {namespace}, {name} and {extra:KEY}, each also with |lower or |title
    rules[0].name: "{user" has a brace too many or too few: a placeholder is one of {user}, {rest}, {namespace}, {name} and {extra:KEY}, each also with |lower or |title
    rules[0].name: "user}" has a brace too many or too few: a placeholder is one of {user}, {rest}, {namespace}, {name} and {extra:KEY}, each also with |lower or |title
    rules[0].name: there is no filter "upper"; there are lower and title
    rules[0].name: {rest} is what is left beside prefix or suffix, and the rule has neither
    rules[0].name: {namespace} and {name} are a service account's, and the rule has no serviceAccount
    rules[0].serviceAccount: is NAMESPACE/NAME, such as flux-system/*
    rules[0].email: is no address, as it has no @: write it like {rest}@example.com
    rules[0].name: {extra:team} needs the rule to ask for it: extra: {team: "*"}
    rules[0].extra: is a map of keys to patterns, such as {example.com/email: "*"}
    rules[0].extra["team"]: has to be text; put it in quotes
    rules[2]: is about the same as rules[0], which comes first: remove one of them
    "#);
}

#[test]
fn with_pseudonyms_no_name_is_told() {
    let pseudonyms = Pseudonyms::new(b"0123456789abcdef").unwrap();
    let identities = rules("rules: [{user: alice, name: Alice Liddell}]").pseudonyms(pseudonyms.clone());
    let alice = pseudonyms.of("alice");
    assert_eq!(identities.author(&Actor::user("alice")).to_string(), format!("{alice} <{alice}@cluster.local>"));
    let other = Pseudonyms::new(b"fedcba9876543210").unwrap();
    assert!(alice != pseudonyms.of("bob") && alice != other.of("alice"));
    assert!(Pseudonyms::new(b"too short").is_none());
}

proptest! {
    #[test]
    fn whoever_a_rule_names_has_an_address_that_is_theirs_alone(rest in "[a-bA ]{0,2}([@.<>:\\n\u{202e}]|\\PC)?[a-b]{0,2}") {
        let identities = rules(
            r#"rules: [{prefix: "p:", name: "{rest}", email: "{rest}@corp.example"}, {prefix: "q:", email: "{rest}"}]"#,
        );
        for prefix in ["p:", "q:"] {
            let author = identities.author(&Actor::user(format!("{prefix}{rest}")));
            let own = if prefix == "p:" { format!("{rest}@corp.example") } else { rest.clone() };
            prop_assert!(author.email() == own || author.email().ends_with("@cluster.local"), "{author}");
            prop_assert!(is_address(author.email()), "{}", author);
            prop_assert!(!author.name().is_empty() && !author.to_string().contains(char::is_control), "{}", author);
        }
    }
}
