//! The accounts, kept as records beside the jobs.

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    Clock, Queue, QueueError, Timestamp, WorkerId,
    queue::Notice,
    storage::{Command, RecordChange},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::Mutex;

use super::{
    Principal, Scope, TokenText,
    bound::MAX_OF_WORKER,
    entries::Entries,
    oidc::Rules,
    sessions::Holder,
    standing::{Standing, Standings},
    token::random_hex,
};
use crate::{audit::Actor, problem::Problem};

pub(super) const TOKENS: &str = "tokens";
/// Apart from the tokens, so that noting a use cannot bring back a token that was just revoked.
pub(super) const USES: &str = "token_uses";
/// How exact the last use of a token or session is.
pub(super) const USE_NOTED_EVERY: Duration = Duration::from_secs(60);
/// The most tokens that there are at a time: they are looked through whenever one is managed.
const MAX_TOKENS: usize = 1000;
/// The id of the token that the service makes for itself at its first start.
pub(crate) const ADMIN_ID: &str = "admin";
/// The id of the token that workers were provided with.
pub(crate) const WORKERS_ID: &str = "workers";

/// Whether a token is one that the settings of the service bring along, so that it goes with them.
pub(crate) fn is_of_the_settings(id: &str) -> bool {
    [ADMIN_ID, WORKERS_ID].contains(&id)
}

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

impl TokenRecord {
    fn is_good(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

/// A token to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) worker_id: Option<WorkerId>,
    pub(crate) lifetime: Option<Duration>,
}

/// All accounts of a queue. Nothing is cached: who revokes a token is rid of it.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    pub(super) queue: Queue,
    pub(super) standings: Standings,
    /// By which rules people come in, where a provider lets them in.
    pub(super) rules: Option<Arc<Rules>>,
    /// What the audit takes down of who comes and leaves.
    pub(super) entries: Arc<Entries>,
    /// Held by whoever opens a session.
    pub(super) opening: Arc<Mutex<()>>,
}

impl Accounts {
    pub(crate) fn new(queue: Queue, clock: &Arc<dyn Clock>, rules: Option<Rules>) -> Self {
        Self {
            queue,
            standings: Standings::default(),
            rules: rules.map(Arc::new),
            entries: Arc::new(Entries::new(clock)),
            opening: Arc::default(),
        }
    }

    /// Who holds this token, if it is good.
    pub(crate) async fn by_token(&self, token: &TokenText) -> Result<Option<Principal>, QueueError> {
        let key = token.fingerprint();
        let standing = self.standings.enter(&key, &key);
        let Some(record) = self.good_token(&key).await? else { return Ok(None) };
        if let Err(error) = self.note_use(&key).await {
            // With a full disk, say, everything can still be read.
            tracing::debug!(%error, id = record.id, "the use of a token could not be noted");
        }
        Ok(Some(principal(record, standing, false)))
    }

    pub(super) async fn good_token(&self, key: &str) -> Result<Option<TokenRecord>, QueueError> {
        let record: Option<TokenRecord> = self.read(TOKENS, key).await?;
        let now = self.queue.now();
        let Some(record) = record.filter(|record| record.is_good(now)) else { return Ok(None) };
        let is_shut_out = self.is_shut_out(record.worker_id.as_ref()).await?;
        Ok(Some(record).filter(|_| !is_shut_out))
    }

    async fn note_use(&self, key: &str) -> Result<(), QueueError> {
        let now = self.queue.now();
        let last: Option<Timestamp> = self.read(USES, key).await?;
        if last.is_some_and(|last| now.since(last) < USE_NOTED_EVERY) {
            return Ok(());
        }
        self.commit(vec![put(USES, key, &now)?]).await
    }

    /// Ends what goes on under credentials that another process has revoked, until the queue closes.
    pub(crate) async fn watch(self) {
        let mut feed = self.queue.events();
        while let Some(notice) = feed.next().await {
            if matches!(notice, Notice::ChangedElsewhere | Notice::Missed(_)) {
                self.look_again().await;
            }
        }
    }

    async fn look_again(&self) {
        for standing in self.standings.open() {
            match self.is_good(&standing).await {
                Ok(false) => standing.end(),
                Ok(true) => {}
                // The next change is a reason to look again.
                Err(error) => tracing::debug!(%error, "credentials could not be looked at again"),
            }
        }
    }

    async fn is_good(&self, standing: &Standing) -> Result<bool, QueueError> {
        if standing.key == standing.holder {
            return Ok(self.good_token(&standing.key).await?.is_some());
        }
        match self.good_session(&standing.key).await?.map(|session| session.holder) {
            Some(Holder::Token(token)) => Ok(self.good_token(&token).await?.is_some()),
            Some(Holder::Person(person)) => Ok(self.welcome(&person).await?.is_some()),
            None => Ok(false),
        }
    }

    /// Makes a token; this is the only time that its text is known. `entry` records who does so.
    pub(crate) async fn create(
        &self,
        new: NewToken,
        entry: RecordChange,
    ) -> Result<(TokenText, TokenRecord), Problem> {
        if self.tokens().await?.len() >= MAX_TOKENS {
            let detail = format!("there are {MAX_TOKENS} tokens, and no more can be made");
            return Err(too_many(detail));
        }
        if let Some(worker) = &new.worker_id
            && self.tokens_of(worker).await?.len() >= MAX_OF_WORKER
        {
            return Err(too_many(format!("worker {worker} has {MAX_OF_WORKER} tokens, and gets no more")));
        }
        let (token, record) = self.drawn(new)?;
        self.commit(vec![put(TOKENS, &token.fingerprint(), &record)?, entry]).await?;
        Ok((token, record))
    }

