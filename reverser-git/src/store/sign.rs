//! Signatures on what a store commits.

use std::{collections::VecDeque, sync::Arc};

use jiff::Timestamp;

use crate::{
    commit::{is_signed, signed},
    fault,
    objects::Kind,
    sign::{Signer, sign},
    sink::SinkError,
    store::{Store, Unpushed},
};

impl Store {
    /// Makes unpushed commits again that have no signature, when there is a signer: an earlier run had none, and what goes
    /// out is signed. All but their parents and ids stays.
    pub(crate) fn sign_unpushed(&mut self, now: Timestamp) -> Result<(), SinkError> {
        if self.signer.is_none() {
            return Ok(());
        }
        let signed = self.try_sign_unpushed(now);
        self.recover(signed)
    }

    fn try_sign_unpushed(&mut self, now: Timestamp) -> Result<(), SinkError> {
        self.refresh()?;
        let objects = self.unpushed.iter().map(|unpushed| self.objects.read(unpushed.id, Kind::Commit));
        let objects = objects.collect::<Result<Vec<_>, _>>()?;
        let Some(first) = objects.iter().position(|object| !is_signed(object)) else { return Ok(()) };
        let mut chain: VecDeque<_> = self.unpushed.iter().take(first).copied().collect();
        let mut tip = chain.back().map(|last| last.id).or(self.base);
        let mut moved = Vec::new();
        for old in self.unpushed.clone().range(first..) {
            let mut commit = self.commit_of(old.id)?;
            commit.parents = tip.into_iter().collect();
            let id = self.objects.add(Kind::Commit, self.sign(commit.encode())?)?;
            chain.push_back(Unpushed { id, at: old.at });
            moved.push((old.id, Some(id)));
            tip = Some(id);
        }
        tracing::info!(commits = objects.len() - first, "unpushed commits of a run without a signer are signed");
        fault::reached("unpushed-signed");
        self.move_notes(&moved, now)?;
        self.write(tip, self.state(self.cursors.clone()), now)?;
        self.moved.note(moved);
        self.unpushed = chain;
        Ok(())
    }

    /// Signs what is committed from here on, unless that is so already.
    pub(crate) fn sign_with(&mut self, signer: Arc<dyn Signer>) {
        self.signer.get_or_insert(signer);
    }

    /// Returns a commit object with a signature, when there is a signer.
    pub(super) fn sign(&self, object: Vec<u8>) -> Result<Vec<u8>, SinkError> {
        match &self.signer {
            None => Ok(object),
            Some(signer) => match sign(signer.as_ref(), &object) {
                Ok(signature) => Ok(signed(&object, &signature)),
                Err(source) => Err(SinkError::Sign { sink: self.name(), source }),
            },
        }
    }
}
