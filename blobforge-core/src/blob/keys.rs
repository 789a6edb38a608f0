//! Under which key each file lies.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::{JobId, LeaseToken};

/// The key of a source, from a freshly drawn upload id.
///
/// ```
/// use blobforge_core::blob::keys;
/// assert_eq!(keys::source("5f0c"), "sources/5f0c");
/// ```
pub fn source(upload_id: &str) -> String {
    format!("sources/{upload_id}")
}

/// The key of an output: only the holder of this very lease writes there.
///
/// ```
/// use blobforge_core::{Epoch, Generation, JobId, LeaseSecret, LeaseToken, blob::keys};
/// let token = LeaseToken::new(Generation::new(1), Epoch::new(3), LeaseSecret::from_bytes([7; 32]));
/// assert_eq!(keys::output(JobId::new(17), &token, "text.md"), "outputs/17/1-3/text.md");
/// assert_eq!(keys::checkpoint(JobId::new(17), &token, "a b"), "checkpoints/17/1-3/a~20b");
/// ```
pub fn output(job: JobId, token: &LeaseToken, name: &str) -> String {
    format!("outputs/{job}/{}/{}", attempt(token), escaped(name))
}

/// The key of a file that was produced elsewhere, from a freshly drawn id.
///
/// ```
/// use blobforge_core::blob::keys;
/// assert_eq!(keys::past_output("5f0c"), "outputs/past/5f0c");
/// ```
pub fn past_output(id: &str) -> String {
    format!("outputs/past/{id}")
}

/// The key of a checkpoint: only the holder of this very lease writes there.
///
/// As in [`output`].
pub fn checkpoint(job: JobId, token: &LeaseToken, name: &str) -> String {
    format!("checkpoints/{job}/{}/{}", attempt(token), escaped(name))
}

/// What the keys of an attempt have in common, and those of no other attempt of its job.
pub(crate) fn attempt(token: &LeaseToken) -> String {
    format!("{}-{}", token.generation.get(), token.epoch.get())
}

/// How long a name may be in a key, in bytes: a filesystem takes 255 between two slashes, S3 1024 in all.
const MAX_NAME_BYTES: usize = 200;
/// How much is kept of a name that is longer, for people who look into the store.
const KEPT_BYTES: usize = 100;

/// A name in plain ASCII, which every blob store takes: other bytes become `~` and two hexadecimal digits, and what is
/// too long ends in `~~`, the hash of the whole name and its extension.
fn escaped(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-') {
            key.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(key, "~{byte:02x}");
        }
    }
    if key.len() > MAX_NAME_BYTES {
        key.truncate(KEPT_BYTES);
        key.push_str("~~");
        key.push_str(&hex::encode(Sha256::digest(name)));
        let extension = name.rsplit_once('.').map(|(_, extension)| extension);
        let plain = |e: &&str| (1..=10).contains(&e.len()) && e.bytes().all(|b| b.is_ascii_alphanumeric());
        if let Some(extension) = extension.filter(plain) {
            key.push('.');
            key.push_str(extension);
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, Generation, LeaseSecret};

    #[test]
    fn names_become_plain_ascii_and_stay_apart() {
        let token = LeaseToken::new(Generation::new(2), Epoch::new(7), LeaseSecret::from_bytes([0; 32]));
        let key = |name| output(JobId::new(5), &token, name);
        assert_eq!(key("images/p 1.png"), "outputs/5/2-7/images/p~201.png");
        assert_eq!(key("ü.md"), "outputs/5/2-7/~c3~bc.md");
        assert_ne!(key("a~20b"), key("a b"));
    }

    #[test]
    fn long_names_are_shortened_and_stay_apart() {
        let token = LeaseToken::new(Generation::new(2), Epoch::new(7), LeaseSecret::from_bytes([0; 32]));
        let key = |name: &str| output(JobId::new(5), &token, name);
        let just = "x".repeat(200);
        assert_eq!(key(&just), format!("outputs/5/2-7/{just}"));
        let (one, other) = (key(&format!("{just}1")), key(&format!("{just}2")));
        assert!(one.starts_with("outputs/5/2-7/xxx") && one.len() < 200, "{one}");
        assert_ne!(one, other);
        let script = key(&format!("{}text.md", "規/".repeat(120)));
        assert!(script.len() < 200 && script.ends_with(".md"), "{script}");
    }
}