    pub(super) fn drawn(&self, new: NewToken) -> Result<(TokenText, TokenRecord), QueueError> {
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
        Ok((token, record))
    }

    /// Revokes a token, and ends what goes on under it; `false` if there is none with this id.
    pub(crate) async fn revoke(&self, id: &str, entry: RecordChange) -> Result<bool, QueueError> {
        let Some((key, record)) = self.find(id).await? else { return Ok(false) };
        let of_worker = self.forget_worker_of(&record).await?;
        self.commit(forget_token(&key).into_iter().chain(of_worker).chain([entry]).collect()).await?;
        self.standings.end(&key);
        Ok(true)
    }

    /// Makes this the one token of the service itself, in place of an earlier one.
    pub(crate) async fn set_admin(
        &self,
        token: &TokenText,
        entry: Option<RecordChange>,
    ) -> Result<(), QueueError> {
        self.set(token, self.lasting(ADMIN_ID, "admin of this machine", Scope::Admin), entry).await
    }

    /// Makes this the one token that workers were provided with, in place of an earlier one; without one there is none any
    /// more. `false` if it is another account's token, and then nothing changes.
    pub(crate) async fn set_workers(&self, token: Option<&TokenText>) -> Result<bool, QueueError> {
        let entry = |action| Actor::on_the_machine().did(action, WORKERS_ID, self.queue.now());
        let old = self.find(WORKERS_ID).await?;
        let Some(token) = token else {
            if old.is_some() {
                self.revoke(WORKERS_ID, entry("token_revoked")).await?;
            }
            return Ok(true);
        };
        let known: Option<TokenRecord> = self.read(TOKENS, &token.fingerprint()).await?;
        if known.is_some_and(|known| known.id != WORKERS_ID) {
            return Ok(false);
        }
        let record = self.lasting(WORKERS_ID, "workers of this installation", Scope::Worker);
        self.set(token, record, Some(entry("token_created"))).await.map(|()| true)
    }

    fn lasting(&self, id: &str, name: &str, scope: Scope) -> TokenRecord {
        TokenRecord {
            id: id.to_owned(),
            name: name.to_owned(),
            scopes: vec![scope],
            worker_id: None,
            created_at: self.queue.now(),
            expires_at: None,
        }
    }

    /// Makes this the one token of its id. What goes on under an earlier one ends.
    async fn set(
        &self,
        token: &TokenText,
        record: TokenRecord,
        entry: Option<RecordChange>,
    ) -> Result<(), QueueError> {
        let key = token.fingerprint();
        let old = self.find(&record.id).await?.map(|(old, _)| old);
        if old.as_ref() == Some(&key) {
            return Ok(());
        }
        let of_old = old.iter().flat_map(|old| forget_token(old));
        self.commit([put(TOKENS, &key, &record)?].into_iter().chain(of_old).chain(entry).collect()).await?;
        if let Some(old) = old {
            self.standings.end(&old);
        }
        Ok(())
    }

    /// Whether the service has a token of its own.
    pub(crate) async fn has_admin(&self) -> Result<bool, QueueError> {
        Ok(self.find(ADMIN_ID).await?.is_some())
    }

    pub(super) async fn find(&self, id: &str) -> Result<Option<(String, TokenRecord)>, QueueError> {
        Ok(self.tokens().await?.into_iter().find(|(_, record)| record.id == id))
    }

    /// All tokens by their fingerprints, the oldest first.
    pub(super) async fn tokens(&self) -> Result<Vec<(String, TokenRecord)>, QueueError> {
        let records = self.queue.storage().records(TOKENS).await?;
        let decode = |(key, value)| Ok((key, decoded(value)?));
        let mut tokens =
            records.into_iter().map(decode).collect::<Result<Vec<(_, TokenRecord)>, QueueError>>()?;
        tokens.sort_by_key(|(_, record)| record.created_at);
        Ok(tokens)
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        collection: &str,
        key: &str,
    ) -> Result<Option<T>, QueueError> {
        self.queue.storage().record(collection, key).await?.map(decoded).transpose()
    }

    /// Writes all of these records or none.
    pub(super) async fn commit(&self, records: Vec<RecordChange>) -> Result<(), QueueError> {
        self.queue.run(Command::Recorded { command: None, records }).await.map(drop)
    }
}

pub(super) fn put(collection: &str, key: &str, value: &impl Serialize) -> Result<RecordChange, QueueError> {
    let value = serde_json::to_value(value).map_err(|error| QueueError::Contract(error.to_string()))?;
    Ok(RecordChange::Put { collection: collection.to_owned(), key: key.to_owned(), value })
}

pub(super) fn forget(collection: &str, key: &str) -> RecordChange {
    RecordChange::Delete { collection: collection.to_owned(), key: key.to_owned() }
}

fn too_many(detail: String) -> Problem {
    Problem::conflict("too_many_tokens", detail).hint("revoke tokens that nobody uses")
}

/// What is left of a token once it is revoked: nothing.
pub(super) fn forget_token(key: &str) -> [RecordChange; 2] {
    [forget(TOKENS, key), forget(USES, key)]
}

pub(super) fn decoded<T: DeserializeOwned>(value: Value) -> Result<T, QueueError> {
    serde_json::from_value(value)
        .map_err(|error| QueueError::Contract(format!("a record that cannot be read: {error}")))
}

pub(super) fn principal(record: TokenRecord, standing: Arc<Standing>, by_session: bool) -> Principal {
    let TokenRecord { id, name, scopes, worker_id, expires_at, .. } = record;
    Principal { id, name, scopes, worker: worker_id, by_session, expires_at, standing }
}
