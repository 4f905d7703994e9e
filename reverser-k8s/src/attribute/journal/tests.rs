use proptest::prelude::*;

use super::*;
use crate::attribute::fact::Uid;

fn fact(user: &str, name: u8) -> Fact {
    let actor = Actor { groups: vec![format!("{user}s")], ..Actor::user(user) };
    Fact { actor, deed: Deed::Evict { namespace: "shop".into(), name: name.to_string() } }
}

fn read(folder: &Path, now: u32) -> (Journal, Vec<(u32, Fact)>) {
    let mut facts = vec![];
    let journal = Journal::open(folder, now, |at, fact| facts.push((at, fact.clone()))).unwrap();
    (journal, facts)
}

fn same(facts: &[(u32, Fact)], expected: &[(u32, Fact)]) {
    assert_eq!(facts, expected);
    for (fact, expected) in facts.iter().zip(expected) {
        assert_eq!(fact.1.actor.groups, expected.1.actor.groups);
    }
}

#[test]
fn the_next_run_knows_what_was_written_whatever_users_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = vec![];
    for run in 0..3 {
        let (journal, facts) = read(folder.path(), 1000);
        same(&facts, &all);
        for user in [["alice", "bob"], ["bob", "carol"], ["carol", "alice"]][run] {
            let fact = fact(user, u8::try_from(run).unwrap());
            journal.append(1001, &fact);
            journal.append(1002, &fact);
            all.extend([(1001, fact.clone()), (1002, fact)]);
        }
        assert_eq!(journal.unwritten(), 0);
    }
    let mode = fs::metadata(folder.path().join(FACTS)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn each_deed_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let uid = Uid::of("4f1c0000-0000-4000-8000-00000000000a", &reverser_core::Fingerprinter::new([7; 16]));
    let write = super::super::fact::Write {
        uid,
        replaced: u64::MAX,
        content: u128::MAX,
        managed: Some(u128::MAX - 1),
        api_version: 7,
        may_differ: true,
        is_noop: true,
        is_terminating: true,
        defines: Some("widgets.example.com".into()),
    };
    let deletion = super::super::fact::Deletion {
        uid,
        replaced: 5,
        is_terminating: false,
        namespace: Some("shop".into()),
        owners: vec![uid],
        takes_along: Some(super::super::fact::Root::Namespace("a\"\n".into())),
    };
    let deeds = [
        Deed::Create(write.clone()),
        Deed::Update(super::super::fact::Write { managed: None, ..write.clone() }),
        Deed::Scale(write),
        Deed::Delete(deletion),
    ];
    let facts: Vec<_> = deeds.map(|deed| (1000, Fact { actor: Actor::user("ü\n\0"), deed })).into();
    facts.iter().for_each(|(at, fact)| read(folder.path(), 1000).0.append(*at, fact));
    same(&read(folder.path(), 1000).1, &facts);
}

#[test]
fn files_are_bounded_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = read(folder.path(), 1000);
    journal.append(1000, &fact("alice", 1));
    journal.age(1000 + KEEP_SECONDS);
    assert!(!folder.path().join(OLD_FACTS).exists());
    journal.append(1001 + KEEP_SECONDS, &fact("alice", 2));
    journal.age(1002 + 2 * KEEP_SECONDS);
    journal.append(1003 + 2 * KEEP_SECONDS, &fact("bob", 3));
    let now = 1003 + 2 * KEEP_SECONDS;
    let (journal, facts) = read(folder.path(), now);
    same(&facts, &[(1001 + KEEP_SECONDS, fact("alice", 2)), (now, fact("bob", 3))]);
    assert!(!folder.path().join(OLD_FACTS).exists(), "all of it is too old");
    journal.lines().bytes = FILE_BYTES + 1;
    journal.append(now, &fact("carol", 4));
    let old = fs::read(folder.path().join(OLD_FACTS)).unwrap();
    assert!(old.windows(3).any(|text| text == b"bob"));
    assert!(!fs::read(folder.path().join(FACTS)).unwrap().windows(3).any(|text| text == b"bob"));
}

