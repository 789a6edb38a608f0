//! The provider's word for the sessions of people: how long it holds, and under which rules it was asked for.

use std::time::Duration;

use blobforge_core::{QueueError, Timestamp, storage::RecordChange};
use serde::{Deserialize, Serialize};

use super::{Accounts, BySession, accounts::put, token::fingerprint};

/// Until when the provider's word for each session of a person holds. Apart from the sessions, so that noting it cannot bring
/// back one that has ended.
pub(super) const CONFIRMED: &str = "sessions_confirmed";
/// For how long the provider's word holds, on who somebody is and to which groups they belong.
const CONFIRMED_FOR: Duration = Duration::from_secs(60 * 60);
/// For how long it holds all the same while the provider is away, counted from when it was given.
const CONFIRMED_AT_MOST: Duration = Duration::from_secs(12 * 60 * 60);
/// When somebody whose provider is away is sent there again.
const TRIED_EVERY: Duration = Duration::from_secs(10 * 60);
/// How far ahead a time may be that was noted earlier. Where it is more, the clock was set back, and nobody knows how old
/// what was noted is.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// The provider's word for a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Confirmed {
    /// When it was given.
    at: Timestamp,
    /// Until when it is not asked for again.
    until: Timestamp,
    /// The fingerprint of the rules by which somebody was let in then.
    #[serde(default)]
    rules: String,
}

impl Confirmed {
    fn holds_at_most(&self) -> Timestamp {
        self.at + CONFIRMED_AT_MOST
    }
}

/// Whether a time that was noted earlier is one that nobody can have noted yet.
pub(super) fn is_ahead(noted: Timestamp, now: Timestamp) -> bool {
    noted > now + CLOCK_SLACK
}

impl Accounts {
    /// Notes that the provider has just confirmed a session.
    pub(super) fn confirmed(&self, key: &str) -> Result<RecordChange, QueueError> {
        let (now, rules) = (self.queue.now(), self.rules_now().to_owned());
        put(CONFIRMED, key, &Confirmed { at: now, until: now + CONFIRMED_FOR, rules })
    }

    /// Until when the provider's word for a session holds, if it does.
    pub(super) async fn confirmed_until(&self, key: &str) -> Result<Option<Timestamp>, QueueError> {
        let now = self.queue.now();
        let word = self.word_for(key).await?;
        Ok(word.map(|word| word.until).filter(|until| *until > now))
    }

    /// Whether this is a session of somebody whom the provider has to confirm.
    pub(crate) async fn awaits_confirmation(&self, secret: &str) -> Result<bool, QueueError> {
        let found = self.session(&fingerprint(secret)).await?;
        Ok(matches!(found, BySession::Unconfirmed))
    }

    /// Lets a session go on for a while that the provider cannot confirm because it is away; `false` where that has been so
    /// for too long, there is no such session, or the rules have changed by which people come in.
    pub(crate) async fn put_off(&self, secret: &str) -> Result<bool, QueueError> {
        let (key, now) = (fingerprint(secret), self.queue.now());
        if !self.awaits_confirmation(secret).await? {
            return Ok(matches!(self.session(&key).await?, BySession::Somebody(_)));
        }
        let word = self.word_for(&key).await?.filter(|word| word.holds_at_most() > now);
        let Some(word) = word else { return Ok(false) };
        let until = word.holds_at_most().min(now + TRIED_EVERY);
        self.commit(vec![put(CONFIRMED, &key, &Confirmed { until, ..word })?]).await?;
        Ok(true)
    }

    /// The provider's word for a session, if it was given under the rules that there are now.
    async fn word_for(&self, key: &str) -> Result<Option<Confirmed>, QueueError> {
        let (now, rules) = (self.queue.now(), self.rules_now());
        let word: Option<Confirmed> = self.read(CONFIRMED, key).await?;
        Ok(word.filter(|word| !rules.is_empty() && word.rules == rules && !is_ahead(word.at, now)))
    }

    fn rules_now(&self) -> &str {
        self.rules.as_ref().map_or("", |rules| rules.fingerprint.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blobforge_core::{Clock, ManualClock, Queue};

    use super::*;
    use crate::{
        auth::{
            Guest, Rules, Scope,
            sessions::{SEEN, SESSIONS},
        },
        config::OidcOptions,
    };

    const HOUR: Duration = Duration::from_secs(60 * 60);

    struct House {
        clock: Arc<ManualClock>,
        queue: Queue,
    }

    impl House {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
            Self { queue: Queue::builder().clock(clock.clone()).open_in_memory().unwrap(), clock }
        }

        /// A start of the service, by these rules.
        fn start(&self, rules: Option<Rules>) -> Accounts {
            let clock: Arc<dyn Clock> = self.clock.clone();
            Accounts::new(self.queue.clone(), &clock, rules)
        }
    }

    fn rules(issuer: &str, group: &str) -> Option<Rules> {
        let mut options = OidcOptions::new(issuer, "forge", "https://forge.lan/auth/callback");
        options.guests.groups.push(group.to_owned());
        Some(Rules::of(&options))
    }

    fn ann() -> Guest {
        Guest::of("ann", Scope::Submit)
    }

    async fn seen_as(accounts: &Accounts, secret: &str) -> &'static str {
        match accounts.by_session(secret).await.unwrap() {
            BySession::Nobody => "nobody",
            BySession::Unconfirmed => "unconfirmed",
            BySession::Somebody(_) => "somebody",
        }
    }

