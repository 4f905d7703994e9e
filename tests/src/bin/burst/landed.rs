//! When commits were on the remote, and whether each change is one.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use reverser_testbed::BareRepo;
use reverser_tests::{LIMIT, benchmark::percentile};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

/// A change that the API took.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The resourceVersion that the answer has: no other change of the cluster has it.
    pub(crate) version: String,
    pub(crate) user: &'static str,
    pub(crate) answered: Instant,
}

/// What became of changes.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// From the answer to the remote, in order; what was there before we had the answer counts as zero.
    pub(crate) took: Vec<Duration>,
    pub(crate) last: Option<Instant>,
    pub(crate) missing: usize,
    pub(crate) doubled: usize,
    pub(crate) wrong_authors: usize,
    pub(crate) unknown_authors: usize,
}

impl Report {
    pub(crate) fn is_right(&self) -> bool {
        self.missing + self.doubled + self.wrong_authors == 0
    }

    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.took, percent)
    }
}

/// Where the remote's branch was, and since when.
#[derive(Debug)]
pub(crate) struct Tips {
    seen: watch::Receiver<Vec<(Instant, String)>>,
    poll: JoinHandle<()>,
}

impl Tips {
    /// Looks at the ref's file every millisecond: a push changes nothing else that can be seen so cheaply.
    pub(crate) fn follow(repo: &Path) -> Self {
        let file = repo.join("refs/heads/main");
        let (sender, seen) = watch::channel(Vec::<(Instant, String)>::new());
        let poll = tokio::spawn(async move {
            let mut poll = interval(Duration::from_millis(1));
            poll.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                poll.tick().await;
                // There is none before the first push.
                let Ok(tip) = fs::read_to_string(&file) else { continue };
                let tip = tip.trim_end();
                sender.send_if_modified(|tips| {
                    let is_new = tips.last().is_none_or(|(_, last)| last != tip);
                    if is_new {
                        tips.push((Instant::now(), tip.to_owned()));
                    }
                    is_new
                });
            }
        });
        Self { seen, poll }
    }

    /// Waits until each change is on the remote, or nothing has come for a long time, and tells.
    pub(crate) async fn report(&self, repo: &BareRepo, made: &[Made]) -> anyhow::Result<Report> {
        let mut landed = HashMap::<&str, Vec<(Instant, String)>>::new();
        let wanted: HashMap<&str, &Made> = made.iter().map(|made| (made.version.as_str(), made)).collect();
        let mut seen = self.seen.clone();
        let mut before = None::<String>;
        for number in 0.. {
            if landed.len() == wanted.len() {
                break;
            }
            let Ok(tips) = timeout(LIMIT, seen.wait_for(|tips| tips.len() > number)).await else { break };
            let (when, tip) = tips?[number].clone();
            for (version, author) in commits(repo, before.as_deref(), &tip).await? {
                if let Some((version, _)) = wanted.get_key_value(version.as_str()) {
                    landed.entry(version).or_default().push((when, author));
                }
            }
            before = Some(tip);
        }
        Ok(report(&wanted, &landed))
    }
}

impl Drop for Tips {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

fn report(wanted: &HashMap<&str, &Made>, landed: &HashMap<&str, Vec<(Instant, String)>>) -> Report {
    let mut report = Report { missing: wanted.len() - landed.len(), ..Report::default() };
    for (version, commits) in landed {
        let made = wanted[version];
        report.doubled += commits.len() - 1;
        for (when, author) in commits {
            report.took.push(when.saturating_duration_since(made.answered));
            report.last = report.last.max(Some(*when));
            match author.as_str() {
                "reverser" => report.unknown_authors += 1,
                author if author != made.user => report.wrong_authors += 1,
                _ => {}
            }
        }
    }
    report.took.sort_unstable();
    report
}

/// Returns resourceVersion and author of the commits between two tips.
async fn commits(repo: &BareRepo, before: Option<&str>, tip: &str) -> anyhow::Result<Vec<(String, String)>> {
    let range = before.map_or_else(|| tip.to_owned(), |before| format!("{before}..{tip}"));
    let format = "--format=%(trailers:key=Reverser-Resource-Version,valueonly,separator=%x20) %an";
    let log = repo.git(&["log", format, &range]).await?;
    let both = |line: &str| line.split_once(' ').map(|(version, author)| (version.to_owned(), author.to_owned()));
    Ok(log.lines().filter_map(both).collect())
}
