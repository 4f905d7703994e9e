//! Scripts: what is asked, what comes of it, what is reported.

use kube::core::Status;
use serde_json::json;

use super::*;
use crate::fixture::configmaps;

/// Walks a machine through a script. Its clock stands still but for [`Script::after`] and sleeps.
struct Script {
    machine: Machine,
    now: Instant,
    random: u64,
}

impl Script {
    fn new() -> Self {
        let subject = Subject { resource: configmaps(), namespace: None };
        Self { machine: Machine::new(subject), now: Instant::now(), random: 0 }
    }

    fn resumed_at(version: &str) -> Self {
        let mut script = Self::new();
        script.machine.resume(version.into());
        script
    }

    /// One that says what each change replaces.
    fn keeping_versions(mut self) -> Self {
        self.machine.keep_versions();
        self
    }

    /// One that reads a stream behind `version`, having said so.
    fn streaming(version: &str) -> Self {
        let mut script = Self::resumed_at(version);
        script
            .asks("current")
            .told(current(version), &["resumed"])
            .asks(&format!("open {version}"))
            .told(opened(), &[]);
        script.asks("read");
        script
    }

    /// Checks what is asked now.
    #[track_caller]
    fn asks(&mut self, expected: &str) -> &mut Self {
        let asked = match self.machine.request() {
            Request::Current => "current".into(),
            Request::Open { from: None, .. } => "open".into(),
            Request::Open { from: Some(from), .. } => format!("open {from}"),
            Request::Page(None) => "page".into(),
            Request::Page(Some(page)) => format!("page {page}"),
            Request::Read { .. } => "read".into(),
            Request::Recover { from, read } => {
                read.iter().fold(format!("recover {from}"), |asked, read| format!("{asked}, read {read}"))
            }
            Request::Sleep(until) => format!("sleep {:?}", until - self.now),
            Request::Versions { at } => format!("versions {at}"),
        };
        assert_eq!(asked, expected);
        self
    }

    /// Answers that, and checks what is reported.
    #[track_caller]
    fn told(&mut self, input: Input, expected: &[&str]) -> &mut Self {
        let events = self.machine.step(input, self.now, self.random);
        assert_eq!(events.iter().map(shown).collect::<Vec<_>>(), expected);
        self
    }

    /// Lets time pass.
    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// Checks that it sleeps for about so long, and lets it.
    #[track_caller]
    fn sleeps(&mut self, shortest: Duration, longest: Duration) -> &mut Self {
        let Request::Sleep(until) = self.machine.request() else { panic!("asks {:?}", self.machine.request()) };
        let wait = until - self.now;
        assert!((shortest..=longest).contains(&wait), "{wait:?}");
        self.now = until;
        self.told(Input::Waited, &[])
    }

    /// Checks that it sleeps, and lets it.
    #[track_caller]
    fn pauses(&mut self) -> &mut Self {
        self.sleeps(Duration::from_millis(250), Duration::from_secs(30))
    }
}

fn shown(event: &Event) -> String {
    match event {
        Event::Change { change, cursor } => {
            let operation = format!("{:?}", change.operation).to_lowercase();
            let replaces = change.replaced.as_ref().map(|version| format!(" replaces {version}")).unwrap_or_default();
            format!("{operation} {} cursor {}{replaces}", change.object.name, cursor.as_deref().unwrap_or("-"))
        }
        Event::Cursor(cursor) => format!("cursor {cursor}"),
        Event::Failed(error) => format!("failed {}", error.to_string().split([':', '(']).next().unwrap_or_default()),
        Event::Gap(Gap::Lost { from, until, .. }) => {
            format!("lost from {from} until {}", until.as_deref().unwrap_or("now"))
        }
        Event::Gap(Gap::Recovered { changes, from, until }) => format!("recovered {changes} from {from} until {until}"),
        Event::Listed(listed) => {
            let names: Vec<_> =
                listed.objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
            format!("listed {} cursor {}", names.join(" "), listed.cursor)
        }
        Event::Resumed => "resumed".into(),
    }
}

fn object(name: &str, version: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": version}})
}

fn added(name: &str, version: &str) -> Input {
    Input::Object(Operation::Create, object(name, version), None)
}

fn modified(name: &str, version: &str) -> Input {
    Input::Object(Operation::Update, object(name, version), None)
}

