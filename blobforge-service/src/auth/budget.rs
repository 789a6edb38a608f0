//! How many changes somebody may ask for in a while. Each process counts for itself.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use blobforge_core::Clock;
use governor::{
    Quota, RateLimiter, clock::Clock as GovernorClock, middleware::StateInformationMiddleware,
    state::keyed::HashMapStateStore,
};
use poem::{
    IntoResponse, Response,
    http::{HeaderName, HeaderValue, StatusCode},
};

use super::{Access, LOGIN, OIDC_CALLBACK, OIDC_LOGIN, Route};
use crate::{config::ServeConfig, problem::Problem};

/// A budget is for so long; what is left of it grows back evenly.
const WINDOW: Duration = Duration::from_secs(60);
/// An address has the budgets of so many accounts: whole offices and halls of machines stand behind one.
const ACCOUNTS_BEHIND_AN_ADDRESS: u32 = 10;
/// How often somebody at an address may be sent to the provider, or come back. Each login takes both.
pub(super) const STEPS_OF_LOGINS: u32 = 60;
/// What workers say is worth so much more: a heartbeat that is refused costs a lease.
const FOR_WORKERS: u32 = 10;
/// The most accounts or addresses that are told apart; beyond them, others share budgets.
const MAX_SPENDERS: usize = 20_000;
/// How many budgets are shared then. Of whom with whom nobody can know, so that a crowd does not shut out one in particular.
const SHARED: u64 = 4096;
/// The part of a v6 address that one customer has to itself, in bits.
const V6_PREFIX: u32 = 64;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// What everybody may still ask for.
#[derive(Debug)]
pub(crate) struct Budgets {
    logins: Option<Budget>,
    provider: Option<Budget>,
    addresses: Option<Budget>,
    accounts: Option<Budget>,
    workers: Option<Budget>,
}

impl Budgets {
    pub(crate) fn new(config: &ServeConfig) -> Self {
        let budget = |name, changes| Budget::new(name, changes, config.clock());
        let changes = config.rate_limit;
        Self {
            logins: budget("login", config.login_rate_limit),
            provider: budget("login", steps_of_logins(config)),
            addresses: budget("address", changes.saturating_mul(ACCOUNTS_BEHIND_AN_ADDRESS)),
            accounts: budget("account", changes),
            workers: budget("worker", changes.saturating_mul(FOR_WORKERS)),
        }
    }

    /// Spends of what an address has, before anything is known of who asks.
    pub(super) fn spend_of_address(
        &self,
        route: &Route,
        address: Option<IpAddr>,
    ) -> Result<Option<Left>, Spent> {
        let is_login = (route.method, route.pattern) == ("POST", LOGIN);
        let budget = match route.pattern {
            OIDC_LOGIN | OIDC_CALLBACK => &self.provider,
            _ if is_login => &self.logins,
            _ => &self.addresses,
        };
        let (Some(budget), Some(address)) = (budget, address) else { return Ok(None) };
        budget.spend(customer(address)).map(|left| is_login.then_some(left))
    }

    /// Spends of what an account has.
    pub(super) fn spend_of_account(&self, route: &Route, account: &str) -> Result<Option<Left>, Spent> {
        let budget = if route.access == Access::Worker { &self.workers } else { &self.accounts };
        budget.as_ref().map(|budget| budget.spend(account.to_owned())).transpose()
    }
}

/// How many steps of logins with the provider there may be from an address: they cost no guesses, but memory and questions.
fn steps_of_logins(config: &ServeConfig) -> u32 {
    if config.login_rate_limit == 0 { 0 } else { STEPS_OF_LOGINS.max(config.login_rate_limit) }
}

/// Those who share one budget.
pub(super) fn customer(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << (128 - V6_PREFIX));
            Ipv6Addr::from(network).to_string()
        }
    }
}

/// The same number of changes for each of many spenders.
#[derive(Debug)]
pub(super) struct Budget {
    name: &'static str,
    changes: NonZeroU32,
    clock: Uptime,
    limiter: RateLimiter<String, HashMapStateStore<String>, Uptime, StateInformationMiddleware>,
    /// Who shares a budget with whom.
    shares: RandomState,
    /// When those were last forgotten who have all of their budget again, in seconds.
    cleared_at: AtomicU64,
}

impl Budget {
    /// So many in a minute; `None` where there is no limit.
    fn new(name: &'static str, changes: u32, clock: Arc<dyn Clock>) -> Option<Self> {
        Self::within(WINDOW, name, changes, clock)
    }

    /// So many in so long a time; `None` where there is no limit.
    pub(super) fn within(
        window: Duration,
        name: &'static str,
        changes: u32,
        clock: Arc<dyn Clock>,
    ) -> Option<Self> {
        let changes = NonZeroU32::new(changes)?;
        let quota = Quota::with_period(window / changes.get())?.allow_burst(changes);
        let clock = Uptime(clock);
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Some(Self {
            name,
            changes,
            clock,
            limiter,
            shares: RandomState::new(),
            cleared_at: AtomicU64::new(0),
        })
    }

