//! Under which key each file lies.

use std::fmt::Write as _;

use crate::{JobId, LeaseToken};

/// The key of a source, from a freshly drawn upload id.
pub fn source(upload_id: &str) -> String {
    format!("sources/{upload_id}")
}

/// The key of an output: only the holder of this very lease writes there.
pub fn output(job: JobId, token: &LeaseToken, name: &str) -> String {
    format!("outputs/{job}/{}/{}", attempt(token), escaped(name))
}

/// The key of a checkpoint: only the holder of this very lease writes there.
pub fn checkpoint(job: JobId, token: &LeaseToken, name: &str) -> String {
    format!("checkpoints/{job}/{}/{}", attempt(token), escaped(name))
}

fn attempt(token: &LeaseToken) -> String {
    format!("{}-{}", token.generation.get(), token.epoch.get())
}

/// A name in plain ASCII, which every blob store takes: other bytes become `~` and two hexadecimal digits.
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
}