fn deleted(name: &str, version: &str) -> Input {
    Input::Object(Operation::Delete, object(name, version), None)
}

fn bookmark(version: &str) -> Input {
    Input::Bookmark { version: version.into(), ends_list: false }
}

fn end_of_list(version: &str) -> Input {
    Input::Bookmark { version: version.into(), ends_list: true }
}

fn current(version: &str) -> Input {
    Input::Current(Ok(version.into()))
}

fn opened() -> Input {
    Input::Opened(Ok(()))
}

fn page(names: &[&str], next: Option<&str>) -> Input {
    let objects = names.iter().map(|name| object(name, "1")).collect();
    Input::Page(Ok(Page { objects, version: "9".into(), next: next.map(str::to_owned) }))
}

/// What is found out about objects and their versions.
fn versions(of: &[(&str, u64)]) -> Input {
    let mut versions = Versions::default();
    of.iter().for_each(|(uid, version)| versions.note(uid, *version));
    Input::Versions(Ok(versions))
}

fn broken() -> End {
    End::Failed(answer(0))
}

/// An answer of the server with this code.
fn answer(code: u16) -> ApiError {
    let status = Status::failure("no", "No").with_code(code);
    ApiError::of(kube::Error::Api(status.boxed()), "watch", &configmaps(), None)
}

fn asking_for(seconds: u32) -> ApiError {
    let status =
        json!({"kind": "Status", "code": 429, "message": "slow down", "details": {"retryAfterSeconds": seconds}});
    let status: Status = serde_json::from_value(status).unwrap();
    ApiError::of(kube::Error::Api(status.boxed()), "watch", &configmaps(), None)
}

const COULD_NOT: &str = "failed could not watch v1/configmaps";
const RESTORED: &str = "failed the API server is at resourceVersion 40 of configmaps, and was at 50 before";

#[test]
fn a_stream_begins_with_everything_there_is_and_goes_on_behind_its_bookmark() {
    let mut script = Script::new();
    script.asks("open").told(opened(), &[]).asks("read");
    script.told(added("b", "1"), &[]).told(added("a", "2"), &[]).told(added("gone", "3"), &[]);
    // The server's memory ran behind: these came before the moment from which the list is complete.
    script.told(bookmark("4"), &[]).told(modified("b", "5"), &[]).told(deleted("gone", "6"), &[]);
    script.told(end_of_list("7"), &["listed a b cursor 7"]).asks("read");
    script.told(modified("a", "8"), &["update a cursor 8"]);
}

#[test]
fn a_stream_that_breaks_before_its_bookmark_has_listed_nothing_and_pages_are_read_instead() {
    for (end, reported) in
        [(broken(), &[COULD_NOT][..]), (End::Closed, &[]), (End::Silent, &[]), (End::Failed(ApiError::Expired), &[])]
    {
        let mut script = Script::new();
        script.told(opened(), &[]).told(added("a", "1"), &[]).told(Input::Ended(end), reported);
        script.pauses().asks("page").told(page(&["b"], None), &["listed b cursor 9"]).asks("open 9");
    }
}

#[test]
fn a_server_that_streams_no_lists_is_asked_for_pages_and_never_again_for_a_stream() {
    for code in [400, 403, 405, 422] {
        let mut script = Script::new();
        script.asks("open").told(Input::Opened(Err(answer(code))), &[]);
        script.asks("page").told(page(&["a"], None), &["listed a cursor 9"]).asks("open 9");
        // A later list, too.
        script.told(opened(), &[]).told(Input::Ended(End::Failed(ApiError::Expired)), &[]).pauses();
        script.asks("recover 9").told(Input::Recovered(Err(ApiError::Expired)), &[]).asks("page");
    }
}

#[test]
fn a_server_that_is_too_busy_to_stream_is_asked_for_pages_this_time() {
    for code in [429, 500, 503, 504] {
        let mut script = Script::new();
        script.asks("open").told(Input::Opened(Err(answer(code))), &[]);
        script.asks("page").told(Input::Page(Err(answer(code))), &[COULD_NOT]).pauses();
        script.asks("open").told(opened(), &[]).told(end_of_list("7"), &["listed  cursor 7"]);
    }
}

