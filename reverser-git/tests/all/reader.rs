//! Reading a repository at a commit or a time, here and at a remote.

use std::{collections::BTreeMap, fs, io::Write, path::Path, process::Stdio};

use jiff::Timestamp;
use reverser_git::{
    At, BranchName, Credentials, Files, GitReader, GitReaderBuilder, ReadError, Remedy, RemoteError,
    testing::{path, reads},
};
use reverser_testbed::GitHttp;

use crate::bed::{Bed, command, commit, git, push};

/// Makes a commit for each row, a minute apart, of which each changes one file; `None`: removes it.
fn import(repository: &Path, rows: &[(&str, Option<&str>)]) {
    let mut stream = String::new();
    for (n, (path, content)) in rows.iter().enumerate() {
        let seconds = START + 60 * n;
        stream.push_str(&format!("commit refs/heads/main\nauthor Ann <ann@example.com> {seconds} +0000\n"));
        stream.push_str(&format!("committer Bot <bot@example.com> {seconds} +0000\ndata <<.\nc{n}\n.\n"));
        match content {
            Some(content) => stream.push_str(&format!("M 644 inline {path}\ndata {}\n{content}\n", content.len())),
            None => stream.push_str(&format!("D {path}\n")),
        }
    }
    fast_import(repository, &stream);
}

