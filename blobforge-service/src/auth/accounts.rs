//! The accounts, kept as records beside the jobs.

use std::time::Duration;

use blobforge_core::{Queue, QueueError, Timestamp, WorkerId, storage::Command};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Principal, Scope, TokenText,
    token::{fingerprint, random_hex},
};

const TOKENS: &str = "tokens";
/// Apart from the tokens, so that noting a use cannot bring back a token that was just revoked.
const USES: &str = "token_uses";
const SESSIONS: &str = "sessions";
/// How exact the last use of a token is.
const USE_NOTED_EVERY: Duration = Duration::from_secs(60);
/// How long a session lasts.
const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The id of the token that the service makes for itself at its first start.
pub(crate) const ADMIN_ID: &str = "admin";

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worker_id: Option<WorkerId>,
    pub(crate) created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<Timestamp>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) worker_id: Option<WorkerId>,
    pub(crate) lifetime: Option<Duration>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionRecord {
    /// The fingerprint of the token that it was opened with: the session ends with it.
    token: String,
    expires_at: Timestamp,
}

/// All accounts of a queue. Nothing is cached: who revokes a token is rid of it.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    queue: Queue,
}

impl Accounts {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue }
    }

    /// Who holds this token, if it is good.
    pub(crate) async fn by_token(&self, token: &TokenText) -> Result<Option<Principal>, QueueError> {
        let key = token.fingerprint();
        let Some(record) = self.good_token(&key).await? else { return Ok(None) };
        self.note_use(&key).await?;
        Ok(Some(principal(record, false)))
    }

    /// Whose session this is, if it is good.
    pub(crate) async fn by_session(&self, secret: &str) -> Result<Option<Principal>, QueueError> {
        let session: Option<SessionRecord> = self.read(SESSIONS, &fingerprint(secret)).await?;
        let Some(session) = session.filter(|session| session.expires_at > self.queue.now()) else {
            return Ok(None);
        };
        let record = self.good_token(&session.token).await?;
        Ok(record.map(|record| principal(record, true)))
    }

    async fn good_token(&self, key: &str) -> Result<Option<TokenRecord>, QueueError> {
        let record: Option<TokenRecord> = self.read(TOKENS, key).await?;
        let now = self.queue.now();
        Ok(record.filter(|record| record.expires_at.is_none_or(|at| at > now)))
    }

    async fn note_use(&self, key: &str) -> Result<(), QueueError> {
        let now = self.queue.now();
        let last: Option<Timestamp> = self.read(USES, key).await?;
        if last.is_some_and(|last| now.since(last) < USE_NOTED_EVERY) {
            return Ok(());
        }
        self.put(USES, key, &now).await
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
        self.forget_old_sessions().await?;
        let secret = random_hex().map_err(QueueError::Randomness)?;
        let session = SessionRecord { token, expires_at: self.queue.now() + SESSION_LIFETIME };
        self.put(SESSIONS, &fingerprint(&secret), &session).await?;
        Ok(secret)
    }

    async fn forget_old_sessions(&self) -> Result<(), QueueError> {
        let now = self.queue.now();
        for (key, value) in self.queue.storage().records(SESSIONS).await? {
            let session: Option<SessionRecord> = serde_json::from_value(value).ok();
            if session.is_none_or(|session| session.expires_at <= now) {
                self.delete(SESSIONS, &key).await?;
            }
        }
        Ok(())
    }

    /// Closes a session.
    pub(crate) async fn close_session(&self, secret: &str) -> Result<(), QueueError> {
        self.delete(SESSIONS, &fingerprint(secret)).await
    }

    /// Makes a token; this is the only time that its text is known.
    pub(crate) async fn create(&self, new: NewToken) -> Result<(TokenText, TokenRecord), QueueError> {
        let token = TokenText::draw().map_err(QueueError::Randomness)?;
        let id = random_hex().map_err(QueueError::Randomness)?[..12].to_owned();
        let now = self.queue.now();
        let record = TokenRecord {
            id,
            name: new.name,
            scopes: new.scopes,
            worker_id: new.worker_id,
            created_at: now,
            expires_at: new.lifetime.map(|lifetime| now + lifetime),
        };
        self.put(TOKENS, &token.fingerprint(), &record).await?;
        Ok((token, record))
    }

    /// All tokens with the time of their last use, the oldest first.
    pub(crate) async fn list(&self) -> Result<Vec<(TokenRecord, Option<Timestamp>)>, QueueError> {
        let mut found = Vec::new();
        for (key, value) in self.queue.storage().records(TOKENS).await? {
            let record: TokenRecord = decoded(value)?;
            found.push((record, self.read(USES, &key).await?));
        }
        found.sort_by_key(|(record, _)| record.created_at);
        Ok(found)
    }

    /// Revokes a token; `false` if there is none with this id.
    pub(crate) async fn revoke(&self, id: &str) -> Result<bool, QueueError> {
        let Some((key, _)) = self.find(id).await? else { return Ok(false) };
        self.delete(TOKENS, &key).await?;
        self.delete(USES, &key).await?;
        Ok(true)
    }

    /// Makes this the one token of the service itself, in place of an earlier one.
    pub(crate) async fn set_admin(&self, token: &TokenText) -> Result<(), QueueError> {
        let key = token.fingerprint();
        let old = self.find(ADMIN_ID).await?;
        if old.as_ref().is_some_and(|(old, _)| *old == key) {
            return Ok(());
        }
        let record = TokenRecord {
            id: ADMIN_ID.to_owned(),
            name: "admin of this machine".to_owned(),
            scopes: vec![Scope::Admin],
            worker_id: None,
            created_at: self.queue.now(),
            expires_at: None,
        };
        self.put(TOKENS, &key, &record).await?;
        match old {
            Some((old, _)) => self.delete(TOKENS, &old).await,
            None => Ok(()),
        }
    }

    /// Whether the service has a token of its own.
    pub(crate) async fn has_admin(&self) -> Result<bool, QueueError> {
        Ok(self.find(ADMIN_ID).await?.is_some())
    }

    async fn find(&self, id: &str) -> Result<Option<(String, TokenRecord)>, QueueError> {
        for (key, value) in self.queue.storage().records(TOKENS).await? {
            let record: TokenRecord = decoded(value)?;
            if record.id == id {
                return Ok(Some((key, record)));
            }
        }
        Ok(None)
    }

    async fn read<T: DeserializeOwned>(&self, collection: &str, key: &str) -> Result<Option<T>, QueueError> {
        self.queue.storage().record(collection, key).await?.map(decoded).transpose()
    }

    async fn put(&self, collection: &str, key: &str, value: &impl Serialize) -> Result<(), QueueError> {
        let value = serde_json::to_value(value).map_err(|error| QueueError::Contract(error.to_string()))?;
        let command = Command::PutRecord { collection: collection.to_owned(), key: key.to_owned(), value };
        self.queue.run(command).await.map(drop)
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<(), QueueError> {
        let command = Command::DeleteRecord { collection: collection.to_owned(), key: key.to_owned() };
        self.queue.run(command).await.map(drop)
    }
}

fn decoded<T: DeserializeOwned>(value: Value) -> Result<T, QueueError> {
    serde_json::from_value(value)
        .map_err(|error| QueueError::Contract(format!("a record that cannot be read: {error}")))
}

fn principal(record: TokenRecord, by_session: bool) -> Principal {
    let TokenRecord { id, name, scopes, worker_id, .. } = record;
    Principal { id, name, scopes, worker: worker_id, by_session }
}
