//! Where randomness comes from.

use std::{fmt, io};

/// Where the queue draws what nobody may guess: lease secrets, the names of uploads, and jitter.
///
/// ```
/// use blobforge_core::{Entropy, LeaseSecret, SystemEntropy};
/// assert_ne!(LeaseSecret::draw(&SystemEntropy).unwrap(), LeaseSecret::draw(&SystemEntropy).unwrap());
/// ```
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `bytes` with random ones.
    ///
    /// ```
    /// use blobforge_core::{Entropy, SystemEntropy};
    /// let mut bytes = [0; 16];
    /// SystemEntropy.fill(&mut bytes).unwrap();
    /// assert_ne!(bytes, [0; 16]);
    /// ```
    ///
    /// # Errors
    /// When there is no randomness to give, which no caller can mend.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The randomness of the operating system, fit for secrets.
///
/// As in [`Entropy`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::other)
    }
}
