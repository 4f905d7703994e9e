//! Joining packs with `git pack-objects`, and measuring them. Nothing here touches the network, nor a pack that stands.

use std::{io, path::Path, time::Duration};

use tokio::process::Command;

use crate::{
    remote::cli::{Configuration, Failure, git, run},
    sink::CommitId,
    store::{GitInput, Join},
};

/// Writes the pack that takes the place of others beside them; returns its name.
///
/// A repository that left contents at its remote has objects that name absent ones. `--missing=allow-any` packs what is
/// here; `git repack -a` there loses commits of ours that the remote's name (until git 2.48), so it isn't used.
pub(crate) async fn join(git_dir: &Path, join: &Join) -> io::Result<String> {
    let mut command = git(Some(git_dir), Configuration::Ours, Some("pack.packSizeLimit=0"));
    command.args(["pack-objects", "--quiet", "--non-empty", "--delta-base-offset"]);
    // One core at most: others have work that somebody waits for.
    command.args(["--threads=1", "--window=10", "--depth=50"]);
    // Until it has ended.
    let mut input = None;
    match join {
        Join::Merge { packs, .. } => {
            let names: String = packs.iter().map(|name| format!("{name}.pack\n")).collect();
            command.arg("--stdin-packs").stdin(input.insert(GitInput::create(git_dir, &names)?).stdio()?);
        }
        Join::Rewrite { kept, .. } => {
            command.args(["--all", "--missing=allow-any"]);
            command.args(kept.iter().map(|name| format!("--keep-pack={name}.pack")));
        }
    }
    command.arg(git_dir.join("objects/pack/pack"));
    let output = succeed(command, JOIN_LIMIT).await?;
    let is_id = |id: &str| matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    match output.trim_end() {
        id if is_id(id) => Ok(format!("pack-{id}")),
        other => Err(io::Error::other(format!("git pack-objects printed {other:?}"))),
    }
}

/// Returns how many bytes of packs the commits take that are `tip` or an ancestor of it, but not `base` or one of its.
pub(crate) async fn disk_usage(git_dir: &Path, tip: &CommitId, base: Option<&CommitId>) -> io::Result<u64> {
    let mut command = git(Some(git_dir), Configuration::Ours, None);
    command.args(["rev-list", "--objects", "--missing=allow-any", "--disk-usage", tip.as_str()]);
    command.args(base.map(|base| format!("^{base}")));
    let output = succeed(command, MEASURE_LIMIT).await?;
    output.trim_end().parse().map_err(|_| io::Error::other(format!("git rev-list printed {output:?}")))
}

async fn succeed(command: Command, limit: Duration) -> io::Result<String> {
    match run(command, limit).await {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        Err(Failure::Spawn(source)) => Err(source),
        Err(Failure::TimeOut(limit)) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("git took longer than {limit:?}")))
        }
    }
}

/// For rewriting gigabytes, beside everything else.
const JOIN_LIMIT: Duration = Duration::from_secs(4 * 3600);

const MEASURE_LIMIT: Duration = Duration::from_secs(600);
