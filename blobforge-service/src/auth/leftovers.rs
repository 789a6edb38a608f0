//! What nobody needs any more of sessions and people, and how many of them there may be.

use std::collections::BTreeSet;

use blobforge_core::{QueueError, storage::RecordChange};

use super::{
    Accounts,
    accounts::{USES, forget},
    people::{PEOPLE, Person},
    sessions::{CONFIRMED, Holder, SEEN, SESSIONS, SessionRecord, forget_session},
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
    /// Looks for sessions that are over or whose holder is gone, for what was noted of such, and for people beyond number;
    /// and for what has to go so that this holder can have one more session.
    pub(super) async fn leftovers(&self, holder: &Holder) -> Result<Leftovers, QueueError> {
        let (now, people) = (self.queue.now(), self.people().await?);
        let tokens = self.tokens().await?.into_iter().map(|(key, _)| key);
        let mut holders: BTreeSet<_> = tokens.chain(people.iter().map(|(key, _)| key.clone())).collect();
        holders.insert(holder.key().to_owned());
        let (mut gone, mut kept, mut at_home) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut of_holder = Vec::new();
        for (key, value) in self.queue.storage().records(SESSIONS).await? {
            let session = serde_json::from_value::<SessionRecord>(value).ok();
            let good =
                session.filter(|session| session.expires_at > now && holders.contains(session.holder.key()));
            let Some(session) = good else {
                gone.insert(key);
                continue;
            };
            if session.holder == *holder {
                of_holder.push((session.expires_at, key.clone()));
            }
            at_home.insert(session.holder.key().to_owned());
            kept.insert(key);
        }
        for collection in [SEEN, CONFIRMED] {
            let noted = self.queue.storage().records(collection).await?.into_iter().map(|(key, _)| key);
            gone.extend(noted.filter(|key| !kept.contains(key)));
        }
        of_holder.sort();
        let one_too_many = (of_holder.len() + 1).saturating_sub(MAX_SESSIONS);
        let sessions = gone.iter().take(FORGOTTEN_AT_ONCE).flat_map(|key| forget_session(key));
        let strangers = beyond_number(people, &at_home).into_iter().take(FORGOTTEN_AT_ONCE / 2);
        let strangers = strangers.flat_map(|key| [PEOPLE, USES].map(|collection| forget(collection, &key)));
        Ok(Leftovers {
            useless: sessions.chain(strangers).collect(),
            ended: of_holder.into_iter().take(one_too_many).map(|(_, key)| key).collect(),
        })
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
    use blobforge_core::Timestamp;

    use super::*;

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
}
