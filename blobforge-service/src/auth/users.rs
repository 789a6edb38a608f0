//! Who has an account: who holds a token, and whom an identity provider has let in; and in how many browsers they are
//! logged in.

use std::collections::{BTreeMap, BTreeSet};

use blobforge_core::{QueueError, Timestamp, WorkerId, storage::RecordChange};

use super::{
    Accounts, Person, TokenRecord,
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

/// Who has an account.
#[derive(Debug)]
pub(crate) enum Known {
    /// Whoever holds this token.
    Token(Account),
    /// Somebody whom the provider has let in, and when they were last seen, to the minute.
    Person(Person, Option<Timestamp>),
}

/// An account, and in how many browsers somebody is logged in to it.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) who: Known,
    pub(crate) sessions: u32,
}

impl User {
    fn created_at(&self) -> Timestamp {
        match &self.who {
            Known::Token(account) => account.token.created_at,
            Known::Person(person, _) => person.created_at,
        }
    }
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
        let mut sessions = self.sessions_by_holder().await?;
        let mut uses = self.uses().await?;
        let mut users = Vec::new();
        for account in self.list().await? {
            users.push(User {
                sessions: sessions.remove(&account.key).unwrap_or(0),
                who: Known::Token(account),
            });
        }
        for (key, person) in self.people().await? {
            let who = Known::Person(person, uses.remove(&key));
            users.push(User { sessions: sessions.remove(&key).unwrap_or(0), who });
        }
        users.sort_by_key(User::created_at);
        Ok(users)
    }

    /// Ends all sessions of an account, and what goes on in them; how many there were, or `None` if there is no account with
    /// this id. A token itself stays as it is.
    pub(crate) async fn end_sessions(
        &self,
        id: &str,
        entry: RecordChange,
    ) -> Result<Option<u32>, QueueError> {
        let holder = match self.find(id).await? {
            Some((token, _)) => Some(token),
            None => self.people().await?.into_iter().find(|(_, person)| person.id == id).map(|(key, _)| key),
        };
        match holder {
            Some(holder) => self.end_sessions_of(&holder, Some(entry)).await.map(Some),
            None => Ok(None),
        }
    }

    /// When each token or person was last seen, by their keys.
    async fn uses(&self) -> Result<BTreeMap<String, Timestamp>, QueueError> {
        let records = self.queue.storage().records(USES).await?;
        records.into_iter().map(|(key, value)| Ok((key, decoded(value)?))).collect()
    }
}

fn is_of(workers: &BTreeSet<String>, worker: Option<&WorkerId>) -> bool {
    worker.is_some_and(|worker| workers.contains(worker.as_str()))
}
