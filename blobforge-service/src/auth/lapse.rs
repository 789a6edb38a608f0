//! When the credentials behind a request are good no more.

use std::{future::pending, sync::Arc};

use blobforge_core::{Clock, Timestamp};

use super::{Accounts, BySession, Principal};

/// Why credentials are good no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lapsed {
    /// They were revoked, switched off or logged out, or have expired.
    Ended,
    /// The provider has to confirm them.
    Unconfirmed,
}

impl Accounts {
    /// Waits until somebody's credentials are good no more. What was confirmed meanwhile goes on.
    pub(crate) fn lapse(
        &self,
        principal: &Principal,
        clock: Arc<dyn Clock>,
    ) -> impl Future<Output = Lapsed> + Send + use<> {
        let (accounts, principal) = (self.clone(), principal.clone());
        async move {
            tokio::select! {
                () = principal.standing.ended() => Lapsed::Ended,
                lapsed = accounts.expiry(&principal, &*clock) => lapsed,
            }
        }
    }

    async fn expiry(&self, principal: &Principal, clock: &dyn Clock) -> Lapsed {
        let Some(mut at) = principal.expires_at else { return pending().await };
        loop {
            while clock.now() < at {
                clock.sleep(at.since(clock.now())).await;
            }
            match self.renewed(principal, at).await {
                Ok(later) => at = later,
                Err(lapsed) => return lapsed,
            }
        }
    }

    /// Until when credentials go on that have come to their end as far as was known.
    async fn renewed(&self, principal: &Principal, known: Timestamp) -> Result<Timestamp, Lapsed> {
        if !principal.by_session {
            return Err(Lapsed::Ended);
        }
        match self.session(&principal.standing.key).await {
            // Who may do something else now has to ask anew.
            Ok(BySession::Somebody(now)) if now.scopes == principal.scopes => {
                now.expires_at.filter(|at| *at > known).ok_or(Lapsed::Ended)
            }
            Ok(BySession::Unconfirmed) => Err(Lapsed::Unconfirmed),
            Ok(BySession::Somebody(_) | BySession::Nobody) | Err(_) => Err(Lapsed::Ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use blobforge_core::{ManualClock, Queue};
    use futures_util::poll;

    use super::*;
    use crate::{
        auth::{Guest, Rules, Scope},
        config::OidcOptions,
    };

    const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

    #[tokio::test]
    async fn what_is_confirmed_in_time_goes_on_and_what_is_not_says_why() {
        let manual = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
        let clock: Arc<dyn Clock> = manual.clone();
        let queue = Queue::builder().clock(clock.clone()).open_in_memory().unwrap();
        let options = OidcOptions::new("https://auth.lan", "forge", "https://forge.lan/auth/callback");
        let accounts = Accounts::new(queue, &clock, Some(Rules::of(&options)));
        let guest = |scope| Guest::of("ann", scope);
        let secret = accounts.log_person_in(&guest(Scope::Submit), None, false, None).await.unwrap();
        let BySession::Somebody(ann) = accounts.by_session(&secret).await.unwrap() else { panic!("good") };
        let mut lapse = pin!(accounts.lapse(&ann, clock.clone()));
        manual.advance(HALF_AN_HOUR);
        accounts.log_person_in(&guest(Scope::Submit), Some(&secret), true, None).await.unwrap();
        manual.advance(HALF_AN_HOUR);
        for _ in 0..100 {
            assert!(poll!(lapse.as_mut()).is_pending(), "it was confirmed half an hour ago");
            tokio::task::yield_now().await;
        }
        manual.advance(HALF_AN_HOUR);
        assert_eq!(lapse.await, Lapsed::Unconfirmed);
        // Who may do something else by now asks anew.
        accounts.log_person_in(&guest(Scope::Admin), Some(&secret), true, None).await.unwrap();
        assert_eq!(accounts.lapse(&ann, clock).await, Lapsed::Ended);
    }
}
