//! Tokens that belong to one worker: with such a token a machine is that worker and nobody else.

use std::collections::BTreeSet;

use blobforge_core::{QueueError, WorkerId, storage::RecordChange};

use super::{
    Accounts, NewToken, TokenRecord, TokenText,
    accounts::{TOKENS, forget, forget_token, put},
};
use crate::problem::Problem;

/// The workers that are shut out. Apart from their tokens, so that shutting a worker out, or letting it in again, cannot
/// bring back a token that was just revoked.
const SHUT_OUT: &str = "shut_out_workers";
/// The most tokens of one worker: all of them are replaced in one step.
pub(super) const MAX_OF_WORKER: usize = 100;

/// The token of a worker that was just made.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) token: TokenText,
    pub(crate) record: TokenRecord,
    /// It opens nothing until its worker is let in again.
    pub(crate) is_disabled: bool,
}

impl Accounts {
    pub(super) async fn is_shut_out(&self, worker: Option<&WorkerId>) -> Result<bool, QueueError> {
        let Some(worker) = worker else { return Ok(false) };
        Ok(self.queue.storage().record(SHUT_OUT, worker.as_str()).await?.is_some())
    }

    pub(super) async fn shut_out(&self) -> Result<BTreeSet<String>, QueueError> {
        let records = self.queue.storage().records(SHUT_OUT).await?;
        Ok(records.into_iter().map(|(worker, _)| worker).collect())
    }

    pub(super) async fn tokens_of(
        &self,
        worker: &WorkerId,
    ) -> Result<Vec<(String, TokenRecord)>, QueueError> {
        let mut tokens = self.tokens().await?;
        tokens.retain(|(_, record)| record.worker_id.as_ref() == Some(worker));
        Ok(tokens)
    }

    /// Makes the token of a worker that has none.
    pub(crate) async fn create_for(
        &self,
        worker: &WorkerId,
        new: NewToken,
        entry: RecordChange,
    ) -> Result<Bound, Problem> {
        if !self.tokens_of(worker).await?.is_empty() {
            let detail = format!("worker {worker} has a token already");
            return Err(Problem::conflict("worker_has_token", detail).hint(format!(
                "POST /api/admin/workers/{worker}/regenerate makes another one in its place"
            )));
        }
        let (token, record) = self.create(new, entry).await?;
        Ok(Bound { token, record, is_disabled: self.is_shut_out(Some(worker)).await? })
    }

    /// Makes a new token in place of all that a worker has; `None` if it has none. Who was shut out stays so.
    pub(crate) async fn regenerate(
        &self,
        worker: &WorkerId,
        entry: RecordChange,
    ) -> Result<Option<Bound>, QueueError> {
        let old = self.tokens_of(worker).await?;
        let Some((_, like)) = old.last() else { return Ok(None) };
        let new = NewToken {
            name: like.name.clone(),
            scopes: like.scopes.clone(),
            worker_id: like.worker_id.clone(),
            lifetime: like.expires_at.map(|at| at.since(like.created_at)),
        };
        let (token, record) = self.drawn(new)?;
        let mut changes = vec![put(TOKENS, &token.fingerprint(), &record)?, entry];
        changes.extend(old.iter().flat_map(|(key, _)| forget_token(key)));
        self.commit(changes).await?;
        for (key, _) in old {
            self.standings.end(&key);
        }
        Ok(Some(Bound { token, record, is_disabled: self.is_shut_out(Some(worker)).await? }))
    }

    /// Shuts a worker out, or lets it in again; `false` if it has no token.
    pub(crate) async fn set_enabled(
        &self,
        worker: &WorkerId,
        enabled: bool,
        entry: RecordChange,
    ) -> Result<bool, QueueError> {
        if self.tokens_of(worker).await?.is_empty() {
            return Ok(false);
        }
        let id = worker.as_str();
        let change = if enabled { forget(SHUT_OUT, id) } else { put(SHUT_OUT, id, &true)? };
        self.commit(vec![entry, change]).await?;
        if !enabled {
            // Looked up anew: a token may have been made meanwhile.
            for (key, _) in self.tokens_of(worker).await? {
                self.standings.end(&key);
            }
        }
        Ok(true)
    }

    /// What else goes with a token: nobody needs to be shut out who has no other.
    pub(super) async fn forget_worker_of(
        &self,
        record: &TokenRecord,
    ) -> Result<Option<RecordChange>, QueueError> {
        let Some(worker) = &record.worker_id else { return Ok(None) };
        let is_last = self.tokens_of(worker).await?.iter().all(|(_, other)| other.id == record.id);
        Ok(is_last.then(|| forget(SHUT_OUT, worker.as_str())))
    }
}
