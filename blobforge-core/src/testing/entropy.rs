//! Randomness that repeats.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::Entropy;

/// The same bytes in the same order for the same seed. Fit for tests, never for secrets.
///
/// ```
/// use blobforge_core::{LeaseSecret, testing::SeededEntropy};
/// let draw = |seed| LeaseSecret::draw(&SeededEntropy::new(seed)).unwrap();
/// assert_eq!(draw(1), draw(1));
/// assert_ne!(draw(1), draw(2));
/// ```
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// The bytes that follow from this seed.
    ///
    /// As in [`SeededEntropy`].
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// SplitMix64: every state is met once, so that no two secrets of a run are the same.
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}
