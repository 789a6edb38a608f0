//! Who has an account, what they may do, and where they are logged in.

use askama::Template;
use blobforge_core::Timestamp;
use poem::{Response, handler};

use super::Tab;
use crate::{
    auth::{Account, Known, Person, Scope, User},
    dashboard::{
        fault::Fault,
        frame::{Frame, Section, Visitor, page as sent},
        shown::When,
    },
};

/// How many accounts are shown.
const ROWS: usize = 500;

#[derive(Template)]
#[template(path = "admin/users.html")]
struct UsersPage {
    frame: Frame,
    tab: Tab,
    rows: Vec<UserRow>,
    more: usize,
    /// People log in with a provider.
    has_provider: bool,
}

/// Shows the accounts: people, and tokens that somebody is logged in with, before the others.
#[handler]
pub(in crate::dashboard) async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let now = visitor.shared.queue.now();
    let users = visitor.shared.accounts.users().await?;
    let mut rows: Vec<_> =
        users.into_iter().map(|user| UserRow::new(user, &visitor.principal.id, now)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.is_person, row.sessions)));
    let more = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    let has_provider = visitor.shared.oidc.is_some();
    sent(&UsersPage {
        frame: visitor.frame(Section::Admin, "Users"),
        tab: Tab::Users,
        rows,
        more,
        has_provider,
    })
}

/// An account.
struct UserRow {
    id: String,
    name: String,
    is_person: bool,
    /// The person's address, or the worker that a token is for.
    about: Option<String>,
    /// Who knows the person.
    issuer: Option<String>,
    scopes: Vec<&'static str>,
    sessions: u32,
    seen: Option<When>,
    created: When,
    is_self: bool,
}

impl UserRow {
    fn new(User { who, sessions }: User, own_id: &str, now: Timestamp) -> Self {
        let names = |scopes: Vec<Scope>| scopes.into_iter().map(Scope::as_str).collect();
        match who {
            Known::Token(Account { token, last_used_at, .. }) => Self {
                is_self: token.id == own_id,
                id: token.id,
                name: token.name,
                is_person: false,
                about: token.worker_id.map(|worker| format!("only as worker {worker}")),
                issuer: None,
                scopes: names(token.scopes),
                sessions,
                seen: last_used_at.map(|at| When::new(at, now)),
                created: When::new(token.created_at, now),
            },
            Known::Person(Person { id, name, email, issuer, scopes, created_at, logged_in_at, .. }, seen) => {
                Self {
                    is_self: id == own_id,
                    id,
                    name,
                    is_person: true,
                    about: email,
                    issuer: Some(issuer),
                    scopes: names(scopes),
                    sessions,
                    seen: Some(When::new(seen.unwrap_or(logged_in_at), now)),
                    created: When::new(created_at, now),
                }
            }
        }
    }
}
