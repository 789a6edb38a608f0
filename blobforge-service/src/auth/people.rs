//! People whom an identity provider has let in.

use std::{net::IpAddr, sync::Arc};

use blobforge_core::{QueueError, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Accounts, Guest, Identity, Principal, Scope,
    accounts::{decoded, put},
    sessions::Holder,
    standing::Standing,
    token::fingerprint,
};
use crate::audit::Actor;

pub(super) const PEOPLE: &str = "people";
/// How much of somebody's key is their id: so much that nobody finds a subject with the id of somebody else.
const ID_DIGITS: usize = 32;

/// What is kept of somebody: as it was when the provider last confirmed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) id: String,
    /// Who knows them.
    pub(crate) issuer: String,
    /// As whom.
    pub(crate) subject: String,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<String>,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) created_at: Timestamp,
    pub(crate) logged_in_at: Timestamp,
}

impl Person {
    fn new(who: &Identity, scopes: Vec<Scope>, now: Timestamp) -> Self {
        Self {
            id: id_of(&key_of(who)),
            issuer: who.issuer.clone(),
            subject: who.subject.clone(),
            name: who.shown(),
            email: who.email.clone(),
            scopes,
            created_at: now,
            logged_in_at: now,
        }
    }
}

/// Under what somebody is kept. Names and addresses change; nobody else has this subject with this provider.
fn key_of(who: &Identity) -> String {
    fingerprint(&format!("{}\n{}", who.issuer, who.subject))
}

/// What somebody is called in lists and in the audit.
fn id_of(key: &str) -> String {
    key.chars().take(ID_DIGITS).collect()
}

fn actor(who: &Identity, address: Option<IpAddr>) -> Actor {
    Actor { id: id_of(&key_of(who)), name: who.shown(), address }
}

impl Accounts {
    /// Takes note of somebody whom the provider has let in, and opens a session for them; its secret goes into the cookie.
    /// Where this only confirms the session that the browser has, that one goes on.
    pub(crate) async fn log_person_in(
        &self,
        guest: &Guest,
        browser_has: Option<&str>,
        confirms: bool,
        address: Option<IpAddr>,
    ) -> Result<String, QueueError> {
        let (now, who) = (self.queue.now(), &guest.identity);
        let key = key_of(who);
        let mut person = Person::new(who, guest.scopes.clone(), now);
        if let Some(known) = self.person(&key).await? {
            person.created_at = known.created_at;
        }
        let note = put(PEOPLE, &key, &person)?;
        let holder = Holder::Person(key);
        if let Some(secret) = browser_has.filter(|_| confirms) {
            let session = fingerprint(secret);
            if self.good_session(&session).await?.is_some_and(|found| found.holder == holder) {
                self.commit(vec![note, self.confirmed(&session)?]).await?;
                return Ok(secret.to_owned());
            }
        }
        let is_taken_down = self.entries.takes_coming_of(holder.key());
        let entry = actor(who, address).did("logged_in", &who.issuer, now);
        let with = [note].into_iter().chain(Some(entry).filter(|_| is_taken_down)).collect();
        self.session_of(holder, browser_has, with).await
    }

    /// Takes note of somebody whom the provider knows and this service does not want, or no longer: their sessions end.
    pub(crate) async fn turn_away(&self, who: &Identity, address: Option<IpAddr>) -> Result<(), QueueError> {
        let key = key_of(who);
        let is_taken_down = self.entries.takes_refusal_of(&key);
        let entry = actor(who, address).did("login_refused", &who.issuer, self.queue.now());
        self.end_sessions_of(&key, Some(entry).filter(|_| is_taken_down)).await.map(drop)
    }

    /// Somebody whom the provider has let in that people log in with now.
    pub(super) async fn welcome(&self, key: &str) -> Result<Option<Person>, QueueError> {
        Ok(self.person(key).await?.filter(|person| self.knows(person)))
    }

    /// Whether the provider that people log in with now has let somebody in, and not an earlier one.
    pub(super) fn knows(&self, person: &Person) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.issuer == person.issuer)
    }

    pub(super) async fn person(&self, key: &str) -> Result<Option<Person>, QueueError> {
        self.read(PEOPLE, key).await
    }

    /// All people by their keys, those first who came first.
    pub(super) async fn people(&self) -> Result<Vec<(String, Person)>, QueueError> {
        let records = self.queue.storage().records(PEOPLE).await?;
        let decode = |(key, value)| Ok((key, decoded(value)?));
        let mut people = records.into_iter().map(decode).collect::<Result<Vec<(_, Person)>, QueueError>>()?;
        people.sort_by_key(|(_, person)| person.created_at);
        Ok(people)
    }
}

pub(super) fn principal(person: Person, standing: Arc<Standing>) -> Principal {
    let Person { id, name, scopes, .. } = person;
    Principal { id, name, scopes, worker: None, by_session: true, expires_at: None, standing }
}