#[test]
fn a_server_that_never_ends_its_list_is_asked_for_pages_after_a_while() {
    let mut quiet = Script::new();
    quiet.told(opened(), &[]).after(Duration::from_secs(10)).told(added("a", "1"), &[]);
    let until = quiet.now + INITIAL_QUIET;
    assert_eq!(quiet.machine.request(), Request::Read { until: Some(until) }, "each object begins the time anew");
    quiet.told(Input::Late, &[]).asks("page");

    let mut busy = Script::new();
    let limit = busy.now + INITIAL_LIMIT;
    busy.told(opened(), &[]);
    for _ in 0..12 {
        busy.after(Duration::from_secs(9)).told(modified("a", "1"), &[]);
    }
    assert_eq!(busy.machine.request(), Request::Read { until: Some(limit) }, "but not for ever");
}

#[test]
fn pages_are_one_list_and_one_that_fails_begins_it_anew() {
    let mut script = Script::new();
    script.told(Input::Opened(Err(answer(400))), &[]);
    script.asks("page").told(page(&["a"], Some("p2")), &[]).asks("page p2");
    script.told(Input::Page(Err(answer(500))), &[COULD_NOT]).pauses();
    script.asks("page").told(page(&["a", "b"], Some("p2")), &[]).asks("page p2");
    // The token, and with it the list's version, grew too old.
    script.told(Input::Page(Err(ApiError::Expired)), &[]).pauses();
    script.asks("page").told(page(&["a", "b"], Some("p2")), &[]);
    script.told(page(&["c"], None), &["listed a b c cursor 9"]).asks("open 9");
}

#[test]
fn a_cursor_is_resumed_behind_the_last_event_without_a_list() {
    let mut script = Script::resumed_at("5");
    script.asks("current").told(current("7"), &["resumed"]);
    script.asks("open 5").told(opened(), &[]).asks("read");
    script.told(added("a", "6"), &["create a cursor 6"]).told(modified("a", "7"), &["update a cursor 7"]);
    script.told(bookmark("9"), &["cursor 9"]).told(deleted("a", "10"), &["delete a cursor 10"]);
    script.told(Input::Ended(broken()), &[COULD_NOT]).pauses();
    script.asks("current").told(current("10"), &[]).asks("open 10").told(opened(), &["resumed"]);
}

#[test]
fn a_server_behind_the_cursor_was_restored_and_everything_is_listed() {
    let mut script = Script::resumed_at("50");
    script.asks("current").told(current("40"), &[RESTORED]).asks("open").told(opened(), &[]);
    script.told(added("a", "7"), &[]).told(end_of_list("40"), &["listed a cursor 40"]);
    script.told(modified("a", "41"), &["update a cursor 41"]);

    let mut script = Script::streaming("50");
    script.told(Input::Ended(broken()), &[COULD_NOT]).pauses();
    script.asks("current").told(Input::Current(Err(answer(503))), &[COULD_NOT]).pauses();
    script.asks("current").told(current("40"), &[RESTORED]).asks("open");
}

#[test]
fn what_is_no_version_says_nothing_of_a_restored_server() {
    for version in ["", "0", "v7"] {
        Script::resumed_at("50").told(current(version), &["resumed"]).asks("open 50");
    }
    Script::resumed_at("v50").told(current("40"), &["resumed"]).asks("open v50");
}

#[test]
fn a_bookmark_behind_the_last_event_moves_no_cursor_and_the_server_is_asked() {
    let mut script = Script::streaming("50");
    script.told(bookmark("40"), &[]).asks("current").told(current("60"), &[]).asks("open 50");
}

#[test]
fn a_stream_that_ends_as_agreed_is_opened_again_and_one_that_ends_otherwise_after_a_look_at_the_server() {
    let of_agreed = |random: u64| {
        let mut script = Script::new();
        script.random = random;
        script.machine.resume("5".into());
        script.told(current("5"), &["resumed"]);
        let Request::Open { lifetime, .. } = script.machine.request() else { panic!("it connects") };
        script.told(opened(), &[]);
        (script, lifetime)
    };
    for (random, lifetime) in [(0, 240), (u64::MAX, 300)] {
        assert_eq!(of_agreed(random).1.as_secs(), lifetime, "spread, so that they don't all end at once");
    }
    for (lived, asked) in [
        (Duration::from_secs(240), "open 5"),
        (Duration::from_millis(239_500), "open 5"),
        (Duration::from_secs(60), "current"),
        // This process was held up.
        (Duration::from_secs(300), "current"),
    ] {
        let (mut script, _) = of_agreed(0);
        script.after(lived).told(Input::Ended(End::Closed), &[]).asks(asked);
    }
    let (mut script, _) = of_agreed(0);
    script.told(Input::Ended(End::Closed), &[]).pauses().asks("current");
}