#[test]
fn a_disk_that_hangs_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = read(folder.path(), 1000);
    let file = journal.file.lock().unwrap();
    journal.append(1000, &fact("alice", 1));
    journal.append(1000, &fact("bob", 2));
    drop(file);
    journal.append(1000, &fact("alice", 3));
    let expected = [("alice", 1), ("bob", 2), ("alice", 3)].map(|(user, n)| (1000, fact(user, n)));
    same(&read(folder.path(), 1000).1, &expected);

    let file = journal.file.lock().unwrap();
    journal.lines().waiting_bytes = WAITING_BYTES + 1;
    journal.append(1000, &fact("alice", 4));
    drop(file);
    assert_eq!(journal.unwritten(), 1);
}

#[test]
fn a_disk_that_fails_costs_facts_and_names_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = read(folder.path(), 1000);
    journal.append(1000, &fact("alice", 1));
    *journal.file.lock().unwrap() = File::open(folder.path().join(FACTS)).unwrap(); // can't be written
    journal.append(1000, &fact("bob", 2));
    assert_eq!(journal.unwritten(), 2, "a user and a fact");
    assert!(journal.is_failing.load(Ordering::Relaxed), "told, and not again until one is written");
    *journal.file.lock().unwrap() = private().append(true).open(folder.path().join(FACTS)).unwrap();
    journal.append(1000, &fact("bob", 3));
    assert!(!journal.is_failing.load(Ordering::Relaxed));
    same(&read(folder.path(), 1000).1, &[(1000, fact("alice", 1)), (1000, fact("bob", 3))]);
}

#[test]
fn a_line_whose_end_alone_is_missing_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    read(folder.path(), 1000).0.append(1000, &fact("alice", 1));
    let path = folder.path().join(FACTS);
    let text = fs::read(&path).unwrap();
    fs::write(&path, text.strip_suffix(b"\n").unwrap()).unwrap();
    let (journal, facts) = read(folder.path(), 1000);
    same(&facts, &[(1000, fact("alice", 1))]);
    journal.append(1001, &fact("bob", 2));
    same(&read(folder.path(), 1001).1, &[(1000, fact("alice", 1)), (1001, fact("bob", 2))]);
}

#[test]
fn a_key_stays_secret_and_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state/admission");
    let key = super::key(&state).unwrap();
    assert_ne!(key, [0; 16]);
    assert_eq!(super::key(&state).unwrap(), key);
    let path = state.join(KEY);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&state)), (0o600, 0o700));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!((super::key(&state).unwrap(), mode(&path)), (key, 0o600));
    fs::write(&path, "half").unwrap();
    assert_ne!(super::key(&state).unwrap(), key);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(super::key(&state).unwrap_err().to_string(), format!("could not read or make {}", path.display()));
}

proptest! {
    #[test]
    fn whatever_a_crash_leaves_is_read_as_what_it_was_or_not_at_all(
        users in prop::collection::vec((0..4_u8, 0..9_u8), 1..12), cut in any::<prop::sample::Index>(),
        flip in prop::option::of((any::<prop::sample::Index>(), 1..=255_u8)),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FACTS);
        let facts: Vec<_> = users.iter().map(|&(user, name)| (1000, fact(&format!("user-{user}"), name))).collect();
        let (journal, _) = read(folder.path(), 1000);
        facts.iter().for_each(|(at, fact)| journal.append(*at, fact));
        let mut text = fs::read(&path).unwrap();
        if let Some((at, bits)) = flip {
            let at = at.index(text.len());
            text[at] ^= bits;
        } else {
            text.truncate(cut.index(text.len() + 1));
        }
        fs::write(&path, &text).unwrap();
        let (journal, left) = read(folder.path(), 1000);
        prop_assert!(left.iter().all(|fact| facts.contains(fact)));
        if flip.is_none() {
            prop_assert!(facts.starts_with(&left));
        }
        // What comes next has a line and a user of its own.
        journal.append(1001, &fact("user-0", 77));
        let (_, again) = read(folder.path(), 1001);
        prop_assert_eq!(&again[..left.len()], &left[..]);
        prop_assert_eq!(&again[left.len()..], &[(1001, fact("user-0", 77))]);
    }
}
