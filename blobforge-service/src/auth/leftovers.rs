//! What nobody needs any more of sessions and people, and how many of them there may be.

use std::collections::BTreeSet;

use blobforge_core::{QueueError, storage::RecordChange};

use super::{
    Accounts,
    accounts::{USES, forget},
    confirmation::CONFIRMED,
    people::{PEOPLE, Person},
    sessions::{Holder, SEEN, SESSIONS, SessionRecord, forget_session},
};

/// The most sessions of one token or person: whoever opens one more ends the oldest.
const MAX_SESSIONS: usize = 50;
/// The most people that are remembered: beyond them, those are forgotten who are logged in nowhere and came longest ago.
const MAX_PEOPLE: usize = 5000;
/// How many sessions that nobody needs are forgotten with each one that is opened, and how many people.
const FORGOTTEN_AT_ONCE: usize = 200;

/// What goes when a session is opened.
pub(super) struct Leftovers {
    /// What nobody needs.
    pub(super) useless: Vec<RecordChange>,
    /// The keys of sessions that have to end so that there can be one more.
    pub(super) ended: Vec<String>,
}

impl Accounts {
    /// Looks for sessions that are over or whose holder is gone, for what was noted of sessions that are not there, and for
    /// people beyond number; and for what has to go so that this holder can have one more session.
    ///
    /// A session comes together with its notes and its holder. What is read later may be newer than what was read before: so
    /// notes are read before sessions and those before holders, or else what has just come would be taken for a leftover.
    pub(super) async fn leftovers(&self, holder: &Holder) -> Result<Leftovers, QueueError> {
        let now = self.queue.now();
        let seen = self.seen().await?;
        let noted = self.noted().await?;
        let sessions = self.queue.storage().records(SESSIONS).await?;
        let people = self.people().await?;
        let tokens = self.tokens().await?.into_iter().map(|(key, _)| key);
        let welcome = people.iter().filter(|(_, person)| self.knows(person)).map(|(key, _)| key.clone());
        let mut holders: BTreeSet<_> = tokens.chain(welcome).collect();
        holders.insert(holder.key().to_owned());
        let mut stray = noted;
        let (mut gone, mut at_home, mut of_holder) = (Vec::new(), BTreeSet::new(), Vec::new());
        for (key, value) in sessions {
            stray.remove(&key);
            let session = serde_json::from_value::<SessionRecord>(value).ok();
            let good = session.filter(|session| {
                session.is_open(seen.get(&key).copied(), now) && holders.contains(session.holder.key())
            });
            let Some(session) = good else {
                gone.push(key);
                continue;
            };
            if session.holder == *holder {
                of_holder.push((session.expires_at, key));
            }
            at_home.insert(session.holder.key().to_owned());
        }
        of_holder.sort();
        let one_too_many = (of_holder.len() + 1).saturating_sub(MAX_SESSIONS);
        let sessions = gone.iter().flat_map(|key| forget_session(key));
        let notes = stray.iter().flat_map(|key| [SEEN, CONFIRMED].map(|collection| forget(collection, key)));
        let strangers = beyond_number(people, &at_home).into_iter().take(FORGOTTEN_AT_ONCE / 2);
        let strangers = strangers.flat_map(|key| [PEOPLE, USES].map(|collection| forget(collection, &key)));
        Ok(Leftovers {
            useless: sessions.chain(notes).take(FORGOTTEN_AT_ONCE * 3).chain(strangers).collect(),
            ended: of_holder.into_iter().take(one_too_many).map(|(_, key)| key).collect(),
        })
    }

    /// The keys of the sessions of which something is noted.
    async fn noted(&self) -> Result<BTreeSet<String>, QueueError> {
        let mut keys = BTreeSet::new();
        for collection in [SEEN, CONFIRMED] {
            keys.extend(self.queue.storage().records(collection).await?.into_iter().map(|(key, _)| key));
        }
        Ok(keys)
    }
}

/// The keys of people for whom there is no room, once there is one more: of those who are logged in nowhere, who came
/// longest ago.
fn beyond_number(people: Vec<(String, Person)>, at_home: &BTreeSet<String>) -> Vec<String> {
    let too_many = (people.len() + 1).saturating_sub(MAX_PEOPLE);
    let mut away: Vec<_> = people.into_iter().filter(|(key, _)| !at_home.contains(key)).collect();
    away.sort_by_key(|(_, person)| person.logged_in_at);
    away.into_iter().take(too_many).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blobforge_core::{Clock, Queue, SystemClock, Timestamp};

    use super::*;
    use crate::{
        auth::{BySession, Guest, Rules, Scope},
        config::OidcOptions,
    };

    #[test]
    fn people_beyond_number_are_forgotten_unless_they_are_logged_in() {
        let person = |n: usize| {
            let at = Timestamp::from_millis(i64::try_from(n).unwrap());
            let person = Person {
                id: n.to_string(),
                issuer: "issuer".to_owned(),
                subject: n.to_string(),
                name: n.to_string(),
                email: None,
                scopes: Vec::new(),
                created_at: Timestamp::ZERO,
                logged_in_at: at,
            };
            (n.to_string(), person)
        };
        let forgotten = |count: usize| {
            beyond_number((0..count).rev().map(person).collect(), &BTreeSet::from(["0".to_owned()]))
        };
        assert!(forgotten(MAX_PEOPLE - 1).is_empty());
        assert_eq!(forgotten(MAX_PEOPLE), ["1"]);
        assert_eq!(forgotten(MAX_PEOPLE + 1), ["1", "2"]);
    }

    /// Each of these is a process of its own, as far as the accounts are concerned.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn who_logs_in_at_the_same_moment_does_not_end_the_sessions_of_others() {
        const LOGINS: usize = 12;
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::builder().open(&folder.path().join("blobforge.db")).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let options = OidcOptions::new("https://auth.lan", "forge", "https://forge.lan/auth/callback");
        let accounts = || Accounts::new(queue.clone(), &clock, Some(Rules::of(&options)));
        let all = (0..LOGINS).map(|process| {
            let accounts = accounts();
            tokio::spawn(async move {
                let mut opened = Vec::new();
                for n in 0..LOGINS {
                    let guest = Guest::of(&format!("{process} {n}"), Scope::Submit);
                    opened.push(accounts.log_person_in(&guest, None, false, None).await.unwrap());
                }
                opened
            })
        });
        let (mut lost, here) = (0, accounts());
        for opened in all.collect::<Vec<_>>() {
            for secret in opened.await.unwrap() {
                let found = here.by_session(&secret).await.unwrap();
                lost += usize::from(!matches!(found, BySession::Somebody(_)));
            }
        }
        assert_eq!(lost, 0, "of {}", LOGINS * LOGINS);
        queue.close().await;
    }
}
