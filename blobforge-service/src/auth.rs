//! Who may do what: tokens, sessions and the door that every request goes through.

mod accounts;
mod address;
mod bound;
mod budget;
mod confirmation;
mod cookie;
mod csrf;
mod entries;
mod gate;
mod lapse;
mod leftovers;
mod local_path;
mod login;
mod oidc;
mod people;
mod routes;
mod sessions;
mod standing;
mod stranger;
mod token;
mod users;

use std::sync::Arc;

use blobforge_core::{JobId, Timestamp, WorkerId};
use poem_openapi::Enum;
use serde::{Deserialize, Serialize};

pub(crate) use accounts::{ADMIN_ID, Accounts, NewToken, TokenRecord, is_of_the_settings};
pub(crate) use address::client_address;
pub(crate) use bound::Bound;
pub(crate) use budget::Budgets;
pub(crate) use cookie::{Cookie, session_secret};
pub(crate) use csrf::csrf_token;
pub(crate) use gate::Gate;
pub(crate) use lapse::Lapsed;
pub(crate) use local_path::{leading_back, local_path};
pub(crate) use login::LoginLinks;
pub(crate) use oidc::{
    Finished, Guest, Identity, LOGIN_WITHIN, Oidc, OidcError, Provider, Rules, SentBack, Wish,
};
pub(crate) use people::Person;
pub use routes::{Access, ROUTES, Route};
pub(crate) use routes::{LOGIN, OIDC_CALLBACK, OIDC_LOGIN};
pub(crate) use sessions::{BySession, Closed, SESSION_LIFETIME};
pub use token::TokenText;
pub(crate) use users::{Account, Known, User};

use crate::problem::Problem;
use standing::Standing;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
pub enum Scope {
    /// Hand in jobs, and steer them.
    Submit,
    /// Run jobs.
    Worker,
    /// Everything, and the accounts of others.
    Admin,
}

impl Scope {
    /// Its name, as in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Worker => "worker",
            Self::Admin => "admin",
        }
    }
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    /// The account's id.
    pub(crate) id: String,
    /// What it is called.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) scopes: Vec<Scope>,
    /// The only worker it may act as; `None` for any.
    pub(crate) worker: Option<WorkerId>,
    /// It came with a cookie, which a browser also sends for other people's pages.
    pub(crate) by_session: bool,
    /// When its credentials end by themselves.
    pub(crate) expires_at: Option<Timestamp>,
    /// Whether they still hold.
    standing: Arc<Standing>,
}

impl Principal {
    /// Whether it may do what this scope is for.
    pub(crate) fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Refuses what it may not do.
    pub(crate) fn need(&self, scope: Scope) -> Result<(), Problem> {
        if self.has(scope) { Ok(()) } else { Err(self.lacks(Some(scope))) }
    }

    /// The refusal of what needs a scope that it has not.
    fn lacks(&self, scope: Option<Scope>) -> Problem {
        let has: Vec<_> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        let needed = scope.map_or("another", Scope::as_str);
        let detail = format!("this needs the scope {needed}; {:?} has {}", self.name, has.join(", "));
        Problem::forbidden("forbidden", detail)
    }

    /// Refuses to act as any other worker than its own.
    pub(crate) fn act_as(&self, worker: &WorkerId) -> Result<(), Problem> {
        match &self.worker {
            Some(own) if own != worker => Err(Problem::forbidden(
                "other_worker",
                format!("this token belongs to worker {own} and cannot act as {worker}"),
            )
            .hint(format!("start it as {own}: blobforge worker --id {own}"))),
            _ => Ok(()),
        }
    }

    /// Refuses to report on what another worker than its own runs.
    pub(crate) async fn act_on(&self, queue: &blobforge_core::Queue, job: JobId) -> Result<(), Problem> {
        if self.worker.is_none() {
            return Ok(());
        }
        match queue.job(job).await?.lease() {
            Some(lease) => self.act_as(&lease.worker),
            None => Ok(()),
        }
    }
}
