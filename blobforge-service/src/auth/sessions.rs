//! What a browser is logged in with: a cookie with a secret that says nothing by itself.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use blobforge_core::{QueueError, Timestamp, storage::RecordChange};
use serde::{Deserialize, Serialize};

use super::{
    Accounts, Principal, TokenText,
    accounts::{ADMIN_ID, USE_NOTED_EVERY, USES, forget, principal, put},
    confirmation::{CONFIRMED, is_ahead},
    people,
    token::{fingerprint, random_hex},
};
use crate::audit::Actor;

pub(super) const SESSIONS: &str = "sessions";
/// When each session was last used. Apart from the sessions, so that noting a use cannot bring back one that has ended.
pub(super) const SEEN: &str = "session_uses";
/// How long a session lasts at most.
pub(crate) const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a session lasts that nobody uses, if a token opened it: to come back, that has to be found again.
const IDLE_OF_TOKEN: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long one lasts that nobody uses, if the provider opened it: to come back takes one click.
const IDLE_OF_PERSON: Duration = Duration::from_secs(12 * 60 * 60);

/// Whose session it is: it ends with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Holder {
    /// Whoever holds the token with this fingerprint.
    Token(String),
    /// The person who is kept under this key.
    Person(String),
}

impl Holder {
    /// Under what the holder is kept.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Token(key) | Self::Person(key) => key,
        }
    }

    fn idle(&self) -> Duration {
        match self {
            Self::Token(_) => IDLE_OF_TOKEN,
            Self::Person(_) => IDLE_OF_PERSON,
        }
    }
}

/// What is kept of a session.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SessionRecord {
    #[serde(flatten)]
    pub(super) holder: Holder,
    pub(super) expires_at: Timestamp,
}

impl SessionRecord {
    /// Whether it has not ended, by its time or by being left. It was last seen then, if it was.
    pub(super) fn is_open(&self, seen: Option<Timestamp>, now: Timestamp) -> bool {
        let is_over = self.expires_at <= now || is_ahead(self.expires_at, now + SESSION_LIFETIME);
        let is_left = seen.is_some_and(|seen| now.since(seen) >= self.holder.idle() || is_ahead(seen, now));
        !is_over && !is_left
    }
}

/// Who comes with a session's cookie.
#[derive(Debug)]
pub(crate) enum BySession {
    /// Nobody: there is no such session any more.
    Nobody,
    /// Somebody of whom the provider has to say again who they are and what they may do.
    Unconfirmed,
    /// Somebody.
    Somebody(Principal),
}

impl Accounts {
    /// Whose session this is, if it is good; takes note of its use.
    pub(crate) async fn by_session(&self, secret: &str) -> Result<BySession, QueueError> {
        let key = fingerprint(secret);
        let found = self.session(&key).await?;
        if let BySession::Somebody(principal) = &found
            && let Err(error) = self.note_session(&key, &principal.standing.holder).await
        {
            // With a full disk, say, everything can still be read.
            tracing::debug!(%error, "the use of a session could not be noted");
        }
        Ok(found)
    }

    /// Whose session is kept under this key, if it is good.
    pub(super) async fn session(&self, key: &str) -> Result<BySession, QueueError> {
        let Some(session) = self.good_session(key).await? else { return Ok(BySession::Nobody) };
        let standing = self.standings.enter(key, session.holder.key());
        // Once more, now that whoever ends it would end this too.
        if self.good_session(key).await?.is_none() {
            return Ok(BySession::Nobody);
        }
        let (principal, until) = match &session.holder {
            Holder::Token(token) => {
                let record = self.good_token(token).await?;
                (record.map(|record| principal(record, standing, true)), session.expires_at)
            }
            Holder::Person(person) => {
                let Some(person) = self.welcome(person).await? else { return Ok(BySession::Nobody) };
                let Some(until) = self.confirmed_until(key).await? else { return Ok(BySession::Unconfirmed) };
                (Some(people::principal(person, standing)), until)
            }
        };
        let Some(principal) = principal else { return Ok(BySession::Nobody) };
        let until = until.min(session.expires_at);
        let ends = principal.expires_at.map_or(until, |at| at.min(until));
        Ok(BySession::Somebody(Principal { expires_at: Some(ends), ..principal }))
    }

