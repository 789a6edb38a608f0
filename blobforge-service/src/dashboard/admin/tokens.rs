//! The tokens of programs: which there are, making one, and revoking.

use askama::Template;
use blobforge_core::Timestamp;
use poem::{Response, handler};

use super::Tab;
use crate::{
    auth::{Account, Scope, is_of_the_settings},
    dashboard::{
        fault::Fault,
        frame::{Frame, Section, Visitor, page as sent},
        shown::When,
    },
};

#[derive(Template)]
#[template(path = "admin/tokens.html")]
struct TokensPage {
    frame: Frame,
    tab: Tab,
    rows: Vec<TokenRow>,
}

/// Shows the tokens, the newest first. There are at most a thousand.
#[handler]
pub(in crate::dashboard) async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let now = visitor.shared.queue.now();
    let mut accounts = visitor.shared.accounts.list().await?;
    accounts.reverse();
    sent(&TokensPage {
        frame: visitor.frame(Section::Admin, "Tokens"),
        tab: Tab::Tokens,
        rows: accounts.into_iter().map(|account| TokenRow::new(account, now)).collect(),
    })
}

/// A token, without its text.
struct TokenRow {
    id: String,
    name: String,
    scopes: Vec<&'static str>,
    worker: Option<String>,
    created: When,
    expires: Option<When>,
    expired: bool,
    used: Option<When>,
    is_disabled: bool,
    /// It can be revoked here: those that the machine brings along cannot.
    can_revoke: bool,
}

impl TokenRow {
    fn new(Account { token, is_disabled, last_used_at, .. }: Account, now: Timestamp) -> Self {
        Self {
            can_revoke: !is_of_the_settings(&token.id),
            id: token.id,
            name: token.name,
            scopes: token.scopes.into_iter().map(Scope::as_str).collect(),
            worker: token.worker_id.map(String::from),
            created: When::new(token.created_at, now),
            expires: token.expires_at.map(|at| When::new(at, now)),
            expired: token.expires_at.is_some_and(|at| at <= now),
            used: last_used_at.map(|at| When::new(at, now)),
            is_disabled,
        }
    }
}