    #[tokio::test]
    async fn a_session_is_good_under_the_rules_alone_by_which_somebody_was_let_in() {
        let house = House::new();
        let before = house.start(rules("https://auth.lan", "users"));
        let secret = before.log_person_in(&ann(), None, false, None).await.unwrap();
        assert_eq!(seen_as(&before, &secret).await, "somebody");
        let other_groups = house.start(rules("https://auth.lan", "others"));
        assert_eq!(seen_as(&other_groups, &secret).await, "unconfirmed");
        assert!(!other_groups.put_off(&secret).await.unwrap(), "it is not known whether they still may");
        for accounts in [house.start(rules("https://other.lan", "users")), house.start(None)] {
            assert_eq!(seen_as(&accounts, &secret).await, "nobody");
            assert!(!accounts.put_off(&secret).await.unwrap());
        }
        // The same rules again.
        assert_eq!(seen_as(&house.start(rules("https://auth.lan", "users")), &secret).await, "somebody");
    }

    #[tokio::test]
    async fn while_the_provider_is_away_its_word_goes_on_and_not_for_ever() {
        let house = House::new();
        let accounts = house.start(rules("https://auth.lan", "users"));
        let secret = accounts.log_person_in(&ann(), None, false, None).await.unwrap();
        for _ in 0..11 {
            house.clock.advance(HOUR);
            assert_eq!(seen_as(&accounts, &secret).await, "unconfirmed");
            assert!(accounts.put_off(&secret).await.unwrap());
            assert_eq!(seen_as(&accounts, &secret).await, "somebody");
        }
        house.clock.advance(HOUR);
        assert!(!accounts.put_off(&secret).await.unwrap());
        assert_eq!(seen_as(&accounts, &secret).await, "unconfirmed");
    }

    #[tokio::test]
    async fn a_confirmation_keeps_the_session_and_a_login_does_not() {
        let house = House::new();
        let accounts = house.start(rules("https://auth.lan", "users"));
        let first = accounts.log_person_in(&ann(), None, false, None).await.unwrap();
        house.clock.advance(HOUR);
        assert!(accounts.awaits_confirmation(&first).await.unwrap());
        let confirmed = accounts.log_person_in(&ann(), Some(&first), true, None).await.unwrap();
        assert_eq!(confirmed, first);
        assert!(!accounts.awaits_confirmation(&first).await.unwrap());
        let again = accounts.log_person_in(&ann(), Some(&first), false, None).await.unwrap();
        assert_ne!(again, first);
        assert_eq!(seen_as(&accounts, &first).await, "nobody");
    }

    #[tokio::test]
    async fn what_was_noted_before_the_clock_was_set_back_counts_for_nothing() {
        let house = House::new();
        let accounts = house.start(rules("https://auth.lan", "users"));
        let now = house.clock.now();
        let secret = accounts.log_person_in(&ann(), None, false, None).await.unwrap();
        let ahead = |minutes: u64| now + Duration::from_secs(60 * minutes);
        let key = fingerprint(&secret);
        let note = async |at| {
            let rules = accounts.rules_now().to_owned();
            let word = put(CONFIRMED, &key, &Confirmed { at, until: ahead(90), rules }).unwrap();
            accounts.commit(vec![word]).await.unwrap();
        };
        note(ahead(1)).await;
        assert_eq!(seen_as(&accounts, &secret).await, "somebody");
        note(ahead(2)).await;
        assert_eq!(seen_as(&accounts, &secret).await, "unconfirmed");
        assert!(!accounts.put_off(&secret).await.unwrap());
        note(now).await;
        let seen = put(SEEN, &key, &ahead(2)).unwrap();
        accounts.commit(vec![seen]).await.unwrap();
        assert_eq!(seen_as(&accounts, &secret).await, "nobody");
    }

    #[tokio::test]
    async fn a_session_that_is_left_is_not_counted_and_keeps_nobody_at_home() {
        let house = House::new();
        let accounts = house.start(rules("https://auth.lan", "users"));
        accounts.log_person_in(&ann(), None, false, None).await.unwrap();
        let counted = async || accounts.users().await.unwrap().iter().map(|user| user.sessions).sum::<u32>();
        assert_eq!(counted().await, 1);
        house.clock.advance(12 * HOUR);
        assert_eq!(counted().await, 0);
        accounts.log_person_in(&ann(), None, false, None).await.unwrap();
        let kept = house.queue.storage().records(SESSIONS).await.unwrap().len();
        assert_eq!(kept, 1, "the one that was left is forgotten");
    }
}
