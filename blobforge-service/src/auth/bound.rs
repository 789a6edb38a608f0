//! Tokens that belong to one worker: with such a token a machine is that worker and nobody else.

use blobforge_core::{QueueError, WorkerId, storage::RecordChange};

use super::{
    Accounts, NewToken, TokenRecord, TokenText,
    accounts::{TOKENS, forget_token, put},
};
use crate::problem::Problem;

impl Accounts {
    async fn tokens_of(&self, worker: &WorkerId) -> Result<Vec<(String, TokenRecord)>, QueueError> {
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
    ) -> Result<(TokenText, TokenRecord), Problem> {
        if !self.tokens_of(worker).await?.is_empty() {
            let detail = format!("worker {worker} has a token already");
            return Err(Problem::conflict("worker_has_token", detail).hint(format!(
                "POST /api/admin/workers/{worker}/regenerate makes another one in its place"
            )));
        }
        self.create(new, entry).await
    }

    /// Makes a new token in place of all that a worker has; `None` if it has none.
    pub(crate) async fn regenerate(
        &self,
        worker: &WorkerId,
        entry: RecordChange,
    ) -> Result<Option<(TokenText, TokenRecord)>, QueueError> {
        let old = self.tokens_of(worker).await?;
        let Some((_, like)) = old.last() else { return Ok(None) };
        let new = NewToken {
            name: like.name.clone(),
            scopes: like.scopes.clone(),
            worker_id: like.worker_id.clone(),
            lifetime: like.expires_at.map(|at| at.since(like.created_at)),
        };
        let (token, drawn) = self.drawn(new)?;
        // Who was shut out stays so.
        let record = TokenRecord { disabled: like.disabled, ..drawn };
        let mut changes = vec![put(TOKENS, &token.fingerprint(), &record)?, entry];
        changes.extend(old.iter().flat_map(|(key, _)| forget_token(key)));
        self.commit(changes).await?;
        for (key, _) in old {
            self.standings.end(&key);
        }
        Ok(Some((token, record)))
    }

    /// Lets the tokens of a worker open doors, or no doors from now on; `false` if it has none.
    pub(crate) async fn set_enabled(
        &self,
        worker: &WorkerId,
        enabled: bool,
        entry: RecordChange,
    ) -> Result<bool, QueueError> {
        let tokens = self.tokens_of(worker).await?;
        if tokens.is_empty() {
            return Ok(false);
        }
        let mut changes = vec![entry];
        for (key, record) in &tokens {
            changes.push(put(TOKENS, key, &TokenRecord { disabled: !enabled, ..record.clone() })?);
        }
        self.commit(changes).await?;
        if !enabled {
            for (key, _) in tokens {
                self.standings.end(&key);
            }
        }
        Ok(true)
    }
}
