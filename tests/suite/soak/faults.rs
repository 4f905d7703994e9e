//! What fails, one thing after the other, each for a moment.

use std::{collections::BTreeMap, num::NonZeroU32};

use jiff::Timestamp;
use reverser_testbed::{ControlPlane, Ending, Faults, GitHttp, Outage, TcpProxy};
use reverser_tests::{LIMIT, Running};
use tokio::process::Command;

use super::{oracle::Away, random::Random};
use crate::scene::WATCHING;

/// All that can fail, and reverser, which is started again whenever it has ended.
pub(super) struct Bed<'a> {
    plane: &'a ControlPlane,
    server: &'a GitHttp,
    way: &'a TcpProxy,
    command: Command,
    running: Option<Running>,
    /// What those said that have ended.
    said: String,
    /// Which have still their turn.
    deck: Vec<Fault>,
    counts: BTreeMap<Fault, usize>,
    away: Vec<Away>,
    /// What it said last whenever it ended by itself.
    ended: Vec<String>,
}

impl<'a> Bed<'a> {
    pub(super) fn new(plane: &'a ControlPlane, server: &'a GitHttp, way: &'a TcpProxy, command: Command) -> Self {
        let mut bed = Self {
            plane,
            server,
            way,
            command,
            running: None,
            said: String::new(),
            deck: vec![],
            counts: BTreeMap::new(),
            away: vec![],
            ended: vec![],
        };
        bed.start();
        bed
    }

    /// Waits until reverser follows changes.
    pub(super) async fn is_watching(&self) {
        self.running().says(WATCHING).await;
    }

    /// Lets one thing fail for a moment, and gives all of them another one. Each kind has its turn before one comes again.
    pub(super) async fn fail_once(&mut self, random: &mut Random) {
        if self.deck.is_empty() {
            self.deck.extend(DECK);
        }
        let fault = self.deck.swap_remove(random.below(self.deck.len() as u64) as usize);
        *self.counts.entry(fault).or_default() += 1;
        self.fail(fault, random).await;
        self.runs().await;
        tokio::time::sleep(random.millis(100, 1_000)).await;
    }

    async fn fail(&mut self, fault: Fault, random: &mut Random) {
        let moment = random.millis(200, 2_000);
        let from = Timestamp::now();
        match fault {
            Fault::BadConnections => {
                let slow = NonZeroU32::new(2_000 + random.below(50_000) as u32);
                self.way.set(*random.one_of(&[
                    Faults { stalls: true, ..Faults::default() },
                    Faults { refuses: true, ..Faults::default() },
                    Faults { bytes_per_second: slow, ..Faults::default() },
                    Faults { limit: Some(1), ..Faults::default() },
                ]));
                tokio::time::sleep(moment).await;
                self.way.heal();
            }
            Fault::BrokenConnections => {
                let ending = *random.one_of(&[Ending::Cut, Ending::Orphan, Ending::Reset]);
                match random.below(2) {
                    0 => self.way.end(ending),
                    _ => self.way.end_after(random.below(20_000), ending),
                }
                tokio::time::sleep(moment).await;
            }
            Fault::Compaction => drop(self.plane.compact().await.unwrap()),
            Fault::HeldEtcd => {
                self.plane.pause_etcd().unwrap();
                tokio::time::sleep(moment).await;
                self.plane.resume_etcd().unwrap();
            }
            Fault::HeldReverser => {
                self.running().pause().await;
                tokio::time::sleep(moment).await;
                self.running().resume().await;
                self.away.push(Away { from, until: Some(Timestamp::now()) });
            }
            Fault::Kill => {
                self.away.push(Away { from, until: None });
                let ended = self.take().kill().await;
                self.said += &ended.said;
                tokio::time::sleep(moment).await;
            }
            Fault::Outage => {
                let bytes = random.below(1_000) as usize;
                self.server.fail(Some(*random.one_of(&[
                    Outage::Unavailable,
                    Outage::DropConnections,
                    Outage::DropAnswers,
                    Outage::CutPushes(bytes),
                    Outage::CutAnswers(bytes),
                ])));
                tokio::time::sleep(moment * 2).await;
                self.server.fail(None);
            }
            Fault::RestartedApiServer => {
                self.plane.stop_api_server();
                tokio::time::sleep(moment / 2).await;
                self.plane.start_api_server().await.unwrap();
            }
            Fault::Termination => {
                self.away.push(Away { from, until: None });
                let ended = self.take().terminate().await;
                self.said += &ended.said;
                tokio::time::sleep(moment).await;
            }
        }
    }

    /// Ends what still fails.
    pub(super) async fn heal(&mut self) {
        self.way.heal();
        self.server.fail(None);
        self.runs().await;
    }

    /// Starts reverser again if it has ended.
    pub(super) async fn runs(&mut self) {
        if let Some(running) = self.running.take_if(|running| running.has_ended()) {
            let ended = running.end(LIMIT).await;
            self.ended.extend(ended.said.lines().last().map(str::to_owned));
            self.said += &ended.said;
        }
        if self.running.is_none() {
            self.start();
        }
    }

    /// Ends reverser; returns what all of them said.
    pub(super) async fn end(&mut self) -> String {
        let ended = self.take().terminate().await;
        self.said += &ended.exits_with(0);
        std::mem::take(&mut self.said)
    }

    pub(super) fn said(&self) -> String {
        format!("{}{}", self.said, self.running().said())
    }

    /// Returns how many faults there were.
    pub(super) fn faults(&self) -> usize {
        self.counts.values().sum()
    }

    /// Returns when reverser could not be told of requests.
    pub(super) fn away(&self) -> &[Away] {
        &self.away
    }

    /// Returns how often what has failed.
    pub(super) fn told(&self) -> String {
        let (connections, broken) = (self.way.connections(), self.way.broken());
        format!(
            "{:?}, ended by itself {} times: {:#?}; {connections} connections, {broken} of them broken",
            self.counts,
            self.ended.len(),
            self.ended
        )
    }

    fn start(&mut self) {
        self.running = Some(Running::start(&mut self.command));
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it is started in `runs`")
    }

    fn take(&mut self) -> Running {
        self.running.take().expect("it is started in `runs`")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    BadConnections,
    BrokenConnections,
    Compaction,
    HeldEtcd,
    HeldReverser,
    Kill,
    Outage,
    RestartedApiServer,
    Termination,
}

/// Of each kind so many as it deserves.
const DECK: [Fault; 12] = [
    Fault::BadConnections,
    Fault::BadConnections,
    Fault::BrokenConnections,
    Fault::BrokenConnections,
    Fault::Compaction,
    Fault::HeldEtcd,
    Fault::HeldReverser,
    Fault::Kill,
    Fault::Kill,
    Fault::Outage,
    Fault::RestartedApiServer,
    Fault::Termination,
];
