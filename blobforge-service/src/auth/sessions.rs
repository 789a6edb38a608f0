//! Sessions of browsers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use blobforge_core::{QueueError, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Accounts, TokenText,
    accounts::{ADMIN_ID, forget, put},
    token::{fingerprint, random_hex},
};

pub(super) const SESSIONS: &str = "sessions";
/// How long a session lasts.
const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The most sessions of one token: whoever opens one more ends the oldest.
const MAX_SESSIONS: usize = 50;
/// How many sessions that nobody needs are forgotten with each one that is opened.
const FORGOTTEN_AT_ONCE: usize = 500;

/// What is kept of a session.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    /// The fingerprint of the token that it was opened with: the session ends with it.
    pub(super) token: String,
    pub(super) expires_at: Timestamp,
}

impl Accounts {
    pub(super) async fn good_session(&self, key: &str) -> Result<Option<SessionRecord>, QueueError> {
        let session: Option<SessionRecord> = self.read(SESSIONS, key).await?;
        let now = self.queue.now();
        Ok(session.filter(|session| session.expires_at > now))
    }

    /// Opens a session for the holder of a token; the secret goes into the cookie.
    pub(crate) async fn open_session(&self, token: &TokenText) -> Result<Option<String>, QueueError> {
        let key = token.fingerprint();
        if self.good_token(&key).await?.is_none() {
            return Ok(None);
        }
        self.session_of(key).await.map(Some)
    }

    /// Opens a session for the admin, who proved with a login link to have access to the machine.
    pub(crate) async fn open_admin_session(&self) -> Result<Option<String>, QueueError> {
        match self.find(ADMIN_ID).await? {
            Some((key, _)) => self.session_of(key).await.map(Some),
            None => Ok(None),
        }
    }

    async fn session_of(&self, token: String) -> Result<String, QueueError> {
        let (useless, ended) = self.to_be_forgotten(&token).await?;
        let secret = random_hex().map_err(QueueError::Randomness)?;
        let session = SessionRecord { token, expires_at: self.queue.now() + SESSION_LIFETIME };
        let mut changes = vec![put(SESSIONS, &fingerprint(&secret), &session)?];
        changes.extend(useless.iter().take(FORGOTTEN_AT_ONCE).chain(&ended).map(|key| forget(SESSIONS, key)));
        self.commit(changes).await?;
        for key in ended {
            self.standings.end(&key);
        }
        Ok(secret)
    }

    /// Sessions that are over or whose token is gone, and those that have to end so that this token can have one more.
    async fn to_be_forgotten(&self, token: &str) -> Result<(Vec<String>, Vec<String>), QueueError> {
        let now = self.queue.now();
        let tokens: BTreeSet<_> = self.tokens().await?.into_iter().map(|(key, _)| key).collect();
        let (mut useless, mut of_token) = (Vec::new(), Vec::new());
        for (key, value) in self.queue.storage().records(SESSIONS).await? {
            match serde_json::from_value::<SessionRecord>(value) {
                Ok(session) if session.expires_at > now && tokens.contains(&session.token) => {
                    if session.token == token {
                        of_token.push((session.expires_at, key));
                    }
                }
                _ => useless.push(key),
            }
        }
        of_token.sort();
        let one_too_many = (of_token.len() + 1).saturating_sub(MAX_SESSIONS);
        Ok((useless, of_token.into_iter().take(one_too_many).map(|(_, key)| key).collect()))
    }

    /// Closes a session, and ends what goes on in it.
    pub(crate) async fn close_session(&self, secret: &str) -> Result<(), QueueError> {
        let key = fingerprint(secret);
        self.commit(vec![forget(SESSIONS, &key)]).await?;
        self.standings.end(&key);
        Ok(())
    }

    /// How many sessions are open, by the fingerprints of their tokens.
    pub(super) async fn sessions_by_token(&self) -> Result<BTreeMap<String, u32>, QueueError> {
        let now = self.queue.now();
        let mut counts = BTreeMap::new();
        for (_, value) in self.queue.storage().records(SESSIONS).await? {
            match serde_json::from_value::<SessionRecord>(value) {
                Ok(session) if session.expires_at > now => *counts.entry(session.token).or_default() += 1,
                _ => {}
            }
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use blobforge_core::{Queue, queue::MAX_RECORDS};

    use super::*;

    #[tokio::test]
    async fn sessions_that_nobody_needs_keep_nobody_out_and_are_forgotten() {
        let queue = Queue::in_memory();
        let accounts = Accounts::new(queue.clone());
        let token = TokenText::draw().unwrap();
        accounts.set_admin(&token, None).await.unwrap();
        let never = queue.now() + SESSION_LIFETIME;
        for (of, expires_at) in [(token.fingerprint(), Timestamp::ZERO), ("revoked".to_owned(), never)] {
            let session = SessionRecord { token: of.clone(), expires_at };
            let put = |n| put(SESSIONS, &format!("{of} {n}"), &session).unwrap();
            accounts.commit((0..MAX_RECORDS).map(put).collect()).await.unwrap();
        }
        let count = async || queue.storage().records(SESSIONS).await.unwrap().len();
        while count().await > 50 {
            assert!(accounts.open_session(&token).await.unwrap().is_some());
        }
        assert_eq!(accounts.users().await.unwrap()[0].sessions as usize, count().await);
    }
}
