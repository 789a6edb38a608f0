//! Who has an account: who holds a token, and in how many browsers it is logged in.

use blobforge_core::{QueueError, Timestamp};

use super::{Accounts, TokenRecord};

/// An account, and what is known of its use.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) account: TokenRecord,
    /// How many browsers are logged in.
    pub(crate) sessions: u32,
    /// To the minute.
    pub(crate) last_used_at: Option<Timestamp>,
}

impl Accounts {
    /// All accounts, the oldest first.
    pub(crate) async fn users(&self) -> Result<Vec<User>, QueueError> {
        let mut sessions = self.sessions_by_token().await?;
        let mut users = Vec::new();
        for (key, account) in self.tokens().await? {
            let last_used_at = self.last_use(&key).await?;
            users.push(User { account, sessions: sessions.remove(&key).unwrap_or(0), last_used_at });
        }
        Ok(users)
    }
}
