//! Signatures, by which a receiver knows that a request is this service's.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How every secret begins that the service draws.
const PREFIX: &str = "whsec_";

/// What signs requests. It has to be kept as it is: whoever signs needs it whole.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SigningSecret(String);

impl SigningSecret {
    /// Draws a new one from the system's randomness.
    pub(crate) fn draw() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self(format!("{PREFIX}{}", hex::encode(bytes))))
    }

    /// Takes a text as one if it is long enough.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = (24..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// The text itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// What stands in the header `BlobForge-Signature` of a request with this body, sent at this second since 1970.
    pub(super) fn sign(&self, second: i64, body: &[u8]) -> String {
        // HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()) else { return String::new() };
        mac.update(format!("{second}.").as_bytes());
        mac.update(body);
        format!("t={second},v1={}", hex::encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_other_programs_make_of_the_same() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_0123456789abcdef01234567
        let secret = SigningSecret::parse("whsec_0123456789abcdef01234567").unwrap();
        let signature = "6f824c9077db4e2bf372125d14ca69aa7c0e1402ae04952b5480fa7af383cad0";
        assert_eq!(secret.sign(1_700_000_000, b"{}"), format!("t=1700000000,v1={signature}"));
    }

    #[test]
    fn a_secret_is_long_and_not_shown_by_chance() {
        let secret = SigningSecret::draw().unwrap();
        assert_eq!(SigningSecret::parse(secret.reveal()), Some(secret.clone()));
        assert!(!format!("{secret:?}").contains("whsec_"));
        for bad in ["", "short", "thirty characters, with spaces", &"x".repeat(201)] {
            assert!(SigningSecret::parse(bad).is_none(), "{bad}");
        }
    }
}