#[test]
fn a_silent_stream_is_opened_again_after_a_look_at_the_server() {
    Script::streaming("5").told(Input::Ended(End::Silent), &[]).asks("current").told(current("5"), &[]).asks("open 5");
}

#[test]
fn a_forgotten_version_is_recovered_from_in_both_forms_of_410() {
    let change = |name: &str, version: &str| {
        let body = object(name, version);
        Change::new(ObjectRef::of(&configmaps(), &body).unwrap(), Operation::Update, Some(body))
    };
    let recovery = |is_all| {
        let changes = vec![change("a", "6"), change("b", "7")];
        Input::Recovered(Ok(Recovery::Changes { changes, until: "8".into(), is_all }))
    };
    let recovered = ["update a cursor 6", "update b cursor 7", "recovered 2 from 5 until 8", "cursor 8"];
    let forgotten = |script: &mut Script| script.pauses().asks("recover 5").now;

    let mut as_event = Script::streaming("5");
    as_event.told(Input::Ended(End::Failed(ApiError::Expired)), &[]);
    forgotten(&mut as_event);
    as_event.told(recovery(true), &recovered);
    as_event.asks("open 8").told(opened(), &[]).asks("read");

    let mut as_status = Script::resumed_at("5");
    as_status.told(current("9"), &["resumed"]).told(Input::Opened(Err(ApiError::Expired)), &[]);
    forgotten(&mut as_status);
    let state = |version: &str| Recovery::State { objects: vec![object("a", "6")], version: version.into() };
    as_status.told(Input::Recovered(Ok(state("7"))), &["lost from 5 until 7", "listed a cursor 7"]);
    let nothing = Recovery::Changes { changes: vec![], until: "8".into(), is_all: false };
    as_status.asks("recover 7").told(Input::Recovered(Ok(nothing)), &["recovered 0 from 7 until 8", "cursor 8"]);
    let none = Recovery::Unavailable { why: "there is no past" };
    as_status.asks("recover 8").told(Input::Recovered(Ok(none)), &["lost from 8 until now"]);
    as_status.asks("open").told(opened(), &[]).told(end_of_list("9"), &["listed  cursor 9"]);

    let mut failing = Script::streaming("5");
    failing.told(Input::Ended(End::Failed(ApiError::Expired)), &[]);
    forgotten(&mut failing);
    failing.told(Input::Recovered(Err(answer(500))), &[COULD_NOT]);
    forgotten(&mut failing);
    failing.told(recovery(true), &recovered);
    failing.asks("open 8").told(opened(), &[]);
}

#[test]
fn changes_say_which_versions_they_replace_from_the_list_on() {
    for list in [
        |script: &mut Script| {
            script.asks("open").told(opened(), &[]).told(added("a", "1"), &[]).told(added("gone", "3"), &[]);
            script.told(modified("a", "4"), &[]).told(deleted("gone", "5"), &[]);
            script.told(end_of_list("7"), &["listed a cursor 7"]).asks("read");
        },
        |script: &mut Script| {
            script.told(Input::Opened(Err(answer(400))), &[]);
            let objects = vec![object("a", "4")];
            let page = Page { objects, version: "7".into(), next: None };
            script.told(Input::Page(Ok(page)), &["listed a cursor 7"]).asks("open 7").told(opened(), &[]);
        },
    ] {
        let mut script = Script::new().keeping_versions();
        list(&mut script);
        script.told(modified("a", "8"), &["update a cursor 8 replaces 4"]);
        script.told(added("b", "10"), &["create b cursor 10"]);
        script.told(modified("b", "11"), &["update b cursor 11 replaces 10"]);
        script.told(deleted("b", "12"), &["delete b cursor 12 replaces 11"]);
        script.told(modified("a", "15"), &["update a cursor 15 replaces 8"]);
    }
}