    pub(super) fn spend(&self, spender: String) -> Result<Left, Spent> {
        let spender = if self.is_crowded() { self.shared(&spender) } else { spender };
        let left = |changes| Left { name: self.name, of: self.changes.get(), changes };
        match self.limiter.check_key(&spender) {
            Ok(state) => Ok(left(state.remaining_burst_capacity())),
            Err(until) => Err(Spent { left: left(0), wait: until.wait_time_from(self.clock.now()) }),
        }
    }

    fn is_crowded(&self) -> bool {
        if self.limiter.len() < MAX_SPENDERS {
            return false;
        }
        // Whoever has all of its budget again need not be remembered. All are looked at for that, so not for each request.
        let now = self.clock.now().as_secs();
        if self.cleared_at.fetch_max(now, Ordering::Relaxed) < now {
            self.limiter.retain_recent();
        }
        self.limiter.len() >= MAX_SPENDERS
    }

    /// Those with whom somebody shares a budget.
    fn shared(&self, spender: &str) -> String {
        format!("shared {}", self.shares.hash_one(spender) % SHARED)
    }
}

/// The time that the service goes by.
#[derive(Clone, Debug)]
struct Uptime(Arc<dyn Clock>);

impl GovernorClock for Uptime {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.uptime()
    }
}

/// What is left of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    name: &'static str,
    of: u32,
    changes: u32,
}

impl Left {
    /// Says in a reply what is left.
    pub(super) fn tell(self, reply: &mut Response) {
        let Self { name, of, changes } = self;
        let window = WINDOW.as_secs();
        // Until all of it is there again.
        let reset = (u64::from(of - changes.min(of)) * window).div_ceil(u64::from(of.max(1)));
        let policy = HeaderValue::from_str(&format!("\"{name}\";q={of};w={window}"));
        let left = HeaderValue::from_str(&format!("\"{name}\";r={changes};t={reset}"));
        if let (Ok(policy), Ok(left)) = (policy, left) {
            reply.headers_mut().insert(POLICY, policy);
            reply.headers_mut().insert(LEFT, left);
        }
    }
}

/// Nothing is left of a budget.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    left: Left,
    wait: Duration,
}

impl Spent {
    /// Which budget it is.
    pub(super) fn budget(self) -> &'static str {
        self.left.name
    }

    pub(super) fn into_response(self) -> Response {
        let seconds = u32::try_from(self.wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1);
        let detail = format!(
            "this {} asks for more than {} changes a minute. Nothing was changed",
            self.left.name, self.left.of
        );
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
            .hint("go on after the seconds in Retry-After; POST /api/jobs/batch submits up to 1,000 jobs with one request")
            .retry_after(seconds);
        let mut reply = problem.into_response();
        self.left.tell(&mut reply);
        reply
    }
}

#[cfg(test)]
mod tests {
    use blobforge_core::{ManualClock, Timestamp};

    use super::*;

    #[test]
    fn a_budget_is_for_each_spender_and_grows_back() {
        let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
        let budget = Budget::new("account", 6, clock.clone()).unwrap();
        let spend =
            |who: &str| budget.spend(who.to_owned()).map(|left| left.changes).map_err(|spent| spent.wait);
        for left in (0..6).rev() {
            assert_eq!(spend("ann"), Ok(left));
        }
        assert_eq!(spend("ann"), Err(Duration::from_secs(10)));
        assert_eq!(spend("bob"), Ok(5));
        clock.advance(Duration::from_secs(10));
        assert_eq!(spend("ann"), Ok(0), "one has grown back");
        clock.advance(WINDOW);
        assert_eq!(spend("ann"), Ok(5));
        assert!(Budget::new("account", 0, clock).is_none(), "no limit");
    }

    #[test]
    fn the_number_of_spenders_that_are_told_apart_is_bounded() {
        let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
        let budget = Budget::new("address", 2, clock.clone()).unwrap();
        let most = MAX_SPENDERS + usize::try_from(SHARED).unwrap();
        for n in 0..2 * most {
            let _ = budget.spend(n.to_string());
        }
        assert!((MAX_SPENDERS..=most).contains(&budget.limiter.len()));
        let spend = |who: &str| budget.spend(who.to_owned()).is_ok();
        clock.advance(2 * WINDOW);
        assert!(spend("y") && spend("y") && !spend("y"), "its own again");
        assert!(budget.limiter.len() <= 2, "the others are forgotten");
    }

    #[test]
    fn a_crowd_leaves_most_others_their_budgets() {
        let budget = Budget::new("address", 2, Arc::new(ManualClock::new(Timestamp::ZERO))).unwrap();
        for n in 0..MAX_SPENDERS {
            let _ = budget.spend(format!("crowd {n}"));
        }
        for n in 0..SHARED / 8 {
            let _ = budget.spend(format!("more {n}"));
        }
        let spared = (0..100).filter(|n| budget.spend(format!("other {n}")).is_ok()).count();
        assert!(spared > 50, "{spared} of 100 were let in");
    }

    #[test]
    fn a_v6_customer_has_one_budget_for_all_its_addresses() {
        let customer = |text: &str| customer(text.parse().unwrap());
        assert_eq!(customer("2001:db8:1:2::1"), customer("2001:db8:1:2:ffff::2"));
        assert_ne!(customer("2001:db8:1:2::1"), customer("2001:db8:1:3::1"));
        assert_ne!(customer("192.0.2.1"), customer("192.0.2.2"));
    }
}
