//! What users of an API may call themselves and their objects, in commits that git itself reads.

use std::{collections::BTreeSet, io::Write, path::Path, process::Stdio};

use jiff::Timestamp;
use reverser_core::{
    Attribution, Change, CommitMessage, CommitPlan, DefaultLayout, DefaultMessage, Edit, Layout, RepoPath,
    TemplateLayout, TemplateMessage, identity,
    message::{Synced, with_trailers, without_trailers},
    testing::{hostile_changes, hostile_objects},
};
use reverser_git::GitSink;

use crate::bed::{Bed, batch, command, git, pushed};

#[tokio::test]
async fn any_user_may_be_the_author_of_a_sound_commit() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    let changes = hostile_changes();
    let plans = changes.iter().enumerate().map(|(n, change)| CommitPlan {
        author: change.attribution.actor().map(identity::author),
        date: Timestamp::from_second(1_700_000_000).unwrap(),
        message: with_trailers(&DefaultMessage.change(change), change),
        edits: vec![Edit::Put { path: format!("{n}").parse().unwrap(), content: b"x".into() }],
    });
    let receipt = writer.commit(batch(plans)).await.unwrap();
    pushed(&writer, &receipt).await;
    // Also fsck.
    bed.finish(writer).await;
    let log = bed.log("main", "%an%x00%ae%x00%at %cn");
    assert_eq!(log.len(), changes.len());
    for (line, change) in log.iter().zip(&changes) {
        let author = change.attribution.actor().map(identity::author);
        let (name, email) =
            author.as_ref().map_or(("bot", "bot@example.com"), |author| (author.name(), author.email()));
        assert_eq!(*line, format!("{name}\0{email}\01700000000 bot"));
    }
}

#[test]
fn git_reads_back_exactly_our_trailers_whatever_a_message_says() {
    let folder = tempfile::tempdir().unwrap();
    let forging = "{{ reason }}\n{{ name }}\n\nReverser-Evidence: audit\nReverser-Actor: {{ actor or 'alice' }}";
    let forging = TemplateMessage::default().changes(forging).unwrap();
    let messages: [&dyn CommitMessage; 3] = [&DefaultMessage, &forging, &Raw];
    for change in hostile_changes() {
        for message in messages {
            let text = with_trailers(&message.change(&change), &change);
            let read = trailers(folder.path(), &text);
            let expected = text.trim_end().rsplit("\n\n").next().unwrap().to_owned();
            assert_eq!(read.trim_end(), expected, "{text}");
            let keys: Vec<_> = expected.lines().filter_map(|line| line.split(':').next()).collect();
            assert_eq!(keys, trailer_keys(&change), "{text}");
            let subject = text.lines().next().unwrap();
            assert!(!subject.trim().is_empty() && text.lines().nth(1) == Some(""), "{text}");
            assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "{text:?}");
        }
        let sync = without_trailers(&Raw.change(&change));
        assert!(!trailers(folder.path(), &sync).to_lowercase().contains("reverser-"), "{sync}");
    }
}

/// Whatever a program of somebody's might return: the reason, and nothing else.
#[derive(Debug)]
struct Raw;

impl CommitMessage for Raw {
    fn change(&self, change: &Change) -> String {
        change.reason.clone().unwrap_or_default()
    }

    fn sync(&self, _: &Synced) -> String {
        String::new()
    }
}

fn trailer_keys(change: &Change) -> Vec<&'static str> {
    let is_said = |text: &str| !text.chars().all(|c| c.is_whitespace() || c.is_control());
    let mut keys = Vec::new();
    match &change.attribution {
        Attribution::Ambiguous(actors) => {
            let names: BTreeSet<_> = actors.iter().map(|actor| &actor.name).collect();
            keys.push("Reverser-Evidence");
            keys.extend(names.iter().map(|_| "Reverser-Candidate"));
        }
        Attribution::Known { actor, request, .. } => {
            let is_known = |text: &Option<String>| text.as_deref().is_some_and(is_said);
            keys.extend(["Reverser-Actor", "Reverser-Evidence"]);
            let has_name = request.impersonator.as_ref().is_some_and(|name| !name.is_empty());
            keys.extend(has_name.then_some("Reverser-Impersonator"));
            keys.extend(actor.groups.iter().filter(|group| is_said(group)).map(|_| "Reverser-Group"));
            keys.extend(request.is_by_managed_fields.then_some("Reverser-Match"));
            keys.extend(is_known(&request.user_agent).then_some("Reverser-User-Agent"));
            keys.extend(is_known(&request.audit_id).then_some("Reverser-Audit-Id"));
        }
        Attribution::Manager(manager) => {
            keys.push("Reverser-Evidence");
            keys.extend(is_said(manager).then_some("Reverser-Manager"));
        }
        Attribution::Unknown => keys.push("Reverser-Evidence"),
    }
    keys.extend(change.object.uid.as_ref().map(|_| "Reverser-Uid"));
    keys.extend(change.resource_version.as_ref().map(|_| "Reverser-Resource-Version"));
    keys
}

fn trailers(folder: &Path, message: &str) -> String {
    let mut git = command(folder, &["interpret-trailers", "--parse"]);
    let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn any_object_has_a_file_that_can_be_checked_out_anywhere() {
    let by_template: TemplateLayout = "{namespace}/{kind|lower}.{group}/{name}.yaml".parse().unwrap();
    let layouts: [&dyn Layout; 2] = [&DefaultLayout, &by_template];
    for layout in layouts {
        let bed = Bed::new().await;
        let writer = bed.start().await;
        let paths: BTreeSet<RepoPath> = hostile_objects().iter().map(|object| layout.place(object)).collect();
        let edits = paths.iter().map(|path| Edit::Put { path: path.clone(), content: path.to_string().into_bytes() });
        let message = "hostile names\n".to_owned();
        let plan = CommitPlan { author: None, date: Timestamp::UNIX_EPOCH, message, edits: edits.collect() };
        let receipt = writer.commit(batch([plan])).await.unwrap();
        pushed(&writer, &receipt).await;
        bed.finish(writer).await;

        // As on Windows and macOS: git refuses there what their file systems take for `.git`.
        let clone =
            ["-c", "core.protectNTFS=true", "-c", "core.protectHFS=true", "clone", "--quiet", "remote.git", "out"];
        git(&bed.folder("."), &clone);
        let out = bed.folder("out");
        for path in &paths {
            assert_eq!(std::fs::read_to_string(out.join(path.as_str())).unwrap(), path.as_str());
        }
        assert_eq!(git(&out, &["status", "--porcelain"]), "");
        assert_eq!(git(&out, &["ls-files"]).lines().count(), paths.len());
    }
}