fn fast_import(repository: &Path, stream: &str) {
    let mut import = command(repository, &["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
}

fn reader(url: &str) -> GitReaderBuilder {
    GitReader::open(url.parse().unwrap(), Credentials::FromGit)
}

fn named(name: impl Into<String>) -> At {
    At::Named(name.into())
}

fn minute(minutes: f64) -> At {
    let at = Timestamp::from_second(START as i64).unwrap() + jiff::SignedDuration::from_secs_f64(60.0 * minutes);
    At::Time(at)
}

async fn error(reader: GitReaderBuilder) -> ReadError {
    let error = reader.start().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::FixConfiguration, "{error}");
    error
}

/// Checks everything that a user may ask for, wherever the repository is.
async fn each_commit_is_read(url: &str, repository: &Path) {
    import(
        repository,
        &[
            ("a/x.yaml", Some("n: 0\n")),
            ("b", Some("")),
            ("a/x.yaml", Some("n: 2\n")),
            ("a/y/z", Some("3")),
            ("a/x.yaml", None),
        ],
    );
    git(repository, &["tag", "v1", "main~3"]);
    git(repository, &["branch", "team/other", "main~2"]);
    let id = |name: &str| git(repository, &["rev-parse", name]).trim().to_owned();

    let tip = reader(url).start().await.unwrap();
    reads(&tip, &BTreeMap::from([("a/y/z", "3"), ("b", "")])).await;
    let commit = tip.commit();
    assert_eq!((commit.id.as_str(), commit.subject.as_str()), (id("main").as_str(), "c4"));
    assert_eq!(commit.committed_at.as_second(), START as i64 + 240);
    assert_eq!(commit.author.as_ref().unwrap().to_string(), "Ann <ann@example.com>");
    assert_eq!(tip.to_string(), format!("{} of main of {url}", &id("main")[..8]));

    let third = BTreeMap::from([("a/x.yaml", "n: 2\n"), ("b", "")]);
    for at in
        [named("main~2"), named(id("main~2")), named(&id("main~2")[..7]), named("team/other"), minute(2.5), minute(2.0)]
    {
        let old = reader(url).at(at.clone()).start().await.unwrap();
        reads(&old, &third).await;
        assert_eq!(old.commit().subject, "c2", "{at:?}");
    }
    let other = reader(url).branch("team/other".parse().unwrap()).start().await.unwrap();
    reads(&other, &third).await;
    let tagged = reader(url).at(named("v1")).under(path("a")).start().await.unwrap();
    reads(&tagged, &BTreeMap::from([("x.yaml", "n: 0\n")])).await;
    for under in ["a/y", "a/y/z/nothing", "nothing"] {
        let below = reader(url).under(path(under)).start().await.unwrap();
        reads(&below, &if under == "a/y" { BTreeMap::from([("z", "3")]) } else { BTreeMap::new() }).await;
    }
    let latest = reader(url).at(minute(9e6)).start().await.unwrap();
    assert_eq!(latest.commit().id.as_str(), id("main"));

    for name in ["deadbeef", "main~99", "nothing", "--all", "main:b", "0".repeat(40).as_str()] {
        let error = error(reader(url).at(named(name))).await;
        assert!(matches!(&error, ReadError::NoCommit { .. }), "{name}: {error:?}");
        assert!(
            error.to_string().contains(&format!("no commit {name:?}")) && error.to_string().contains("git log"),
            "{error}"
        );
    }
    let early = error(reader(url).at(minute(-0.1))).await;
    assert!(matches!(early, ReadError::TooEarly { .. }), "{early:?}");
    assert!(early.to_string().contains("begins at 2023-11-14T22:13:20Z"), "{early}");
    for at in [At::Tip, minute(1.0)] {
        let missing = error(reader(url).branch("mian".parse().unwrap()).at(at)).await;
        let said = missing.to_string();
        assert!(
            matches!(missing, ReadError::NoBranch { .. }) && said.contains("no branch mian: its own is main"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_bare_repository_on_this_machine_is_read_where_it_is() {
    let bed = Bed::new().await;
    each_commit_is_read(bed.remote().to_str().unwrap(), &bed.remote()).await;
}

#[tokio::test]
async fn a_repository_behind_http_is_read_by_a_copy_whether_it_filters_or_not() {
    let server = GitHttp::start().await.unwrap();
    for (name, filters) in [("plain.git", "false"), ("filters.git", "true")] {
        let repo = server.create(name).await.unwrap();
        repo.git(&["config", "uploadpack.allowFilter", filters]).await.unwrap();
        each_commit_is_read(&server.url(name), repo.path()).await;
    }
}

#[tokio::test]
async fn a_sha256_repository_is_read_here_and_there() {
    let server = GitHttp::start().await.unwrap();
    for name in ["there.git", "here.git"] {
        let repo = server.create(name).await.unwrap();
        fs::remove_dir_all(repo.path()).unwrap();
        let folder = repo.path().to_str().unwrap();
        git(
            repo.path().parent().unwrap(),
            &["init", "--quiet", "--bare", "--object-format=sha256", "-b", "main", folder],
        );
        let url = if name == "here.git" { folder.to_owned() } else { server.url(name) };
        each_commit_is_read(&url, repo.path()).await;
    }
}

#[tokio::test]
async fn a_working_tree_is_read_as_its_commits_are_and_not_its_files() {
    let bed = Bed::new().await;
    bed.others_commit("a/b", "committed");
    let clone = bed.others_clone();
    fs::write(clone.join("a/b"), "changed").unwrap();
    git(&clone, &["worktree", "add", "--quiet", "../linked", "-b", "linked"]);
    for (folder, branch) in [(&clone, "main"), (&bed.folder("linked"), "linked")] {
        let reader = reader(folder.to_str().unwrap()).branch(branch.parse().unwrap()).start().await.unwrap();
        reads(&reader, &BTreeMap::from([("a/b", "committed")])).await;
    }
}

#[tokio::test]
async fn links_and_names_that_are_no_paths_are_left_out() {
    let bed = Bed::new().await;
    fast_import(
        &bed.remote(),
        "commit refs/heads/main\ncommitter A <a@example.com> 1700000000 +0000\ndata 1\nv\n\
         M 644 inline a\ndata 1\n1\nM 755 inline run\ndata 1\n2\nM 120000 inline link\ndata 1\na\nM 644 inline \"b\\\\c\"\ndata 1\n3\n\
         M 160000 0123456789012345678901234567890123456789 sub\n",
    );
    let reader = reader(bed.remote().to_str().unwrap()).start().await.unwrap();
    reads(&reader, &BTreeMap::from([("a", "1"), ("run", "2")])).await;
    assert_eq!(reader.read(&path("link")).await.unwrap(), None);
}

#[tokio::test]
async fn a_reader_stays_at_its_commit_while_a_writer_goes_on_and_leaves_no_trace() {
    let bed = Bed::new().await;
    let writer = bed.start().await;
    push(&writer, "a", "1").await;
    let url = bed.remote();
    let look = || git(&bed.remote(), &["for-each-ref"]) + &git(&bed.remote(), &["count-objects", "-v"]);
    let before = look();
    let reader = reader(url.to_str().unwrap()).start().await.unwrap();
    assert_eq!(look(), before);
    push(&writer, "a", "2").await;
    git(&bed.remote(), &["gc", "--quiet", "--prune=now"]);
    reads(&reader, &BTreeMap::from([("a", "1")])).await;
    // Beside the same state folder: it takes no lock.
    commit(&writer, "b", "1").await;
    bed.finish(writer).await;
}

#[tokio::test]
async fn of_a_server_that_filters_only_what_is_read_comes() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    repo.git(&["config", "uploadpack.allowFilter", "true"]).await.unwrap();
    import(repo.path(), &[("mine/a", Some("1")), ("mine/a", Some("2")), ("theirs/b", Some("3"))]);
    // Whoever wants these gets nothing at all.
    for gone in ["main~2:mine/a", "main:theirs/b"] {
        let id = git(repo.path(), &["rev-parse", gone]);
        fs::remove_file(repo.path().join("objects").join(&id[..2]).join(id[2..].trim())).unwrap();
    }
    let url = server.url("team.git");
    for at in [At::Tip, named("main~1"), minute(1.5)] {
        let reader = reader(&url).at(at).under(path("mine")).start().await.unwrap();
        reads(&reader, &BTreeMap::from([("a", "2")])).await;
    }
    let error = reader(&url).start().await.unwrap_err();
    assert!(matches!(error, ReadError::Remote(_)), "{error:?}");
}

#[tokio::test]
async fn a_commit_that_a_rewritten_branch_left_behind_is_read_by_its_id() {
    let server = GitHttp::start().await.unwrap();
    let repo = server.create("team.git").await.unwrap();
    import(repo.path(), &[("a", Some("1")), ("a", Some("2"))]);
    let lost = git(repo.path(), &["rev-parse", "main"]).trim().to_owned();
    git(repo.path(), &["update-ref", "refs/heads/main", "main~1"]);
    let reader = reader(&server.url("team.git")).at(named(&lost)).start().await.unwrap();
    reads(&reader, &BTreeMap::from([("a", "2")])).await;
}

#[tokio::test]
async fn abbreviations_of_several_commits_are_told_apart() {
    let bed = Bed::new().await;
    let rows: Vec<_> = (0..600).map(|_| ("a", Some("1"))).collect();
    import(&bed.remote(), &rows);
    let ids = git(&bed.remote(), &["log", "--format=%H", "main"]);
    let mut starts: Vec<&str> = ids.lines().map(|id| &id[..4]).collect();
    starts.sort_unstable();
    let Some(twice) = starts.windows(2).find(|pair| pair[0] == pair[1]) else {
        panic!("of 600 ids, two begin alike with a probability of 94 %, and these are always the same")
    };
    let error = error(reader(bed.remote().to_str().unwrap()).at(named(twice[0]))).await.to_string();
    assert!(error.contains("ambiguous") && error.contains("so many digits that it is the only one"), "{error}");
}

#[tokio::test]
async fn dates_that_are_not_in_order_are_told() {
    let bed = Bed::new().await;
    let mut stream = String::new();
    for seconds in [100, 400, 200, 300] {
        stream.push_str(&format!("commit refs/heads/main\ncommitter A <a@example.com> {seconds} +0000\ndata 1\nv\n"));
        stream.push_str(&format!("M 644 inline a\ndata 3\n{seconds}\n"));
    }
    fast_import(&bed.remote(), &stream);
    for (second, content, clock_was_wrong) in
        [(150, "100", false), (250, "200", true), (350, "300", true), (500, "300", false)]
    {
        let at = At::Time(Timestamp::from_second(second).unwrap());
        let reader = reader(bed.remote().to_str().unwrap()).at(at).start().await.unwrap();
        reads(&reader, &BTreeMap::from([("a", content)])).await;
        assert_eq!(reader.commit().clock_was_wrong, clock_was_wrong, "{second}");
    }
}

#[tokio::test]
async fn what_is_no_repository_or_is_empty_says_what_to_do() {
    let bed = Bed::new().await;
    let folder = bed.folder("files");
    fs::create_dir(&folder).unwrap();
    // Inside a repository, which isn't the one that was named.
    let inside = bed.remote().join("objects");
    for folder in [&folder, &inside, &bed.folder("nothing")] {
        let error = error(reader(folder.to_str().unwrap())).await;
        assert!(matches!(error, ReadError::Remote(RemoteError::NotFound { .. })), "{error:?}");
    }
    let empty = error(reader(bed.remote().to_str().unwrap())).await.to_string();
    assert!(empty.contains("no branch main, and no commit"), "{empty}");
    let server = GitHttp::start().await.unwrap();
    server.create("empty.git").await.unwrap();
    let empty = error(reader(&server.url("empty.git"))).await.to_string();
    assert!(empty.contains("no branch main, and no commit"), "{empty}");
    let error = error(reader(&server.url("none.git"))).await;
    assert!(matches!(error, ReadError::Remote(RemoteError::NotFound { .. })), "{error:?}");
}

#[tokio::test]
async fn a_fetch_has_a_limit() {
    let server = GitHttp::start().await.unwrap();
    server.create("team.git").await.unwrap();
    server.delay(std::time::Duration::from_secs(60));
    let reader = reader(&server.url("team.git")).transfer_limit(std::time::Duration::from_millis(300));
    let error = reader.start().await.unwrap_err();
    assert!(matches!(error, ReadError::Remote(RemoteError::TimeOut { .. })), "{error:?}");
}

#[tokio::test]
async fn a_shallow_clone_is_read_as_far_as_it_goes() {
    let bed = Bed::new().await;
    import(&bed.remote(), &[("a", Some("1")), ("a", Some("2"))]);
    let url = format!("file://{}", bed.remote().display());
    git(&bed.folder(""), &["clone", "--quiet", "--bare", "--depth=1", &url, "shallow.git"]);
    let server = GitHttp::start().await.unwrap();
    let shallow = server.create("shallow.git").await.unwrap();
    fs::remove_dir_all(shallow.path()).unwrap();
    fs::rename(bed.folder("shallow.git"), shallow.path()).unwrap();
    let main: BranchName = "main".parse().unwrap();
    for (url, at) in [
        (shallow.path().to_str().unwrap().to_owned(), At::Tip),
        (server.url("shallow.git"), At::Tip),
        (server.url("shallow.git"), minute(5.0)),
        (server.url("shallow.git"), named("main")),
    ] {
        let reader = reader(&url).branch(main.clone()).at(at).start().await.unwrap();
        reads(&reader, &BTreeMap::from([("a", "2")])).await;
    }
}

const START: usize = 1_700_000_000;
