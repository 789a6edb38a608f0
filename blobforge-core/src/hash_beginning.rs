//! How a hash begins, which is enough to name a file by.

use std::{fmt, str::FromStr};

use crate::{Invalid, Sha256};

/// How many digits of a hash name a file at least: fewer would soon mean several.
const LEAST_DIGITS: usize = 8;
/// All of them.
const ALL_DIGITS: usize = 64;

/// The first digits of a SHA-256, 8 to all 64 of them.
///
/// ```
/// use blobforge_core::{HashBeginning, Sha256};
/// let hash: Sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".parse().unwrap();
/// assert!("9F86d081884".parse::<HashBeginning>().unwrap().begins(&hash), "capitals mean the same");
/// assert!(!"9f86d082".parse::<HashBeginning>().unwrap().begins(&hash));
/// assert!(HashBeginning::from(hash).begins(&hash));
/// assert!("9f86d08".parse::<HashBeginning>().is_err(), "too few");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashBeginning {
    first: Sha256,
    last: Sha256,
    digits: usize,
}

impl HashBeginning {
    /// Whether a hash begins so.
    ///
    /// As in [`HashBeginning`].
    pub fn begins(&self, hash: &Sha256) -> bool {
        (self.first..=self.last).contains(hash)
    }

    /// The first and the last hash that begin so.
    pub(crate) fn range(&self) -> (Sha256, Sha256) {
        (self.first, self.last)
    }
}

impl From<Sha256> for HashBeginning {
    fn from(hash: Sha256) -> Self {
        Self { first: hash, last: hash, digits: ALL_DIGITS }
    }
}

impl FromStr for HashBeginning {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.len();
        let is_one = (LEAST_DIGITS..=ALL_DIGITS).contains(&digits)
            && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !is_one {
            let reason = format!(
                "{text:?} is no beginning of a SHA-256: give {LEAST_DIGITS} to {ALL_DIGITS} of its hexadecimal digits"
            );
            return Err(Invalid::new("source_hash", reason));
        }
        let filled = |with: &str| format!("{text}{}", with.repeat(ALL_DIGITS - digits)).parse();
        Ok(Self { first: filled("0")?, last: filled("f")?, digits })
    }
}

impl fmt::Display for HashBeginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.to_string()[..self.digits])
    }
}

impl fmt::Debug for HashBeginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