#[test]
fn behind_a_cursor_the_versions_are_found_out_first_and_streams_that_are_opened_again_keep_them() {
    let mut script = Script::resumed_at("20").keeping_versions();
    script.asks("current").told(current("30"), &["resumed"]);
    script.asks("versions 20").told(versions(&[("a", 11), ("b", 20)]), &[]);
    script.asks("open 20").told(opened(), &[]).asks("read");
    script.told(modified("b", "21"), &["update b cursor 21 replaces 20"]);
    script.told(Input::Ended(broken()), &[COULD_NOT]).pauses();
    script.asks("current").told(current("30"), &[]).asks("open 21").told(opened(), &["resumed"]);
    script.told(Input::Ended(End::Silent), &[]);
    script.asks("current").told(current("30"), &[]).asks("open 21").told(opened(), &[]);
    script.machine.pause();
    script.asks("current").told(current("30"), &[]).asks("open 21").told(opened(), &[]);
    script.told(modified("a", "22"), &["update a cursor 22 replaces 11"]);
    script.told(deleted("b", "23"), &["delete b cursor 23 replaces 21"]);
}

#[test]
fn without_the_versions_a_watch_goes_on_and_asks_again_when_it_looks_at_the_server() {
    let mut script = Script::resumed_at("20").keeping_versions();
    script.told(current("30"), &["resumed"]);
    script.asks("versions 20").told(Input::Versions(Err(answer(500))), &[]);
    script.asks("open 20").told(opened(), &[]);
    script
        .told(modified("a", "21"), &["update a cursor 21"])
        .told(modified("a", "22"), &["update a cursor 22 replaces 21"]);
    script.told(Input::Ended(End::Silent), &[]).told(current("30"), &[]);
    script.asks("versions 22").told(versions(&[("a", 22), ("b", 2)]), &[]);
    script.asks("open 22").told(opened(), &[]).told(modified("b", "23"), &["update b cursor 23 replaces 2"]);
    // What was forgotten: this was all that can be found out.
    let mut script = Script::resumed_at("20").keeping_versions();
    script.told(current("30"), &["resumed"]).told(versions(&[]), &[]).asks("open 20").told(opened(), &[]);
    script.told(Input::Ended(End::Silent), &[]).told(current("30"), &[]).asks("open 20");
}

#[test]
fn what_was_read_before_is_recovered_up_to_there_first_until_a_stream_is_past_it() {
    let recovered =
        |until: &str, is_all| Input::Recovered(Ok(Recovery::Changes { changes: vec![], until: until.into(), is_all }));
    let forget = |script: &mut Script| {
        script.told(Input::Ended(End::Failed(ApiError::Expired)), &[]).pauses();
    };
    let mut script = Script::streaming("5");
    [7, 12].into_iter().for_each(|version| script.machine.was_read(version));
    forget(&mut script);
    script.asks("recover 5, read 7, read 12").told(recovered("7", false), &["recovered 0 from 5 until 7", "cursor 7"]);
    script.asks("recover 7, read 7, read 12").told(recovered("9", true), &["recovered 0 from 7 until 9", "cursor 9"]);
    script.asks("open 9").told(opened(), &[]);
    forget(&mut script);
    script.asks("recover 9, read 12");
}

#[test]
fn what_is_recovered_says_what_it_replaces_and_what_comes_then_goes_on_from_there() {
    let recovered = |is_all| {
        let update = |name: &str, version: &str, replaced: &str| {
            let object = object(name, version);
            let reference = ObjectRef::of(&configmaps(), &object).unwrap();
            let replaced = Some(replaced.to_owned());
            Change { replaced, ..Change::new(reference, Operation::Update, Some(object)) }
        };
        let changes = vec![update("a", "21", "11"), update("a", "25", "21")];
        Input::Recovered(Ok(Recovery::Changes { changes, until: "26".into(), is_all }))
    };
    let told = ["update a cursor 21 replaces 11", "update a cursor 25 replaces 21"];
    let gap = ["recovered 2 from 20 until 26", "cursor 26"];
    let mut script = Script::resumed_at("20").keeping_versions();
    script.told(current("30"), &["resumed"]).told(versions(&[("a", 11), ("b", 12)]), &[]);
    script.told(Input::Opened(Err(ApiError::Expired)), &[]).pauses();
    script.asks("recover 20").told(recovered(true), &[told, gap].concat());
    script.asks("open 26").told(opened(), &[]);
    script.told(modified("a", "27"), &["update a cursor 27 replaces 25"]);
    script.told(modified("b", "28"), &["update b cursor 28 replaces 12"]);
    // Where they couldn't be found out before.
    let mut script = Script::resumed_at("20").keeping_versions();
    script.told(current("30"), &["resumed"]).told(Input::Versions(Err(answer(500))), &[]);
    script.told(Input::Opened(Err(ApiError::Expired)), &[]).pauses();
    script.told(recovered(true), &[told, gap].concat()).asks("versions 26");
}

