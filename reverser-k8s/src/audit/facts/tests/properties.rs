//! Histories of one object, told in any order, in part, and twice.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

const USERS: [&str; 3] = ["alice", "bob", "carol"];
const MANAGERS: [&str; 2] = ["kubectl", "flux"];

/// What somebody asks of the object as it stands.
#[derive(Clone, Copy, Debug)]
enum Ask {
    /// A patch that changes a field.
    Change,
    /// A patch that changes nothing.
    Nothing,
    /// A whole object over the version that stands.
    Put,
    /// The same, and it changes nothing.
    PutNothing,
    /// A patch that removes a field.
    Remove,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    ask: Ask,
    user: usize,
    manager: usize,
    /// Milliseconds since the step before.
    pause: u32,
    /// How long the request takes; the write is in its middle, and the next may begin before its end.
    takes: u32,
}

fn step() -> impl Strategy<Value = Step> {
    let ask = prop_oneof![
        3 => Just(Ask::Change),
        3 => Just(Ask::Nothing),
        2 => Just(Ask::Put),
        2 => Just(Ask::PutNothing),
        1 => Just(Ask::Remove),
    ];
    (ask, 0..USERS.len(), 0..MANAGERS.len(), 2..900_u32, 2..40_u32)
        .prop_map(|(ask, user, manager, pause, takes)| Step { ask, user, manager, pause, takes })
}

/// What was done: the requests as they are told, and for each version who wrote it.
#[derive(Debug, Default)]
struct History {
    told: Vec<(u64, Told)>,
    writers: Vec<(u64, usize, Change)>,
    /// Versions in which somebody else may be taken for the writer while the writer isn't known: they asked for the same with
    /// the same manager in the same second, or only for a removal.
    close: HashSet<u64>,
    /// The same, where it is known which marks the version before had: the manager is the one whose mark is new.
    closest: HashSet<u64>,
}

fn history(steps: &[Step]) -> History {
    let mut history = History::default();
    let (mut version, mut now, mut marks) = (1, 1000, vec![("kubectl", 1000, false)]);
    let mut wrote = (USERS.len(), 1000);
    // Whose mark is new in the version that stands.
    let mut new_mark = None;
    for Step { ask, user, manager, pause, takes } in steps.iter().copied() {
        now += pause;
        let (name, replaced) = (MANAGERS[manager], version);
        match ask {
            Ask::Change | Ask::Put => {
                let was_there = marks.iter().any(|(its, millis, _)| *its == name && millis / 1000 == now / 1000);
                new_mark = (!was_there).then_some(name);
                marks.retain(|(its, ..)| *its != name);
                marks.push((name, now, false));
            }
            Ask::Remove => new_mark = None,
            Ask::Nothing | Ask::PutNothing => {}
        }
        let is_write = matches!(ask, Ask::Change | Ask::Put | Ask::Remove);
        if is_write {
            version += 1;
            wrote = (user, now);
        }
        let entries: Vec<_> =
            marks.iter().map(|(manager, millis, _)| json!({"manager": manager, "time": second(*millis)})).collect();
        let mut body = object(version, name, now);
        body["metadata"]["managedFields"] = entries.into();
        let verb = if matches!(ask, Ask::Put | Ask::PutNothing) { "update" } else { "patch" };
        let event =
            Told::new(USERS[user], verb, now - takes / 2, now + takes / 2).by_manager(name).answered(body.clone());
        let event = match ask {
            Ask::Change | Ask::Nothing => event.sent(json!({"data": {"key": "value"}})),
            Ask::Put | Ask::PutNothing => event.with("/objectRef/resourceVersion", replaced.to_string().into()),
            Ask::Remove => event.sent(json!({"data": {"key": null}})),
        };
        let has_same_mark =
            marks.iter().any(|(its, millis, _)| *its == name && millis / 1000 >= (now - takes / 2) / 1000);
        if user != wrote.0 && matches!(ask, Ask::Nothing) && has_same_mark
            || matches!(ask, Ask::Remove) && has_same_mark
        {
            history.close.insert(version);
            // Of the first version nobody has seen what it replaced.
            if version <= 2 || new_mark.is_none_or(|new| new == name) {
                history.closest.insert(version);
            }
        }
        let id = json!(format!("{}", history.told.len()));
        history.told.push((version, event.with("/auditID", id)));
        if is_write {
            let written = Change { replaced: Some(replaced.to_string()), ..change(Operation::Update, body) };
            history.writers.push((version, user, written));
        }
    }
    history
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn nobody_is_named_for_what_somebody_else_wrote(
        steps in vec(step(), 1..14),
        order in vec(any::<Index>(), 0..40),
        sees in any::<bool>(),
    ) {
        let history = history(&steps);
        let mut facts = Facts::default();
        if sees {
            history.writers.iter().for_each(|(.., change)| facts.saw(change, Instant::now()));
        }
        let mut told = HashSet::new();
        for index in order {
            let which = index.index(history.told.len());
            facts.learn(&serde_json::from_value(history.told[which].1.0.clone()).unwrap(), Instant::now());
            told.insert(which);
            for (version, user, change) in &history.writers {
                let of_version = (0..history.told.len()).filter(|which| history.told[*which].0 == *version);
                let is_all_told = of_version.clone().all(|which| told.contains(&which));
                let close = if sees { &history.closest } else { &history.close };
                if close.contains(version) && !is_all_told {
                    continue;
                }
                let named = who(&facts, change);
                let may_be = named == USERS[*user] || named == "nobody" || named.contains(" or ");
                prop_assert!(may_be, "version {version} is {}'s, not {named}'s: {history:#?}", USERS[*user]);
            }
        }
    }

    #[test]
    fn who_wrote_is_known_once_all_is_told_or_it_is_said_that_it_may_be_another(
        steps in vec(step(), 1..14),
        order in vec(any::<Index>(), 14),
    ) {
        let history = history(&steps);
        let mut facts = Facts::default();
        let mut rest: Vec<_> = history.told.iter().map(|(_, told)| told).collect();
        for index in order.iter().take(rest.len()) {
            let Told(event) = rest.remove(index.index(rest.len()));
            facts.learn(&serde_json::from_value(event.clone()).unwrap(), Instant::now());
        }
        for (version, user, change) in &history.writers {
            facts.saw(change, Instant::now());
            let named = who(&facts, change);
            let of_version = history.told.iter().filter(|(its, _)| its == version).count();
            let is_removal = matches!(facts.attribute(change), Attribution::Unknown);
            prop_assert!(named.contains(USERS[*user]) || is_removal, "version {version}: {named}");
            if of_version == 1 && !history.close.contains(version) && !is_removal {
                prop_assert_eq!(named, USERS[*user]);
            }
        }
    }
}
