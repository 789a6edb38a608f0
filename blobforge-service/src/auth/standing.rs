//! What ends when a token or a session does: streams that are open, and requests that wait.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio_util::sync::CancellationToken;

/// The credentials behind the requests that are under way, each of them once.
#[derive(Clone, Debug, Default)]
pub(super) struct Standings(Arc<Mutex<BTreeMap<String, Weak<Standing>>>>);

/// Credentials, for as long as a request goes on under them.
#[derive(Debug)]
pub(crate) struct Standing {
    /// The fingerprint of the token or session.
    pub(super) key: String,
    /// The fingerprint of the token, or for a session under what its holder is kept.
    pub(super) holder: String,
    ended: CancellationToken,
    among: Standings,
}

impl Standings {
    /// Takes note of a request. Only what is looked up after that may let it in: what is revoked later ends it.
    pub(super) fn enter(&self, key: &str, holder: &str) -> Arc<Standing> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = all.get(key).and_then(Weak::upgrade) {
            return standing;
        }
        let standing = Arc::new(Standing {
            key: key.to_owned(),
            holder: holder.to_owned(),
            ended: CancellationToken::new(),
            among: self.clone(),
        });
        all.insert(key.to_owned(), Arc::downgrade(&standing));
        standing
    }

    /// Ends everything that goes on under a token or a person, their sessions included, or under a session.
    pub(super) fn end(&self, key: &str) {
        for standing in
            self.open().into_iter().filter(|standing| standing.key == key || standing.holder == key)
        {
            standing.end();
        }
    }

    /// All credentials with requests under way.
    pub(super) fn open(&self) -> Vec<Arc<Standing>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().filter_map(Weak::upgrade).collect()
    }
}

impl Standing {
    /// Ends everything that goes on under these credentials.
    pub(super) fn end(&self) {
        self.ended.cancel();
        // Whoever comes later is judged anew: a worker may have been let in again.
        self.among.forget(&self.key, |kept| std::ptr::eq(kept.as_ptr(), self));
    }

    /// Waits until these credentials are good no more.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.among.forget(&self.key, |kept| kept.strong_count() == 0);
    }
}

impl Standings {
    fn forget(&self, key: &str, unless_newer: impl Fn(&Weak<Standing>) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(key).is_some_and(unless_newer) {
            all.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_takes_its_sessions_along_and_no_others() {
        let all = Standings::default();
        let (token, session, other) = (all.enter("t", "t"), all.enter("s", "t"), all.enter("o", "o"));
        assert!(Arc::ptr_eq(&session, &all.enter("s", "t")), "each credential is there once");
        all.end("t");
        let ended = [&token, &session, &other].map(|standing| standing.ended.is_cancelled());
        assert_eq!(ended, [true, true, false]);
        assert!(!all.enter("t", "t").ended.is_cancelled(), "who comes later is judged anew");
    }

    #[test]
    fn nothing_is_left_of_requests_that_have_ended() {
        let all = Standings::default();
        let (first, second) = (all.enter("t", "t"), all.enter("t", "t"));
        drop(first);
        assert_eq!(all.open().len(), 1);
        drop(second);
        assert!(all.0.lock().unwrap().is_empty());
    }
}