#[test]
fn failures_wait_longer_each_time_and_a_success_begins_anew() {
    let mut script = Script::streaming("5");
    script.random = 29_749;
    let mut longest = Duration::ZERO;
    script.told(Input::Ended(broken()), &[COULD_NOT]);
    for _ in 0..20 {
        let Request::Sleep(until) = script.machine.request() else { panic!("it sleeps") };
        longest = longest.max(until - script.now);
        script.pauses().asks("current").told(Input::Current(Err(answer(500))), &[COULD_NOT]);
    }
    assert!(longest > Duration::from_secs(1), "{longest:?}");
    script.pauses().told(current("5"), &[]).told(opened(), &["resumed"]).told(added("a", "6"), &["create a cursor 6"]);
    script.told(Input::Ended(broken()), &[COULD_NOT]);
    script.sleeps(Duration::from_millis(250), Duration::from_millis(750));
}

#[test]
fn a_server_that_asks_to_be_left_alone_is_and_not_by_all_for_the_same_time() {
    for (asked, random, shortest, longest) in
        [(7, 0, 7_000, 7_000), (7, u64::MAX, 9_000, 9_400), (86_400, 0, 120_000, 120_000)]
    {
        let mut script = Script::streaming("5");
        script.random = random;
        script.told(Input::Ended(End::Failed(asking_for(asked))), &[COULD_NOT]);
        script.sleeps(Duration::from_millis(shortest), Duration::from_millis(longest)).asks("current");
    }
}

#[test]
fn refusals_that_a_person_lifts_are_tried_slowly_and_credentials_within_seconds() {
    for (code, shortest, longest) in [(403, 15, 20), (404, 15, 20), (401, 0, 5)] {
        let mut script = Script::streaming("5");
        for random in [0, u64::MAX, u64::MAX / 2, u64::MAX / 3, u64::MAX / 7] {
            script.random = random;
            let events = script.machine.step(Input::Ended(End::Failed(answer(code))), script.now, random);
            assert!(matches!(events[..], [Event::Failed(_)]), "{events:?}");
            script.sleeps(Duration::from_secs(shortest), Duration::from_secs(longest));
            script.asks("current").told(current("5"), &[]).told(opened(), &["resumed"]);
        }
    }
}

#[test]
fn a_pause_closes_the_stream_and_goes_on_behind_the_last_event() {
    let mut script = Script::streaming("5");
    script.told(added("a", "6"), &["create a cursor 6"]);
    script.machine.pause();
    script.asks("current").told(current("99"), &[]).asks("open 6").told(opened(), &[]).asks("read");
    // What isn't being read stays as it is.
    let mut listing = Script::new();
    listing.told(opened(), &[]).told(added("a", "1"), &[]);
    listing.machine.pause();
    listing.asks("read").told(end_of_list("2"), &["listed a cursor 2"]);
}

#[test]
fn an_answer_to_what_was_not_asked_changes_nothing() {
    let strays = || [opened(), current("1"), page(&["x"], None), added("x", "1"), Input::Waited, Input::Late];
    let mut waiting = Script::streaming("5");
    waiting.told(Input::Ended(broken()), &[COULD_NOT]);
    let mut recovering = Script::streaming("5");
    recovering.told(Input::Ended(End::Failed(ApiError::Expired)), &[]).pauses();
    for mut script in [Script::new(), Script::resumed_at("5"), waiting, recovering] {
        let before = format!("{:?}", script.machine.request());
        let is_answer = |input: &Input| {
            matches!(
                (&script.machine.state, input),
                (State::Begin { .. }, Input::Opened(_))
                    | (State::Check { .. }, Input::Current(_))
                    | (State::Wait { .. }, Input::Waited)
            )
        };
        let strays: Vec<_> = strays().into_iter().filter(|input| !is_answer(input)).collect();
        for stray in strays {
            script.told(stray, &[]);
            assert_eq!(format!("{:?}", script.machine.request()), before);
        }
    }
}
