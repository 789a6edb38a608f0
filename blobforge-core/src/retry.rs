//! When a failed job runs again: a pure function of how often it failed and of a drawn jitter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Invalid, MAX_SPAN, time::millis};

/// Exponential backoff with jitter.
///
/// ```
/// use blobforge_core::{Jitter, RetryPolicy};
/// use std::time::Duration;
/// let policy = RetryPolicy::default();
/// assert_eq!(policy.delay(1, Jitter::NONE), Duration::from_secs(10));
/// assert_eq!(policy.delay(3, Jitter::NONE), Duration::from_secs(40));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// The wait after the first failure; each further failure doubles it. At most [`MAX_SPAN`].
    #[serde(with = "millis")]
    pub first: Duration,
    /// The longest wait, before jitter. At most [`MAX_SPAN`].
    #[serde(with = "millis")]
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first: Duration::from_secs(10), longest: Duration::from_secs(60 * 60) }
    }
}

impl RetryPolicy {
    /// How long a job waits after it failed for the `failures`th time, before it runs again.
    ///
    /// As in [`RetryPolicy`], and with jitter as in [`Jitter`]: up to a quarter comes on top by it,
    /// so that jobs which failed together do not come back together.
    pub fn delay(self, failures: u32, jitter: Jitter) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let plain = self.first.saturating_mul(1 << doublings).min(self.longest);
        plain.saturating_add(plain.mul_f64(f64::from(jitter.0) / f64::from(u16::MAX) / 4.0))
    }

    /// Checks that no wait is longer than anybody can mean.
    pub(crate) fn check(self) -> Result<(), Invalid> {
        if self.first.max(self.longest) <= MAX_SPAN {
            return Ok(());
        }
        Err(Invalid::new(
            "retry",
            "a failed job waits for a year at most: make `first` and `longest` shorter",
        ))
    }
}

/// A random number drawn before a command is applied, so that applying it is repeatable.
///
/// ```
/// use blobforge_core::{Jitter, RetryPolicy};
/// let wait = |jitter| RetryPolicy::default().delay(1, jitter).as_millis();
/// assert_eq!((wait(Jitter::NONE), wait(Jitter::MOST)), (10_000, 12_500));
/// assert!((10_000..12_500).contains(&wait(Jitter::from_bits(0b1010_0110_0011_1001))));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Jitter(u16);

impl Jitter {
    /// No jitter at all.
    ///
    /// As in [`Jitter`].
    pub const NONE: Self = Self(0);
    /// The most there is.
    ///
    /// As in [`Jitter`].
    pub const MOST: Self = Self(u16::MAX);

    /// A jitter from random bits.
    ///
    /// As in [`Jitter`].
    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_the_longest() {
        let policy = RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(6) };
        let waits: Vec<u64> = (1..=5).map(|n| policy.delay(n, Jitter::NONE).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 6, 6]);
        assert_eq!(policy.delay(u32::MAX, Jitter::NONE), Duration::from_secs(6), "no overflow");
    }

    #[test]
    fn no_policy_is_too_long_to_add_jitter_to() {
        let policy = RetryPolicy { first: Duration::MAX, longest: Duration::MAX };
        assert_eq!(policy.delay(3, Jitter::MOST), Duration::MAX);
    }

    #[test]
    fn jitter_adds_at_most_a_quarter() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(1, Jitter::MOST), Duration::from_millis(12_500));
        assert!(policy.delay(1, Jitter::from_bits(1000)) > policy.delay(1, Jitter::NONE));
    }
}
