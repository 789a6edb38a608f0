//! What a token looks like.

use std::fmt;

use sha2::{Digest, Sha256};

/// How every token begins, so that people and secret scanners know one when they see it.
const PREFIX: &str = "bf_";
/// 256 bits in hexadecimal.
const SECRET_DIGITS: usize = 64;
/// How much of the checksum is kept.
const CHECK_DIGITS: usize = 8;
/// The least that a token made elsewhere has.
const LEAST_PROVIDED: usize = 32;

/// A token as its holder knows it. The service itself keeps nothing but its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

impl TokenText {
    /// Draws a new one from the system's randomness.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn draw() -> std::io::Result<Self> {
        let begin = format!("{PREFIX}{}", random_hex()?);
        let check = checksum(&begin);
        Ok(Self(begin + &check))
    }

    /// Takes a text as a token if it can be one: ours with the right checksum, or a long one made elsewhere.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = match text.strip_prefix(PREFIX) {
            Some(rest) => {
                rest.len() == SECRET_DIGITS + CHECK_DIGITS
                    && rest.is_ascii()
                    && checksum(&text[..PREFIX.len() + SECRET_DIGITS]) == rest[SECRET_DIGITS..]
            }
            None => {
                text.len() >= LEAST_PROVIDED
                    && text.len() <= 512
                    && text.bytes().all(|b| b.is_ascii_graphic())
            }
        };
        fits.then(|| Self(text.to_owned()))
    }

    /// The text itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(&self.0)
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

/// The SHA-256 of a secret in hexadecimal. The secrets are random, so nothing slower is needed.
pub(super) fn fingerprint(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))
}

/// 256 random bits in hexadecimal.
pub(super) fn random_hex() -> std::io::Result<String> {
    let mut bytes = [0; SECRET_DIGITS / 2];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(hex::encode(bytes))
}

fn checksum(begin: &str) -> String {
    fingerprint(begin)[..CHECK_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_token_is_one_and_a_mistyped_one_is_not() {
        let token = TokenText::draw().unwrap();
        assert_eq!(TokenText::parse(token.reveal()), Some(token.clone()));
        let mut mistyped = token.reveal().to_owned();
        mistyped.replace_range(10..11, if &mistyped[10..11] == "0" { "1" } else { "0" });
        assert_eq!(TokenText::parse(&mistyped), None);
        assert_eq!(TokenText::parse("bf_"), None);
        assert_eq!(TokenText::parse(&format!("bf_{}", "ü".repeat(36))), None);
        assert!(!format!("{token:?}").contains(&token.reveal()[3..]));
    }

    #[test]
    fn a_token_made_elsewhere_has_to_be_long() {
        assert!(TokenText::parse(&"x".repeat(32)).is_some());
        assert!(TokenText::parse(&"x".repeat(31)).is_none());
        assert!(TokenText::parse("thirty two characters and a space").is_none());
    }
}
