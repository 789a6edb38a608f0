//! Who has an account: who holds a token, and in how many browsers it is logged in.

use std::collections::{BTreeMap, BTreeSet};

use blobforge_core::{QueueError, Timestamp, WorkerId};

use super::{
    Accounts, TokenRecord,
    accounts::{USES, decoded},
};

/// A token, and what is known of its use.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) token: TokenRecord,
    /// Its worker is shut out.
    pub(crate) is_disabled: bool,
    /// To the minute.
    pub(crate) last_used_at: Option<Timestamp>,
    /// The fingerprint of the token.
    key: String,
}

/// An account, and how many browsers are logged in to it.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) account: Account,
    pub(crate) sessions: u32,
}

impl Accounts {
    /// All tokens, the oldest first.
    pub(crate) async fn list(&self) -> Result<Vec<Account>, QueueError> {
        let mut uses = self.uses().await?;
        let shut_out = self.shut_out().await?;
        let account = |(key, token): (String, TokenRecord)| Account {
            is_disabled: is_of(&shut_out, token.worker_id.as_ref()),
            last_used_at: uses.remove(&key),
            token,
            key,
        };
        Ok(self.tokens().await?.into_iter().map(account).collect())
    }

    /// All accounts, the oldest first.
    pub(crate) async fn users(&self) -> Result<Vec<User>, QueueError> {
        let mut sessions = self.sessions_by_token().await?;
        let user = |account: Account| User { sessions: sessions.remove(&account.key).unwrap_or(0), account };
        Ok(self.list().await?.into_iter().map(user).collect())
    }

    /// When each token was last used, by their fingerprints.
    async fn uses(&self) -> Result<BTreeMap<String, Timestamp>, QueueError> {
        let records = self.queue.storage().records(USES).await?;
        records.into_iter().map(|(key, value)| Ok((key, decoded(value)?))).collect()
    }
}

fn is_of(workers: &BTreeSet<String>, worker: Option<&WorkerId>) -> bool {
    worker.is_some_and(|worker| workers.contains(worker.as_str()))
}