    /// A session that has not ended: by its time, by being left, or by somebody who ended it.
    pub(super) async fn good_session(&self, key: &str) -> Result<Option<SessionRecord>, QueueError> {
        let now = self.queue.now();
        let session: Option<SessionRecord> = self.read(SESSIONS, key).await?;
        let Some(session) = session else { return Ok(None) };
        let seen = self.read(SEEN, key).await?;
        Ok(Some(session).filter(|session| session.is_open(seen, now)))
    }

    /// Notes that a session is used, and with it its token or person.
    async fn note_session(&self, key: &str, holder: &str) -> Result<(), QueueError> {
        let now = self.queue.now();
        let last: Option<Timestamp> = self.read(SEEN, key).await?;
        if last.is_some_and(|last| now.since(last) < USE_NOTED_EVERY) {
            return Ok(());
        }
        self.commit(vec![put(SEEN, key, &now)?, put(USES, holder, &now)?]).await
    }

    /// Opens a session for the holder of a token, in place of the one that the browser has; the secret goes into the cookie.
    pub(crate) async fn open_session(
        &self,
        token: &TokenText,
        browser_has: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Option<String>, QueueError> {
        let key = token.fingerprint();
        let Some(record) = self.good_token(&key).await? else { return Ok(None) };
        let actor = Actor { id: record.id, name: record.name, address };
        let entry = actor.did("logged_in", "with a token", self.queue.now());
        self.session_of(Holder::Token(key), browser_has, vec![entry]).await.map(Some)
    }

    /// Opens a session for the admin, who proved with a login link to have access to the machine.
    pub(crate) async fn open_admin_session(
        &self,
        browser_has: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<Option<String>, QueueError> {
        let Some((key, record)) = self.find(ADMIN_ID).await? else { return Ok(None) };
        let actor = Actor { id: record.id, name: record.name, address };
        let entry = actor.did("logged_in", "with a login link", self.queue.now());
        self.session_of(Holder::Token(key), browser_has, vec![entry]).await.map(Some)
    }

    /// Opens a session together with what else goes with that. A browser that logs in always gets a new secret: an earlier
    /// one may have been planted.
    pub(super) async fn session_of(
        &self,
        holder: Holder,
        browser_has: Option<&str>,
        with: Vec<RecordChange>,
    ) -> Result<String, QueueError> {
        // One after the other: each looks at what there is, and then changes it.
        let _opening = self.opening.lock().await;
        let left = self.leftovers(&holder).await?;
        let now = self.queue.now();
        let secret = random_hex().map_err(QueueError::Randomness)?;
        let key = fingerprint(&secret);
        let replaced = browser_has.map(fingerprint);
        let ended: Vec<_> = left.ended.into_iter().chain(replaced).collect();
        let mut changes = with;
        changes.push(put(SEEN, &key, &now)?);
        if matches!(holder, Holder::Person(_)) {
            changes.push(self.confirmed(&key)?);
        }
        changes.push(put(SESSIONS, &key, &SessionRecord { holder, expires_at: now + SESSION_LIFETIME })?);
        changes.extend(left.useless);
        changes.extend(ended.iter().flat_map(|key| forget_session(key)));
        self.commit(changes).await?;
        for key in ended {
            self.standings.end(&key);
        }
        Ok(secret)
    }

    /// Closes a session, and ends what goes on in it; whose it was.
    pub(crate) async fn close_session(
        &self,
        secret: &str,
        address: Option<IpAddr>,
    ) -> Result<Option<Closed>, QueueError> {
        let key = fingerprint(secret);
        let session: Option<SessionRecord> = self.read(SESSIONS, &key).await?;
        let Some(session) = session else { return Ok(None) };
        let (actor, closed) = match &session.holder {
            Holder::Token(token) => {
                let record = self.good_token(token).await?;
                (record.map(|record| (record.id, record.name)), Closed::OfToken)
            }
            Holder::Person(key) => {
                let person = self.person(key).await?.filter(|_| self.entries.takes_coming_of(key));
                (person.map(|person| (person.id, person.name)), Closed::OfPerson)
            }
        };
        let now = self.queue.now();
        let entry = actor.map(|(id, name)| Actor { id, name, address }.did("logged_out", "", now));
        self.commit(forget_session(&key).into_iter().chain(entry).collect()).await?;
        self.standings.end(&key);
        Ok(Some(closed))
    }

    /// Ends all sessions of a token or person, and what goes on in them; how many there were.
    pub(super) async fn end_sessions_of(
        &self,
        holder: &str,
        with: Option<RecordChange>,
    ) -> Result<u32, QueueError> {
        let (now, seen) = (self.queue.now(), self.seen().await?);
        let of_holder = |(key, value)| {
            let session: SessionRecord = serde_json::from_value(value).ok()?;
            let is_open = session.is_open(seen.get(&key).copied(), now);
            (session.holder.key() == holder).then_some((key, is_open))
        };
        let sessions = self.queue.storage().records(SESSIONS).await?;
        let ended: Vec<(String, bool)> = sessions.into_iter().filter_map(of_holder).collect();
        let forgotten = ended.iter().flat_map(|(key, _)| forget_session(key));
        let changes: Vec<_> = with.into_iter().chain(forgotten).collect();
        if !changes.is_empty() {
            self.commit(changes).await?;
        }
        for (key, _) in &ended {
            self.standings.end(key);
        }
        let were_open = ended.iter().filter(|(_, is_open)| *is_open).count();
        Ok(u32::try_from(were_open).unwrap_or(u32::MAX))
    }

    /// How many sessions are open, by their holders' keys.
    pub(super) async fn sessions_by_holder(&self) -> Result<BTreeMap<String, u32>, QueueError> {
        let (now, seen) = (self.queue.now(), self.seen().await?);
        let mut counts = BTreeMap::new();
        for (key, value) in self.queue.storage().records(SESSIONS).await? {
            match serde_json::from_value::<SessionRecord>(value) {
                Ok(session) if session.is_open(seen.get(&key).copied(), now) => {
                    *counts.entry(session.holder.key().to_owned()).or_default() += 1;
                }
                _ => {}
            }
        }
        Ok(counts)
    }

    /// When each session was last seen. What cannot be read counts as never.
    pub(super) async fn seen(&self) -> Result<BTreeMap<String, Timestamp>, QueueError> {
        let noted = self.queue.storage().records(SEEN).await?;
        let readable = |(key, at)| Some((key, serde_json::from_value(at).ok()?));
        Ok(noted.into_iter().filter_map(readable).collect())
    }
}

/// Whose session was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    OfToken,
    OfPerson,
}

/// What is left of a session that has ended: nothing.
pub(super) fn forget_session(key: &str) -> [RecordChange; 3] {
    [SESSIONS, SEEN, CONFIRMED].map(|collection| forget(collection, key))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blobforge_core::{Clock, Queue, SystemClock, queue::MAX_RECORDS};

    use super::*;

    #[tokio::test]
    async fn sessions_that_nobody_needs_keep_nobody_out_and_are_forgotten() {
        let queue = Queue::in_memory();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let accounts = Accounts::new(queue.clone(), &clock, None);
        let token = TokenText::draw().unwrap();
        accounts.set_admin(&token, None).await.unwrap();
        let never = queue.now() + SESSION_LIFETIME;
        for (of, expires_at) in [(token.fingerprint(), Timestamp::ZERO), ("revoked".to_owned(), never)] {
            let session = SessionRecord { holder: Holder::Token(of.clone()), expires_at };
            let put = |n| put(SESSIONS, &format!("{of} {n}"), &session).unwrap();
            accounts.commit((0..MAX_RECORDS).map(put).collect()).await.unwrap();
        }
        let count = async |of: &str| queue.storage().records(of).await.unwrap().len();
        while count(SESSIONS).await > 50 {
            assert!(accounts.open_session(&token, None, None).await.unwrap().is_some());
        }
        let users = accounts.users().await.unwrap();
        let open = users[0].sessions as usize;
        assert_eq!((count(SESSIONS).await, count(SEEN).await), (open, open));
    }

    #[test]
    fn what_was_kept_before_people_could_log_in_is_still_read() {
        let kept = serde_json::json!({"token": "fingerprint", "expires_at": "2026-12-01T00:00:00Z"});
        let session: SessionRecord = serde_json::from_value(kept.clone()).unwrap();
        assert_eq!(session.holder, Holder::Token("fingerprint".to_owned()));
        assert_eq!(serde_json::to_value(session).unwrap()["token"], kept["token"]);
    }
}
